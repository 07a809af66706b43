//! One replica of the cluster's log, on which the server of a node is built.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use openraft::errors::{ClientWriteError, ForwardReason};
use openraft::raft::ClientWriteResult;
use quorate_proto::{LogIndex, Position, Term, Timestamp};
use quorate_store::{Fault, Reader, Verdict};
use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};

use crate::adapter::proposal::Proposal;
use crate::adapter::types::{Closure, Command, CommittedLeaderId, TypeConfig};
use crate::disk_space::space::Room;
use crate::host::Host;
use crate::identity::Identity;
use crate::leadership::little_space;
use crate::machine::Progress;
use crate::maintenance::scavenge;
use crate::status::{Scavenging, Status};

mod addresses;
mod bootstrap;
pub(crate) mod inner;
mod observe;
pub(crate) mod running;
mod service;

use inner::Inner;
use service::Service;

/// The time limits that decide how fast the loss of a leader is noticed. A fail-over takes `election_max` plus a
/// random time between `election_min` and `election_max`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timing {
    /// The interval of a leader's heartbeats to its followers; also the deadline of a vote and of
    /// establishing a stream.
    pub heartbeat: Duration,
    /// The shortest time without a leader after which a node asks for votes.
    pub election_min: Duration,
    /// The longest time without a leader after which a node asks for votes.
    pub election_max: Duration,
}

impl Default for Timing {
    fn default() -> Timing {
        Timing {
            heartbeat: Duration::from_millis(150),
            election_min: Duration::from_millis(300),
            election_max: Duration::from_millis(500),
        }
    }
}

/// The options with which a replica is started.
#[derive(Clone, Debug)]
pub struct ReplicaOptions {
    /// The node's folder; it is created when it does not exist.
    pub directory: PathBuf,
    /// The address at which this node serves clients, as others reach it.
    pub client_address: String,
    /// The address at which this node serves its peers, as others reach it.
    pub peer_address: String,
    /// The time limits for the loss of a leader.
    pub timing: Timing,
    /// The size of a file of the Raft log.
    pub segment_bytes: u64,
    /// The number of bytes of log that are kept behind the newest checkpoint for peers that were away; the
    /// cluster's chunk size if not set.
    pub kept_log_bytes: Option<u64>,
    /// With fewer free bytes on its disk the node takes no appends of users, with fewer than half of it no
    /// entries at all; four chunk sizes if not set, and never less than that.
    pub reserve_bytes: Option<u64>,
    /// The number of bytes that the scrubber reads in a second; 0 turns it off.
    pub scrub_bytes_per_second: u64,
    /// The number of bytes of memory for the blocks that were read last from chunks, unpacked.
    pub block_cache_bytes: usize,
    /// True if the only node of a cluster is to start although its clock is far ahead of its newest stamp.
    pub accept_clock: bool,
    /// True if the node is to start although its cluster knows other addresses for it, which also lead here.
    pub moved: bool,
}

impl ReplicaOptions {
    /// The default of `scrub_bytes_per_second`: 350 GB a day.
    pub const SCRUB_BYTES_PER_SECOND_DEFAULT: u64 = 4 * 1024 * 1024;
    /// The default of `block_cache_bytes`.
    pub const BLOCK_CACHE_BYTES_DEFAULT: usize = 64 * 1024 * 1024;
}

/// The reason why a replica could not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A fault of the disk or of the data on it.
    #[error(transparent)]
    Fault(#[from] Fault),
    /// Another process has the folder.
    #[error("`{}` is in use by another process", .0.display())]
    Locked(PathBuf),
    /// openraft refused the state it found.
    #[error("Raft cannot start: {0}")]
    Raft(String),
    /// The clock is far ahead, and this node is the only one of its cluster, so it cannot compare its clock.
    #[error(
        "the clock of this node is {} days ahead of the newest stamp in its log: if the clock is right, start it \
         once with --accept-clock; if it is wrong, everything with a max age would be gone", .0.as_secs() / 86_400
    )]
    Clock(Duration),
    /// The cluster knows this node at other addresses, where it would be looked for in vain.
    #[error(
        "its cluster knows node {node} at {known}, but here it is told to be at {told}: start it where it is known \
         (--listen, --peer-listen, --advertise, --peer-advertise), or, if that leads here all the same, with --moved"
    )]
    Moved {
        /// The node's id.
        node: u64,
        /// The addresses in the cluster's membership.
        known: String,
        /// The addresses in the node's settings.
        told: String,
    },
}

