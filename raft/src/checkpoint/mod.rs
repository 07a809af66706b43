//! Checkpoints: made on demand, sent to a peer or taken over from one, and the log purged behind them.
//!
//! It may use Raft, the machine, the peers and the clocks.

pub(crate) mod log_purge;
pub(crate) mod on_demand;
pub(crate) mod transfer;
