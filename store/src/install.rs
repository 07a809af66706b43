//! Taking over another node's checkpoint: missing chunks are fetched, the catalog is built beside the old.

use quorate_proto::LogId;

use crate::chunk::ChunkSummary;
use crate::fault::Fault;

/// An install under way. Dropped, it leaves files that the next open of the store removes.
#[derive(Debug)]
pub struct Install {
    log_id: LogId,
}

impl Install {
    /// The last entry that the checkpoint holds.
    pub fn log_id(&self) -> LogId {
        self.log_id
    }

    /// The chunks that are still to be put and finished, by number.
    pub fn missing(&self) -> Vec<ChunkSummary> {
        unimplemented!()
    }

    /// Puts bytes of a missing chunk's file; in any order, again if need be.
    pub fn put_chunk(&mut self, number: u64, offset: u64, bytes: &[u8]) -> Result<(), Fault> {
        unimplemented!()
    }

    /// Verifies every byte of a chunk that was put whole, and makes it durable.
    /// Error: [`Fault::Damaged`]; the chunk is then missing as before.
    pub fn finish_chunk(&mut self, number: u64) -> Result<(), Fault> {
        unimplemented!()
    }

    /// Puts the next page of the catalog; in the order of [`crate::Export::catalog_pages`].
    pub fn put_catalog(&mut self, page: &[u8]) -> Result<(), Fault> {
        unimplemented!()
    }

    /// Makes the new catalog durable. Nothing of it counts before [`crate::Store::finish_install`].
    /// Error: [`Fault::Damaged`] when chunks are missing or the catalog is not what the manifest says.
    pub fn finish(self) -> Result<Installed, Fault> {
        unimplemented!()
    }
}

/// A complete checkpoint beside the store's own; goes to [`crate::Store::finish_install`].
#[derive(Debug)]
pub struct Installed {
    log_id: LogId,
}

impl Installed {
    /// The last entry that the checkpoint holds.
    pub fn log_id(&self) -> LogId {
        self.log_id
    }
}
