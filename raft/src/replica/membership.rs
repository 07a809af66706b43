//! Changes of the cluster's members, and of its leader, as the server of a node asks for them.

use super::Replica;
use crate::error::ChangeError;
use crate::host::Host;
use crate::identity::JoinToken;
use crate::members::{CatchUp, MemberChange};

impl<H: Host> Replica<H> {
    /// Changes the members of the cluster, if this node leads; returns the id of the node that came, or that the change
    /// is about. The change is committed on return. `report` is called while a new node catches up.
    ///
    /// A change can be repeated after any failure: what is done is not done again, and a new node keeps its id. If the
    /// future is dropped, the change ends after the step under way.
    ///
    /// # Errors
    /// [`ChangeError`]. A leader that is to lose its own vote hands over first, and answers that it does not lead.
    pub async fn change_members(
        &self,
        change: MemberChange,
        report: impl FnMut(&CatchUp) + Send,
    ) -> Result<u64, ChangeError> {
        let running = self.running().ok_or(ChangeError::NotLeader)?;
        running.members.change(change, report).await
    }

    /// Lets another node lead, `to` if it is given: a voter of every configuration in force that answers and has all that
    /// is applied here. Returns when this node does not lead any more, or if it did not. The pause for writers is a
    /// few round trips.
    ///
    /// # Errors
    /// [`ChangeError::Refused`]: there is no such voter, so this node goes on leading. [`ChangeError::Later`]: the
    /// voter that was asked does not lead yet; this node takes no appends until a new leader is elected.
    pub async fn hand_over(&self, to: Option<u64>) -> Result<(), ChangeError> {
        let Some(running) = self.running() else { return Ok(()) };
        running.members.handover.hand_over(to).await
    }

    /// Returns the token with which a new node of this cluster is started; none while this node belongs to no cluster.
    pub fn join_token(&self) -> Option<JoinToken> {
        self.identity().map(|identity| identity.join_token())
    }
}
