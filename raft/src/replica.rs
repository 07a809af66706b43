//! One replica of the cluster's log: what the server of a node is built on.

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

use crate::care::scavenge;
use crate::host::Host;
use crate::identity::Identity;
use crate::machine::Progress;
use crate::proposal::Proposal;
use crate::room;
use crate::service::Service;
use crate::space::Room;
use crate::status::{Scavenging, Status};
use crate::types::{Closure, Command, CommittedLeaderId, TypeConfig};

mod founding;
pub(crate) mod inner;

use inner::Inner;

/// How fast the loss of a leader is noticed. A fail-over takes `election_max` plus a random time
/// between `election_min` and `election_max`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timing {
    /// How often a leader tells its followers that it lives; also the deadline of a vote and of
    /// establishing a stream.
    pub heartbeat: Duration,
    /// The shortest time without a leader after which a node asks for votes.
    pub election_min: Duration,
    /// The longest.
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

/// How a replica is started.
#[derive(Clone, Debug)]
pub struct ReplicaOptions {
    /// The node's folder; created when it is not there.
    pub directory: PathBuf,
    /// Where this node serves clients, as others reach it.
    pub client_address: String,
    /// Where this node serves its peers, as others reach it.
    pub peer_address: String,
    /// How fast the loss of a leader is noticed.
    pub timing: Timing,
    /// The size of a file of the Raft log.
    pub segment_bytes: u64,
    /// How much of the log is kept behind the newest checkpoint for peers that were away; the cluster's
    /// chunk size if not told.
    pub kept_log_bytes: Option<u64>,
    /// With fewer free bytes on its disk the node takes no appends of users, with fewer than half of it no
    /// entries at all; four chunk sizes if not told, and never less than that.
    pub reserve_bytes: Option<u64>,
    /// How fast the scrubber reads; 0 turns it off.
    pub scrub_bytes_per_second: u64,
    /// Bytes of memory for what was read last from chunks, unpacked.
    pub block_cache_bytes: usize,
    /// The only node of a cluster starts although its clock is far ahead of its newest stamp.
    pub accept_clock: bool,
    /// It starts although its cluster knows it at other addresses: they lead here all the same.
    pub moved: bool,
}

impl ReplicaOptions {
    /// How fast the scrubber reads unless told otherwise: 350 GB a day.
    pub const SCRUB_BYTES_PER_SECOND_DEFAULT: u64 = 4 * 1024 * 1024;
    /// The memory for what was read last from chunks unless told otherwise.
    pub const BLOCK_CACHE_BYTES_DEFAULT: usize = 64 * 1024 * 1024;
}

/// Why a replica could not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A fault of the disk or of what is on it.
    #[error(transparent)]
    Fault(#[from] Fault),
    /// Another process has the folder.
    #[error("`{}` is in use by another process", .0.display())]
    Locked(PathBuf),
    /// openraft refused the state it found.
    #[error("Raft cannot start: {0}")]
    Raft(String),
    /// This node is the only one of its cluster, so there is none to compare its clock with, and it is far ahead.
    #[error(
        "the clock of this node is {} days ahead of the newest stamp in its log: if the clock is right, start it \
         once with --accept-clock; if it is wrong, everything with a max age would be gone", .0.as_secs() / 86_400
    )]
    Clock(Duration),
    /// Its cluster knows this node at other addresses, where it would be looked for in vain.
    #[error(
        "its cluster knows node {node} at {known}, but here it is told to be at {told}: start it where it is known \
         (--listen, --peer-listen, --advertise, --peer-advertise), or, if that leads here all the same, with --moved"
    )]
    Moved {
        /// Its id.
        node: u64,
        /// Where its cluster knows it.
        known: String,
        /// Where it is according to its settings.
        told: String,
    },
}

/// Why a cluster could not be founded. It can be tried again: what was done already is done once.
#[derive(Debug, thiserror::Error)]
pub enum FoundError {
    /// This node belongs to a cluster, and not to the one that was asked for.
    #[error("the cluster is founded already")]
    Founded(Identity),
    /// The list of peers or the chunk size cannot be used.
    #[error("{0}")]
    Invalid(String),
    /// A peer could not be reached or refused.
    #[error("the node at {address} {why}")]
    Peer {
        /// Its address.
        address: String,
        /// Why, as a predicate.
        why: String,
    },
    /// This node cannot go on.
    #[error("{0}")]
    Stopped(String),
}

