//! An operator of the simulated cluster: takes in nodes, gives and takes votes, replaces and removes nodes, and changes
//! the leader, while faults go on. In the end all machines have a node of the cluster again.

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::rc::Rc;
use std::time::Duration;

use quorate_client::{Client, NodeStatus, Problem};
use quorate_raft::JoinToken;
use tokio::time::{Instant, sleep};

use super::client::{self, Phase};
use super::trace::Trace;
use super::{CLIENT_PORT, PEER_PORT};
use crate::random::Random;

/// The time that a change may take while the storm lasts.
const DEADLINE: Duration = Duration::from_secs(3);
/// The time within which a node must tell its status.
const ANSWERED_WITHIN: Duration = Duration::from_secs(1);
/// The time within which all machines must have a node again once everything works.
const SETTLED_WITHIN: Duration = Duration::from_secs(90);
/// The fewest members that the operator leaves.
const MEMBERS_MIN: usize = 2;

/// The state that the operator shares with the machines and the run.
#[derive(Clone, Debug, Default)]
pub(super) struct Joining {
    token: Rc<RefCell<Option<JoinToken>>>,
    /// The machines whose node was once to be removed.
    leaving: Rc<RefCell<BTreeSet<usize>>>,
    storm_is_over: Rc<Cell<bool>>,
    settled: Rc<Cell<bool>>,
    changes: Rc<Cell<u64>>,
}

impl Joining {
    /// Returns the token with which nodes are started on empty disks; none before the cluster is founded.
    pub(super) fn token(&self) -> Option<JoinToken> {
        *self.token.borrow()
    }

    /// Waits for the token.
    pub(super) async fn wait_for_token(&self) -> JoinToken {
        loop {
            if let Some(token) = self.token() {
                return token;
            }
            sleep(Duration::from_millis(50)).await;
        }
    }

    /// Returns true if the node on a machine stopped because the operator removed it.
    pub(super) fn has_left(&self, machine: usize, why: &str) -> bool {
        why.contains("was removed from its cluster") && self.leaving.borrow().contains(&machine)
    }

    /// Notes that there are no more faults.
    pub(super) fn storm_is_over(&self) {
        self.storm_is_over.set(true);
    }

    /// Returns true if all machines have a node of the cluster, and nothing will change any more.
    pub(super) fn is_settled(&self) -> bool {
        self.settled.get()
    }

    /// Returns the number of changes that the cluster reported as made.
    pub(super) fn changes(&self) -> u64 {
        self.changes.get()
    }
}

/// The operator.
pub(super) struct Operator {
    pub(super) random: Random,
    pub(super) trace: Trace,
    pub(super) phase: Phase,
    pub(super) joining: Joining,
    /// The names of all machines, by number.
    pub(super) names: Vec<String>,
}

/// A change that the operator draws.
#[derive(Debug)]
enum Change {
    Add { machine: usize, as_learner: bool },
    Replace { node: u64, machine: usize },
    Promote(u64),
    Demote(u64),
    Remove(u64),
    Transfer(Option<u64>),
}

impl Operator {
    /// Works until the storm is over, and then until all machines have a node.
    pub(super) async fn run(mut self) -> turmoil::Result {
        self.phase.founded().await;
        let client = client::connect(&self.addresses(), false, DEADLINE);
        while self.joining.token().is_none() {
            if let Ok(token) = client.join_token().await {
                *self.joining.token.borrow_mut() = token.parse().ok();
            }
        }
        while !self.joining.storm_is_over.get() {
            sleep(Duration::from_millis(self.random.between(20, 1_200))).await;
            if let Some(members) = self.members().await
                && let Some(change) = self.draw(&members)
            {
                self.make(&client, change, &members).await;
            }
        }
        let settled = self.settle(&client).await;
        self.joining.settled.set(true);
        Ok(settled?)
    }

    /// Returns the members with their roles, as the first member that answers knows them; none if nobody does. A node
    /// that waits on an empty disk knows none.
    async fn members(&self) -> Option<Vec<NodeStatus>> {
        for address in self.addresses() {
            let node = client::connect(&[address], true, ANSWERED_WITHIN);
            if let Ok(status) = node.status().await
                && status.cluster.is_some()
                && !status.nodes.is_empty()
            {
                return Some(status.nodes);
            }
        }
        None
    }

