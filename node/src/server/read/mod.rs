//! Reads and subscriptions: one thing, which waits for its point, scans, and then ends or gets events as they are applied.
//!
//! ```text
//! ReadRequest → point (waits until this node has applied enough) → Subscription → answer (messages)
//!                                             store::Scan ↗              ↖ the subscription's mailbox
//!                            apply → Live (reads each event once, from memory) ↗
//! ```
//!
//! The seam between the scan and the live events: a subscription first takes its place with [`Live`], and then scans
//! up to a point that is at least where `Live` was at that moment; events up to that point in the mailbox are passed
//! over. A mailbox is bounded: a subscription that does not keep up loses it, and scans again, at its own speed.
//!
//! Each file uses only those before it: `cursor`, `form`, `page`, `beginning`, `mailbox`, `matching`, `live`,
//! `point`, `subscription`, `answer`.

mod answer;
mod beginning;
mod cursor;
mod form;
mod live;
mod mailbox;
mod matching;
mod names;
mod page;
mod point;
mod show;
mod subscription;
#[cfg(test)]
mod tests;

pub(crate) use answer::{next_messages, stream};
pub(crate) use live::Live;
pub(crate) use names::stream as stream_of_names;
pub(crate) use point::{reach, reach_reading, refuse_the_future};
pub(crate) use show::of_scope;
pub(crate) use subscription::{Step, Subscription};
