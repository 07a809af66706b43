//! Consumer groups on the wire.

use super::v1;
use crate::{GroupOutcome, Invalid};

impl From<GroupOutcome> for v1::GroupAnswer {
    fn from(outcome: GroupOutcome) -> v1::GroupAnswer {
        use v1::group_answer::Outcome;
        let (outcome, count) = match outcome {
            GroupOutcome::Done(count) => (Outcome::Done, count),
            GroupOutcome::NotFound => (Outcome::NotFound, 0),
            GroupOutcome::Differs => (Outcome::Differs, 0),
            GroupOutcome::Full => (Outcome::Full, 0),
            GroupOutcome::Stale => (Outcome::Stale, 0),
        };
        v1::GroupAnswer { outcome: outcome.into(), count }
    }
}

impl TryFrom<v1::GroupAnswer> for GroupOutcome {
    type Error = Invalid;

    fn try_from(answer: v1::GroupAnswer) -> Result<GroupOutcome, Invalid> {
        use v1::group_answer::Outcome;
        match Outcome::try_from(answer.outcome) {
            Ok(Outcome::Done) => Ok(GroupOutcome::Done(answer.count)),
            Ok(Outcome::NotFound) => Ok(GroupOutcome::NotFound),
            Ok(Outcome::Differs) => Ok(GroupOutcome::Differs),
            Ok(Outcome::Full) => Ok(GroupOutcome::Full),
            Ok(Outcome::Stale) => Ok(GroupOutcome::Stale),
            Err(_) => Err(Invalid::new("outcome", "is not known")),
        }
    }
}
