//! Checkpoints: made on demand, taken over from a peer, and the log purged behind them.
//!
//! It may use Raft, the machine, the peers and the clocks.

pub(crate) mod log_purge;
pub(crate) mod on_demand;
pub(crate) mod receive;
