//! The bytes of one chunk's file, for a node whose own copy is damaged.

use std::sync::Arc;

use bytes::Bytes;
use quorate_proto::LogIndex;

use crate::chunk::Chunk;
use crate::fault::Fault;
use crate::format::chunk::ChunkSummary;
use crate::read::Reader;

/// A chunk, held open: its bytes stay the same while the store scavenges or repairs the chunk of that number.
#[derive(Clone, Debug)]
pub struct ChunkSource {
    chunk: Arc<Chunk>,
}

impl ChunkSource {
    /// The summary of the chunk.
    pub fn summary(&self) -> &ChunkSummary {
        self.chunk.summary()
    }

    /// The log index of the checkpoint below whose floors it was scavenged; `None` if it never was.
    pub fn scavenged_at(&self) -> Option<LogIndex> {
        self.chunk.scavenged_at()
    }

    /// Reads at most `max` bytes of the file from `offset` on; empty at its end. They are not verified: the
    /// node that receives them verifies them.
    pub fn read(&self, offset: u64, max: usize) -> Result<Bytes, Fault> {
        self.chunk.raw(offset, max)
    }
}

impl Reader {
    /// Returns a chunk of the newest checkpoint, to be sent to a node that repairs its own copy; `None` if
    /// there is no such chunk. Error: the damage of the chunk, if it is damaged here too.
    pub fn chunk_source(&self, number: u64) -> Result<Option<ChunkSource>, Fault> {
        let view = self.shared.get().view;
        let chunk = view.slot(number).map(|slot| slot.chunk().cloned()).transpose()?;
        Ok(chunk.map(|chunk| ChunkSource { chunk }))
    }
}
