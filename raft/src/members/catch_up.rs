//! Waits until a new node has caught up with the leader.

use std::time::Duration;

use quorate_proto::LogIndex;
use tokio::time::{Instant, sleep};

use super::leader::Members;
use crate::adapter::types;
use crate::error::ChangeError;
use crate::host::Host;

/// The number of bytes of log that a node may still lack to be given a vote: a busy cluster writes them in a fraction of
/// a second, so nobody waits for the node's acknowledgements for long.
const BEHIND_BYTES_MAX: u64 = 1024 * 1024;
/// The interval at which the progress is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// The time without any progress after which the node is given up; the change can be repeated.
const STALLED_AFTER: Duration = Duration::from_secs(60);

/// The progress of a node that catches up with the leader.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CatchUp {
    /// The node's id.
    pub node: u64,
    /// The newest log index that the node has, durably; 0 before the leader has heard of any.
    pub matched: LogIndex,
    /// The newest log index that is committed.
    pub committed: LogIndex,
    /// The number of chunks of the leader's checkpoint that were sent to the node.
    pub chunks_sent: u64,
    /// The number of chunks of the checkpoint that the node lacked; 0 if none is being sent.
    pub chunks: u64,
}

impl<H: Host> Members<H> {
    /// Waits until a node has caught up: it has acknowledged all that is committed but the last part, which is counted in
    /// bytes. `report` is called with each progress.
    pub(super) async fn catch_up(
        &self,
        node: u64,
        report: &mut (impl FnMut(&CatchUp) + Send),
    ) -> Result<(), ChangeError> {
        let (mut shown, mut moved_at) = (None, Instant::now());
        loop {
            self.led()?;
            let now = self.progress_of(node);
            if shown != Some(now) {
                report(&now);
                let is_progress = shown.is_none_or(|shown: CatchUp| {
                    (shown.matched, shown.chunks_sent) != (now.matched, now.chunks_sent)
                });
                if is_progress {
                    moved_at = Instant::now();
                }
                shown = Some(now);
            }
            if self.has_caught_up(&now) {
                return Ok(());
            }
            if moved_at.elapsed() > STALLED_AFTER {
                let why = format!(
                    "node {node} takes nothing: its log ends at {}, of {}; repeat the change when it can be reached",
                    now.matched, now.committed
                );
                return Err(ChangeError::Later(why));
            }
            sleep(LOOK_EVERY).await;
        }
    }

    fn progress_of(&self, node: u64) -> CatchUp {
        let (matched, committed) = self.raft.metrics(|metrics| {
            let matched = metrics.replication.as_ref().and_then(|all| all.get(&node).copied());
            (matched.flatten(), metrics.local_committed)
        });
        let index = |id: Option<types::RaftLogId>| LogIndex(id.map_or(0, |id| id.index));
        let (chunks_sent, chunks) = self.transfers.progress(node).unwrap_or_default();
        let (matched, committed) = (index(matched), index(committed));
        CatchUp { node, matched, committed, chunks_sent, chunks }
    }

    fn has_caught_up(&self, now: &CatchUp) -> bool {
        // A log that was purged behind the node's end needs a checkpoint first.
        let (first, _) = self.log.held();
        let is_in_log = now.matched.0 > 0 && now.matched.0.saturating_add(1) >= first;
        let behind = self.log.bytes_after(now.matched.0, now.committed.0, BEHIND_BYTES_MAX);
        is_in_log && behind < BEHIND_BYTES_MAX
    }
}
