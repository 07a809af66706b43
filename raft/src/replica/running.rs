//! The parts of a node that run once it belongs to a cluster: the log, the store, Raft, and their background tasks.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::future::join_all;
use openraft::Raft;
use openraft::async_runtime::watch::WatchReceiver;
use quorate_proto::{LogId, Timestamp};
use quorate_store::defect::{self, Defect};
use quorate_store::{Fault, Options, Store};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::{addresses, observe};
use crate::adapter::config;
use crate::adapter::membership;
use crate::adapter::storage::Storage;
use crate::adapter::types::{Place, TypeConfig, Vote};
use crate::checkpoint::log_purge;
use crate::clocks::{self, Clocks, Judged, Now, exchange};
use crate::disk_space::space::{Room, Rooms, Space};
use crate::error::StartError;
use crate::failure::Failure;
use crate::host::Host;
use crate::identity::{self, Identity};
use crate::leadership::read_index::Reads;
use crate::leadership::{hanging_disk, little_space};
use crate::log::{ADVICE, LogOptions, RaftLog};
use crate::machine::{self, Core, Machine, Replayed};
use crate::maintenance::{self, digests};
use crate::options::ReplicaOptions;
use crate::peers::guard::Guard;
use crate::peers::spread;
use crate::peers::transfers::Transfers;
use crate::peers::{Factory, Here, Peers};
use crate::status::{Clock, Status};

/// The number of bytes of the newest entries that the log keeps in memory, for apply and for followers.
const LOG_CACHE_BYTES: usize = 32 * 1024 * 1024;
/// The number of streams whose versions the store keeps in memory.
const HEAD_CACHE: usize = 100_000;
/// The number of bytes of memory for pages of the catalog.
const CATALOG_CACHE_BYTES: usize = 32 * 1024 * 1024;
/// The number of bytes of memory for the filters of the newest chunks.
const FILTER_BYTES: usize = 16 * 1024 * 1024;

/// The parts of a node that run once it belongs to a cluster.
pub(crate) struct Running<H: Host> {
    pub(crate) host: H,
    pub(crate) directory: PathBuf,
    pub(crate) identity: Identity,
    pub(crate) guard: Arc<Guard>,
    pub(crate) peers: Arc<Peers<H>>,
    pub(crate) raft: Raft<TypeConfig<H::Runtime>, Machine<H>>,
    pub(crate) core: Arc<Core<H>>,
    pub(crate) reads: Reads,
    pub(crate) failure: Failure,
    pub(crate) transfers: Transfers,
    pub(crate) rooms: Arc<Rooms>,
    /// The deadline of urgent requests between nodes.
    pub(crate) deadline: Duration,
    /// Held while a checkpoint is being taken over, so that there is one at a time.
    pub(crate) installing: tokio::sync::Mutex<()>,
    /// Held while a scavenge is under way, so that there is one at a time.
    pub(crate) scavenging: Arc<tokio::sync::Mutex<()>>,
    pub(crate) log: RaftLog,
    pub(crate) clocks: Mutex<Clocks>,
    /// The published comparison of the clocks.
    pub(crate) clock: watch::Sender<Clock>,
    writer_ended: watch::Receiver<bool>,
    tasks: std::sync::Mutex<Vec<JoinHandle<()>>>,
}

