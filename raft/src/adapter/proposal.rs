//! A proposal reports whether openraft took a command into the leader's log; openraft itself does not.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::oneshot;

use crate::error::ProposeError;

/// Reports, once, whether a command was taken or refused. Clones are the same proposal.
///
/// openraft refuses a command when this node has not heard from a majority for the length of a lease, and
/// takes the next one if it has heard by then. A caller that proposes commands in an order must therefore
/// know that each command was taken before it proposes the next one.
#[derive(Clone)]
pub(crate) struct Proposal(Arc<Mutex<Option<Reporter>>>);

type Reporter = oneshot::Sender<Result<(), ProposeError>>;

impl Proposal {
    /// Returns a proposal and the receiver of its outcome, which fails if the core ended without one.
    pub(crate) fn new() -> (Proposal, oneshot::Receiver<Result<(), ProposeError>>) {
        let (sender, outcome) = oneshot::channel();
        (Proposal(Arc::new(Mutex::new(Some(sender)))), outcome)
    }

    /// Reports that the command is in the log of this node.
    pub(crate) fn taken(&self) {
        self.report(Ok(()));
    }

    /// Reports that the command is not in the log; returns false if it was reported as taken before.
    pub(crate) fn refused(&self, why: ProposeError) -> bool {
        self.report(Err(why))
    }

    fn report(&self, outcome: Result<(), ProposeError>) -> bool {
        let sender = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        // The proposer may have stopped waiting; the command was refused all the same.
        sender.map(|sender| sender.send(outcome)).is_some()
    }
}

impl fmt::Debug for Proposal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Proposal")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_taken_cannot_be_refused_any_more() {
        let (proposal, mut outcome) = Proposal::new();
        proposal.taken();
        assert!(!proposal.refused(ProposeError::NotLeader));
        assert_eq!(outcome.try_recv(), Ok(Ok(())));
    }

    #[test]
    fn a_refusal_reports_why() {
        let (proposal, mut outcome) = Proposal::new();
        assert!(proposal.refused(ProposeError::NotNow));
        assert_eq!(outcome.try_recv(), Ok(Err(ProposeError::NotNow)));
    }
}
