//! The maintenance of a node's store: scrubbing, repair, scavenging, and the comparison of outcomes.
//!
//! It may use Raft, the machine, the peers and checkpoints.

pub(crate) mod digests;
pub(crate) mod repair;
pub(crate) mod scavenge;
pub(crate) mod scrub;