impl<H: Host> Running<H> {
    /// Opens the folder, replays the log and starts Raft.
    pub(crate) async fn start(
        host: H,
        options: &ReplicaOptions,
        identity: Identity,
        failure: Failure,
        status: watch::Sender<Status>,
    ) -> Result<Arc<Running<H>>, StartError> {
        let config = config::config(&options.timing).map_err(StartError::Raft)?;
        let opened = open(&host, options, identity, &failure).await?;
        let Opened { boot, log, place, replayed, space, writer_ended } = opened;
        if let Some(refused) = refusal(&host, options, &identity, &place, &replayed.store) {
            log.close();
            let mut writer_ended = writer_ended;
            let _gone = writer_ended.wait_for(|ended| *ended).await;
            return Err(refused);
        }
        let transfers = Transfers::default();
        let deadline = options.timing.election_max;
        let guard = Arc::new(Guard::new(identity, boot, log.clone()));
        let rooms = Arc::new(Rooms::default());
        let known = (guard.clone(), transfers.clone(), rooms.clone());
        let durability = Arc::new(log.clone());
        let applied = replayed.store.applied();
        let core = Core::new(host.clone(), durability, replayed, space, failure.clone())?;
        let here = Here { host: host.clone(), core: Arc::downgrade(&core) };
        let peers = Arc::new(Peers::new(here, known, deadline));
        let starting = Raft::new(
            identity.node,
            config,
            Factory(peers.clone()),
            Storage::new(host.clone(), log.clone(), applied),
            Machine(core.clone()),
        );
        // openraft's futures are large.
        let raft = host.scoped(Box::pin(starting)).await;
        let raft = raft.map_err(|fatal| StartError::Raft(fatal.to_string()))?;
        let (reads, queue) = Reads::new();
        let now = Now { wall: host.now(), instant: Instant::now() };
        let running = Arc::new(Running {
            host,
            directory: options.directory.clone(),
            identity,
            guard,
            peers,
            raft,
            core,
            reads,
            failure,
            transfers,
            rooms,
            deadline,
            installing: tokio::sync::Mutex::new(()),
            scavenging: Arc::default(),
            log,
            clocks: Mutex::new(Clocks::new(identity.node, now)),
            clock: watch::Sender::default(),
            writer_ended,
            tasks: std::sync::Mutex::default(),
        });
        let kept = options.kept_log_bytes.unwrap_or(identity.chunk_bytes);
        running.spawn(queue.run(Arc::downgrade(&running)));
        running.spawn(observe::observe(running.clone(), status));
        running.spawn(log_purge::purge(running.clone(), kept));
        running.spawn(little_space::watch(running.clone()));
        running.spawn(exchange::run(running.clone()));
        running.spawn(hanging_disk::watch(running.clone()));
        running.spawn(digests::compare(running.clone()));
        running.spawn(spread::run(running.clone()));
        running.spawn(maintenance::repair::run(running.clone()));
        running.spawn(maintenance::scrub::run(running.clone(), options.scrub_bytes_per_second));
        Ok(running)
    }

    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let task = tokio::spawn(task);
        self.tasks.lock().expect("nobody panics with it").push(task);
    }

    /// Returns the leader's id and addresses, if a leader is known.
    pub(crate) fn leader(&self) -> Option<(u64, Place)> {
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow_watched();
        let leader = metrics.current_leader?;
        let place = metrics.membership_config.get_node(&leader)?.clone();
        Some((leader, place))
    }

    /// Returns the stamp of an entry that is proposed now; none before enough peers answered with their clocks.
    pub(crate) fn stamp(&self) -> Option<Timestamp> {
        if defect::is_present(Defect::RawClock) {
            return Some(self.host.now());
        }
        self.judge_clocks().stamp
    }

    /// Compares this node's clock with those of the voters, as of now.
    pub(crate) fn judge_clocks(&self) -> Judged {
        let metrics = self.raft.metrics();
        let membership = metrics.borrow_watched().membership_config.clone();
        let now = self.now();
        // An answer of a peer is only ever replaced whole.
        let mut clocks = self.clocks.lock().unwrap_or_else(PoisonError::into_inner);
        clocks.judge(now, membership.membership().get_joint_config())
    }

    /// Returns the times that the clocks of this process show.
    pub(crate) fn now(&self) -> Now {
        Now { wall: self.host.now(), instant: Instant::now() }
    }

    /// Returns the vote in force here.
    pub(crate) fn vote(&self) -> Vote {
        self.raft.metrics().borrow_watched().vote
    }

    /// Returns the number of unflushed bytes of the log from which no more is taken, from clients or from a leader. The
    /// entries under way at that point are less than as many bytes again.
    pub(crate) fn unflushed_bytes_max(&self) -> u64 {
        self.identity.chunk_bytes
    }

    /// Ends Raft; when this returns, all that was queued is on disk, and nothing is written any more.
    pub(crate) async fn shutdown(&self) {
        let tasks = std::mem::take(&mut *self.tasks.lock().expect("nobody panics with it"));
        for task in &tasks {
            task.abort();
        }
        join_all(tasks).await;
        // Apply may wait for room or for a repair, and Raft waits for apply.
        self.core.gate.shut();
        // The result only shows whether the core had panicked.
        let _joined = self.host.scoped(self.raft.shutdown()).await;
        // openraft leaves its worker running, and a transfer is a task of its own.
        self.core.gate.close().await;
        self.core.sealed().await;
        self.log.close();
        let mut writer_ended = self.writer_ended.clone();
        let _gone = writer_ended.wait_for(|ended| *ended).await;
    }
}

/// Returns the reason why a node that was opened must not take part, if there is one.
fn refusal<H: Host>(
    host: &H,
    options: &ReplicaOptions,
    identity: &Identity,
    place: &Option<Place>,
    store: &Store,
) -> Option<StartError> {
    let moved = place.as_ref().filter(|_| !options.moved).and_then(|place| {
        let told = (options.client_address.as_str(), options.peer_address.as_str());
        let (known, told) = addresses::difference(place, told)?;
        Some(StartError::Moved { node: identity.node, known, told })
    });
    moved.or_else(|| {
        let ahead = ahead_alone(host, store, identity.node);
        ahead.filter(|_| !options.accept_clock).map(StartError::Clock)
    })
}

