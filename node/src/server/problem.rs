//! The conversions from errors inside a node to the problems that its callers get, all in one place.

use quorate_proto::{ErrorKind, Outcome, Problem};
use quorate_raft::host::Host;
use quorate_raft::{BootstrapError, ChangeError, ProposeError, Replica, ScavengeError};
use quorate_store::Fault;

/// Converts the error of an append without a verdict. Unless it was certainly refused it may be in the log.
pub(crate) fn of_lost_append(lost: ProposeError) -> Problem {
    let outcome = if lost.is_refused() { Outcome::NotAppended } else { Outcome::Unknown };
    Problem::new(kind_of_lost(lost), outcome, lost.to_string())
}

/// Converts the error of a read that did not reach its point.
pub(crate) fn of_lost_read(lost: ProposeError) -> Problem {
    Problem::new(kind_of_lost(lost), Outcome::NotAppended, lost.to_string())
}

fn kind_of_lost(lost: ProposeError) -> ErrorKind {
    match lost {
        ProposeError::Deadline => ErrorKind::Deadline,
        ProposeError::NoRoom => ErrorKind::NoSpace,
        ProposeError::NotLeader
        | ProposeError::NotNow
        | ProposeError::Discarded
        | ProposeError::Unavailable
        | ProposeError::Stopped => ErrorKind::Unavailable,
    }
}

/// Converts a fault of a read, or of a check before an append was proposed.
fn of_fault(fault: &Fault) -> Problem {
    let kind = match fault {
        Fault::Damaged { .. } => ErrorKind::Damaged,
        Fault::Removed { .. } => ErrorKind::Removed,
        Fault::Io { .. } | Fault::Foreign { .. } | Fault::Command { .. } => ErrorKind::Internal,
    };
    Problem::new(kind, Outcome::NotAppended, fault.to_string())
}

/// Converts a fault as `of_fault` does, and notes the damage: a damaged chunk is repaired from another
/// node.
pub(crate) fn of_found<H: Host>(replica: &Replica<H>, fault: &Fault) -> Problem {
    replica.note_damage(fault);
    of_fault(fault)
}

/// Converts the error of a cluster that was not founded.
pub(crate) fn of_bootstrap_error(error: &BootstrapError) -> Problem {
    let kind = match error {
        BootstrapError::Founded(_) => ErrorKind::AlreadyExists,
        BootstrapError::Invalid(_) => ErrorKind::Invalid,
        BootstrapError::Peer { .. } => ErrorKind::Unavailable,
        BootstrapError::Stopped(_) => ErrorKind::Internal,
    };
    Problem::new(kind, Outcome::NotAppended, error.to_string())
}

/// Converts the error of a change of the members that was not made, or not wholly.
pub(crate) fn of_change_error(error: &ChangeError) -> Problem {
    let (kind, outcome) = match error {
        ChangeError::NotLeader => (ErrorKind::Unavailable, Outcome::NotAppended),
        ChangeError::Refused(_) => (ErrorKind::Invalid, Outcome::NotAppended),
        ChangeError::Later(_) | ChangeError::Stopped => (ErrorKind::Unavailable, Outcome::Unknown),
    };
    Problem::new(kind, outcome, error.to_string())
}

/// No leader was found in time.
pub(crate) fn no_leader() -> Problem {
    let message =
        "no leader can be reached now: without a majority of the voters nothing can be decided";
    Problem::new(ErrorKind::Unavailable, Outcome::NotAppended, message)
}

/// Converts the error of a scavenge that did not finish.
pub(crate) fn of_scavenge_error(error: &ScavengeError) -> Problem {
    let kind = match error {
        ScavengeError::UnderWay => ErrorKind::Overloaded,
        ScavengeError::Stopped => ErrorKind::Unavailable,
        ScavengeError::NoRoom => ErrorKind::NoSpace,
        ScavengeError::Fault(fault) => return of_fault(fault),
    };
    Problem::new(kind, Outcome::NotAppended, error.to_string())
}

/// The deadline passed before anything was proposed.
pub(crate) fn expired() -> Problem {
    let message = "the deadline passed before the append was proposed; nothing was appended";
    Problem::new(ErrorKind::Deadline, Outcome::NotAppended, message)
}

/// Returns true if an append was given up before it was proposed, because its deadline passed.
pub(crate) fn is_expired(problem: &Problem) -> bool {
    problem.kind == ErrorKind::Deadline && problem.outcome == Outcome::NotAppended
}

/// The disks are too full for more events.
pub(crate) fn no_space() -> Problem {
    let message = "the disks of the cluster have no room for more events: `quorate cluster status` shows \
        where; delete, truncate and scavenge still work; nothing was appended";
    Problem::new(ErrorKind::NoSpace, Outcome::NotAppended, message)
}

/// The disks were too full for an earlier append of the session, so that this one must not go first.
pub(crate) fn room_again() -> Problem {
    let message =
        "an append before it found no room on the disks; nothing was appended, send both again";
    Problem::new(ErrorKind::Unavailable, Outcome::NotAppended, message)
}

/// The deadline passed while the outcome of the append is unknown.
pub(crate) fn overdue() -> Problem {
    let message = "the deadline passed without a verdict; the append may be in the log";
    Problem::new(ErrorKind::Deadline, Outcome::Unknown, message)
}

/// A request was answered like one of another kind.
pub(crate) fn misanswered() -> Problem {
    let message = "the request was answered as one of another kind";
    Problem::new(ErrorKind::Internal, Outcome::Unknown, message)
}

/// The node belongs to no cluster.
pub(crate) fn not_ready() -> Problem {
    let message = "this node belongs to no cluster yet: found one with `quorate cluster init`";
    Problem::new(ErrorKind::NotReady, Outcome::NotAppended, message)
}

/// Returns the problem of an append of which nothing checked whether it was made long before.
pub(crate) fn unsettled() -> Problem {
    let message = "it was not looked whether the append was made long before; it may be in the log";
    Problem::new(ErrorKind::Internal, Outcome::Unknown, message)
}

/// The node is stopping; `outcome` is the known outcome of the append.
pub(crate) fn stopping(outcome: Outcome) -> Problem {
    Problem::new(ErrorKind::Unavailable, outcome, "the node is stopping")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_refused_before_it_was_proposed_is_certainly_not_appended() {
        for (lost, outcome) in [
            (ProposeError::NotLeader, Outcome::NotAppended),
            (ProposeError::NotNow, Outcome::NotAppended),
            (ProposeError::NoRoom, Outcome::NotAppended),
            (ProposeError::Discarded, Outcome::Unknown),
            (ProposeError::Unavailable, Outcome::Unknown),
            (ProposeError::Deadline, Outcome::Unknown),
            (ProposeError::Stopped, Outcome::Unknown),
        ] {
            assert_eq!(of_lost_append(lost).outcome, outcome, "{lost:?}");
        }
    }
}
