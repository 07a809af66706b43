//! The answers to the requests of a command.

use quorate_proto::limits::LIMITS_KEPT_MAX;
use quorate_proto::{
    Appended, ErrorKind, EventId, Expectation, Failure, GroupOutcome, Outcome, Problem, Scope,
    StreamName, Version, Violation,
};

use crate::apply::Place;

/// The answer to one request of a command: the same on every replica.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// An append that is in the log for good.
    Appended(Appended),
    /// An append whose ids are those of an earlier one: the answer that it got. Apply does not look at the rest of
    /// its events: see [`crate::Reader::judge_repeated`].
    Repeated(Appended),
    /// A snapshot was put; the one that is kept now is of this version, which is higher than that of the one
    /// put if a newer one was there.
    Kept(Version),
    /// What a request to a consumer group came to.
    Group(GroupOutcome),
    /// An append that is not in the log, but for [`Rejection::Forgotten`]; a snapshot that is not kept.
    Rejected(Rejection),
    /// An append that apply did not make, and that may have been made before the window of retries began: nobody's
    /// answer. Apply does not look so far back: see [`crate::Reader::judge_unsettled`].
    Unsettled(Unsettled),
}

/// Why an append was not made, unless it was made long before, and where its events stand then.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unsettled {
    pub(crate) rejection: Rejection,
    pub(crate) places: Vec<Place>,
}

/// Why an append is not in the log, or a snapshot not kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Rejection {
    /// These demands were not met, each in the order of the request. Where expectations were not met, the
    /// violations may be incomplete.
    Conflict {
        /// The expectations.
        failures: Vec<Failure>,
        /// The conditions.
        violations: Vec<Violation>,
    },
    /// This id is in the log already, as part of something else.
    IdReused(EventId),
    /// This stream, which was to be written to, was closed for good.
    StreamClosed(StreamName),
    /// The limits of this scope were changed too often: what each hid stays hidden, so it is kept until something is
    /// truncated, and there is no room for more.
    LimitsFull(Scope),
    /// Whether it was appended before cannot be told any more.
    Forgotten,
    /// Its conditions were checked through a position too old to go on from. Nobody's answer: the leader
    /// checks again and proposes again.
    CheckTooOld,
}

impl Rejection {
    /// Whether the same append can never be accepted later: a stream is closed, or above the N of an
    /// `exactly N`. `none` and `exists` may become true again, and what violates a condition may be removed.
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

/// Versions only grow, so a stream above N is never at N again.
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
                let message = "whether it was appended before cannot be told any more: \
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