/// Returns how far the clock is ahead of the newest stamp, if that is too far and there is no other node to ask.
fn ahead_alone<H: Host>(host: &H, store: &Store, node: u64) -> Option<Duration> {
    let stored = membership::decode_stored(store.attachment()).ok()?;
    let is_alone = stored.voter_ids().all(|voter| voter == node);
    let newest = store.reader().point().recorded_at;
    let newest = (newest > Timestamp::default()).then_some(newest);
    clocks::must_be_accepted(host.now(), newest).filter(|_| is_alone)
}

/// Adds advice to a fault about damage in the store's folder, chunks aside.
fn advise(fault: Fault) -> Fault {
    match fault {
        Fault::Damaged { path, offset, why } => {
            Fault::damaged(&path, offset, format!("{why}; {ADVICE}"))
        }
        Fault::Io { ref path, ref source, .. } if fault.is_damage() => {
            Fault::damaged(path, 0, format!("it cannot be read ({source}); {ADVICE}"))
        }
        other => other,
    }
}

/// Explains a fault where the catalog lacks entries that the log has purged: the catalog is an older copy.
fn explain_older_catalog(
    fault: Fault,
    directory: &Path,
    purged: Option<LogId>,
    covered: Option<LogId>,
) -> Fault {
    let index = |id: Option<LogId>| id.map_or(0, |id| id.index.0);
    if purged.map(|id| id.index) <= covered.map(|id| id.index) {
        return fault;
    }
    let why = format!(
        "it names a catalog that ends at entry {} of the log, which begins behind {} ({fault}): the catalog is an older \
         copy",
        index(covered),
        index(purged)
    );
    Fault::damaged(&directory.join("CURRENT"), 0, format!("{why}; {ADVICE}"))
}

/// A folder that was opened and brought up to date.
struct Opened {
    boot: u64,
    log: RaftLog,
    /// The node's addresses in its cluster's membership, if they are known.
    place: Option<Place>,
    replayed: Replayed,
    space: Space,
    writer_ended: watch::Receiver<bool>,
}

async fn open<H: Host>(
    host: &H,
    options: &ReplicaOptions,
    identity: Identity,
    failure: &Failure,
) -> Result<Opened, Fault> {
    let (vfs, directory) = (host.vfs(), options.directory.clone());
    let (segment_bytes, reserve) = (options.segment_bytes, options.reserve_bytes);
    let block_cache_bytes = options.block_cache_bytes;
    let opened = host.run(move || {
        let mut started = identity::count_boot(&*vfs, &directory)?;
        let (boot, reach) = (started.times(), started.reach());
        let Identity { cluster, log, node, chunk_bytes } = identity;
        let free = vfs.free_bytes(&directory).map_err(Fault::io("measure", &directory))?;
        let space = Space::new(reserve, chunk_bytes, free);
        let options = Options {
            cluster,
            log,
            chunk_bytes,
            head_cache: HEAD_CACHE,
            block_cache_bytes,
            catalog_cache_bytes: CATALOG_CACHE_BYTES,
            filter_bytes: FILTER_BYTES,
        };
        let (folder, disk) = (directory.clone(), vfs.clone());
        let open_store = move || Store::open(disk.clone(), &folder, options.clone());
        let store = open_store().map_err(advise)?;
        let covered = store.checkpointed();
        let cache_bytes = LOG_CACHE_BYTES;
        let options =
            LogOptions { cluster, log, node, segment_bytes, cache_bytes, covered, reach, boot };
        let (log, mut writer) = RaftLog::open(vfs, &directory.join("log"), options)?;
        writer.keep_reach(move |reach| started.reaches(reach))?;
        log.fill_ahead(space.room() < Room::Full);
        let purged = log.state().purged;
        let explain = |fault| explain_older_catalog(fault, &directory, purged, covered);
        let replayed =
            machine::bring_up_to_date(store, open_store, &log, &space).map_err(explain)?;
        let place = addresses::known(&replayed.store, &log, node).map_err(explain)?;
        Ok((boot, log, writer, place, replayed, space))
    });
    let (boot, log, writer, place, replayed, space) = opened.await?;
    let (ended, writer_ended) = watch::channel(false);
    let failure = failure.clone();
    let stopped = move |outcome: Result<(), Fault>| {
        if let Err(fault) = outcome {
            failure.report(fault);
        }
        ended.send_replace(true);
    };
    host.start_log_writer(writer, Box::new(stopped));
    Ok(Opened { boot, log, place, replayed, space, writer_ended })
}
