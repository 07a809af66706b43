//! The answers to the appends of a command.

use quorate_proto::{Appended, ErrorKind, EventId, Failure, Outcome, Problem};

/// The answer to one append: the same on every replica.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is in the log for good. A repeated append gets its first answer again.
    Appended(Appended),
    /// It is certainly not in the log.
    Rejected(Rejection),
}

/// Why an append is not in the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Rejection {
    /// These expectations were not met: all of them, in the order of the request.
    Conflict(Vec<Failure>),
    /// This id is in the log already, as part of something else.
    IdReused(EventId),
}

impl Rejection {
    /// Whether the same append can never be accepted later: a conflict with an `exactly N` that its
    /// stream has passed. `none` and `exists` may become true again.
    pub fn is_final(&self) -> bool {
        match self {
            Rejection::Conflict(failures) => failures.iter().any(is_passed),
            Rejection::IdReused(_) => false,
        }
    }
}

/// Versions only grow, so a stream above N is never at N again.
fn is_passed(failure: &Failure) -> bool {
    match failure.expected {
        quorate_proto::Expectation::Exactly(version) => failure.actual > version,
        _ => false,
    }
}

impl From<Rejection> for Problem {
    fn from(rejection: Rejection) -> Problem {
        match rejection {
            Rejection::Conflict(failures) => Problem::conflict(failures, Vec::new()),
            Rejection::IdReused(id) => {
                let message = format!("the id {id} is in the log already; nothing was appended");
                Problem::new(ErrorKind::IdReused, Outcome::NotAppended, message)
            }
        }
    }
}
