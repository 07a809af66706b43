//! One replica of the cluster's log, on which the server of a node is built.
//!
//! This room puts all others together; none of them uses it.

use std::fmt;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use bytes::Bytes;
use openraft::errors::{ClientWriteError, ForwardReason};
use quorate_proto::{LogIndex, Position, Term, Timestamp};
use quorate_store::vfs::Lock;
use quorate_store::{Fault, Reader, Verdict};
use tokio::sync::{SetOnce, watch};
use tokio::time::{Instant, timeout_at};

use crate::adapter::proposal::Proposal;
use crate::disk_space::Room;
use crate::error::{ProposeError, ScavengeError, StartError, Stopped};
use crate::failure::Failure;
use crate::histogram::Observations;
use crate::host::Host;
use crate::identity::Identity;
use crate::machine::Progress;
use crate::options::ReplicaOptions;
use crate::raft::Written;
use crate::status::{Scavenging, Status};

mod adopt;
mod bootstrap;
mod membership;
mod observe;
mod open;
mod running;
mod service;

use running::Running;

/// The name of the file that keeps a second process away from a folder.
const LOCK: &str = "lock";

fn refusal(reason: ForwardReason) -> ProposeError {
    match reason {
        ForwardReason::LeaseExpired => ProposeError::NotNow,
        ForwardReason::NotLeader | ForwardReason::LeadershipTransfer => ProposeError::NotLeader,
    }
}

/// The function that is called with the verdicts of a command, in the order of its appends. It runs where
/// commands are applied, so it must be short.
pub type Done = Box<dyn FnOnce(Result<Vec<Verdict>, ProposeError>) + Send>;

/// The times that the steps of replication took; without buckets while the node belongs to no cluster.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Timings {
    /// The times that a batch of the Raft log took to become durable once it was written: one fdatasync each.
    pub log_sync: Observations,
    /// The times from a request with entries to a follower until its answer.
    pub replication: Observations,
    /// The times that an entry, which is a batch of appends, took to be applied, waiting for the store included.
    pub apply: Observations,
}

/// Waits for entries to be applied.
#[derive(Clone, Debug)]
pub struct Applying(watch::Receiver<Progress>);

impl Applying {
    /// Waits until something was applied since the last call; returns false when the replica is gone. Cancelling it
    /// loses nothing.
    pub async fn next(&mut self) -> bool {
        self.0.changed().await.is_ok()
    }
}

/// One replica of the cluster's log. A handle: clones are the same replica.
#[derive(Clone)]
pub struct Replica<H: Host> {
    shared: Arc<Shared<H>>,
}

/// The state that the clones of a replica share.
///
/// Invariants:
/// - the folder's lock is held from the start to the end of a shutdown;
/// - `running` is set at most once, after the identity is durable.
struct Shared<H: Host> {
    host: H,
    options: ReplicaOptions,
    status: watch::Sender<Status>,
    failure: Failure,
    lock: Mutex<Option<Box<dyn Lock>>>,
    running: OnceLock<Arc<Running<H>>>,
    /// A random number of this process: a member that takes this node in includes it in its proof.
    drawn: [u8; 16],
    /// Held while an identity is given or the replica is shut down.
    changing: tokio::sync::Mutex<()>,
    ended: SetOnce<Stopped>,
}

impl<H: Host> fmt::Debug for Replica<H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Replica")
            .field("directory", &self.shared.options.directory)
            .finish_non_exhaustive()
    }
}

impl<H: Host> Replica<H> {
    /// Takes the folder, replays the log after the newest checkpoint, and joins its cluster; on a folder
    /// without an identity it waits to be founded or taken in.
    pub async fn start(host: H, options: ReplicaOptions) -> Result<Replica<H>, StartError> {
        let vfs = host.vfs();
        let directory = &options.directory;
        vfs.create_directory(directory).map_err(Fault::io("create", directory))?;
        let lock = vfs.lock(&directory.join(LOCK)).map_err(|error| match error.kind() {
            std::io::ErrorKind::WouldBlock => StartError::Locked(directory.clone()),
            _ => Fault::io("lock", directory)(error).into(),
        })?;
        let identity = Identity::read(&*vfs, directory)?;
        let shared = Arc::new(Shared {
            drawn: host.random().to_be_bytes(),
            host,
            options,
            status: watch::Sender::new(Status::default()),
            failure: Failure::new(),
            lock: Mutex::new(Some(lock)),
            running: OnceLock::new(),
            changing: tokio::sync::Mutex::new(()),
            ended: SetOnce::new(),
        });
        let replica = Replica { shared };
        if let Some(identity) = identity {
            let _changing = replica.shared.changing.lock().await;
            replica.run(identity).await?;
        }
        tokio::spawn(replica.clone().end_on_failure());
        Ok(replica)
    }