/// The reason why a cluster could not be founded. A founding can be tried again: no step is done twice.
#[derive(Debug, thiserror::Error)]
pub enum BootstrapError {
    /// This node belongs to a cluster already, and not to the requested one.
    #[error("the cluster is founded already")]
    Founded(Identity),
    /// The list of peers or the chunk size cannot be used.
    #[error("{0}")]
    Invalid(String),
    /// A peer could not be reached or refused.
    #[error("the node at {address} {why}")]
    Peer {
        /// The peer's address.
        address: String,
        /// The reason, as a predicate of the peer.
        why: String,
    },
    /// This node cannot go on.
    #[error("{0}")]
    Stopped(String),
}

/// The reason why a request that needs the leader or a majority was not done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProposeError {
    /// Refused before anything was proposed: this node does not lead in that term.
    #[error("this node does not lead")]
    NotLeader,
    /// Refused before anything was proposed: this node leads, but has not heard from a majority for a
    /// while, or its disk is behind. A little later the same request may be taken.
    #[error("the leader has not heard from a majority for a while, or its disk is behind")]
    NotNow,
    /// Refused before anything was proposed: there is no room on the disk for anything at all.
    #[error("there is no room on the disk of the leader")]
    NoRoom,
    /// The command was proposed, and after a change of leader its outcome is unknown here: it may be committed.
    #[error("the leader changed while the append was under way")]
    Discarded,
    /// No leader or no majority can be reached now.
    #[error("no majority can be reached now")]
    Unavailable,
    /// The deadline passed.
    #[error("the deadline passed")]
    Deadline,
    /// The node is stopping or has stopped.
    #[error("the node is stopping")]
    Stopped,
}

impl ProposeError {
    /// Returns true if it is certain that nothing was proposed.
    pub fn is_refused(self) -> bool {
        matches!(self, ProposeError::NotLeader | ProposeError::NotNow | ProposeError::NoRoom)
    }
}

fn refusal(reason: ForwardReason) -> ProposeError {
    match reason {
        ForwardReason::LeaseExpired => ProposeError::NotNow,
        ForwardReason::NotLeader | ForwardReason::LeadershipTransfer => ProposeError::NotLeader,
    }
}

/// The reason why a scavenge ended early. The chunks that it wrote until then are durable.
#[derive(Clone, Debug, thiserror::Error)]
pub enum ScavengeError {
    /// Another scavenge is under way.
    #[error("a scavenge is under way already")]
    UnderWay,
    /// The node belongs to no cluster, or is stopping.
    #[error("the node is not running")]
    Stopped,
    /// There is too little room on the disk to write a chunk anew.
    #[error("there is no room on the disk to write a chunk anew: make some by other means")]
    NoRoom,
    /// A fault of the disk: the node cannot go on.
    #[error(transparent)]
    Fault(#[from] Fault),
}

/// The reason why a replica ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stopped {
    /// [`Replica::shutdown`] was called.
    Shutdown,
    /// The replica cannot go on: a fault of the disk, or Raft's core died. The process must end.
    Failed(String),
}

/// The function that is called with the verdicts of a command, in the order of its appends. It runs where
/// commands are applied, so it must be short.
pub type Done = Box<dyn FnOnce(Result<Vec<Verdict>, ProposeError>) + Send>;

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
#[derive(Debug)]
pub struct Replica<H: Host> {
    inner: Arc<Inner<H>>,
}

impl<H: Host> Clone for Replica<H> {
    fn clone(&self) -> Self {
        Replica { inner: self.inner.clone() }
    }
}

impl<H: Host> Replica<H> {
    /// Takes the folder, replays the log after the newest checkpoint, and joins its cluster; on a folder
    /// without an identity it waits to be founded or taken in.
    pub async fn start(host: H, options: ReplicaOptions) -> Result<Replica<H>, StartError> {
        let inner = Inner::start(host, options).await?;
        Ok(Replica { inner })
    }

    /// Returns the machine that the replica runs on.
    pub fn host(&self) -> &H {
        &self.inner.host
    }

    /// Returns the node's identity; none while the node belongs to no cluster.
    pub fn identity(&self) -> Option<Identity> {
        self.inner.running().map(|running| running.identity)
    }

    /// Founds a cluster of the nodes at these peer addresses, which include this node's own; the nodes get the
    /// ids 1, 2, 3 … in this order. Can be repeated with the same list after it failed half-way.
    pub async fn bootstrap(
        &self,
        peers: Vec<String>,
        chunk_bytes: u64,
    ) -> Result<Identity, BootstrapError> {
        self.inner.bootstrap(&peers, chunk_bytes).await
    }

    /// Returns the services for peers, to be mounted on the peer listener.
    pub fn routes(&self) -> tonic::service::Routes {
        Service::routes(self.inner.clone())
    }

