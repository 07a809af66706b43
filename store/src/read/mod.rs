//! Reading over chunks and tail at one consistent point, beside the writer.

use quorate_proto::{Append, LogId, Position, Read, StreamName, Timestamp, Version};

use crate::event::StoredEvent;
use crate::fault::Fault;
use crate::verdict::Verdict;

/// How far the store is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Point {
    /// The last entry applied.
    pub log_id: Option<LogId>,
    /// The position of the last event.
    pub position: Position,
    /// The stamp of the last entry with a stamp: log time.
    pub recorded_at: Timestamp,
}

/// A handle for reading, cheap to clone, for any thread. Never holds up the writer for longer than a page
/// of the tail takes to copy.
#[derive(Clone, Debug)]
pub struct Reader {}

impl Reader {
    /// How far the store is now.
    pub fn point(&self) -> Point {
        unimplemented!()
    }

    /// Begins a read of what is there now; `consistency` is the caller's affair. The read should have
    /// passed [`Read::check`].
    pub fn scan(&self, read: &Read) -> Result<Scan, Fault> {
        unimplemented!()
    }

    /// The version a stream is at; 0 if it is not there.
    pub fn version(&self, stream: &StreamName) -> Result<Version, Fault> {
        unimplemented!()
    }

    /// What a leader may answer to an append without proposing it: the first answer to a repetition, or a
    /// conflict with an `exactly N` whose stream has passed N, which can never become true again. `None`:
    /// propose it. The append should have passed [`Append::check`].
    pub fn judge_early(&self, append: &Append) -> Result<Option<Verdict>, Fault> {
        unimplemented!()
    }
}

/// A read under way. It holds on to the chunks and the tail that it began with: appends, seals and
/// installs do not disturb it.
#[derive(Debug)]
pub struct Scan {}

impl Scan {
    /// The position as of which the read is evaluated.
    pub fn as_of(&self) -> Position {
        unimplemented!()
    }

    /// The stream's version as of then, whatever the bounds; `None` when the source is a query.
    pub fn version(&self) -> Option<Version> {
        unimplemented!()
    }

    /// The next events: about `budget_bytes` of them, at least one if there is one at hand. An empty page
    /// says only that the bounded work of one call found nothing: go on. `None` is the end.
    pub fn next_page(&mut self, budget_bytes: usize) -> Result<Option<Vec<StoredEvent>>, Fault> {
        unimplemented!()
    }
}
