//! The event store, as a process manager uses it.

use std::future::Future;

use quorate_client::{Conflict, Done, Expect, Problem, Query, RecordedEvent};

use crate::process::reaction::{Condition, Write};

/// A page of events, and the position up to which it searched.
#[derive(Debug)]
pub(crate) struct Page {
    pub(crate) events: Vec<RecordedEvent>,
    pub(crate) as_of: u64,
}

/// The range of positions of a page.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stretch {
    pub(crate) after: u64,
    /// The bound above the page; `None` = the end of the log.
    pub(crate) before: Option<u64>,
    pub(crate) limit: u64,
}

/// The newest event of some types in a stream, and the stream's version.
#[derive(Debug)]
pub(crate) struct Newest {
    pub(crate) version: u64,
    pub(crate) event: Option<RecordedEvent>,
}

/// One append, on its conditions: the first write is to the manager's own stream.
#[derive(Clone, Debug, Default)]
pub(crate) struct Commit {
    pub(crate) writes: Vec<Write>,
    pub(crate) requirements: Vec<(String, Expect)>,
    pub(crate) conditions: Vec<Condition>,
}

/// The reason why a commit was not made.
#[derive(Debug)]
pub(crate) enum Refusal {
    /// Expectations were not met.
    Conflict(Conflict),
    /// The commit was refused for another reason, and would be refused again.
    Rejected(Problem),
    /// The outcome cannot be found out any more: the instance must be read again.
    Forgotten,
}

/// A message to a manager that follows the log.
#[derive(Debug)]
#[allow(clippy::large_enum_variant, reason = "almost every message is an event")]
pub(crate) enum LogMessage {
    Event(Box<RecordedEvent>),
    /// Everything up to this position was handed out.
    Through(u64),
    /// Everything up to this position was handed out, and there is no more at the moment.
    CaughtUp(u64),
    FellBehind,
}

/// The event store, as a process manager uses it. Methods retry until they succeed if the trouble may pass by
/// itself; each may be given up at any point by dropping its future.
pub(crate) trait Log: Send + Sync {
    type Subscription: Subscription;

    /// Returns the newest event of these types in a stream, as of `seen` at least; 0 = linearizable.
    fn newest(
        &self,
        stream: &str,
        types: &[&str],
        seen: u64,
    ) -> impl Future<Output = Result<Newest, Problem>> + Send;

    /// Returns a page of what a query finds. The read is linearizable: it sees everything acknowledged before it began.
    fn page(
        &self,
        query: &Query,
        stretch: Stretch,
    ) -> impl Future<Output = Result<Page, Problem>> + Send;

    /// Follows what a query finds after a position.
    fn follow(&self, query: &Query, after: u64) -> Self::Subscription;

    /// Makes the whole commit, or nothing of it. Returns when the outcome is certain.
    fn commit(&self, commit: Commit) -> impl Future<Output = Result<Done, Refusal>> + Send;

    /// Returns true if a stream was closed by a tombstone.
    fn is_closed(&self, stream: &str) -> impl Future<Output = Result<bool, Problem>> + Send;

    /// Sets a stream to keep only its newest event.
    fn keep_newest(&self, stream: &str) -> impl Future<Output = Result<(), Problem>> + Send;
}

/// The log as it grows.
pub(crate) trait Subscription: Send {
    /// Waits for the next message. Nothing is lost when the future is dropped.
    fn next(&mut self) -> impl Future<Output = Result<LogMessage, Problem>> + Send;
}
