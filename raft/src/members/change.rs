//! The changes of the members that an operator asks for. Each can be repeated: what is done is not done again.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use openraft::ChangeMembers;
use quorate_proto::wire::peer::v1;
use tokio::time::{Instant, sleep};

use super::catch_up::CatchUp;
use super::leader::Members;
use super::propose::Change;
use super::votes::check_majority;
use crate::adapter::types::{Addresses, StoredMembership};
use crate::error::ChangeError;
use crate::host::Host;
use crate::peers::spread;

/// The time within which enough nodes must answer before voters are changed; a node may just have been started again.
const ANSWERED_WITHIN: Duration = Duration::from_secs(2);
/// The interval at which they are asked.
const ASK_EVERY: Duration = Duration::from_millis(100);

/// A change of the cluster's members.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MemberChange {
    /// Takes in the node that waits on an empty folder at a peer address; it gets a vote when it has caught up, or none.
    Add {
        /// The address at which the node serves its peers.
        peer_address: String,
        /// True if the node stays a learner: it serves reads and never votes.
        as_learner: bool,
    },
    /// Takes in the node that waits at a peer address in the place of another, which is removed when it has caught up.
    Replace {
        /// The node that goes.
        node: u64,
        /// The address at which the new node serves its peers.
        peer_address: String,
    },
    /// Gives a learner a vote, when it has caught up.
    Promote(u64),
    /// Takes a node's vote: it stays as a learner.
    Demote(u64),
    /// Removes a node for good. It stops when it hears of it; its id is never used again.
    Remove(u64),
}

impl<H: Host> Members<H> {
    /// Makes a change, if this node leads; returns the id of the node that it is about. A leader that is to lose its
    /// vote hands over first, and the result is [`ChangeError::NotLeader`].
    pub(crate) async fn change(
        &self,
        change: MemberChange,
        mut report: impl FnMut(&CatchUp) + Send,
    ) -> Result<u64, ChangeError> {
        self.led()?;
        match change {
            MemberChange::Add { peer_address, as_learner } => {
                let node = self.take_in(&peer_address).await?;
                self.catch_up_unless_here(node, &mut report).await?;
                if !as_learner {
                    self.give_vote(node, None).await?;
                }
                Ok(node)
            }
            MemberChange::Replace { node: old, peer_address } => {
                self.replace(old, &peer_address, &mut report).await
            }
            MemberChange::Promote(node) => {
                let membership = self.member(node).await?;
                // A node whose adoption was cut off gets its identity now.
                let peer_address = membership.get_node(&node).map(|node| node.peer_address.clone());
                self.take_in(&peer_address.unwrap_or_default()).await?;
                self.catch_up_unless_here(node, &mut report).await?;
                self.give_vote(node, None).await?;
                Ok(node)
            }
            MemberChange::Demote(node) => {
                self.member(node).await?;
                self.take_vote(node).await?;
                Ok(node)
            }
            MemberChange::Remove(node) => self.remove(node).await,
        }
    }

    async fn catch_up_unless_here(
        &self,
        node: u64,
        report: &mut (impl FnMut(&CatchUp) + Send),
    ) -> Result<(), ChangeError> {
        if node == self.raft.node() { Ok(()) } else { self.catch_up(node, report).await }
    }

    async fn replace(
        &self,
        old: u64,
        peer_address: &str,
        report: &mut (impl FnMut(&CatchUp) + Send),
    ) -> Result<u64, ChangeError> {
        let was_voter = match self.member(old).await {
            Ok(membership) => {
                if membership.get_node(&old).is_some_and(|node| node.peer_address == peer_address) {
                    let why = format!(
                        "node {old} itself is at {peer_address}; if it lost its folder, start the new node at another \
                         address, or remove node {old} and add the new one"
                    );
                    return Err(ChangeError::Refused(why));
                }
                membership.voter_ids().any(|voter| voter == old)
            }
            // An earlier try removed it already.
            Err(_) if self.guard.was_removed(old) => false,
            Err(why) => return Err(why),
        };
        let node = self.take_in(peer_address).await?;
        self.catch_up_unless_here(node, report).await?;
        if was_voter {
            self.give_vote(node, Some(old)).await?;
        }
        self.drop_node(old).await?;
        Ok(node)
    }

    async fn remove(&self, node: u64) -> Result<u64, ChangeError> {
        if self.settled().await?.get_node(&node).is_none() && self.guard.was_removed(node) {
            return Ok(node);
        }
        self.member(node).await?;
        self.take_vote(node).await?;
        self.drop_node(node).await?;
        Ok(node)
    }

