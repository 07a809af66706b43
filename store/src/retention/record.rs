//! The record that the changes of one stream, category or path leave behind.

use quorate_proto::limits::LIMITS_KEPT_MAX;
use quorate_proto::{ChangeKind, Position, Setting, SettingsChange, Timestamp, Version};

use super::History;
use crate::read::Settings;

/// The settings that are looked for in the nearest record first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Limits {
    pub(crate) max_count: Option<u64>,
    pub(crate) max_age_us: Option<u64>,
}

/// Limits of the past, and the end of the time that they counted for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Former {
    pub(crate) limits: Limits,
    /// The last position that they counted for: the one before the change that ended them.
    pub(crate) until: Position,
    /// The log time at that change.
    pub(crate) until_time: Timestamp,
}

/// The moment of a change.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Moment {
    /// The position of the event that records the change.
    pub(crate) position: Position,
    /// The log time.
    pub(crate) time: Timestamp,
    /// For a stream its version.
    pub(crate) version: Version,
}

/// The record of the changes of a stream, a category or a path. See the module for the events that it hides.
///
/// Invariants: `former` ascends in `until` and `until_time`; `truncate_before` and `deleted` only grow; nothing
/// opens what is closed; only a stream's record has `deleted` or `closed`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Record {
    pub(crate) limits: Limits,
    /// The earlier limits that can still hide events; at most [`LIMITS_KEPT_MAX`].
    pub(crate) former: History,
    /// A version for a stream, a position for a category or a path; 0 = nothing.
    pub(crate) truncate_before: u64,
    /// The version at the last delete or tombstone.
    pub(crate) deleted: Version,
    pub(crate) closed: bool,
}

impl Record {
    /// Returns the current settings.
    pub(crate) fn settings(&self) -> Settings {
        let Limits { max_count, max_age_us } = self.limits;
        let truncate_before = Some(self.truncate_before).filter(|before| *before > 0);
        Settings { max_count, max_age_us, truncate_before }
    }

    /// Returns true if there is no room to keep the limits that a change would end.
    pub(crate) fn is_full_for(&self, change: &SettingsChange) -> bool {
        self.former.len() >= LIMITS_KEPT_MAX && self.limits.changed(change) != self.limits
    }

    /// Applies a change to the record of a stream.
    pub(crate) fn change_stream(&mut self, change: &ChangeKind, at: Moment) {
        match change {
            ChangeKind::Settings(change) => {
                self.set(change, at, at.version.next().0);
                if self.truncate_before > at.version.0 {
                    self.former = History::default();
                }
            }
            ChangeKind::Delete => self.delete(at.version),
            ChangeKind::Tombstone => {
                self.delete(at.version);
                self.closed = true;
            }
        }
    }

    /// Applies a change to the record of a category or a path.
    pub(crate) fn change_scope(&mut self, change: &SettingsChange, at: Moment) {
        self.set(change, at, at.position.0);
        self.former.forget_before(Position(self.truncate_before));
    }

    /// Returns the limits that this record had at a position.
    pub(crate) fn limits_at(&self, position: Position) -> Limits {
        self.former.at(position).map_or(self.limits, |former| former.limits)
    }

    pub(super) fn set(&mut self, change: &SettingsChange, at: Moment, truncate_max: u64) {
        let limits = self.limits.changed(change);
        if limits != self.limits {
            let until = Position(at.position.0 - 1);
            self.former.push(Former { limits: self.limits, until, until_time: at.time });
            self.limits = limits;
        }
        let before = change.truncate_before.unwrap_or_default().min(truncate_max);
        self.truncate_before = self.truncate_before.max(before);
    }

    fn delete(&mut self, version: Version) {
        self.deleted = version;
        self.former = History::default();
    }
}

impl Limits {
    fn changed(&self, change: &SettingsChange) -> Limits {
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
