//! The answers to the requests of a command.

use quorate_proto::limits::LIMITS_KEPT_MAX;
use quorate_proto::{
    Appended, ErrorKind, EventId, Expectation, Failure, GroupOutcome, Outcome, Problem, Scope,
    StreamName, Version, Violation,
};

/// The answer to one request of a command: the same on every replica.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The append is in the log for good.
    Appended(Appended),
    /// The append's ids are those of an earlier one: this is the answer that the earlier one got. Apply does
    /// not compare the rest of the events: see [`crate::Reader::settle`].
    Repeated(Appended),
    /// The version of the snapshot that is kept after one was put: higher than the version that was put if a
    /// newer snapshot was there.
    SnapshotStored(Version),
    /// The outcome of a request to a consumer group.
    Group(GroupOutcome),
    /// The append is not in the log (not known for [`Rejection::Forgotten`]), or the snapshot is not kept.
    Rejected(Rejection),
    /// The append was not made now, but may have been made before the retry window began, where apply does
    /// not look. No client gets this answer: see [`crate::Reader::settle`].
    Unsettled(Unsettled),
}

/// The rejection of an append, which counts unless the append was made before the retry window began.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unsettled {
    pub(crate) rejection: Rejection,
    pub(crate) places: Vec<Place>,
}

/// The place in its stream where the events of a write must stand, if they are in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    /// The index of the write in the append, from 0.
    pub(crate) write: usize,
    /// The version of the first of the write's events.
    pub(crate) first: Version,
}

/// The reason why an append is not in the log, or a snapshot not kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Rejection {
    /// Expectations or conditions were not met; both lists are in the order of the request. If an expectation
    /// was not met, the violations may be incomplete.
    Conflict {
        /// The expectations that were not met.
        failures: Vec<Failure>,
        /// The conditions that were violated.
        violations: Vec<Violation>,
    },
    /// This id is in the log already, as part of another append.
    IdReused(EventId),
    /// This stream, which was to be written to or changed, was closed for good.
    StreamClosed(StreamName),
    /// The limits of this scope were changed too often. Each old limit is kept until a truncation, as the
    /// events that it hid stay hidden, and there is no room for more.
    LimitsFull(Scope),
    /// It is not known any more whether the append was made before.
    Forgotten,
    /// Its conditions were checked through a position too old to go on from. No client gets this answer: the
    /// leader checks and proposes the append again.
    CheckTooOld,
}

impl Rejection {
    /// Returns true if the same append can never be accepted later: a stream is closed, or above the N of an
    /// `exactly N`. A stream may come to meet `none` or `exists` again, and a violating event may be removed.
    pub fn is_final(&self) -> bool {
        match self {
            Rejection::Conflict { failures, .. } => failures.iter().any(is_passed),
            Rejection::StreamClosed(_) => true,
            Rejection::IdReused(_)
            | Rejection::LimitsFull(_)
            | Rejection::Forgotten
            | Rejection::CheckTooOld => false,
        }
    }
}

/// Returns true if the stream is above N: versions only grow, so that it never is at N again.
fn is_passed(failure: &Failure) -> bool {
    match failure.expected {
        Expectation::Exactly(version) => failure.actual > version,
        _ => false,
    }
}

impl From<Rejection> for Problem {
    fn from(rejection: Rejection) -> Problem {
        let refuse = |kind, why: String| {
            let message = format!("{why}; nothing was appended");
            Problem::new(kind, Outcome::NotAppended, message)
        };
        match rejection {
            Rejection::Conflict { failures, violations } => Problem::conflict(failures, violations),
            Rejection::IdReused(id) => {
                refuse(ErrorKind::IdReused, format!("the id {id} is in the log already"))
            }
            Rejection::StreamClosed(stream) => {
                refuse(ErrorKind::StreamClosed, format!("`{stream}` is closed for good"))
            }
            Rejection::LimitsFull(scope) => {
                let why = format!(
                    "the limits of `{}` were changed {LIMITS_KEPT_MAX} times, and no more are kept: a \
                        truncation frees those that ended before it",
                    scope.as_str()
                );
                refuse(ErrorKind::TooLarge, why)
            }
            Rejection::Forgotten => {
                let message = "whether it was appended before cannot be known any more: \
                    what it would have written is old and removed";
                Problem::new(ErrorKind::Forgotten, Outcome::Unknown, message)
            }
            Rejection::CheckTooOld => {
                let why = "its conditions were checked too long before it was its turn";
                refuse(ErrorKind::Unavailable, why.into())
            }
        }
    }
}
