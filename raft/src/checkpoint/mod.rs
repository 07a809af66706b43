//! Checkpoints: made on demand, taken over from a peer, and the log purged behind them.
//!
//! It may use Raft, the machine, the peers and the clocks.

pub(crate) mod log_purge;
mod on_demand;
mod receive;

pub(crate) use on_demand::OnDemand;
pub(crate) use receive::Receiver;
