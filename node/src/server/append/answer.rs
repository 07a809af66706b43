//! The answer to a request, and its form on the wire.

use quorate_proto::wire::v1;
use quorate_proto::wire::v1::session_answer::Outcome as WireOutcome;
use quorate_proto::{Appended, ErrorKind, GroupOutcome, Invalid, Outcome, Problem, Version};
use quorate_store::{Rejection, Verdict};

use super::super::problem;

/// The result of a request that was applied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Applied {
    /// The append is in the log for good.
    Appended(Appended),
    /// The snapshot that is stored now has this version.
    SnapshotStored(Version),
    /// The outcome of a request to a consumer group.
    Group(GroupOutcome),
}

/// The answer to a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    Applied(Applied),
    /// The request was refused for a reason of its own; later requests are not affected.
    Rejected(Problem),
    /// The request got no verdict, and its session ends with it. The problem's outcome states whether it may be
    /// in the log.
    Lost(Problem),
    /// The append is not in the log, because the disks are too full for more events. The session continues, for
    /// requests that make room; see `LeaderTerm::refusal`.
    NoRoom,
    /// The append is not in the log: its conditions were checked too long before its turn. No caller gets this
    /// answer: the judge checks them again.
    CheckTooOld,
}

impl From<Verdict> for Answer {
    fn from(verdict: Verdict) -> Answer {
        Answer::Applied(match verdict {
            Verdict::Appended(first) | Verdict::Repeated(first) => Applied::Appended(first),
            Verdict::SnapshotStored(version) => Applied::SnapshotStored(version),
            Verdict::Group(outcome) => Applied::Group(outcome),
            Verdict::Rejected(Rejection::CheckTooOld) => return Answer::CheckTooOld,
            Verdict::Rejected(rejection) => return Answer::Rejected(rejection.into()),
            Verdict::Unsettled(_) => return Answer::Lost(problem::unsettled()),
        })
    }
}

impl From<Answer> for WireOutcome {
    fn from(answer: Answer) -> WireOutcome {
        let problem = match answer {
            Answer::Applied(Applied::Appended(appended)) => {
                return WireOutcome::Appended(appended.into());
            }
            Answer::Applied(Applied::SnapshotStored(version)) => {
                return WireOutcome::Kept(v1::PutSnapshotResponse { version: version.0 });
            }
            Answer::Applied(Applied::Group(outcome)) => return WireOutcome::Group(outcome.into()),
            Answer::Rejected(problem) | Answer::Lost(problem) => problem,
            Answer::NoRoom => problem::no_space(),
            Answer::CheckTooOld => Rejection::CheckTooOld.into(),
        };
        WireOutcome::Problem(problem.into())
    }
}

impl TryFrom<Option<WireOutcome>> for Answer {
    type Error = Invalid;

    fn try_from(outcome: Option<WireOutcome>) -> Result<Answer, Invalid> {
        Ok(Answer::Applied(match outcome {
            Some(WireOutcome::Appended(appended)) => Applied::Appended(appended.into()),
            Some(WireOutcome::Kept(stored)) => Applied::SnapshotStored(Version(stored.version)),
            Some(WireOutcome::Group(group)) => Applied::Group(group.try_into()?),
            Some(WireOutcome::Problem(problem)) => return Ok(sort(problem.try_into()?)),
            None => return Err(Invalid::new("outcome", "is missing")),
        }))
    }
}

/// Returns the answer of another node that came as a problem.
fn sort(problem: Problem) -> Answer {
    if problem.is_verdict() {
        Answer::Rejected(problem)
    } else if problem.kind == ErrorKind::NoSpace && problem.outcome == Outcome::NotAppended {
        Answer::NoRoom
    } else {
        Answer::Lost(problem)
    }
}
