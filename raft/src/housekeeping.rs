//! Telling openraft of checkpoints, and purging the log behind them.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use openraft::async_runtime::watch::WatchReceiver;
use quorate_proto::LogId;

use crate::host::Host;
use crate::running::Running;
use crate::types;

/// After so long openraft is told again: it ignores a checkpoint while it looks at another.
const TELL_AGAIN: Duration = Duration::from_secs(1);

/// For every new checkpoint: tells openraft, and purges the log so that about `kept_bytes` of commands
/// before the newest checkpoint stay for peers that were away, and all that a transfer under way needs.
///
/// Checkpoints come one chunk size of commands apart, so bytes are counted in checkpoints.
pub(crate) async fn purge<H: Host>(running: Arc<Running<H>>, kept_bytes: u64) {
    let kept = kept_bytes.div_ceil(running.identity.chunk_bytes);
    let kept = usize::try_from(kept).unwrap_or(usize::MAX);
    let mut made = running.core.checkpoints();
    let mut checkpoints = VecDeque::new();
    loop {
        let newest = *made.borrow_and_update();
        if let Some(newest) = newest
            && checkpoints.back() != Some(&newest)
        {
            checkpoints.push_back(newest);
            tell(&running, newest).await;
            while checkpoints.len() > kept.saturating_add(1) {
                checkpoints.pop_front();
            }
            if checkpoints.len() > kept
                && let Some(end) = checkpoints.front()
            {
                purge_to(&running, end.index.0).await;
            }
        }
        if made.changed().await.is_err() {
            return;
        }
    }
}

/// Has openraft take note of the newest checkpoint: it purges nothing that it knows no snapshot of.
async fn tell<H: Host>(running: &Running<H>, checkpoint: LogId) {
    let mut metrics = running.raft.metrics();
    loop {
        if running.host.scoped(running.raft.trigger().snapshot()).await.is_err() {
            return;
        }
        let noted = async {
            while metrics.borrow_watched().snapshot.map(types::ours) < Some(checkpoint) {
                if metrics.changed().await.is_err() {
                    return;
                }
            }
        };
        if tokio::time::timeout(TELL_AGAIN, noted).await.is_ok() {
            return;
        }
    }
}

async fn purge_to<H: Host>(running: &Running<H>, end: u64) {
    let end = running.transfers.oldest().map_or(end, |oldest| oldest.min(end));
    // An error says that the core has ended, which others look after.
    let _ended = running.host.scoped(running.raft.trigger().purge_log(end)).await;
}