    /// Returns the newest membership, which has this node.
    async fn member(&self, node: u64) -> Result<Arc<StoredMembership>, ChangeError> {
        let membership = self.settled().await?;
        if membership.get_node(&node).is_none() {
            let what = match self.guard.was_removed(node) {
                true => "was removed",
                false => "is no member of this cluster",
            };
            return Err(ChangeError::Refused(format!("node {node} {what}")));
        }
        Ok(membership)
    }

    /// Gives a node a vote, perhaps in the place of another, if it has none.
    async fn give_vote(&self, node: u64, instead_of: Option<u64>) -> Result<(), ChangeError> {
        let membership = self.settled().await?;
        let before: BTreeSet<u64> = membership.voter_ids().collect();
        let mut after = before.clone();
        after.insert(node);
        after.retain(|voter| Some(*voter) != instead_of);
        if after == before {
            return Ok(());
        }
        self.check_majority(&after).await?;
        if instead_of == Some(self.raft.node()) {
            return self.leave_to_another().await;
        }
        self.hand_on_memories(node).await?;
        let add = Change::AddVoterIds([node].into());
        let change = match instead_of.filter(|old| before.contains(old)) {
            Some(old) => ChangeMembers::Batch(vec![add, Change::RemoveVoters([old].into())]),
            None => add,
        };
        self.propose(&membership, change).await
    }

    /// Takes the vote of a node, if it has one.
    async fn take_vote(&self, node: u64) -> Result<(), ChangeError> {
        let membership = self.settled().await?;
        let mut after: BTreeSet<u64> = membership.voter_ids().collect();
        if !after.remove(&node) {
            return Ok(());
        }
        self.check_majority(&after).await?;
        if node == self.raft.node() {
            return self.leave_to_another().await;
        }
        self.propose(&membership, Change::RemoveVoters([node].into())).await
    }

    /// Removes a learner.
    async fn drop_node(&self, node: u64) -> Result<(), ChangeError> {
        let membership = self.settled().await?;
        if membership.get_node(&node).is_none() {
            return Ok(());
        }
        self.propose(&membership, Change::RemoveNodes([node].into())).await
    }

    /// Hands over, because another leader must take this node's vote.
    async fn leave_to_another(&self) -> Result<(), ChangeError> {
        self.handover.hand_over(None).await?;
        Err(ChangeError::NotLeader)
    }

    /// Returns an error if too few of the voters answer now. What the leader heard a second ago does not count: a change
    /// that needs a node which just went away would never be committed, and nothing after it.
    async fn check_majority(&self, voters: &BTreeSet<u64>) -> Result<(), ChangeError> {
        let give_up_at = Instant::now() + ANSWERED_WITHIN;
        loop {
            let membership = self.led()?;
            let asked = membership.nodes().filter(|(node, _)| voters.contains(node));
            let asked = asked.map(|(node, addresses)| self.answers(*node, addresses));
            let in_reach: BTreeSet<u64> = join_all(asked).await.into_iter().flatten().collect();
            let checked = check_majority(voters, |voter| in_reach.contains(&voter));
            if checked.is_ok() || Instant::now() >= give_up_at {
                return checked;
            }
            sleep(ASK_EVERY).await;
        }
    }

    /// Asks a node for anything; returns its id if it answers.
    async fn answers(&self, node: u64, addresses: &Addresses) -> Option<u64> {
        if node == self.raft.node() {
            return Some(node);
        }
        let link = self.peers.link(node, addresses);
        let asked = link.unary(self.peers.deadline(), |origin, mut client| async move {
            client.time(v1::TimeRequest { origin: Some(origin) }).await
        });
        asked.await.ok().map(|_| node)
    }

    /// Tells a node what this one remembers of the others, before it may decide with them: after some replacements,
    /// nobody else remembers what a survivor acknowledged.
    async fn hand_on_memories(&self, node: u64) -> Result<(), ChangeError> {
        let membership = self.led()?;
        let told = match membership.get_node(&node) {
            Some(addresses) if node != self.raft.node() => {
                spread::send(&self.peers, node, addresses, &self.guard.memories()).await
            }
            _ => Some(node),
        };
        told.map(drop).ok_or_else(|| {
            ChangeError::Later(format!("node {node} does not answer: repeat the change"))
        })
    }
}
