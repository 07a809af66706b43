//! The handover: a leader that cannot lead well asks another node to lead.

use std::cmp::Reverse;
use std::sync::Arc;
use std::time::Duration;

use openraft::ServerState;
use openraft::async_runtime::watch::WatchReceiver;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::adapter::types;
use crate::disk_space::{Room, Rooms};
use crate::error::ChangeError;
use crate::host::Host;
use crate::machine::Progress;
use crate::raft::Raft;

/// The time that a chosen node has to take over before another is asked.
const ASK_EVERY: Duration = Duration::from_secs(5);
/// The time within which a node must be fit to take over. Under load, the log of another node is often a moment behind.
const FIT_WITHIN: Duration = Duration::from_secs(2);
/// The interval at which the nodes are looked at.
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// Hands leadership over. A clone counts the time of its own requests.
#[derive(Clone)]
pub(crate) struct Handover<H: Host> {
    raft: Raft<H>,
    progress: watch::Receiver<Progress>,
    rooms: Arc<Rooms>,
    asked: Option<Instant>,
}

impl<H: Host> Handover<H> {
    pub(crate) fn new(
        raft: Raft<H>,
        progress: watch::Receiver<Progress>,
        rooms: Arc<Rooms>,
    ) -> Handover<H> {
        Handover { raft, progress, rooms, asked: None }
    }

    /// If this node leads, asks a voter that `suits` accepts to take over because of `why`; does nothing while a voter
    /// that was asked has time left.
    pub(crate) async fn ask(&mut self, why: &str, suits: impl Fn(u64) -> bool) {
        if self.asked.is_some_and(|at| at.elapsed() < ASK_EVERY) {
            return;
        }
        let Some(heir) = self.heir(suits) else { return };
        tracing::warn!("{why} keeps this node from leading: node {heir} is asked to");
        if self.raft.transfer_leader(heir).await {
            self.asked = Some(Instant::now());
        }
    }

    /// If this node leads, asks another to, `to` if it is given; returns when this node does not lead any more.
    pub(crate) async fn hand_over(&self, to: Option<u64>) -> Result<(), ChangeError> {
        let heir = self.fit_heir(to).await?;
        let Some(heir) = heir else { return Ok(()) };
        tracing::info!("node {heir} is asked to lead");
        let mut server = self.raft.watch_server();
        if !self.raft.transfer_leader(heir).await {
            return Err(ChangeError::Stopped);
        }
        let handed_over = async {
            while self.leads() {
                if server.changed().await.is_err() {
                    return Err(ChangeError::Stopped);
                }
            }
            Ok(())
        };
        let late =
            |_| Err(ChangeError::Later(format!("node {heir} was asked to lead, and does not yet")));
        tokio::time::timeout(ASK_EVERY, handed_over).await.unwrap_or_else(late)
    }

    /// Waits until a voter can take over; none if this node does not lead, or is the one that is to lead.
    async fn fit_heir(&self, to: Option<u64>) -> Result<Option<u64>, ChangeError> {
        let end = Instant::now() + FIT_WITHIN;
        while self.leads() && to != Some(self.raft.node()) {
            if let Some(heir) = self.heir(|voter| to.is_none_or(|to| to == voter)) {
                return Ok(Some(heir));
            }
            if Instant::now() >= end {
                let who = to
                    .map_or("no other node".to_owned(), |to| format!("node {to} is not one that"));
                return Err(ChangeError::Refused(format!(
                    "{who} can take over: it must have a vote, answer, and have all that is applied here"
                )));
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
        Ok(None)
    }

    fn leads(&self) -> bool {
        self.raft.metrics(|metrics| metrics.state == ServerState::Leader)
    }

    /// Asks a voter with room to take over. A voter that is short of room too is never asked, so leadership does not go
    /// back and forth.
    pub(crate) async fn ask_one_with_room(&mut self, why: &str) {
        let (rooms, now) = (self.rooms.clone(), Instant::now());
        self.ask(why, |voter| rooms.of(voter, now) == Some(Room::Plenty)).await;
    }

    /// Returns the node that can best take over, if this node leads: a voter of every configuration in force that was
    /// heard of late, whose log holds all that is applied here, and that `suits` accepts; of several, the one with the
    /// longest log. A node whose log lacks what is applied here could not be elected, or would have to catch up while
    /// nobody leads. Where this node is the only voter, the result is none.
    fn heir(&self, suits: impl Fn(u64) -> bool) -> Option<u64> {
        let now = Instant::now();
        let applied = self.progress.borrow().applied;
        self.raft.metrics(|metrics| {
            if metrics.state != ServerState::Leader {
                return None;
            }
            let matched = |voter: &u64| {
                metrics.replication.as_ref()?.get(voter).copied().flatten().map(types::ours)
            };
            let configs = metrics.membership_config.membership().get_joint_config();
            let others = metrics.membership_config.voter_ids().filter(|voter| {
                *voter != self.raft.node()
                    && configs.iter().all(|voters| voters.contains(voter))
                    && self.rooms.of(*voter, now).is_some()
                    && matched(voter) >= applied
                    && suits(*voter)
            });
            others.max_by_key(|voter| (matched(voter), Reverse(*voter)))
        })
    }
}
