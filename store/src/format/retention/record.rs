//! The record that the changes of one stream, category or path leave behind.

use quorate_proto::Version;

use super::history::{History, Limits};

/// The record of the changes of a stream, a category or a path. See [`crate::retention`] for the events
/// that it hides.
///
/// Invariants: `former` ascends in `until` and `until_time`; `truncate_before` and `deleted` only grow; nothing
/// opens what is closed; only a stream's record has `deleted` or `closed`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Record {
    pub(crate) limits: Limits,
    /// The earlier limits that can still hide events; at most [`quorate_proto::limits::LIMITS_KEPT_MAX`].
    pub(crate) former: History,
    /// A version for a stream, a position for a category or a path; 0 = nothing.
    pub(crate) truncate_before: u64,
    /// The version at the last delete or tombstone.
    pub(crate) deleted: Version,
    pub(crate) closed: bool,
}
