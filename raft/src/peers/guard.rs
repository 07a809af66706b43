//! The guard decides which peers are let in: a node that forgot what it acknowledged must not count towards a majority.
//!
//! Raft is safe as long as no node forgets its vote or an entry that it acknowledged. A folder that was
//! restored from an old copy, or lost, breaks that without a sign; openraft believes whatever it hears. So
//! each node remembers of its peers, durably, the highest boot number and vote that they showed and the
//! highest log id that they acknowledged to it, and two processes greet each other before anything else: each
//! shows what it remembers of itself, and is refused if the other knows better. Each node also sends its memories
//! to the others (`spread`), for those that did not hear it themselves.
//!
//! A node that was removed is forgotten; it is known by its id alone, which is below the next new node's, and is told.
//!
//! Ongaro, "Consensus: Bridging Theory and Practice" (2014), §11.7.3, describes what a node that lost its disk must do;
//! `docs/faq` of openraft explains why such a node must not come back under its id.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use quorate_proto::LogId;
use tokio::sync::watch;

use crate::adapter::membership::Ledger;
use crate::identity::Identity;
use crate::log::{PeerMemory, RaftLog, TruncationRecord, VoteRecord};
use crate::status::Refusal;

/// The greatest number of peers that a node remembers, far more than a cluster has: any claim is remembered durably.
/// The membership cannot decide who may greet: where it is behind, it lacks the newest nodes, perhaps the leader.
const PEERS_MAX: usize = 1024;

/// The state that a node shows of itself when it greets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Shown {
    pub(crate) boot: u64,
    pub(crate) vote: VoteRecord,
    pub(crate) end: Option<LogId>,
    pub(crate) truncation: Option<TruncationRecord>,
}

/// The processes that send and receive a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Origin {
    pub(crate) cluster: [u8; 16],
    pub(crate) log: u32,
    pub(crate) from: u64,
    pub(crate) from_boot: u64,
    pub(crate) to: u64,
    pub(crate) to_boot: u64,
}

/// The reason why a request is not looked at.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refused {
    /// The request is of another cluster, or not for this node: repeating it never helps.
    #[error("{0}")]
    Stranger(String),
    /// These two processes have not greeted each other.
    #[error("these processes have not greeted each other")]
    NotGreeted,
}

/// The state that this process keeps of a peer.
#[derive(Debug)]
struct Peer {
    /// The memory of the peer; durable with the next batch of the log.
    memory: PeerMemory,
    /// The boot number of the peer's process that was let in, if one was.
    let_in: Option<u64>,
    /// The state that this process showed when it was let in.
    shown: Option<Shown>,
    /// The address at which this process serves its peers, as it says or as it was reached.
    address: String,
    /// The reason why the peer's newest process was not let in, or does not let this one in.
    refusal: Option<String>,
}

/// Keeps out nodes that have forgotten what they acknowledged.
///
/// Invariants:
/// - the memory of a peer only grows, until the peer's removal is applied here;
/// - a node that was removed is not let in, and nothing is learned of it;
/// - a peer is let in only after the state that it showed was compared with the memory of it;
/// - only state that is durable on the peer is remembered: its boot number, a vote it answered or asked with, a
///   log id it acknowledged.
#[derive(Debug)]
pub(crate) struct Guard {
    identity: Identity,
    boot: u64,
    log: RaftLog,
    peers: Mutex<BTreeMap<u64, Peer>>,
    refusals: watch::Sender<Vec<Refusal>>,
    ledger: watch::Receiver<Arc<Ledger>>,
    /// True once a member said that this node was removed.
    told_to_leave: watch::Sender<bool>,
}

impl Guard {
    /// `boot` is this process's own number; `ledger` shows the applied membership.
    pub(crate) fn new(
        identity: Identity,
        boot: u64,
        log: RaftLog,
        ledger: watch::Receiver<Arc<Ledger>>,
    ) -> Guard {
        let remembered = log.state().peers.into_iter();
        let remembered = remembered.filter(|memory| memory.node != identity.node);
        let known = remembered.map(|memory| (memory.node, Peer::of(memory)));
        Guard {
            identity,
            boot,
            peers: Mutex::new(known.collect()),
            log,
            refusals: watch::Sender::new(Vec::new()),
            ledger,
            told_to_leave: watch::Sender::new(false),
        }
    }

