//! The parts of a node that run once it belongs to a cluster, and their background tasks.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::future::join_all;
use quorate_proto::Timestamp;
use quorate_store::Store;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::observe;
use super::open::{Opened, open};
use crate::adapter::config;
use crate::adapter::membership::Ledger;
use crate::adapter::storage::Storage;
use crate::adapter::types::Addresses;
use crate::checkpoint::{Checkpointer, Receiver, log_purge};
use crate::clocks::{self, StampClock, exchange};
use crate::disk_space::{Room, Rooms};
use crate::error::StartError;
use crate::failure::Failure;
use crate::host::Host;
use crate::identity::Identity;
use crate::leadership::handover::Handover;
use crate::leadership::read_index::Reads;
use crate::leadership::{hanging_disk, little_space};
use crate::log::RaftLog;
use crate::machine::{Core, Machine};
use crate::maintenance::digests::Comparison;
use crate::maintenance::repair::Repairer;
use crate::maintenance::scavenge::Scavenger;
use crate::maintenance::scrub;
use crate::members::{self, Members};
use crate::options::ReplicaOptions;
use crate::peers::guard::Guard;
use crate::peers::transfers::Transfers;
use crate::peers::{Factory, LocalNode, Peers, spread};
use crate::raft::Raft;
use crate::status::Status;

/// The parts of a node that run once it belongs to a cluster, as far as requests need them. A background task has
/// handles of its own, of what it needs.
pub(super) struct Running<H: Host> {
    pub(super) identity: Identity,
    pub(super) guard: Arc<Guard>,
    pub(super) peers: Arc<Peers<H>>,
    pub(super) rooms: Arc<Rooms>,
    pub(super) raft: Raft<H>,
    pub(super) core: Arc<Core<H>>,
    pub(super) log: RaftLog,
    pub(super) reads: Reads,
    pub(super) clock: Arc<StampClock<H>>,
    pub(super) checkpointer: Arc<Checkpointer<H>>,
    pub(super) receiver: Arc<Receiver<H>>,
    pub(super) scavenger: Arc<Scavenger<H>>,
    pub(super) members: Arc<Members<H>>,
    writer_ended: watch::Receiver<bool>,
    tasks: Mutex<Vec<JoinHandle<()>>>,
}

impl<H: Host> Running<H> {
    /// Opens the folder, replays the log and starts Raft.
    pub(super) async fn start(
        host: H,
        options: &ReplicaOptions,
        identity: Identity,
        failure: Failure,
        status: watch::Sender<Status>,
    ) -> Result<Arc<Running<H>>, StartError> {
        let config = config::config(&options.timing).map_err(StartError::Raft)?;
        let opened = open(&host, options, identity, &failure).await?;
        let Opened { boot, log, replayed, space, mut writer_ended } = opened;
        let ahead = ahead_alone(&host, &replayed.store, identity.node);
        if let Some(ahead) = ahead.filter(|_| !options.accept_clock) {
            log.close();
            let _gone = writer_ended.wait_for(|ended| *ended).await;
            return Err(StartError::Clock(ahead));
        }
        let (transfers, rooms) = (Transfers::default(), Arc::new(Rooms::default()));
        let durability = Arc::new(log.clone());
        let applied = replayed.store.applied();
        let core = Core::new(host.clone(), durability, replayed, space, failure.clone())?;
        let guard = Arc::new(Guard::new(identity, boot, log.clone(), core.ledger()));
        let peers = Arc::new(Peers::new(LocalNode {
            host: host.clone(),
            guard: guard.clone(),
            transfers: transfers.clone(),
            rooms: rooms.clone(),
            round_trips: Arc::default(),
            deadline: options.timing.election_max,
            peer_address: options.peer_address.clone(),
        }));
        let network =
            Factory { peers: peers.clone(), core: Arc::downgrade(&core), log: log.clone() };
        let storage = Storage::new(host.clone(), log.clone(), applied);
        let machine = Machine(core.clone());
        let starting = openraft::Raft::new(identity.node, config, network, storage, machine);
        // openraft's futures are large.
        let started = host.scoped(Box::pin(starting)).await;
        let started = started.map_err(|fatal| StartError::Raft(fatal.to_string()))?;
        let raft = Raft::new(host.clone(), identity.node, started);
        let (reads, queue) = Reads::new();
        let clock = Arc::new(StampClock::new(host, raft.clone()));
        let checkpointer = Arc::new(Checkpointer {
            core: core.clone(),
            raft: raft.clone(),
            peers: peers.clone(),
            clock: clock.clone(),
        });
        let receiver = Receiver::new(core.clone(), raft.clone(), log.clone(), failure.clone());
        let scavenger = Scavenger::new(core.clone(), checkpointer.clone(), failure.clone());
        let members = Arc::new(Members {
            identity,
            raft: raft.clone(),
            core: core.clone(),
            log: log.clone(),
            peers: peers.clone(),
            guard: guard.clone(),
            transfers: transfers.clone(),
            handover: Handover::new(raft.clone(), core.progress(), rooms.clone()),
        });
        let running = Arc::new(Running {
            identity,
            guard,
            peers,
            rooms,
            raft,
            core,
            log,
            reads,
            clock,
            checkpointer,
            receiver: Arc::new(receiver),
            scavenger: Arc::new(scavenger),
            members,
            writer_ended,
            tasks: Mutex::default(),
        });
        running.spawn(queue.run(running.raft.clone(), running.peers.clone()));
        running.spawn_tasks(options, &transfers, &failure, status);
        Ok(running)
    }

