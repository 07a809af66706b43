//! The anomalies that a history can have, in words that name the broken promise.

use std::fmt;

use quorate_proto::{EventId, Expectation, Position, StreamName, Timestamp, Version};

/// A broken promise. Operations are named by their place in the history's lists.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Anomaly {
    /// Two replicas differ.
    Divergence {
        /// The index of a replica that differs from the first one.
        replica: usize,
        /// The first position at which they differ.
        position: Position,
    },
    /// A position or a version is left out, or comes twice.
    Hole {
        /// The position that is expected here.
        position: Position,
        /// A description of the fault.
        what: String,
    },
    /// One id stands at two positions.
    Duplicate {
        /// The id.
        id: EventId,
        /// The positions at which it stands.
        positions: [Position; 2],
    },
    /// `recorded_at` went back.
    TimeWentBack {
        /// The position of the event with the earlier time.
        position: Position,
        /// Its time.
        recorded_at: Timestamp,
    },
    /// An event is in the log that nobody appended.
    Phantom {
        /// The position of the event.
        position: Position,
    },
    /// Only a part of an append is in the log, or not in one piece, or not as it was sent.
    Torn {
        /// The append.
        append: usize,
        /// A description of the fault.
        what: String,
    },
    /// An append was acknowledged and is not in the log.
    LostAppend {
        /// The append.
        append: usize,
    },
    /// An append was rejected and is in the log.
    RejectedYetPresent {
        /// The append.
        append: usize,
        /// The position of its first event.
        position: Position,
    },
    /// An append is in the log although one of its expectations was not met there.
    DemandNotMet {
        /// The append.
        append: usize,
        /// The stream.
        stream: StreamName,
        /// The expectation.
        expected: Expectation,
        /// The version that the stream was at.
        actual: Version,
    },
    /// An append is in the log although an event stands before it that one of its conditions forbids.
    ConditionViolated {
        /// The append.
        append: usize,
        /// The position of the event.
        position: Position,
    },
    /// An append to a stream is in the log although the stream was closed.
    StreamWasClosed {
        /// The append.
        append: usize,
        /// The stream.
        stream: StreamName,
    },
    /// An event is still shown although it was removed.
    Undead {
        /// Its position.
        position: Position,
    },
    /// An event was acknowledged, nothing removed it, and it is not shown.
    Vanished {
        /// Its position.
        position: Position,
    },
    /// The answer to the put of an aggregate snapshot is impossible.
    WrongSnapshot {
        /// The put.
        put: usize,
        /// A description of the fault.
        what: String,
    },
    /// The answer to an append does not agree with the log.
    WrongAnswer {
        /// The append.
        append: usize,
        /// A description of the fault.
        what: String,
    },
    /// A read returned something else than the log has as of the position that the answer names.
    WrongRead {
        /// The read.
        read: usize,
        /// A description of the fault.
        what: String,
    },
    /// A subscription handed out something else than the log has, left an event out, or reported a wrong position.
    WrongSubscription {
        /// The subscription.
        subscription: usize,
        /// A description of the fault.
        what: String,
    },
    /// A consumer group left an event out, gave it out of order, or parked it for nobody.
    WrongGroup {
        /// A description of the fault.
        what: String,
    },
    /// No moment exists at which the whole answer of an operation was true: it contradicts something that had
    /// happened before the operation began.
    Stale {
        /// The operation.
        operation: Subject,
        /// The operation that was complete before it began.
        before: Subject,
    },
}

/// An operation, with the positions that its answer fixes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Subject {
    /// An append that is in the log up to this position.
    Append(usize, Position),
    /// A rejection that is true from this position of the log on, and until the second one at most.
    Rejection(usize, Position, Option<Position>),
    /// A read as of a position.
    Read(usize, Position),
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Subject::Append(number, last) => write!(f, "append {number} (position {last})"),
            Subject::Rejection(number, from, None) => {
                write!(f, "the rejection of append {number} (true from position {from})")
            }
            Subject::Rejection(number, from, Some(to)) => {
                write!(f, "the rejection of append {number} (true from position {from} to {to})")
            }
            Subject::Read(number, as_of) => write!(f, "read {number} (as of position {as_of})"),
        }
    }
}

impl fmt::Display for Anomaly {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Anomaly::Divergence { replica, position } => {
                write!(f, "replica {replica} differs from the first at position {position}")
            }
            Anomaly::Hole { position, what } => write!(f, "at position {position}: {what}"),
            Anomaly::Duplicate { id, positions: [one, other] } => {
                write!(f, "event {id} stands at positions {one} and {other}")
            }
            Anomaly::TimeWentBack { position, recorded_at } => {
                write!(
                    f,
                    "the event at position {position} was recorded at {recorded_at}, before the one before it"
                )
            }
            Anomaly::Phantom { position } => {
                write!(f, "nobody appended the event at position {position}")
            }
            Anomaly::Torn { append, what } => write!(f, "append {append} is torn: {what}"),
            Anomaly::LostAppend { append } => {
                write!(f, "append {append} was acknowledged and is not in the log")
            }
            Anomaly::RejectedYetPresent { append, position } => {
                write!(f, "append {append} was rejected and stands at position {position}")
            }
            Anomaly::DemandNotMet { append, stream, expected, actual } => {
                write!(
                    f,
                    "append {append} is in the log, but `{stream}` was at version {actual}, expected {expected}"
                )
            }
            Anomaly::ConditionViolated { append, position } => {
                write!(f, "append {append} is in the log, but the event at {position} forbids it")
            }
            Anomaly::StreamWasClosed { append, stream } => {
                write!(f, "append {append} is in the log, but `{stream}` was closed")
            }
            Anomaly::Undead { position } => {
                write!(f, "the event at position {position} was removed and is shown")
            }
            Anomaly::Vanished { position } => {
                write!(f, "the event at position {position} was not removed and is not shown")
            }
            Anomaly::WrongSnapshot { put, what } => {
                write!(f, "the answer to put {put} of a snapshot is wrong: {what}")
            }
            Anomaly::WrongAnswer { append, what } => {
                write!(f, "the answer to append {append} is wrong: {what}")
            }
            Anomaly::WrongRead { read, what } => write!(f, "read {read} is wrong: {what}"),
            Anomaly::WrongSubscription { subscription, what } => {
                write!(f, "subscription {subscription} is wrong: {what}")
            }
            Anomaly::WrongGroup { what } => write!(f, "the group is wrong: {what}"),
            Anomaly::Stale { operation, before } => {
                write!(f, "{operation} began after {before} had returned")
            }
        }
    }
}
