//! The answers to the newest requests that have an id: a function of the log, so every node gives the same ones.

use std::collections::VecDeque;

use quorate_proto::RequestId;
use quorate_proto::limits::GROUP_CHANGES_REMEMBERED;

/// The counts with which the newest requests were answered, the oldest first.
#[derive(Clone, Debug, Default)]
pub(crate) struct Remembered {
    /// The ids and counts, at most [`GROUP_CHANGES_REMEMBERED`].
    counts: VecDeque<(RequestId, u64)>,
    /// True if the answers differ from those at the last boundary.
    has_changed: bool,
}

impl Remembered {
    /// Makes the answers of a row, the oldest first.
    pub(crate) fn of(counts: VecDeque<(RequestId, u64)>) -> Remembered {
        Remembered { counts, has_changed: false }
    }

    pub(crate) fn counts(&self) -> impl ExactSizeIterator<Item = (RequestId, u64)> {
        self.counts.iter().copied()
    }

    /// Returns the count with which the request of that id was answered, if it is remembered.
    pub(crate) fn count_of(&self, id: RequestId) -> Option<u64> {
        self.counts.iter().find(|(known, _)| *known == id).map(|(_, count)| *count)
    }

    pub(crate) fn note(&mut self, id: RequestId, count: u64) {
        if self.counts.len() == GROUP_CHANGES_REMEMBERED {
            self.counts.pop_front();
        }
        self.counts.push_back((id, count));
        self.has_changed = true;
    }

    /// Returns true if the answers changed since the last boundary; later changes are counted from here.
    pub(crate) fn take_changed(&mut self) -> bool {
        std::mem::take(&mut self.has_changed)
    }
}

impl PartialEq for Remembered {
    fn eq(&self, other: &Remembered) -> bool {
        self.counts == other.counts
    }
}
