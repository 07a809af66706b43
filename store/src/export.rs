//! A checkpoint as it is sent to another node: a manifest, chunk files, and the catalog's content.

use bytes::Bytes;
use quorate_proto::LogId;

use crate::chunk::ChunkSummary;
use crate::fault::Fault;

/// A pinned checkpoint: it stays as it is while the store goes on.
#[derive(Debug)]
pub struct Export {
    log_id: LogId,
}

impl Export {
    /// The last entry that the checkpoint holds.
    pub fn log_id(&self) -> LogId {
        self.log_id
    }

    /// What [`crate::Store::begin_install`] wants to know first.
    pub fn manifest(&self) -> Bytes {
        unimplemented!()
    }

    /// The chunks of the checkpoint, by number.
    pub fn chunks(&self) -> &[ChunkSummary] {
        unimplemented!()
    }

    /// At most `max` bytes of a chunk's file from `offset` on; empty at its end.
    pub fn read_chunk(&self, number: u64, offset: u64, max: usize) -> Result<Bytes, Fault> {
        unimplemented!()
    }

    /// The catalog's content, sorted, in pages of about 256 KiB.
    pub fn catalog_pages(&self) -> impl Iterator<Item = Result<Bytes, Fault>> + Send + use<> {
        std::iter::empty()
    }
}
