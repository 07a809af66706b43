//! What can go wrong, in the few kinds that a caller can act on.

use std::fmt;

use crate::{Expectation, Position, StreamName, Version};

/// Whether an append that ended in an error may still be in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// Certainly not in the log.
    NotAppended,
    /// It may be there: repeat it with the same ids.
    Unknown,
}

impl Outcome {
    /// The word for it on the wire and in JSON; stable.
    pub fn as_str(self) -> &'static str {
        match self {
            Outcome::NotAppended => "not appended",
            Outcome::Unknown => "unknown",
        }
    }
}

/// What the caller should do about an error. The names are stable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// An expectation was not met: read again and decide again.
    Conflict,
    /// Some of the ids are in the log already, as something else: the writer reuses ids.
    IdReused,
    /// A stream that is written to was closed for good by a tombstone.
    StreamClosed,
    /// Whether it was appended cannot be told any more: what it would have written is old and removed.
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
    /// The disks of the cluster have no room for more events: only what makes room is taken.
    NoSpace,
    /// The node belongs to no cluster yet.
    NotReady,
    /// It is there already, as something else: the cluster was founded before, a consumer group differs.
    AlreadyExists,
    /// There is no consumer group of that name.
    NotFound,
    /// What was asked for lies in a file that fails its checksum on this node.
    Damaged,
    /// A fault of the node itself.
    Internal,
}

impl ErrorKind {
    /// All kinds, in the order of their declaration.
    pub const ALL: [ErrorKind; 15] = [
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
        ErrorKind::Damaged,
        ErrorKind::Internal,
    ];

    /// The word for it on the wire and in JSON; stable.
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
            ErrorKind::Damaged => "damaged",
            ErrorKind::Internal => "internal",
        }
    }

    /// The kind of that name.
    pub fn parse(name: &str) -> Option<ErrorKind> {
        ErrorKind::ALL.into_iter().find(|kind| kind.as_str() == name)
    }

    /// Whether the same request may succeed later without being changed.
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

/// How many failures the message of a conflict names: a person reads no hundred.
const FAILURES_TOLD: usize = 3;

/// One expectation that was not met.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The stream.
    pub stream: StreamName,
    /// What was demanded of it.
    pub expected: Expectation,
    /// The version it is at.
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
    /// Which of the append's conditions; the first is 0.
    pub condition: usize,
    /// The position of the newest event that it forbids.
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
    /// What to do about it.
    pub kind: ErrorKind,
    /// Whether an append may be in the log all the same. For anything but an append: not appended.
    pub outcome: Outcome,
    /// What was the case, for a person.
    pub message: String,
    /// The expectations that were not met, in the order of the request; of a conflict.
    pub failures: Vec<Failure>,
    /// The conditions that were violated, in the order of the request; of a conflict.
    pub violations: Vec<Violation>,
    /// The field that breaks a rule; empty if it is none.
    pub field: String,
    /// The limit that was passed; 0 if it is none.
    pub limit: u64,
    /// How many more failures and violations there were, for which the answer had no room.
    pub left_out: u64,
}

impl Problem {
    /// An error without details.
    pub fn new(kind: ErrorKind, outcome: Outcome, message: impl Into<String>) -> Problem {
        let message = message.into();
        let (failures, violations, field) = (Vec::new(), Vec::new(), String::new());
        Problem { kind, outcome, message, failures, violations, field, limit: 0, left_out: 0 }
    }

    /// Whether this is what was found about the request itself, and not about the moment or the node that was
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

    /// The answer to an append whose demands were not met. The message names the first three of them.
    pub fn conflict(failures: Vec<Failure>, violations: Vec<Violation>) -> Problem {
        let all = failures.iter().map(Failure::to_string);
        let all = all.chain(violations.iter().map(Violation::to_string));
        let mut told: Vec<String> = all.take(FAILURES_TOLD).collect();
        let more = failures.len() + violations.len() - told.len();
        if more > 0 {
            told.push(format!("and {more} more"));
        }
        let message = format!("conflict: {}; nothing was appended", told.join("; "));
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

/// A rule that a request breaks.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{field}` {why}")]
pub struct Invalid {
    /// The field.
    pub field: &'static str,
    /// What is wrong with it; a predicate that follows the field's name.
    pub why: String,
    /// The limit that was passed; 0 if it is none.
    pub limit: u64,
    /// Whether the request is too large rather than wrong.
    pub too_large: bool,
}

impl Invalid {
    /// A field that breaks a rule.
    pub fn new(field: &'static str, why: impl Into<String>) -> Invalid {
        Invalid { field, why: why.into(), limit: 0, too_large: false }
    }

    /// The field that is refused where it lies in the future, which is so only until the log has come there.
    pub const FUTURE: &'static str = "after";

    /// A position or a version that is not there yet; `end` says where the log or the stream ends.
    pub fn from_the_future(after: u64, end: impl fmt::Display) -> Invalid {
        let why = format!("is from the future: it is {after}, but {end}");
        Invalid::new(Invalid::FUTURE, why)
    }

    /// A field over a limit of what it may look like.
    pub fn limit(field: &'static str, why: impl Into<String>, limit: u64) -> Invalid {
        Invalid { limit, ..Invalid::new(field, why) }
    }

    /// A request that must be made smaller.
    pub fn too_large(field: &'static str, why: impl Into<String>, limit: u64) -> Invalid {
        Invalid { too_large: true, ..Invalid::limit(field, why, limit) }
    }
}
