//! Sealing: the tail of a finished stretch of the log becomes a chunk and a checkpoint.

use quorate_proto::LogId;

use crate::fault::Fault;

/// A seal to be run, wherever; made by [`crate::Store::begin_seal`].
#[derive(Debug)]
pub struct Seal {
    log_id: LogId,
}

impl Seal {
    /// The last entry of the stretch. **The caller first waits until its log is flushed to here**: a
    /// checkpoint must never be ahead of the log that it is a checkpoint of.
    pub fn log_id(&self) -> LogId {
        self.log_id
    }

    /// Writes the chunk and commits the checkpoint. Both are durable on return.
    pub fn run(self) -> Result<Sealed, Fault> {
        unimplemented!()
    }
}

/// A seal that was run; goes back to [`crate::Store::finish_seal`].
#[derive(Debug)]
pub struct Sealed {
    log_id: LogId,
}

impl Sealed {
    /// The last entry of the checkpoint, which is durable: log entries up to here are not needed any more.
    pub fn log_id(&self) -> LogId {
        self.log_id
    }
}