    fn addresses(&self) -> Vec<String> {
        self.names.iter().map(|name| format!("{name}:{CLIENT_PORT}")).collect()
    }

    fn peer_address(&self, machine: usize) -> String {
        format!("{}:{PEER_PORT}", self.names[machine])
    }

    /// Returns the number of the machine on which a member is.
    fn machine_of(&self, members: &[NodeStatus], node: u64) -> Option<usize> {
        let member = members.iter().find(|member| member.id == node)?;
        self.addresses().iter().position(|address| *address == member.address)
    }

    /// Returns the machines that have no member.
    fn outside(&self, members: &[NodeStatus]) -> Vec<usize> {
        let is_outside = |address: &String| members.iter().all(|member| member.address != *address);
        let addresses = self.addresses().into_iter().enumerate();
        addresses.filter(|(_, address)| is_outside(address)).map(|(machine, _)| machine).collect()
    }

    fn draw(&mut self, members: &[NodeStatus]) -> Option<Change> {
        let ids: Vec<u64> = members.iter().map(|member| member.id).collect();
        let outside = self.outside(members);
        let node = *self.random.pick(&ids);
        let free = (!outside.is_empty()).then(|| *self.random.pick(&outside));
        Some(match self.random.below(100) {
            0..30 => Change::Add { machine: free?, as_learner: self.random.chance(30) },
            30..45 => Change::Replace { node, machine: free? },
            45..58 => Change::Promote(node),
            58..70 => Change::Demote(node),
            70..85 if ids.len() > MEMBERS_MIN => Change::Remove(node),
            _ => Change::Transfer(self.random.chance(70).then_some(node)),
        })
    }

    async fn make(&mut self, client: &Client, change: Change, members: &[NodeStatus]) {
        // Noted before it is asked for: the outcome may be unknown.
        if let Change::Replace { node, .. } | Change::Remove(node) = change
            && let Some(machine) = self.machine_of(members, node)
        {
            self.joining.leaving.borrow_mut().insert(machine);
        }
        let made = self.ask(client, &change).await;
        self.joining.changes.set(self.joining.changes.get() + u64::from(made.is_ok()));
        let outcome = made.err().map_or_else(|| "made".to_owned(), |problem| problem.message);
        self.trace.note("operator", format_args!("{change:?}: {outcome}"));
    }

    async fn ask(&self, client: &Client, change: &Change) -> Result<(), Problem> {
        match *change {
            Change::Add { machine, as_learner } => {
                let address = self.peer_address(machine);
                client.add_member(address, as_learner, |_| {}).await.map(drop)
            }
            Change::Replace { node, machine } => {
                client.replace_member(node, self.peer_address(machine), |_| {}).await.map(drop)
            }
            Change::Promote(node) => client.promote_member(node, |_| {}).await,
            Change::Demote(node) => client.demote_member(node).await,
            Change::Remove(node) => client.remove_member(node).await,
            Change::Transfer(to) => client.transfer_leadership(to).await.map(drop),
        }
    }

    /// Takes in a node on every machine that has none, and gives all of them votes.
    async fn settle(&mut self, client: &Client) -> Result<(), String> {
        let give_up_at = Instant::now() + SETTLED_WITHIN;
        let mut last = "nobody answered".to_owned();
        while Instant::now() < give_up_at {
            let Some(members) = self.members().await else { continue };
            let is_voter = |member: &NodeStatus| ["leader", "follower"].contains(&&*member.role);
            let outside = self.outside(&members);
            let next = match (outside.first(), members.iter().find(|member| !is_voter(member))) {
                (Some(machine), _) => Change::Add { machine: *machine, as_learner: false },
                // Taking a node in again finishes what was cut off.
                (None, Some(learner)) => match self.machine_of(&members, learner.id) {
                    Some(machine) => Change::Add { machine, as_learner: false },
                    None => Change::Promote(learner.id),
                },
                (None, None) => return Ok(()),
            };
            if let Err(problem) = self.ask(client, &next).await {
                last = format!("{next:?}: {problem}");
            }
            sleep(Duration::from_millis(100)).await;
        }
        Err(format!("the operator does not get a node onto every machine: {last}"))
    }
}
