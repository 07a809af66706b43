//! What a process manager needs of the event store.

use std::future::Future;

use quorate_client::{Conflict, Done, Expect, Problem, Query, RecordedEvent};

use crate::process::reaction::Write;

/// What a manager looks at.
#[derive(Clone, Debug)]
pub(crate) struct Interest {
    /// The events that it reacts to.
    pub(crate) source: Query,
    /// Its name: the category of its own records.
    pub(crate) manager: String,
}

/// What is looked for in one read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    /// The source and the manager's own records, in the order of the log.
    Everything,
    /// The manager's own records before or after which something is outstanding.
    Due,
}

/// A page of events, and up to where it looked.
#[derive(Debug)]
pub(crate) struct Page {
    pub(crate) events: Vec<RecordedEvent>,
    pub(crate) as_of: u64,
}

/// Which positions a page is from.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stretch {
    pub(crate) after: u64,
    /// `None` = up to the end of the log.
    pub(crate) before: Option<u64>,
    pub(crate) limit: u64,
}

/// The newest event of some types in a stream, and the stream's version.
#[derive(Debug)]
pub(crate) struct Newest {
    pub(crate) version: u64,
    pub(crate) event: Option<RecordedEvent>,
}

/// One append: the first write is to the manager's own stream.
#[derive(Clone, Debug)]
pub(crate) struct Commit {
    pub(crate) writes: Vec<Write>,
    pub(crate) requirements: Vec<(String, Expect)>,
}

/// Why a commit did not come to be.
#[derive(Debug)]
pub(crate) enum Refusal {
    /// Expectations were not met.
    Conflict(Conflict),
    /// It was refused for another reason, and would be again.
    Rejected(Problem),
    /// Nobody can tell any more whether it came to be: the instance must be looked at.
    Forgotten,
}

/// What a manager is told while it follows the log.
#[derive(Debug)]
#[allow(clippy::large_enum_variant, reason = "almost every message is an event")]
pub(crate) enum Told {
    Event(Box<RecordedEvent>),
    /// Everything up to here was handed out.
    Through(u64),
    /// Everything up to here was handed out, and that is all there is.
    CaughtUp(u64),
    FellBehind,
}

/// The event store, as a process manager sees it. Its methods go on until they succeed where the trouble may
/// pass by itself; each may be given up at any point by dropping its future.
pub(crate) trait Log: Send + Sync {
    type Feed: Feed;

    /// The newest event of these types in a stream, as of `seen` at least; 0 = linearizable.
    fn newest(
        &self,
        stream: &str,
        types: &[&str],
        seen: u64,
    ) -> impl Future<Output = Result<Newest, Problem>> + Send;

    /// Linearizable: sees all that was acknowledged before it began.
    fn page(
        &self,
        interest: &Interest,
        part: Part,
        stretch: Stretch,
    ) -> impl Future<Output = Result<Page, Problem>> + Send;

    /// Everything of interest, as it comes.
    fn follow(&self, interest: &Interest, after: u64) -> Self::Feed;

    /// All of it, or nothing. Returns when that is certain.
    fn commit(&self, commit: Commit) -> impl Future<Output = Result<Done, Refusal>> + Send;

    /// Whether a stream was closed by a tombstone.
    fn is_closed(&self, stream: &str) -> impl Future<Output = Result<bool, Problem>> + Send;

    /// Has only the newest event of a stream kept.
    fn keep_newest(&self, stream: &str) -> impl Future<Output = Result<(), Problem>> + Send;
}

/// The log as it grows.
pub(crate) trait Feed: Send {
    /// What comes next. Nothing is lost when the future is dropped.
    fn next(&mut self) -> impl Future<Output = Result<Told, Problem>> + Send;
}