/// Why something that needs the leader or a majority was not done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Lost {
    /// Refused before anything was proposed: this node does not lead in that term.
    #[error("this node does not lead")]
    NotLeader,
    /// Refused before anything was proposed: this node leads, but has not heard from a majority for a
    /// while, or its disk is behind. It may be taken a little later.
    #[error("the leader has not heard from a majority for a while, or its disk is behind")]
    NotNow,
    /// Refused before anything was proposed: there is no room on the disk for anything at all.
    #[error("there is no room on the disk of the leader")]
    NoRoom,
    /// It was proposed, and a change of leader took it from this node's sight: it may be committed.
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

impl Lost {
    /// Whether it is certain that nothing was proposed.
    pub fn is_refused(self) -> bool {
        matches!(self, Lost::NotLeader | Lost::NotNow | Lost::NoRoom)
    }
}

fn refusal(reason: ForwardReason) -> Lost {
    match reason {
        ForwardReason::LeaseExpired => Lost::NotNow,
        ForwardReason::NotLeader | ForwardReason::LeadershipTransfer => Lost::NotLeader,
    }
}

/// Why a scavenge did not go to its end. What it did until then is done, and safe.
#[derive(Clone, Debug, thiserror::Error)]
pub enum ScavengeError {
    /// One is under way already.
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

/// Why a replica ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stopped {
    /// [`Replica::shutdown`] was called.
    Shutdown,
    /// It cannot go on: a fault of the disk, or Raft's core died. The process must end.
    Failed(String),
}

/// What is called with the verdicts of a command, in the order of its appends. It runs where commands
/// are applied: it must be short.
pub type Done = Box<dyn FnOnce(Result<Vec<Verdict>, Lost>) + Send>;

/// Tells when something was applied.
#[derive(Clone, Debug)]
pub struct Applying(watch::Receiver<Progress>);

impl Applying {
    /// Waits until something was applied since this was called last; false when the replica is gone. Cancelling it
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
    /// Takes the folder, replays what is after the newest checkpoint, and joins its cluster; on a folder
    /// without an identity it waits to be founded or taken in.
    pub async fn start(host: H, options: ReplicaOptions) -> Result<Replica<H>, StartError> {
        let inner = Inner::start(host, options).await?;
        Ok(Replica { inner })
    }

    /// The machine.
    pub fn host(&self) -> &H {
        &self.inner.host
    }

    /// Who this node is; none while it belongs to no cluster.
    pub fn identity(&self) -> Option<Identity> {
        self.inner.running().map(|running| running.identity)
    }

    /// Founds a cluster of the nodes at these peer addresses, this one's own among them; they get the
    /// ids 1, 2, 3 … in this order. Can be repeated with the same list after it failed half-way.
    pub async fn found(
        &self,
        peers: Vec<String>,
        chunk_bytes: u64,
    ) -> Result<Identity, FoundError> {
        self.inner.found(&peers, chunk_bytes).await
    }

    /// The services for peers, to be mounted on the peer listener.
    pub fn routes(&self) -> tonic::service::Routes {
        Service::routes(self.inner.clone())
    }

    /// What the node knows about itself and its cluster, as it changes.
    pub fn status(&self) -> watch::Receiver<Status> {
        self.inner.status.subscribe()
    }

    /// The stamp of a command that is proposed now: the time of this node's clock, or that of the other voters
    /// where this one is far from it. None before a majority of them was heard.
    pub fn stamp(&self) -> Option<Timestamp> {
        self.inner.running()?.stamp()
    }

    /// Proposes a command in a term; returns when it is in the log of this node. `done` is then called
    /// exactly once, perhaps before this returns; an error that it gets leaves the outcome unknown.
    ///
    /// Commands whose order matters are proposed one after the other has returned: one that follows a
    /// refused one may be taken.
    ///
    /// # Errors
    /// Those of [`Lost::is_refused`]: it is not in the log, and `done` is not called.
    pub async fn propose(&self, term: Term, command: Bytes, done: Done) -> Result<(), Lost> {
        let running = self.inner.running().ok_or(Lost::NotLeader)?;
        if running.core.space.room() == Room::Full {
            return Err(Lost::NoRoom);
        }
        if running.log.unflushed_bytes() >= running.unflushed_bytes_max() {
            return Err(Lost::NotNow);
        }
        let (proposal, told) = Proposal::new();
        let refused = proposal.clone();
        let answer = move |answer: Option<ClientWriteResult<TypeConfig<H::Runtime>>>| match answer {
            Some(Ok(response)) => done(Ok(response.data)),
            // Refused before its entry was appended.
            Some(Err(ClientWriteError::ForwardToLeader(forward)))
                if refused.refused(refusal(forward.reason)) => {}
            Some(Err(_)) => done(Err(Lost::Discarded)),
            None => done(Err(Lost::Stopped)),
        };
        let write = running.raft.write(Command { bytes: command, proposal: Some(proposal) });
        let write = write.with_leader(CommittedLeaderId::new(term.0));
        let queued = write.responder(Closure::new(answer)).into_future();
        // If the core is gone, the closure was called when it was dropped.
        let _answered = running.host.scoped(queued).await;
        told.await.unwrap_or(Ok(()))
    }

