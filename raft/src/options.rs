//! The options with which a replica is started.

use std::path::PathBuf;
use std::time::Duration;

use crate::identity::JoinToken;

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
    /// On an empty folder: the token of the cluster that may take the node in. Without it, the node waits to be founded.
    pub join_token: Option<JoinToken>,
}

impl ReplicaOptions {
    /// The default of `scrub_bytes_per_second`: 350 GB a day.
    pub const SCRUB_BYTES_PER_SECOND_DEFAULT: u64 = 4 * 1024 * 1024;
    /// The default of `block_cache_bytes`.
    pub const BLOCK_CACHE_BYTES_DEFAULT: usize = 64 * 1024 * 1024;
}
