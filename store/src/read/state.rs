//! What there is to say of one stream, and of the settings of a stream, a category or a path.

use quorate_proto::{Position, Version};

/// The settings of one scope, or those that a stream is under.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// At most so many of a stream's newest events are there.
    pub max_count: Option<u64>,
    /// Events older than this by log time are not there; microseconds.
    pub max_age_us: Option<u64>,
    /// Events before this one are not there: a version of a stream, a position for a category or a path.
    pub truncate_before: Option<u64>,
}

/// A stream as of a position.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamState {
    /// The last position that counts.
    pub as_of: Position,
    /// The version of its last event, there or not; 0 if there was none.
    pub version: Version,
    /// The first version that can be read; the one after `version` when none can.
    pub first_version: Version,
    /// The version that it was last deleted or closed at; 0 = never.
    pub deleted: Version,
    /// Whether a tombstone closed the name for good.
    pub closed: bool,
    /// What was set for the stream itself.
    pub own: Settings,
    /// What it is under: its own settings, else those of its category, else of its longest path that has any.
    /// `truncate_before` is its own.
    pub effective: Settings,
    /// The version of its aggregate snapshot, if one is kept.
    pub snapshot: Option<Version>,
}