    /// Forgets removed nodes, until the node ends.
    pub(crate) async fn forget_removed(self: Arc<Self>) {
        let mut ledger = self.ledger.clone();
        loop {
            let now = ledger.borrow_and_update().clone();
            self.forget(&now);
            if ledger.changed().await.is_err() {
                return;
            }
        }
    }

    fn forget(&self, ledger: &Ledger) {
        let mut peers = self.lock();
        let removed: Vec<u64> =
            peers.keys().copied().filter(|node| ledger.was_removed(*node)).collect();
        for node in &removed {
            peers.remove(node);
            self.log.remember(PeerMemory::nothing(*node));
        }
        if !removed.is_empty() {
            self.show_refusals(&peers);
        }
    }

    /// Returns true if the node was a member and is none any more, as far as is applied here.
    pub(crate) fn was_removed(&self, node: u64) -> bool {
        self.ledger.borrow().was_removed(node)
    }

    /// Notes that a member says that this node was removed.
    pub(crate) fn leave(&self) {
        self.told_to_leave.send_replace(true);
    }

    /// Waits until this node was removed: by what is applied here, or because a member says so.
    pub(crate) async fn removed(&self) {
        let (mut ledger, mut told) = (self.ledger.clone(), self.told_to_leave.subscribe());
        let node = self.identity.node;
        let gone = tokio::select! {
            applied = ledger.wait_for(|ledger| ledger.was_removed(node)) => applied.is_err(),
            told = told.wait_for(|told| *told) => told.is_err(),
        };
        if gone {
            // The store is gone: the node is stopping.
            std::future::pending::<()>().await;
        }
    }

    pub(crate) fn identity(&self) -> &Identity {
        &self.identity
    }

    pub(crate) fn refusals(&self) -> watch::Receiver<Vec<Refusal>> {
        self.refusals.subscribe()
    }

    /// Returns the state that this node shows of itself.
    pub(crate) fn shown(&self) -> Shown {
        let state = self.log.state();
        Shown {
            boot: self.boot,
            vote: state.vote.unwrap_or_default(),
            end: state.last,
            truncation: state.truncation,
        }
    }

    /// Returns the origin of requests to a peer; none before the peer is let in.
    pub(crate) fn origin(&self, to: u64) -> Option<Origin> {
        let to_boot = self.lock().get(&to)?.let_in?;
        let Identity { cluster, log, node: from, .. } = self.identity;
        Some(Origin { cluster, log, from, from_boot: self.boot, to, to_boot })
    }

    /// Returns the address at which the process of a peer that was let in serves its peers.
    pub(crate) fn address(&self, node: u64) -> Option<String> {
        let peers = self.lock();
        let peer = peers.get(&node).filter(|peer| peer.let_in.is_some())?;
        Some(peer.address.clone()).filter(|address| !address.is_empty())
    }

    /// Returns an error if a greeting or a request is not for this node.
    pub(crate) fn is_for_me(&self, cluster: [u8; 16], log: u32, to: u64) -> Result<(), Refused> {
        let me = &self.identity;
        if cluster != me.cluster {
            return Err(Refused::Stranger("it belongs to another cluster".to_owned()));
        }
        if log != me.log || to != me.node {
            let why = format!("it is node {} of log {}, not {to} of {log}", me.node, me.log);
            return Err(Refused::Stranger(why));
        }
        Ok(())
    }

    /// Returns the node that sent a request, or an error if the request must not be looked at.
    pub(crate) fn admit(&self, origin: &Origin) -> Result<u64, Refused> {
        self.is_for_me(origin.cluster, origin.log, origin.to)?;
        let peers = self.lock();
        let let_in = peers.get(&origin.from).and_then(|peer| peer.let_in);
        // A removed node greets again, and is told.
        let is_known = origin.to_boot == self.boot && let_in == Some(origin.from_boot);
        if !is_known || self.was_removed(origin.from) {
            return Err(Refused::NotGreeted);
        }
        Ok(origin.from)
    }

