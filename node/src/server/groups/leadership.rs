//! The state that the owners of groups watch: the leadership of this node, and changes of groups.

use quorate_proto::{LogIndex, Term};
use quorate_raft::host::Host;
use quorate_raft::{Replica, Role};
use tokio::sync::watch;

/// The state of the node that an owner watches.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct LeadershipWatch {
    /// The newest term that this node knows.
    term: Term,
    /// The term in which this node leads.
    pub(super) leads_in: Option<Term>,
    /// The log index of the last entry that changed any group otherwise than by progress.
    pub(super) revision: LogIndex,
}

impl LeadershipWatch {
    /// Returns true if this state is as new as the leadership in `term`.
    pub(super) fn has_reached(&self, term: Term) -> bool {
        self.leads_in == Some(term) || self.term > term
    }
}

/// Keeps one state up to date for all owners of a node, so that they wake for nothing else; ends when nobody
/// watches it any more, or when the node stops.
pub(super) fn watch<H: Host>(replica: Replica<H>) -> watch::Receiver<LeadershipWatch> {
    let (sender, receiver) = watch::channel(LeadershipWatch::default());
    tokio::spawn(async move {
        let mut status = replica.status();
        loop {
            let (term, role) = {
                let status = status.borrow_and_update();
                (status.term, status.role)
            };
            let leads_in = (role == Role::Leader).then_some(term);
            let revision = replica.reader().map(|reader| reader.groups_revision());
            let leadership =
                LeadershipWatch { term, leads_in, revision: revision.unwrap_or_default() };
            sender.send_if_modified(|known| std::mem::replace(known, leadership) != leadership);
            tokio::select! {
                changed = status.changed() => if changed.is_err() { return },
                () = sender.closed() => return,
            }
        }
    });
    receiver
}
