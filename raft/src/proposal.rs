//! Whether openraft took a command into the leader's log, which it does not tell by itself.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::oneshot;

use crate::replica::Lost;

/// Tells, once, whether a command was taken or refused. Clones are the same proposal.
///
/// openraft refuses a command when this node has not heard from a majority for the length of a lease, and
/// takes the next one if it has heard by then. Whoever proposes in an order must therefore know of each
/// command that it was taken before the next is proposed.
#[derive(Clone)]
pub(crate) struct Proposal(Arc<Mutex<Option<Teller>>>);

type Teller = oneshot::Sender<Result<(), Lost>>;

impl Proposal {
    /// A proposal, and what it will tell; an error there: the core ended without a word.
    pub(crate) fn new() -> (Proposal, oneshot::Receiver<Result<(), Lost>>) {
        let (sender, told) = oneshot::channel();
        (Proposal(Arc::new(Mutex::new(Some(sender)))), told)
    }

    /// The command is in the log of this node.
    pub(crate) fn taken(&self) {
        self.tell(Ok(()));
    }

    /// The command is not in the log; false if it was taken before.
    pub(crate) fn refused(&self, why: Lost) -> bool {
        self.tell(Err(why))
    }

    fn tell(&self, fate: Result<(), Lost>) -> bool {
        let sender = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        // Whoever proposed may have left; that the command was refused is true all the same.
        sender.map(|sender| sender.send(fate)).is_some()
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
        let (proposal, mut told) = Proposal::new();
        proposal.taken();
        assert!(!proposal.refused(Lost::NotLeader));
        assert_eq!(told.try_recv(), Ok(Ok(())));
    }

    #[test]
    fn a_refusal_tells_why() {
        let (proposal, mut told) = Proposal::new();
        assert!(proposal.refused(Lost::NotNow));
        assert_eq!(told.try_recv(), Ok(Err(Lost::NotNow)));
    }
}
