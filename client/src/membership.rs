//! Changes of the members of a cluster, and of its leader.

use std::time::Duration;

use quorate_proto::wire::v1::change_members_request::Change;
use quorate_proto::wire::v1::{
    AddMember, ChangeMembersProgress, ChangeMembersRequest, JoinTokenRequest, ReplaceMember,
    TransferLeadershipRequest,
};
use quorate_proto::wire::{SILENCE_MAX, v1};
use quorate_proto::{ErrorKind, Outcome, Problem};
use tokio::time::{Instant, sleep, timeout};

use crate::ask::ask_node;
use crate::client::Client;
use crate::incoming::Incoming;
use crate::nodes::problem;
use crate::trouble::late;

/// The time to wait after all nodes refused.
const REST: Duration = Duration::from_millis(100);

/// The progress of a node that the cluster takes in, and that catches up with the leader.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct MemberProgress {
    /// The id that the cluster gave the node.
    pub node: u64,
    /// The newest log index that the node has on its disk.
    pub matched: u64,
    /// The newest log index that is committed.
    pub committed: u64,
    /// The number of chunks that were sent to the node.
    pub chunks_sent: u64,
    /// The number of chunks that the node lacked; 0 while it gets the log alone.
    pub chunks: u64,
}

impl Client {
    /// Takes in the node that serves its peers at `peer_address`: it waits on an empty folder and was started with the
    /// cluster's [join token](Client::join_token). It gets a vote when it has caught up, unless it is to stay a learner,
    /// which serves reads and has no vote. Returns the id that the cluster gave it. `progress` is called while the node
    /// catches up.
    ///
    /// Any node of the cluster can be asked. The call can be repeated after any failure: the node keeps its id. If the
    /// future is dropped, the node stays what it is by then, at least a learner.
    ///
    /// # Errors
    /// `Invalid`: the node does not join (it waits for another cluster, say), or its vote would lose the majority.
    /// `Unavailable`: there is no leader, or the node took nothing for a minute.
    ///
    /// ```no_run
    /// # async fn example(client: quorate_client::Client) -> Result<(), quorate_client::Problem> {
    /// let node = client.add_member("10.0.0.4:7801", false, |now| {
    ///     println!("node {} has {} of {}", now.node, now.matched, now.committed);
    /// });
    /// println!("node {} has a vote", node.await?);
    /// # Ok(()) }
    /// ```
    pub async fn add_member(
        &self,
        peer_address: impl Into<String>,
        as_learner: bool,
        progress: impl FnMut(&MemberProgress),
    ) -> Result<u64, Problem> {
        let add = AddMember { peer_address: peer_address.into(), as_learner };
        self.change_members(Change::Add(add), progress).await
    }

    /// Takes in the node at `peer_address` in the place of the node `old`, which is removed when the new one has caught
    /// up; for a node whose disk was lost, or that is to be given up. Returns the id of the new node. Otherwise as
    /// [`Client::add_member`].
    pub async fn replace_member(
        &self,
        old: u64,
        peer_address: impl Into<String>,
        progress: impl FnMut(&MemberProgress),
    ) -> Result<u64, Problem> {
        let replace = ReplaceMember { node: old, peer_address: peer_address.into() };
        self.change_members(Change::Replace(replace), progress).await
    }

    /// Gives a learner a vote, when it has caught up. A voter stays one.
    ///
    /// # Errors
    /// As [`Client::add_member`].
    pub async fn promote_member(
        &self,
        node: u64,
        progress: impl FnMut(&MemberProgress),
    ) -> Result<(), Problem> {
        self.change_members(Change::Promote(node), progress).await.map(drop)
    }

    /// Takes a node's vote: it stays as a learner. A leader hands over first.
    ///
    /// # Errors
    /// `Invalid` if the majority of the voters that remain does not answer. `Unavailable`: there is no leader.
    pub async fn demote_member(&self, node: u64) -> Result<(), Problem> {
        self.change_members(Change::Demote(node), |_| {}).await.map(drop)
    }

