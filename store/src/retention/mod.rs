//! The records that changes of settings and the end of life leave behind for streams, categories and paths, and the
//! events that they hide.
//!
//! **Floor.** Of each stream a prefix of its versions is hidden; the floor is the first version that is not. It is a
//! function of the log up to a point, and it only moves up. The stream's own record gives it outright: the versions
//! that were deleted, and those that were truncated (clamped to the version after the last one then). The records of
//! its category and of all paths it lies in add their `truncate_before`, positions, clamped to that of the change; the
//! highest counts. The streams of the system have no floor.
//!
//! **In force.** `max_count` and `max_age` are looked for apart: first in the stream's own record, then its category's,
//! then that of its paths, the longest first; the first that has one is in force for the stream, at each position anew.
//! At a position P, `max_count` m hides all but the newest m versions up to P, and `max_age` a hides the events
//! recorded earlier than a before log time at P. An event hidden by a setting while it was in force stays hidden, so a
//! record keeps its earlier values ([`crate::format::retention::FormerLimits`]) with the position and log time of
//! their end, and the floor is the highest that any value gave while it was in force. A value ends with a change of its own record, or of a nearer one
//! that gets a value. A value still in force counts at the end of the log. Deletion drops the history of a stream's own
//! record: nothing in it reaches higher.
//!
//! **Forgotten.** A former value is forgotten once a truncation hides all that it could hide: for a category or a path,
//! when it ended before the position that is truncated to; for a stream, when all its events are truncated. A stricter
//! value that came later does not make the former value of a category or a path needless: a stream that got a value of
//! its own in between is under the former, and never was under the stricter one.
//!
//! **Log time** is the stamp of the entry that is applied, from its first request on.
//!
//! The room computes what is hidden. The records are values of the formats, and the view finds them.

mod earlier;
mod floors;
mod record;
mod rules;
#[cfg(test)]
mod tests;

pub(crate) use floors::{Floors, limits};
pub(crate) use record::Moment;
pub use record::Settings;
