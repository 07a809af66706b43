//! The effect of changes on the record of one stream, category or path.

use quorate_proto::limits::LIMITS_KEPT_MAX;
use quorate_proto::{ChangeKind, Position, SettingsChange, Timestamp, Version};

use crate::format::retention::{FormerLimits, History, Limits, Record};

/// The settings of one scope, or those that a stream is under.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// The number of newest events of a stream that stay visible.
    pub max_count: Option<u64>,
    /// The age, by log time, above which events are hidden; microseconds.
    pub max_age_us: Option<u64>,
    /// The first visible event: a version of a stream; a position for a category or a path.
    pub truncate_before: Option<u64>,
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
            self.former.push(FormerLimits { limits: self.limits, until, until_time: at.time });
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