    /// Removes a node for good: it stops as soon as it hears of it, and its id is never used again. A leader hands over
    /// first.
    ///
    /// # Errors
    /// As [`Client::demote_member`].
    ///
    /// ```no_run
    /// # async fn example(client: quorate_client::Client) -> Result<(), quorate_client::Problem> {
    /// client.remove_member(3).await?;
    /// # Ok(()) }
    /// ```
    pub async fn remove_member(&self, node: u64) -> Result<(), Problem> {
        self.change_members(Change::Remove(node), |_| {}).await.map(drop)
    }

    /// Lets another node lead: `to`, or the one that can best take over. Returns the leader after that.
    ///
    /// # Errors
    /// `Invalid`: the node has no vote, does not answer, or its log is behind.
    ///
    /// ```no_run
    /// # async fn example(client: quorate_client::Client) -> Result<(), quorate_client::Problem> {
    /// println!("node {} leads", client.transfer_leadership(Some(2)).await?);
    /// # Ok(()) }
    /// ```
    pub async fn transfer_leadership(&self, to: Option<u64>) -> Result<u64, Problem> {
        let nodes = &self.shared.nodes;
        let call = |address: &str, _: u64| {
            let mut cluster = nodes.cluster(address)?;
            let request = TransferLeadershipRequest { to, only_here: false };
            Ok(async move { cluster.transfer_leadership(request).await })
        };
        Ok(ask_node(self, || nodes.for_reads(), call).await?.leader)
    }

    /// Returns the token with which a node is started that the cluster is to take in (`quorate serve --join-token`).
    /// Whoever has it can take in such a node in the cluster's name.
    pub async fn join_token(&self) -> Result<String, Problem> {
        let nodes = &self.shared.nodes;
        let call = |address: &str, _: u64| {
            let mut cluster = nodes.cluster(address)?;
            Ok(async move { cluster.join_token(JoinTokenRequest {}).await })
        };
        Ok(ask_node(self, || nodes.for_reads(), call).await?.token)
    }

    /// Asks one node after the other for a change, until one made it or the client's deadline passes without progress.
    async fn change_members(
        &self,
        change: Change,
        mut progress: impl FnMut(&MemberProgress),
    ) -> Result<u64, Problem> {
        let (mut moved_at, mut shown) = (Instant::now(), (0, 0));
        loop {
            let mut last = None;
            for address in self.shared.nodes.for_reads() {
                let request =
                    ChangeMembersRequest { change: Some(change.clone()), only_here: false };
                let made = self.change_at(&address, request, |now| {
                    let reached = (now.matched, now.chunks_sent);
                    if std::mem::replace(&mut shown, reached) != reached {
                        moved_at = Instant::now();
                    }
                    progress(now);
                });
                match made.await {
                    Ok(node) => return Ok(node),
                    Err(failure) if failure.is_verdict() => return Err(failure),
                    Err(failure) => last = Some(failure),
                }
                self.shared.nodes.failed(&address);
            }
            let last = last.expect("a client has at least one endpoint");
            if moved_at.elapsed() + REST >= self.deadline {
                return Err(Problem { outcome: Outcome::Unknown, ..last });
            }
            sleep(REST).await;
        }
    }

    async fn change_at(
        &self,
        address: &str,
        request: ChangeMembersRequest,
        mut progress: impl FnMut(&MemberProgress),
    ) -> Result<u64, Problem> {
        let mut cluster = self.shared.nodes.cluster(address)?;
        let asked = timeout(self.deadline, cluster.change_members(request));
        let asked = asked.await.map_err(|_| late(address))?;
        let messages = asked.map_err(|status| problem(address, &status))?.into_inner();
        let mut incoming = Incoming::new(address.to_owned(), messages);
        let mut shown = MemberProgress::default();
        while let Some(message) = incoming.next_or_end(SILENCE_MAX).await? {
            if message.done {
                return Ok(message.node);
            }
            let now = message.into();
            // A message without news is a sign of life.
            if now != shown {
                shown = now;
                progress(&shown);
            }
        }
        let message = format!("{address} ended without an answer");
        Err(Problem::new(ErrorKind::Unavailable, Outcome::Unknown, message))
    }
}

impl From<ChangeMembersProgress> for MemberProgress {
    fn from(progress: ChangeMembersProgress) -> MemberProgress {
        let v1::ChangeMembersProgress { node, matched, committed, chunks_sent, chunks, done: _ } =
            progress;
        MemberProgress { node, matched, committed, chunks_sent, chunks }
    }
}
