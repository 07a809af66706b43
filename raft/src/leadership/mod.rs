//! Leadership: a leader proves that it leads, and hands over when it cannot lead well.
//!
//! It may use Raft, the machine, the peers and the disk space.

pub(crate) mod handover;
pub(crate) mod hanging_disk;
pub(crate) mod little_space;
pub(crate) mod read_index;
