//! The reasons to pin the log, each limited: snapshots that are being sent, and slow followers.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::watch;

/// The log indexes of the snapshots that are being sent, with the number of each, and the index at which the log is to
/// begin. Clones share them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Transfers {
    indexes: Arc<Mutex<BTreeMap<u64, usize>>>,
    /// The number of chunks that were sent to a node, and of those that it lacked.
    progress: Arc<Mutex<BTreeMap<u64, (u64, u64)>>>,
    floor: Arc<watch::Sender<u64>>,
}

impl Transfers {
    /// Notes that a snapshot that ends at `index` is being sent to a node, while the returned value lives.
    pub(crate) fn begin(&self, node: u64, index: u64) -> Transfer {
        self.with(|indexes| *indexes.entry(index).or_default() += 1);
        Transfer { transfers: self.clone(), node, index }
    }

    /// Returns how many chunks were sent to a node of those that it lacked, while a snapshot is sent to it.
    pub(crate) fn progress(&self, node: u64) -> Option<(u64, u64)> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner).get(&node).copied()
    }

    /// Returns the end of the oldest snapshot that is being sent.
    pub(crate) fn oldest(&self) -> Option<u64> {
        self.with(|indexes| indexes.keys().next().copied())
    }

    /// Notes that all entries before `index` are to be purged: streams to followers that are behind it end.
    pub(crate) fn raise_floor(&self, index: u64) {
        self.floor.send_replace(index);
    }

    /// Returns a watch on the index at which the log is to begin.
    pub(crate) fn floor(&self) -> watch::Receiver<u64> {
        self.floor.subscribe()
    }

    fn with<T>(&self, change: impl FnOnce(&mut BTreeMap<u64, usize>) -> T) -> T {
        change(&mut self.indexes.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// A snapshot that is being sent, for as long as this lives.
#[derive(Debug)]
pub(crate) struct Transfer {
    transfers: Transfers,
    node: u64,
    index: u64,
}

impl Transfer {
    /// Notes how many chunks were sent, of those that the node lacked.
    pub(crate) fn note(&self, sent: u64, lacked: u64) {
        let mut progress = self.transfers.progress.lock().unwrap_or_else(PoisonError::into_inner);
        progress.insert(self.node, (sent, lacked));
    }
}

impl Drop for Transfer {
    fn drop(&mut self) {
        let mut progress = self.transfers.progress.lock().unwrap_or_else(PoisonError::into_inner);
        progress.remove(&self.node);
        drop(progress);
        self.transfers.with(|indexes| {
            if let Some(count) = indexes.get_mut(&self.index) {
                *count -= 1;
                if *count == 0 {
                    indexes.remove(&self.index);
                }
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_transfer_counts_until_the_last_of_it_ended() {
        let transfers = Transfers::default();
        let (one, two, newer) =
            (transfers.begin(2, 5), transfers.begin(3, 5), transfers.begin(2, 9));
        drop(one);
        assert_eq!(transfers.oldest(), Some(5));
        drop(two);
        assert_eq!(transfers.oldest(), Some(9));
        newer.note(3, 10);
        assert_eq!((transfers.progress(2), transfers.progress(3)), (Some((3, 10)), None));
        drop(newer);
        assert_eq!((transfers.oldest(), transfers.progress(2)), (None, None));
    }
}
