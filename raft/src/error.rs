//! The reasons why a replica does not start, does not do what it is asked, or ends.

use std::path::PathBuf;
use std::time::Duration;

use quorate_store::Fault;

use crate::identity::Identity;

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

/// The reason why the members of the cluster were not changed, or not wholly. A change can be repeated as it is: what is
/// done already is not done twice.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChangeError {
    /// This node does not lead, or does not any more.
    #[error("this node does not lead")]
    NotLeader,
    /// The change cannot be made as things are.
    #[error("{0}")]
    Refused(String),
    /// The change, or a part of it, was not made in time, or its outcome is unknown: repeat it.
    #[error("{0}")]
    Later(String),
    /// The node is stopping or has stopped.
    #[error("the node is stopping")]
    Stopped,
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
    /// [`Replica::shutdown`](crate::Replica::shutdown) was called.
    Shutdown,
    /// The replica cannot go on: a fault of the disk, or Raft's core died. The process must end.
    Failed(String),
}
