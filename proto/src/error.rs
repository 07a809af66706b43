//! The errors of requests, in the few kinds that a caller can act on.

use std::fmt;

use crate::invalid::Invalid;
use crate::{Expectation, Position, StreamName, Version};

/// The outcome of an append that ended in an error: it may be in the log all the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// The append is certainly not in the log.
    NotAppended,
    /// The append may be in the log: repeat it with the same ids.
    Unknown,
}

impl Outcome {
    /// Returns the outcome's name on the wire and in JSON; stable.
    pub fn as_str(self) -> &'static str {
        match self {
            Outcome::NotAppended => "not appended",
            Outcome::Unknown => "unknown",
        }
    }
}

/// The kind of an error, by what the caller should do about it. The names are stable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// An expectation was not met: read again and decide again.
    Conflict,
    /// Some of the ids are in the log already, as something else: the writer reuses ids.
    IdReused,
    /// A stream that is written to was closed for good by a tombstone.
    StreamClosed,
    /// It is no longer known if the append was made: what it would have written is old and removed.
    Forgotten,
    /// The request breaks a rule: mend it.
    Invalid,
    /// The request is over a limit: make it smaller.
    TooLarge,
    /// No leader can be reached now, or the node is stopping: try again, here or elsewhere.
    Unavailable,
    /// The deadline passed.
    Deadline,
    /// The node has more to do than it can: try again later.
    Overloaded,
    /// The disks of the cluster have no room for more events: only requests that make room are taken.
    NoSpace,
    /// The node belongs to no cluster yet.
    NotReady,
    /// The thing exists already and differs: the cluster was founded before, or a consumer group differs.
    AlreadyExists,
    /// There is no consumer group of that name.
    NotFound,
    /// Events of the answer were removed while it was read: read again.
    Removed,
    /// The requested data lies in a file that fails its checksum on this node.
    Damaged,
    /// A fault of the node itself.
    Internal,
}

impl ErrorKind {
    /// All kinds, in the order of their declaration.
    pub const ALL: [ErrorKind; 16] = [
        ErrorKind::Conflict,
        ErrorKind::IdReused,
        ErrorKind::StreamClosed,
        ErrorKind::Forgotten,
        ErrorKind::Invalid,
        ErrorKind::TooLarge,
        ErrorKind::Unavailable,
        ErrorKind::Deadline,
        ErrorKind::Overloaded,
        ErrorKind::NoSpace,
        ErrorKind::NotReady,
        ErrorKind::AlreadyExists,
        ErrorKind::NotFound,
        ErrorKind::Removed,
        ErrorKind::Damaged,
        ErrorKind::Internal,
    ];

    /// Returns the kind's name on the wire and in JSON; stable.
    pub fn as_str(self) -> &'static str {
        match self {
            ErrorKind::Conflict => "conflict",
            ErrorKind::IdReused => "id_reused",
            ErrorKind::StreamClosed => "stream_closed",
            ErrorKind::Forgotten => "forgotten",
            ErrorKind::Invalid => "invalid",
            ErrorKind::TooLarge => "too_large",
            ErrorKind::Unavailable => "unavailable",
            ErrorKind::Deadline => "deadline",
            ErrorKind::Overloaded => "overloaded",
            ErrorKind::NoSpace => "no_space",
            ErrorKind::NotReady => "not_ready",
            ErrorKind::AlreadyExists => "already_exists",
            ErrorKind::NotFound => "not_found",
            ErrorKind::Removed => "removed",
            ErrorKind::Damaged => "damaged",
            ErrorKind::Internal => "internal",
        }
    }

    /// Returns the kind of that name.
    pub fn parse(name: &str) -> Option<ErrorKind> {
        ErrorKind::ALL.into_iter().find(|kind| kind.as_str() == name)
    }

    /// Returns true if the same request may succeed later without being changed.
    pub fn is_transient(self) -> bool {
        matches!(
            self,
            ErrorKind::Unavailable
                | ErrorKind::Deadline
                | ErrorKind::Overloaded
                | ErrorKind::NoSpace
        )
    }
}

/// The most failures that the message of a conflict names: a person does not read a hundred.
const FAILURES_NAMED: usize = 3;

/// One expectation that was not met.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The stream.
    pub stream: StreamName,
    /// The expectation that was not met.
    pub expected: Expectation,
    /// The version of the stream.
    pub actual: Version,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Failure { stream, expected, actual } = self;
        write!(f, "`{stream}` is at version {actual}, expected {expected}")
    }
}

/// A condition that was violated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Violation {
    /// The number of the condition in the append; the first is 0.
    pub condition: usize,
    /// The position of the newest event that the condition forbids.
    pub position: Position,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Violation { condition, position } = self;
        write!(f, "the event at position {position} violates condition {}", condition + 1)
    }
}

/// An error as users see it: a kind to act on, the outcome, the details of the kind, and a sentence.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Problem {
    /// The kind of the error, by what to do about it.
    pub kind: ErrorKind,
    /// The outcome of an append, which may be in the log despite the error; else always not appended.
    pub outcome: Outcome,
    /// The sentence that explains the error to a person.
    pub message: String,
    /// The expectations of a conflict that were not met, in the order of the request.
    pub failures: Vec<Failure>,
    /// The conditions of a conflict that were violated, in the order of the request.
    pub violations: Vec<Violation>,
    /// The field that breaks a rule; empty if there is none.
    pub field: String,
    /// The limit that was passed; 0 if there is none.
    pub limit: u64,
    /// The number of further failures and violations, for which the answer had no room.
    pub left_out: u64,
}

impl Problem {
    /// Returns an error without details.
    pub fn new(kind: ErrorKind, outcome: Outcome, message: impl Into<String>) -> Problem {
        let message = message.into();
        let (failures, violations, field) = (Vec::new(), Vec::new(), String::new());
        Problem { kind, outcome, message, failures, violations, field, limit: 0, left_out: 0 }
    }

    /// Returns true if the error is about the request itself, and not about the moment or the node that was
    /// asked: there is nothing to wait for.
    pub fn is_verdict(&self) -> bool {
        use ErrorKind::{
            AlreadyExists, Conflict, Forgotten, IdReused, Invalid, NotFound, StreamClosed, TooLarge,
        };
        match self.kind {
            Forgotten => true,
            AlreadyExists | Conflict | IdReused | Invalid | NotFound | StreamClosed | TooLarge => {
                self.outcome == Outcome::NotAppended
            }
            _ => false,
        }
    }

    /// Returns the answer to an append whose demands were not met. The message names the first three of them.
    pub fn conflict(failures: Vec<Failure>, violations: Vec<Violation>) -> Problem {
        let all = failures.iter().map(Failure::to_string);
        let all = all.chain(violations.iter().map(Violation::to_string));
        let mut reasons: Vec<String> = all.take(FAILURES_NAMED).collect();
        let more = failures.len() + violations.len() - reasons.len();
        if more > 0 {
            reasons.push(format!("and {more} more"));
        }
        let message = format!("conflict: {}; nothing was appended", reasons.join("; "));
        let problem = Problem::new(ErrorKind::Conflict, Outcome::NotAppended, message);
        Problem { failures, violations, ..problem }
    }
}

impl From<Invalid> for Problem {
    fn from(invalid: Invalid) -> Problem {
        let kind = if invalid.too_large { ErrorKind::TooLarge } else { ErrorKind::Invalid };
        let message = invalid.to_string();
        let field = invalid.field.to_owned();
        let limit = invalid.limit;
        Problem { field, limit, ..Problem::new(kind, Outcome::NotAppended, message) }
    }
}
