//! The choice of the time that is stamped: this node's clock, checked against the clocks of its peers.
//!
//! It may use Raft, the peers and the handover of leadership.

pub(crate) mod exchange;
mod offsets;
mod stamp;

pub(crate) use offsets::must_be_accepted;
pub(crate) use stamp::StampClock;
