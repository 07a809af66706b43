//! What the changes of one stream, category or path leave behind.

use quorate_proto::limits::LIMITS_KEPT_MAX;
use quorate_proto::{ChangeKind, Position, Setting, SettingsChange, Timestamp, Version};

use super::History;
use crate::read::Settings;

/// The settings of which the nearest wins.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Limits {
    pub(crate) max_count: Option<u64>,
    pub(crate) max_age_us: Option<u64>,
}

/// Limits that were there, and what was the last that they counted for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Former {
    pub(crate) limits: Limits,
    /// The position in front of the change that ended them.
    pub(crate) until: Position,
    /// Log time at that change.
    pub(crate) until_time: Timestamp,
}

/// When a change takes place.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Moment {
    /// The position of the event that records it.
    pub(crate) position: Position,
    /// Log time.
    pub(crate) time: Timestamp,
    /// Of a stream: its version.
    pub(crate) version: Version,
}

/// What the changes of a stream, a category or a path leave behind. See the module for what it hides.
///
/// Invariants: `former` ascends in `until` and `until_time`; `truncate_before` and `deleted` only grow; nothing
/// opens what is closed; only a stream's record has `deleted` or `closed`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Record {
    pub(crate) limits: Limits,
    /// The limits before that can still hide something; at most [`LIMITS_KEPT_MAX`].
    pub(crate) former: History,
    /// A version of a stream, a position for a category or a path; 0 = nothing.
    pub(crate) truncate_before: u64,
    /// The version at the last delete or tombstone.
    pub(crate) deleted: Version,
    pub(crate) closed: bool,
}

impl Record {
    /// What is set now.
    pub(crate) fn settings(&self) -> Settings {
        let Limits { max_count, max_age_us } = self.limits;
        let truncate_before = Some(self.truncate_before).filter(|before| *before > 0);
        Settings { max_count, max_age_us, truncate_before }
    }

    /// Whether there is no room to keep the limits that a change would end.
    pub(crate) fn is_full_for(&self, change: &SettingsChange) -> bool {
        self.former.len() >= LIMITS_KEPT_MAX && self.limits.changed(change) != self.limits
    }

    /// The record of a stream after a change.
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

    /// The record of a category or a path after a change.
    pub(crate) fn change_scope(&mut self, change: &SettingsChange, at: Moment) {
        self.set(change, at, at.position.0);
        self.former.forget_before(Position(self.truncate_before));
    }

    /// The limits that were in force at a position, as far as this record goes.
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
