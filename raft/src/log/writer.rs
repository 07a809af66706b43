//! The writer: takes what is queued, writes it as one batch, syncs it, reports.
#![allow(clippy::unimplemented, unused_variables)]

use std::path::Path;

use quorate_proto::LogId;
use quorate_store::Fault;
use quorate_store::vfs::Vfs;

/// The writing end of the log's queue: repeat [`ready`](Self::ready) (or [`wait`](Self::wait)),
/// [`write`](Self::write), [`sync`](Self::sync), until one says that it is over.
#[derive(Debug)]
pub struct LogWriter {}

impl LogWriter {
    /// Waits for work; false when all handles are dropped and everything is written, or the log failed.
    pub async fn ready(&mut self) -> bool {
        unimplemented!()
    }

    /// The blocking twin of [`ready`](Self::ready).
    pub fn wait(&mut self) -> bool {
        unimplemented!()
    }

    /// Writes what is queued as one batch.
    pub fn write(&mut self) -> Result<(), Fault> {
        unimplemented!()
    }

    /// Makes the batch durable, then calls its [`Done`](super::Done)s in order.
    pub fn sync(&mut self) -> Result<(), Fault> {
        unimplemented!()
    }
}

/// What [`verify`] found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LogReport {
    /// Segments in use.
    pub segments: u64,
    /// Bytes in use in them.
    pub bytes: u64,
    /// Entries after the last purged.
    pub entries: u64,
    /// The last entry.
    pub last: Option<LogId>,
}

/// Checks every byte in use of a stopped node's log; changes nothing.
pub fn verify(vfs: &dyn Vfs, directory: &Path) -> Result<LogReport, Fault> {
    unimplemented!()
}