    /// Starts the background tasks.
    fn spawn_tasks(
        &self,
        options: &ReplicaOptions,
        transfers: &Transfers,
        failure: &Failure,
        status: watch::Sender<Status>,
    ) {
        let (raft, core, peers) =
            (|| self.raft.clone(), || self.core.clone(), || self.peers.clone());
        let (log, failure) = (|| self.log.clone(), || failure.clone());
        let handover = self.members.handover.clone();
        let own = Addresses {
            client_address: options.client_address.clone(),
            peer_address: options.peer_address.clone(),
        };
        let (clock, refusals) = (self.clock.shown(), self.guard.refusals());
        let kept = options.kept_log_bytes.unwrap_or(self.identity.chunk_bytes);
        let kept = usize::try_from(kept.div_ceil(self.identity.chunk_bytes)).unwrap_or(usize::MAX);
        let bytes_per_second = options.scrub_bytes_per_second;
        let comparison =
            Comparison { core: core(), raft: raft(), peers: peers(), failure: failure() };
        let repairer = Repairer { core: core(), raft: raft(), peers: peers(), failure: failure() };
        self.spawn(observe::observe(raft(), core(), clock, refusals, failure(), status));
        self.spawn(log_purge::purge(raft(), self.core.checkpoints(), transfers.clone(), kept));
        self.spawn(little_space::watch(core(), log(), handover.clone(), failure()));
        self.spawn(exchange::run(self.clock.clone(), core(), raft(), peers(), handover.clone()));
        self.spawn(hanging_disk::watch(log(), handover, failure()));
        self.spawn(comparison.run());
        self.spawn(spread::run(raft(), self.guard.clone(), peers()));
        self.spawn(self.guard.clone().forget_removed());
        self.spawn(stop_when_removed(self.guard.clone(), failure()));
        self.spawn(members::finish_joint(self.members.clone()));
        self.spawn(members::tell_address(self.members.clone(), own));
        self.spawn(repairer.run());
        self.spawn(scrub::run(core(), failure(), bytes_per_second));
    }

    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let task = tokio::spawn(task);
        self.tasks.lock().expect("nobody panics with it").push(task);
    }

    /// Returns the number of unflushed bytes of the log from which no more is taken, from clients or from a leader. The
    /// entries under way at that point are less than as many bytes again.
    pub(super) fn unflushed_bytes_max(&self) -> u64 {
        self.identity.chunk_bytes
    }

    /// Returns true if appends of users can be taken: here, and by enough voters.
    pub(super) fn has_room(&self) -> bool {
        let membership = self.raft.membership();
        let configs = membership.membership().get_joint_config();
        self.core.space.room() == Room::Plenty
            && self.rooms.enough_take_entries(configs, Instant::now())
    }

    /// Ends Raft; when this returns, all that was queued is on disk, and nothing is written any more.
    pub(super) async fn shutdown(&self) {
        let tasks = std::mem::take(&mut *self.tasks.lock().expect("nobody panics with it"));
        for task in &tasks {
            task.abort();
        }
        join_all(tasks).await;
        // Apply may wait for room or for a repair, and Raft waits for apply.
        self.core.gate.shut();
        // The result only shows whether the core had panicked.
        let _joined = self.raft.call(|raft| raft.shutdown()).await;
        // openraft leaves its worker running, and a transfer is a task of its own.
        self.core.gate.close().await;
        self.core.sealed().await;
        self.log.close();
        let mut writer_ended = self.writer_ended.clone();
        let _gone = writer_ended.wait_for(|ended| *ended).await;
    }
}

/// Stops the node when it was removed from its cluster.
async fn stop_when_removed(guard: Arc<Guard>, failure: Failure) {
    guard.removed().await;
    failure.report(
        "this node was removed from its cluster, which does not need its folder any more; start it on an empty folder to \
         make it a new node",
    );
}

/// Returns how far the clock is ahead of the newest stamp, if that is too far and there is no other node to ask.
fn ahead_alone<H: Host>(host: &H, store: &Store, node: u64) -> Option<Duration> {
    let ledger = Ledger::decode(store.attachment()).ok()?;
    let is_alone = ledger.stored.voter_ids().all(|voter| voter == node);
    let newest = store.reader().point().recorded_at;
    let newest = (newest > Timestamp::default()).then_some(newest);
    clocks::must_be_accepted(host.now(), newest).filter(|_| is_alone)
}