    /// Returns the machine that the replica runs on.
    pub fn host(&self) -> &H {
        &self.shared.host
    }

    /// Returns the node's identity; none while the node belongs to no cluster.
    pub fn identity(&self) -> Option<Identity> {
        self.running().map(|running| running.identity)
    }

    /// Returns a watch on the state of the node and its cluster.
    pub fn status(&self) -> watch::Receiver<Status> {
        self.shared.status.subscribe()
    }

    /// Returns how long the steps of replication took since the node started, or was founded.
    pub fn timings(&self) -> Timings {
        self.running().map_or_else(Timings::default, |running| Timings {
            log_sync: running.log.sync_times(),
            replication: running.peers.round_trips(),
            apply: running.core.apply_times.observations(),
        })
    }

    /// Returns the stamp of a command that is proposed now: the time of this node's clock, or of the reference of the
    /// voters' clocks where this node's is far from it. None before a majority of the clocks is known.
    pub fn stamp(&self) -> Option<Timestamp> {
        self.running()?.clock.stamp()
    }

    /// Proposes a command in a term; returns when the command is in the log of this node. `done` is then called
    /// exactly once, perhaps before this returns; if `done` gets an error, the outcome is unknown.
    ///
    /// Commands whose order matters are proposed one after the other has returned: a command that follows a
    /// refused one may be taken.
    ///
    /// # Errors
    /// An error with [`ProposeError::is_refused`]: the command is not in the log, and `done` is not called.
    pub async fn propose(
        &self,
        term: Term,
        command: Bytes,
        done: Done,
    ) -> Result<(), ProposeError> {
        let running = self.running().ok_or(ProposeError::NotLeader)?;
        if running.core.space.room() == Room::Full {
            return Err(ProposeError::NoRoom);
        }
        if running.log.unflushed_bytes() >= running.unflushed_bytes_max() {
            return Err(ProposeError::NotNow);
        }
        let (proposal, outcome) = Proposal::new();
        let refused = proposal.clone();
        let answer = move |answer: Option<Written<H>>| match answer {
            Some(Ok(response)) => done(Ok(response.data)),
            // The command was refused before its entry was appended.
            Some(Err(ClientWriteError::ForwardToLeader(forward)))
                if refused.refused(refusal(forward.reason)) => {}
            Some(Err(_)) => done(Err(ProposeError::Discarded)),
            None => done(Err(ProposeError::Stopped)),
        };
        running.raft.write(command, Some((proposal, term)), answer).await;
        outcome.await.unwrap_or(Ok(()))
    }

    /// Returns a log index at or after everything that was acknowledged before this call: a read of what is applied
    /// up to there is linearizable. Works on any node. Until the deadline it waits for a leader.
    pub async fn read_index(&self, deadline: Instant) -> Result<LogIndex, ProposeError> {
        let running = self.running().ok_or(ProposeError::Unavailable)?;
        let mut status = self.shared.status.subscribe();
        let asked = async {
            loop {
                status.borrow_and_update();
                match running.reads.join().await {
                    Ok(index) => return Ok(index),
                    Err(ProposeError::Stopped) => return Err(ProposeError::Stopped),
                    Err(_) => {
                        // There may be a leader soon, or the known leader may answer again.
                        let _later =
                            tokio::time::timeout(running.peers.deadline(), status.changed()).await;
                    }
                }
            }
        };
        timeout_at(deadline, asked).await.unwrap_or(Err(ProposeError::Unavailable))
    }

    /// Waits until the entry at `index` is applied here.
    pub async fn applied(&self, index: LogIndex, deadline: Instant) -> Result<(), ProposeError> {
        let reached = move |progress: &Progress| {
            progress.applied.is_some_and(|applied| applied.index >= index)
        };
        self.reached(reached, deadline).await
    }

    /// Waits until the event at `position` is applied here.
    pub async fn applied_position(
        &self,
        position: Position,
        deadline: Instant,
    ) -> Result<(), ProposeError> {
        self.reached(move |progress| progress.position >= position, deadline).await
    }

