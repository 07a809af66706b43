//! The limits that a stream, category or path had before: events that one of them hid stay hidden.

use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};

use quorate_proto::{Position, Setting, SettingsChange, Timestamp};

/// The settings that are looked for in the nearest record first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Limits {
    pub(crate) max_count: Option<u64>,
    pub(crate) max_age_us: Option<u64>,
}

/// Limits of the past, and the end of the time that they counted for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FormerLimits {
    pub(crate) limits: Limits,
    /// The last position that they counted for: the one before the change that ended them.
    pub(crate) until: Position,
    /// The log time at that change.
    pub(crate) until_time: Timestamp,
}

impl Limits {
    /// Returns the limits after a change.
    pub(crate) fn changed(&self, change: &SettingsChange) -> Limits {
        Limits {
            max_count: change_one(self.max_count, change.max_count),
            max_age_us: change_one(self.max_age_us, change.max_age_us),
        }
    }
}

fn change_one(value: Option<u64>, change: Setting) -> Option<u64> {
    match change {
        Setting::Keep => value,
        Setting::Clear => None,
        Setting::Put(value) => Some(value),
    }
}

/// FormerLimits limits, oldest first. Cheap to clone, and to add to: the records of a tail, one for each change,
/// share the limits that they have in common.
///
/// Invariants: the limits of `shared` from `start` up to `end` are this history's and never change; those
/// before them belong to an earlier record, and those behind them to a later one.
#[derive(Clone, Default)]
pub(crate) struct History {
    shared: Arc<RwLock<Vec<FormerLimits>>>,
    start: usize,
    end: usize,
}

impl History {
    /// Returns the number of former limits.
    pub(crate) fn len(&self) -> usize {
        self.end - self.start
    }

    /// Adds limits that ended just now.
    pub(crate) fn push(&mut self, former: FormerLimits) {
        let mut shared = self.shared.write().unwrap_or_else(PoisonError::into_inner);
        if shared.len() == self.end {
            shared.push(former);
            self.end += 1;
            return;
        }
        drop(shared);
        let mut own = self.to_vec();
        own.push(former);
        *self = History::from(own);
    }

    /// Forgets the limits whose last position is before this one.
    pub(crate) fn forget_before(&mut self, position: Position) {
        let is_before = |former: &FormerLimits| former.until < position;
        self.start += self.with(|all| all.partition_point(is_before));
    }

    /// Returns the first limits that ended at a position or later; `None` if all ended before.
    pub(crate) fn at(&self, position: Position) -> Option<FormerLimits> {
        self.with(|all| all.get(all.partition_point(|former| former.until < position)).copied())
    }

    /// Calls `work` with all former limits.
    pub(crate) fn with<T>(&self, work: impl FnOnce(&[FormerLimits]) -> T) -> T {
        let shared = self.shared.read().unwrap_or_else(PoisonError::into_inner);
        work(shared.get(self.start..self.end).unwrap_or_default())
    }

    fn to_vec(&self) -> Vec<FormerLimits> {
        self.with(<[FormerLimits]>::to_vec)
    }
}

impl From<Vec<FormerLimits>> for History {
    fn from(all: Vec<FormerLimits>) -> History {
        let end = all.len();
        History { shared: Arc::new(RwLock::new(all)), start: 0, end }
    }
}

impl PartialEq for History {
    fn eq(&self, other: &History) -> bool {
        self.to_vec() == other.to_vec()
    }
}

impl Eq for History {}

impl fmt::Debug for History {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.to_vec().fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn former(until: u64) -> FormerLimits {
        let limits = Limits { max_count: Some(until), max_age_us: None };
        FormerLimits { limits, until: Position(until), until_time: Timestamp(0) }
    }

    fn untils(history: &History) -> Vec<u64> {
        history.with(|all| all.iter().map(|former| former.until.0).collect())
    }

    #[test]
    fn histories_share_their_beginning_and_are_not_changed_by_what_is_added_to_another() {
        let mut one = History::default();
        (1..=3).for_each(|until| one.push(former(until)));
        let before = one.clone();
        one.push(former(4));
        assert!(Arc::ptr_eq(&one.shared, &before.shared));
        let mut branch = before.clone();
        branch.push(former(9));
        assert_eq!(untils(&before), [1, 2, 3]);
        assert_eq!(untils(&one), [1, 2, 3, 4]);
        assert_eq!(untils(&branch), [1, 2, 3, 9]);
        assert_eq!(one.at(Position(4)), Some(former(4)));
        assert_eq!(before.at(Position(4)), None);
    }
}
