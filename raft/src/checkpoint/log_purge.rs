//! Informs openraft of checkpoints, and purges the log behind them.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use openraft::async_runtime::watch::WatchReceiver;
use quorate_proto::LogId;

use crate::adapter::types;
use crate::host::Host;
use crate::replica::running::Running;

/// The time after which openraft is informed again: it ignores a checkpoint while it looks at another.
const TELL_AGAIN: Duration = Duration::from_secs(1);

/// The number of chunk sizes of log that a transfer may pin beyond the part that is kept. A transfer that takes longer
/// ends with a checkpoint that another transfer has to follow.
const PINNED_CHUNKS: usize = 16;

/// For every new checkpoint: informs openraft, and purges the log. About `kept_bytes` of commands before the newest
/// checkpoint stay for peers that were away, and so does what a transfer under way needs, up to a bound.
///
/// Checkpoints lie one chunk size of commands apart, so bytes are counted in checkpoints.
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
            while checkpoints.len() > kept.saturating_add(PINNED_CHUNKS + 1) {
                checkpoints.pop_front();
            }
            if let Some(end) = purged_to(&checkpoints, kept, running.transfers.oldest()) {
                purge_to(&running, end).await;
            }
        }
        if made.changed().await.is_err() {
            return;
        }
    }
}

/// Makes openraft take note of the newest checkpoint: it purges no entry for which it knows no snapshot.
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

/// Returns the index up to which the log is purged: the newest `kept` checkpoints and the transfer need the rest.
fn purged_to(checkpoints: &VecDeque<LogId>, kept: usize, transfer: Option<u64>) -> Option<u64> {
    let before_the_newest = |count: usize| checkpoints.iter().rev().nth(count).map(|id| id.index.0);
    let end = before_the_newest(kept)?;
    let bound = before_the_newest(kept.saturating_add(PINNED_CHUNKS)).unwrap_or_default();
    Some(transfer.map_or(end, |oldest| oldest.max(bound).min(end)))
}

async fn purge_to<H: Host>(running: &Running<H>, end: u64) {
    // An error means that the core has ended, which others look after.
    let _ended = running.host.scoped(running.raft.trigger().purge_log(end)).await;
    // A stream to a slow follower pins the log in openraft: the stream is ended, so that the purge is done.
    running.transfers.raise_floor(end.saturating_add(1));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_transfer_pins_the_log_up_to_a_bound() {
        let bound = PINNED_CHUNKS as u64;
        let checkpoints: VecDeque<LogId> =
            (0..=bound + 2).map(|nth| LogId::new(1, nth * 10)).collect();
        let newest = (bound + 2) * 10;
        assert_eq!(purged_to(&checkpoints, 2, None), Some(newest - 20));
        assert_eq!(purged_to(&checkpoints, 2, Some(newest)), Some(newest - 20));
        assert_eq!(purged_to(&checkpoints, 2, Some(newest - 50)), Some(newest - 50));
        assert_eq!(purged_to(&checkpoints, 1, Some(5)), Some(newest - 10 - bound * 10));
        assert_eq!(purged_to(&checkpoints, usize::MAX, None), None);
    }
}