    /// Compares the state that a peer shows with the memory of it, and lets the peer in or not. `address` is where the
    /// peer serves its peers.
    pub(crate) fn judge(&self, node: u64, shown: &Shown, address: &str) -> Result<(), String> {
        let mut peers = self.lock();
        if node == self.identity.node {
            return Err("it says that it is the node that it greets".to_owned());
        }
        if self.was_removed(node) {
            return Err("it was removed from the cluster".to_owned());
        }
        if peers.len() >= PEERS_MAX && !peers.contains_key(&node) {
            return Err(format!("{PEERS_MAX} other nodes have greeted this one already"));
        }
        let peer = Peer::entry(&mut peers, node);
        match judge(&peer.memory, shown) {
            Ok(()) => {
                tracing::debug!("node {node} is let in: {shown:?}; remembered: {:?}", peer.memory);
                peer.let_in = Some(shown.boot);
                peer.shown = Some(*shown);
                address.clone_into(&mut peer.address);
                if shown.boot > peer.memory.boot {
                    peer.memory.boot = shown.boot;
                    self.log.remember(peer.memory);
                }
                if peer.refusal.take().is_some() {
                    self.show_refusals(&peers);
                }
                Ok(())
            }
            Err(why) => {
                peer.let_in = None;
                self.refuse(peers, node, &why);
                Err(why)
            }
        }
    }

    /// Notes that a peer does not let this node in.
    pub(crate) fn refused_by(&self, node: u64, why: &str) {
        let mut peers = self.lock();
        if self.was_removed(node) {
            return;
        }
        let peer = Peer::entry(&mut peers, node);
        peer.let_in = None;
        self.refuse(peers, node, &format!("it does not let this node in: {why}"));
    }

    /// Forgets that a process of a peer was let in, because that process does not know this one.
    pub(crate) fn greet_again(&self, origin: &Origin) {
        if let Some(peer) = self.lock().get_mut(&origin.to)
            && peer.let_in == Some(origin.to_boot)
        {
            peer.let_in = None;
        }
    }

    /// Remembers the vote that a peer answered or asked with: the vote is durable there.
    pub(crate) fn saw_vote(&self, node: u64, vote: VoteRecord) {
        self.acknowledged(node, None, vote);
    }

    /// Remembers that a peer acknowledged the log up to `log_id` under `vote`: both are durable there.
    pub(crate) fn acknowledged(&self, node: u64, log_id: Option<LogId>, vote: VoteRecord) {
        let mut peers = self.lock();
        if self.was_removed(node) {
            return;
        }
        let peer = Peer::entry(&mut peers, node);
        if grow(&mut peer.memory, log_id, vote) {
            self.log.remember(peer.memory);
        }
    }

    /// Returns this node's memories of the others, and what is durable here. This node's vote is left out, because the
    /// others hear it when a vote is asked for.
    pub(crate) fn memories(&self) -> Vec<PeerMemory> {
        let acknowledged = self.log.state().flushed;
        let vote = VoteRecord::default();
        let own = PeerMemory { node: self.identity.node, boot: self.boot, acknowledged, vote };
        self.lock().values().map(|peer| peer.memory).chain([own]).collect()
    }

    /// Learns what another node remembers of a third; returns true if it is new. The third's process is shut out if it
    /// had forgotten what an earlier process of the same node had acknowledged.
    pub(crate) fn learn(&self, learned: &PeerMemory) -> bool {
        let (mut peers, node) = (self.lock(), learned.node);
        let is_known = peers.contains_key(&node);
        let is_full = peers.len() >= PEERS_MAX && !is_known;
        if node == self.identity.node || is_full || self.was_removed(node) {
            return false;
        }
        let peer = Peer::entry(&mut peers, node);
        let has_started_again = learned.boot > peer.memory.boot;
        peer.memory.boot = peer.memory.boot.max(learned.boot);
        let is_news =
            grow(&mut peer.memory, learned.acknowledged, learned.vote) || has_started_again;
        if is_news {
            self.log.remember(peer.memory);
        }
        // Only an earlier process counts: the one that was let in may have acknowledged more since it showed its state.
        if let (Some(boot), Some(shown)) = (peer.let_in, peer.shown)
            && learned.boot < boot
            && let Err(why) = judge(learned, &shown)
        {
            peer.let_in = None;
            self.refuse(peers, node, &why);
        }
        is_news
    }