    /// A log index at or after everything that was acknowledged before this call: what is applied up
    /// to there is a linearizable read. On any node. Until the deadline it waits for a leader.
    pub async fn read_index(&self, deadline: Instant) -> Result<LogIndex, Lost> {
        let running = self.inner.running().ok_or(Lost::Unavailable)?;
        let mut status = self.inner.status.subscribe();
        let asked = async {
            loop {
                status.borrow_and_update();
                match running.reads.join().await {
                    Ok(index) => return Ok(index),
                    Err(Lost::Stopped) => return Err(Lost::Stopped),
                    Err(_) => {
                        // There may be a leader soon, or the one that is known may answer again.
                        let _later = tokio::time::timeout(running.deadline, status.changed()).await;
                    }
                }
            }
        };
        timeout_at(deadline, asked).await.unwrap_or(Err(Lost::Unavailable))
    }

    /// Waits until the entry at `index` is applied here.
    pub async fn applied(&self, index: LogIndex, deadline: Instant) -> Result<(), Lost> {
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
    ) -> Result<(), Lost> {
        self.reached(move |progress| progress.position >= position, deadline).await
    }

    async fn reached(
        &self,
        reached: impl FnMut(&Progress) -> bool,
        deadline: Instant,
    ) -> Result<(), Lost> {
        let running = self.inner.running().ok_or(Lost::Unavailable)?;
        let mut progress = running.core.progress();
        tokio::select! {
            biased;
            outcome = timeout_at(deadline, progress.wait_for(reached)) => match outcome {
                Ok(Ok(_)) => Ok(()),
                Ok(Err(_)) => Err(Lost::Stopped),
                Err(_) => Err(Lost::Deadline),
            },
            _ = self.stopped() => Err(Lost::Stopped),
        }
    }

    /// Tells when something was applied; none while the node belongs to no cluster.
    pub fn applying(&self) -> Option<Applying> {
        self.inner.running().map(|running| Applying(running.core.progress()))
    }

    /// The events; none while the node belongs to no cluster.
    pub fn reader(&self) -> Option<Reader> {
        self.inner.running().map(|running| running.core.reader())
    }

    /// Asks a follower to take over; returns when it was asked, not when it leads. Ignored on a node
    /// that does not lead.
    pub async fn transfer_leader(&self, to: u64) -> Result<(), Lost> {
        let running = self.inner.running().ok_or(Lost::NotLeader)?;
        let asked = running.host.scoped(running.raft.trigger().transfer_leader(to)).await;
        asked.map_err(|_| Lost::Stopped)
    }

    /// Whether appends of users are to be taken: the disk of this node is above its reserve, and enough
    /// voters have room to take entries. Asked of the leader, before an append is proposed; `truncate`,
    /// `delete` and other changes of what exists are proposed all the same.
    pub fn has_room(&self) -> bool {
        self.inner.running().is_none_or(|running| room::has_room(&running))
    }

    /// Bytes of the log that wait for the disk.
    pub fn unflushed_bytes(&self) -> u64 {
        self.inner.running().map_or(0, |running| running.log.unflushed_bytes())
    }

    /// Gives back the disk space of what is gone, one chunk after the other, while everything goes on: first the
    /// leader is asked to end the chunk under way, so that what was changed just now counts. Without a leader, or
    /// without room to seal that chunk, it is what is gone as of this node's newest checkpoint. `progress` is called after each chunk. Returns what it came to, all
    /// of it durable. If what is returned is dropped, the scavenge ends after the chunk under way.
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

    /// Tells that a read found a chunk damaged: it is repaired from a peer, and until then reads of it are
    /// answered with that fault. Whether it is about a chunk at all.
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
