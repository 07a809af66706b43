//! Proposes a change of the membership, as one step that is committed or not.

use std::time::Duration;

use openraft::errors::{ClientWriteError, ForwardReason, RaftError};
use openraft::raft::Precondition;
use openraft::{ChangeMembers, ServerState};
use tokio::time::timeout;

use super::leader::Members;
use crate::adapter::types::{Addresses, StoredMembership, Types};
use crate::error::ChangeError;
use crate::host::Host;

/// The time within which a majority must take a change of the members.
const COMMITTED_WITHIN: Duration = Duration::from_secs(10);

/// The change of a membership, in openraft's words.
pub(super) type Change = ChangeMembers<u64, Addresses>;

impl<H: Host> Members<H> {
    /// Proposes a change of the membership that was looked at; returns when it is applied. A change of voters is two
    /// entries. If the membership is another by now, nothing is proposed.
    pub(super) async fn propose(
        &self,
        looked_at: &StoredMembership,
        change: Change,
    ) -> Result<(), ChangeError> {
        let same = Precondition::<Types<H>>::LastMembershipLogId {
            last_membership_log_id: *looked_at.log_id(),
        };
        tracing::info!("the members are to change: {change}");
        // Nodes that lose their votes stay as learners: to remove a node is a step of its own, so a change of voters
        // that another leader finishes comes to the same.
        let proposed = self.raft.call(|raft| raft.change_membership_if(change, true, [same]));
        match timeout(COMMITTED_WITHIN, Box::pin(proposed)).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(RaftError::APIError(error))) => Err(not_proposed::<H>(error)),
            Ok(Err(RaftError::Fatal(_))) => Err(ChangeError::Stopped),
            Err(_) => Err(ChangeError::Later(
                "no majority took the change in time: it may still come into force; repeat it"
                    .to_owned(),
            )),
        }
    }

    /// Returns the newest membership, if this node leads.
    pub(super) fn led(&self) -> Result<std::sync::Arc<StoredMembership>, ChangeError> {
        self.raft.metrics(|metrics| match metrics.state {
            ServerState::Leader => Ok(metrics.membership_config.clone()),
            _ => Err(ChangeError::NotLeader),
        })
    }

    /// Returns the newest membership with one configuration, if this node leads: a change of voters that another leader
    /// began is finished first.
    pub(super) async fn settled(&self) -> Result<std::sync::Arc<StoredMembership>, ChangeError> {
        let membership = self.led()?;
        if membership.membership().get_joint_config().len() == 1 {
            return Ok(membership);
        }
        self.finish(&membership).await?;
        self.led()
    }

    /// Finishes a change of voters that was begun.
    pub(super) async fn finish(&self, joint: &StoredMembership) -> Result<(), ChangeError> {
        self.propose(joint, Change::AddVoterIds(std::collections::BTreeSet::new())).await
    }
}

fn not_proposed<H: Host>(error: ClientWriteError<Types<H>>) -> ChangeError {
    match error {
        ClientWriteError::ForwardToLeader(forward) => match forward.reason {
            ForwardReason::LeaseExpired => ChangeError::Later(
                "the leader has not heard from a majority for a while: repeat the change"
                    .to_owned(),
            ),
            ForwardReason::NotLeader | ForwardReason::LeadershipTransfer => ChangeError::NotLeader,
        },
        ClientWriteError::LogEntryDiscarded(_) => ChangeError::NotLeader,
        ClientWriteError::PreconditionFailed(_) | ClientWriteError::ChangeMembershipError(_) => {
            ChangeError::Later(format!("another change of the members is under way: {error}"))
        }
    }
}
