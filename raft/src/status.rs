//! The state of a node and of its cluster, as it is shown.

use quorate_proto::{LogIndex, Position, Term, Timestamp};

/// A node of the cluster and its addresses.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Member {
    /// The node's id.
    pub id: u64,
    /// The address at which the node serves clients.
    pub client_address: String,
    /// The address at which the node serves its peers.
    pub peer_address: String,
    /// True if the node has a vote; a learner has none.
    pub is_voter: bool,
}

/// The role of a node in its cluster.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Role {
    /// The node belongs to no cluster yet and waits to be founded or taken in.
    #[default]
    Waiting,
    /// The node receives a copy of the log and has no vote.
    Learner,
    /// The node follows a leader, or waits for one.
    Follower,
    /// The node asks to become the leader.
    Candidate,
    /// The node leads: appends go through it.
    Leader,
}

impl Role {
    /// Returns the role's name in JSON; names are stable.
    pub fn as_str(self) -> &'static str {
        match self {
            Role::Waiting => "waiting",
            Role::Learner => "learner",
            Role::Follower => "follower",
            Role::Candidate => "candidate",
            Role::Leader => "leader",
        }
    }
}

/// A peer that is not let in, or that does not let this node in, and the reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The peer.
    pub peer: u64,
    /// The reason, for a person to read.
    pub why: String,
}

/// A chunk whose bytes are not what was written. Reads that need the chunk get an error until it is repaired,
/// which this node does by itself, from its peers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damage {
    /// The chunk's number.
    pub chunk: u64,
    /// A description of the damage: the file, the offset, and what is wrong there.
    pub why: String,
    /// The reason why the last try to fetch the chunk from a peer failed; none before the first try.
    pub failed: Option<String>,
}

/// The progress of the scrubber, which reads every byte of every chunk again and again, slowly.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Scrub {
    /// The number of bytes that were verified since the node started.
    pub verified_bytes: u64,
    /// The chunk that the scrubber reads now; none between two rounds, and when the scrubber is off.
    pub chunk: Option<u64>,
    /// The end of the last round that began and ended in this process, by this node's clock.
    pub last_full: Option<Timestamp>,
}

/// The clock of a node compared with the clocks that the voters showed the node of late.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Clock {
    /// The milliseconds by which this clock is ahead of the reference of the voters' clocks, its own among them; none
    /// before a majority has answered with theirs, and where there are no other voters.
    pub ahead_ms: Option<i64>,
    /// The reason why the clock is not to be relied on, for a person to read; none if it can be relied on.
    pub wrong: Option<String>,
}

/// The progress of a scavenge, or its result.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Scavenging {
    /// The number of chunks that it looked at.
    pub looked_at: u64,
    /// The number of chunks that it wrote anew, without the events that are gone.
    pub rewritten: u64,
    /// The number of events that it removed.
    pub events_removed: u64,
    /// The number of bytes of disk that it freed.
    pub bytes_freed: u64,
    /// The newest event of the checkpoint that it goes by, or of an older one: removals up to there are taken out.
    pub checkpointed_position: Position,
}

/// The state of a node and of its cluster, as the node knows it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Status {
    /// The node's id; none while it belongs to no cluster.
    pub id: Option<u64>,
    /// The node's role.
    pub role: Role,
    /// The newest Raft term that the node knows.
    pub term: Term,
    /// The leader of that term, if the node knows one.
    pub leader: Option<Member>,
    /// The newest log index that the node knows to be on a majority.
    pub committed: Option<LogIndex>,
    /// The newest log index that the node applied.
    pub applied: Option<LogIndex>,
    /// The position of the newest event that the node applied.
    pub position: Position,
    /// The log index of the node's newest checkpoint.
    pub checkpointed: Option<LogIndex>,
    /// The position of the newest event in a chunk of the newest checkpoint.
    pub checkpointed_position: Position,
    /// The newest log index that the node's log no longer holds: a peer that needs it gets a checkpoint instead.
    pub purged: Option<LogIndex>,
    /// The members of the cluster, by id.
    pub members: Vec<Member>,
    /// True while one set of voters replaces another: until that is over, everything needs a majority of both.
    pub voters_change: bool,
    /// The nearness of the point at which apply must wait for a seal: 0 (no seal under way) to 1 (apply waits). A
    /// leader slows admission well before 1.
    pub pressure: f32,
    /// The peers that are not let in.
    pub refusals: Vec<Refusal>,
    /// The number of bytes that can still be written to the node's disk, as of about a second ago.
    pub free_bytes: u64,
    /// With fewer free bytes the node takes no appends of users; with fewer than half of this, no entries at all.
    pub reserve_bytes: u64,
    /// True if the node is below its reserve; the node has room again a little above the reserve.
    pub low_on_space: bool,
    /// The damaged chunks, by number.
    pub damaged: Vec<Damage>,
    /// The progress of the scrubber.
    pub scrub: Scrub,
    /// The newest scavenge since the node started, under way or ended.
    pub scavenged: Option<Scavenging>,
    /// The node's clock compared with those of its peers.
    pub clock: Clock,
    /// Set when replicas differ in the outcome of the same entries, and no majority of them agrees: a person must
    /// decide which replica to believe.
    pub disagreement: Option<String>,
}
