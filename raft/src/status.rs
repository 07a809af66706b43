//! What a node knows about itself and its cluster, as it is shown.

use quorate_proto::{LogIndex, Position, Term, Timestamp};

/// A node of the cluster and how it is reached.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Member {
    /// Its id.
    pub id: u64,
    /// Where it serves clients.
    pub client_address: String,
    /// Where it serves its peers.
    pub peer_address: String,
}

/// What a node does in its cluster.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Role {
    /// It belongs to no cluster yet and waits to be founded or taken in.
    #[default]
    Waiting,
    /// It takes a copy and has no vote.
    Learner,
    /// It follows a leader, or waits for one.
    Follower,
    /// It asks to become the leader.
    Candidate,
    /// It leads: appends go through it.
    Leader,
}

impl Role {
    /// The word for it in JSON; stable.
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

/// A peer that is not let in, or that does not let this node in, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The peer.
    pub peer: u64,
    /// Why, for a person.
    pub why: String,
}

/// A chunk whose bytes are not what was written. Reads that need it get an error until it is repaired, which
/// this node does by itself, from its peers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damage {
    /// The chunk's number.
    pub chunk: u64,
    /// What was found: the file, where, and what is wrong there.
    pub why: String,
    /// Why the last try to fetch it from a peer failed; none before the first.
    pub failed: Option<String>,
}

/// How far the scrubber is: it reads every byte of every chunk again and again, slowly.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Scrub {
    /// Bytes that were verified since the node started.
    pub verified_bytes: u64,
    /// The chunk that it looks at; none between two rounds, and when it is off.
    pub chunk: Option<u64>,
    /// When the last round ended that began and ended in this process, by this node's clock.
    pub last_full: Option<Timestamp>,
}

/// How the clock of a node stands to those of the voters that it heard of late.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Clock {
    /// Milliseconds by which it is ahead of their median, its own among them; none before a majority told theirs,
    /// and where there are no others.
    pub ahead_ms: Option<i64>,
    /// Why it is not to be relied on, for a person; none if it is.
    pub wrong: Option<String>,
}

/// How far a scavenge is, or what it came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Scavenging {
    /// Chunks that it looked at.
    pub looked_at: u64,
    /// Chunks that it wrote anew, without what is gone.
    pub rewritten: u64,
    /// Events that it removed.
    pub events_removed: u64,
    /// Bytes of disk that came back.
    pub bytes_freed: u64,
}

/// What a node knows about itself and its cluster.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Status {
    /// Its id; none while it belongs to no cluster.
    pub id: Option<u64>,
    /// What it does.
    pub role: Role,
    /// The newest Raft term it knows.
    pub term: Term,
    /// The leader of that term, if it knows one.
    pub leader: Option<Member>,
    /// The newest log index it knows to be on a majority.
    pub committed: Option<LogIndex>,
    /// The newest log index it applied.
    pub applied: Option<LogIndex>,
    /// The position of the newest event it applied.
    pub position: Position,
    /// The log index of its newest checkpoint.
    pub checkpointed: Option<LogIndex>,
    /// The position of the newest event in a chunk of its newest checkpoint.
    pub checkpointed_position: Position,
    /// The newest log index that its log no longer holds: a peer that needs it gets a checkpoint instead.
    pub purged: Option<LogIndex>,
    /// The members of the cluster, by id.
    pub members: Vec<Member>,
    /// How near apply is to having to wait for a seal: 0 (no seal under way) to 1 (it waits). A leader
    /// slows admission well before.
    pub pressure: f32,
    /// Peers that are not let in.
    pub refusals: Vec<Refusal>,
    /// Bytes that can still be written to its disk, as of about a second ago.
    pub free_bytes: u64,
    /// With fewer free bytes it takes no appends of users. With fewer than half of it, no entries at all.
    pub reserve_bytes: u64,
    /// Whether it is below its reserve; it has room again a little above it.
    pub low_on_space: bool,
    /// Damaged chunks, by number.
    pub damaged: Vec<Damage>,
    /// How far the scrubber is.
    pub scrub: Scrub,
    /// The newest scavenge since the node started, under way or ended.
    pub scavenged: Option<Scavenging>,
    /// How its clock stands to those of its peers.
    pub clock: Clock,
    /// Set when replicas differ in what the same entries came to, and no majority of them agrees: whom to
    /// believe is for a person to say.
    pub disagreement: Option<String>,
}