    async fn reached(
        &self,
        reached: impl FnMut(&Progress) -> bool,
        deadline: Instant,
    ) -> Result<(), ProposeError> {
        let running = self.running().ok_or(ProposeError::Unavailable)?;
        let mut progress = running.core.progress();
        tokio::select! {
            biased;
            outcome = timeout_at(deadline, progress.wait_for(reached)) => match outcome {
                Ok(Ok(_)) => Ok(()),
                Ok(Err(_)) => Err(ProposeError::Stopped),
                Err(_) => Err(ProposeError::Deadline),
            },
            _ = self.stopped() => Err(ProposeError::Stopped),
        }
    }

    /// Returns a handle that waits for entries to be applied; none while the node belongs to no cluster.
    pub fn applying(&self) -> Option<Applying> {
        self.running().map(|running| Applying(running.core.progress()))
    }

    /// Returns a reader of the events; none while the node belongs to no cluster.
    pub fn reader(&self) -> Option<Reader> {
        self.running().map(|running| running.core.reader())
    }

    /// Returns true if appends of users are to be taken: the disk of this node is above its reserve, and enough
    /// voters have room to take entries. The leader checks this before it proposes an append; `truncate`,
    /// `delete` and other changes of existing events are proposed all the same.
    pub fn has_room(&self) -> bool {
        self.running().is_none_or(|running| running.has_room())
    }

    /// Returns the number of bytes of the log that wait for the disk.
    pub fn unflushed_bytes(&self) -> u64 {
        self.running().map_or(0, |running| running.log.unflushed_bytes())
    }

    /// Frees the disk space of removed events, one chunk after the other, beside all other work: first the leader
    /// is asked to end the chunk under way, so that the newest changes count. Without a leader, or without room to
    /// seal that chunk, only events that were gone at this node's newest checkpoint count. `progress` is called after
    /// each chunk. Returns the durable result. If the future is dropped, the scavenge ends after the chunk under way.
    ///
    /// # Errors
    /// [`ScavengeError`]. It can be begun again.
    pub async fn scavenge(
        &self,
        progress: impl FnMut(&Scavenging) + Send,
    ) -> Result<Scavenging, ScavengeError> {
        let running = self.running().ok_or(ScavengeError::Stopped)?;
        running.scavenger.clone().run(progress).await
    }

    /// Notes that a read found a chunk damaged: it is repaired from a peer, and until then reads of it return that
    /// fault. Returns true if the fault is about a chunk.
    pub fn note_damage(&self, fault: &Fault) -> bool {
        self.running().is_some_and(|running| running.core.note_damage(fault))
    }

    /// Waits until the replica ended, by [`Replica::shutdown`] or because it cannot go on.
    pub async fn stopped(&self) -> Stopped {
        self.shared.ended.wait().await.clone()
    }

    /// Ends the replica: nothing is written any more when this returns, and the folder is free.
    pub async fn shutdown(&self) {
        self.release().await;
        let _ended_before = self.shared.ended.set(Stopped::Shutdown);
    }

    fn running(&self) -> Option<Arc<Running<H>>> {
        self.shared.running.get().cloned()
    }

    /// Starts the node under an identity; the caller holds `changing`.
    async fn run(&self, identity: Identity) -> Result<Arc<Running<H>>, StartError> {
        let Shared { host, options, failure, status, .. } = &*self.shared;
        let (failure, status) = (failure.clone(), status.clone());
        let starting = Running::start(host.clone(), options, identity, failure, status);
        let running = Box::pin(starting).await?;
        Ok(self.shared.running.get_or_init(|| running).clone())
    }

    /// Ends Raft when the node cannot go on.
    async fn end_on_failure(self) {
        let why = tokio::select! {
            why = self.shared.failure.reported() => why,
            _ = self.shared.ended.wait() => return,
        };
        let _ended_before = self.shared.ended.set(Stopped::Failed(why));
        self.release().await;
    }

    async fn release(&self) {
        let _changing = self.shared.changing.lock().await;
        if let Some(running) = self.running() {
            running.shutdown().await;
        }
        self.shared.lock.lock().unwrap_or_else(PoisonError::into_inner).take();
    }

    /// Returns true if the replica was shut down.
    fn is_released(&self) -> bool {
        self.shared.lock.lock().unwrap_or_else(PoisonError::into_inner).is_none()
    }
}