    fn refuse(&self, mut peers: MutexGuard<'_, BTreeMap<u64, Peer>>, node: u64, why: &str) {
        let Some(peer) = peers.get_mut(&node) else { return };
        if peer.refusal.as_deref() == Some(why) {
            return;
        }
        tracing::warn!("node {node} is kept out: {why}");
        peer.refusal = Some(why.to_owned());
        self.show_refusals(&peers);
    }

    fn show_refusals(&self, peers: &BTreeMap<u64, Peer>) {
        let refusals = peers
            .iter()
            .filter_map(|(node, peer)| Some(Refusal { peer: *node, why: peer.refusal.clone()? }));
        self.refusals.send_replace(refusals.collect());
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<u64, Peer>> {
        // A panic cannot leave a change of the peers half done.
        self.peers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Peer {
    fn of(memory: PeerMemory) -> Peer {
        Peer { memory, let_in: None, shown: None, address: String::new(), refusal: None }
    }

    /// Returns the state of a peer, which may be heard of for the first time.
    fn entry(peers: &mut BTreeMap<u64, Peer>, node: u64) -> &mut Peer {
        peers.entry(node).or_insert_with(|| Peer::of(PeerMemory::nothing(node)))
    }
}

/// Takes what a peer acknowledged, and its vote, into the memory of it; returns true if the memory has grown.
fn grow(memory: &mut PeerMemory, acknowledged: Option<LogId>, vote: VoteRecord) -> bool {
    let before = *memory;
    memory.acknowledged = memory.acknowledged.max(acknowledged);
    if compare(&vote, &memory.vote) == Some(Ordering::Greater) {
        memory.vote = vote;
    }
    *memory != before
}

/// Returns an error if a peer that shows this state must be kept out.
fn judge(memory: &PeerMemory, shown: &Shown) -> Result<(), String> {
    let lost = "its folder was lost or is an old copy: start it on the newest one that it had, or put a new node in its \
                place with `quorate cluster replace`";
    if shown.boot < memory.boot {
        let (now, before) = (shown.boot, memory.boot);
        return Err(format!("it says it was started {now} times, but it was {before}: {lost}"));
    }
    if !matches!(compare(&shown.vote, &memory.vote), Some(Ordering::Equal | Ordering::Greater)) {
        let (now, before) = (shown.vote.term, memory.vote.term);
        return Err(format!("its vote of term {before} is gone, it is in term {now}: {lost}"));
    }
    let Some(acknowledged) = memory.acknowledged else {
        return Ok(());
    };
    let was_truncated =
        shown.truncation.is_some_and(|truncation| truncation.vote.term > acknowledged.term.0);
    if shown.end >= Some(acknowledged) || was_truncated {
        return Ok(());
    }
    let end = shown.end.map_or_else(|| "is empty".to_owned(), |end| format!("ends at {end}"));
    Err(format!("it acknowledged the log up to {acknowledged}, but its log {end}: {lost}"))
}

/// Orders votes: a vote that a quorum granted stands above the others of its term, which cannot be
/// compared with each other.
fn compare(one: &VoteRecord, other: &VoteRecord) -> Option<Ordering> {
    match one.term.cmp(&other.term) {
        Ordering::Equal if one.node == other.node => Some(one.committed.cmp(&other.committed)),
        // Before its first vote, a node shows term 0, and either no node or itself.
        Ordering::Equal if one.term == 0 => Some(Ordering::Equal),
        Ordering::Equal => match (one.committed, other.committed) {
            (true, false) => Some(Ordering::Greater),
            (false, true) => Some(Ordering::Less),
            _ => None,
        },
        unequal => Some(unequal),
    }
}

#[cfg(test)]
mod tests;
