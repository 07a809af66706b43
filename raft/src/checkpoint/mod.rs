//! Checkpoints: made on demand, taken over from a peer, and the log purged behind them.
//!
//! It may use Raft, the machine, the peers and the clocks.

mod checkpointer;
pub(crate) mod log_purge;
mod receive;

pub(crate) use checkpointer::Checkpointer;
pub(crate) use receive::Receiver;
