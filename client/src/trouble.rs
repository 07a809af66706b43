//! Problems that the client itself reports, and which of them another node may help with.

use quorate_proto::{ErrorKind, Outcome, Problem};

/// Returns true if another node may succeed where one failed with this kind.
pub(crate) fn may_help_elsewhere(kind: ErrorKind) -> bool {
    use ErrorKind::{Damaged, Internal, NotReady};
    kind.is_transient() || matches!(kind, Damaged | Internal | NotReady)
}

/// Returns the problem of a request that appends nothing, whatever was lost.
pub(crate) fn not_appended(problem: Problem) -> Problem {
    Problem { outcome: Outcome::NotAppended, ..problem }
}

pub(crate) fn unavailable(message: impl Into<String>) -> Problem {
    Problem::new(ErrorKind::Unavailable, Outcome::NotAppended, message)
}

pub(crate) fn late(address: &str) -> Problem {
    let message = format!("{address} did not answer in time");
    Problem::new(ErrorKind::Deadline, Outcome::NotAppended, message)
}

pub(crate) fn not_understood(why: &str) -> Problem {
    let message = format!("the node's answer is not understood: {why}");
    Problem::new(ErrorKind::Internal, Outcome::NotAppended, message)
}
