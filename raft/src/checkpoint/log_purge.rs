//! Informs openraft of checkpoints, and purges the log behind them.

use std::collections::VecDeque;
use std::time::Duration;

use openraft::async_runtime::watch::WatchReceiver;
use quorate_proto::LogId;
use tokio::sync::watch;

use crate::adapter::types;
use crate::host::Host;
use crate::peers::transfers::Transfers;
use crate::raft::Raft;

/// The time after which openraft is informed again: it ignores a checkpoint while it looks at another.
const INFORM_AGAIN: Duration = Duration::from_secs(1);

/// The number of chunk sizes of log that a transfer may pin beyond the part that is kept. A transfer that takes longer
/// ends with a checkpoint that another transfer has to follow.
const PINNED_CHUNKS: usize = 16;

/// For every new checkpoint: informs openraft, and purges the log. The newest `kept` checkpoints, and the log behind
/// them, stay for peers that were away, and so does what a transfer under way needs, up to a bound.
///
/// Checkpoints lie one chunk size of commands apart, so bytes are counted in checkpoints.
pub(crate) async fn purge<H: Host>(
    raft: Raft<H>,
    mut made: watch::Receiver<Option<LogId>>,
    transfers: Transfers,
    kept: usize,
) {
    let mut checkpoints = VecDeque::new();
    loop {
        let newest = *made.borrow_and_update();
        if let Some(newest) = newest
            && checkpoints.back() != Some(&newest)
        {
            checkpoints.push_back(newest);
            inform(&raft, newest).await;
            while checkpoints.len() > kept.saturating_add(PINNED_CHUNKS + 1) {
                checkpoints.pop_front();
            }
            if let Some(end) = purged_to(&checkpoints, kept, transfers.oldest()) {
                // An error means that openraft has ended, which others look after.
                let purging = raft.call(|raft| async move { raft.trigger().purge_log(end).await });
                let _ended = purging.await;
                // A stream to a slow follower pins the log in openraft: the stream is ended, so that the purge is done.
                transfers.raise_floor(end.saturating_add(1));
            }
        }
        if made.changed().await.is_err() {
            return;
        }
    }
}

/// Makes openraft take note of the newest checkpoint: it purges no entry for which it knows no snapshot.
async fn inform<H: Host>(raft: &Raft<H>, checkpoint: LogId) {
    let mut metrics = raft.watch_metrics();
    loop {
        if raft.call(|raft| async move { raft.trigger().snapshot().await }).await.is_err() {
            return;
        }
        let noted = async {
            while metrics.borrow_watched().snapshot.map(types::ours) < Some(checkpoint) {
                if metrics.changed().await.is_err() {
                    return;
                }
            }
        };
        if tokio::time::timeout(INFORM_AGAIN, noted).await.is_ok() {
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