    /// Returns a watch on the state of the node and its cluster.
    pub fn status(&self) -> watch::Receiver<Status> {
        self.inner.status.subscribe()
    }

    /// Returns the stamp of a command that is proposed now: the time of this node's clock, or of the reference of the
    /// voters' clocks where this node's is far from it. None before a majority of the clocks was heard.
    pub fn stamp(&self) -> Option<Timestamp> {
        self.inner.running()?.stamp()
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
        let running = self.inner.running().ok_or(ProposeError::NotLeader)?;
        if running.core.space.room() == Room::Full {
            return Err(ProposeError::NoRoom);
        }
        if running.log.unflushed_bytes() >= running.unflushed_bytes_max() {
            return Err(ProposeError::NotNow);
        }
        let (proposal, told) = Proposal::new();
        let refused = proposal.clone();
        let answer = move |answer: Option<ClientWriteResult<TypeConfig<H::Runtime>>>| match answer {
            Some(Ok(response)) => done(Ok(response.data)),
            // The command was refused before its entry was appended.
            Some(Err(ClientWriteError::ForwardToLeader(forward)))
                if refused.refused(refusal(forward.reason)) => {}
            Some(Err(_)) => done(Err(ProposeError::Discarded)),
            None => done(Err(ProposeError::Stopped)),
        };
        let write = running.raft.write(Command { bytes: command, proposal: Some(proposal) });
        let write = write.with_leader(CommittedLeaderId::new(term.0));
        let queued = write.responder(Closure::new(answer)).into_future();
        // If the core is gone, the closure was called when it was dropped.
        let _answered = running.host.scoped(queued).await;
        told.await.unwrap_or(Ok(()))
    }

    /// Returns a log index at or after everything that was acknowledged before this call: a read of what is applied
    /// up to there is linearizable. Works on any node. Until the deadline it waits for a leader.
    pub async fn read_index(&self, deadline: Instant) -> Result<LogIndex, ProposeError> {
        let running = self.inner.running().ok_or(ProposeError::Unavailable)?;
        let mut status = self.inner.status.subscribe();
        let asked = async {
            loop {
                status.borrow_and_update();
                match running.reads.join().await {
                    Ok(index) => return Ok(index),
                    Err(ProposeError::Stopped) => return Err(ProposeError::Stopped),
                    Err(_) => {
                        // There may be a leader soon, or the known leader may answer again.
                        let _later = tokio::time::timeout(running.deadline, status.changed()).await;
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
        let running = self.inner.running().ok_or(ProposeError::Unavailable)?;
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
        self.inner.running().map(|running| Applying(running.core.progress()))
    }

    /// Returns a reader of the events; none while the node belongs to no cluster.
    pub fn reader(&self) -> Option<Reader> {
        self.inner.running().map(|running| running.core.reader())
    }

    /// Asks a follower to take over; returns when the follower was asked, not when it leads. Does nothing on a
    /// node that does not lead.
    pub async fn transfer_leader(&self, to: u64) -> Result<(), ProposeError> {
        let running = self.inner.running().ok_or(ProposeError::NotLeader)?;
        let asked = running.host.scoped(running.raft.trigger().transfer_leader(to)).await;
        asked.map_err(|_| ProposeError::Stopped)
    }

    /// Returns true if appends of users are to be taken: the disk of this node is above its reserve, and enough
    /// voters have room to take entries. The leader checks this before it proposes an append; `truncate`,
    /// `delete` and other changes of existing events are proposed all the same.
    pub fn has_room(&self) -> bool {
        self.inner.running().is_none_or(|running| little_space::has_room(&running))
    }

    /// Returns the number of bytes of the log that wait for the disk.
    pub fn unflushed_bytes(&self) -> u64 {
        self.inner.running().map_or(0, |running| running.log.unflushed_bytes())
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
        let running = self.inner.running().ok_or(ScavengeError::Stopped)?;
        scavenge::run(running, progress).await
    }

    /// Notes that a read found a chunk damaged: it is repaired from a peer, and until then reads of it return that
    /// fault. Returns true if the fault is about a chunk.
    pub fn note_damage(&self, fault: &Fault) -> bool {
        self.inner.running().is_some_and(|running| running.core.note_damage(fault))
    }

    /// Waits until the replica ended, by [`Replica::shutdown`] or because it cannot go on.
    pub async fn stopped(&self) -> Stopped {
        self.inner.stopped().await
    }

    /// Ends the replica: nothing is written any more when this returns, and the folder is free.
    pub async fn shutdown(&self) {
        self.inner.shutdown().await;
    }
}
