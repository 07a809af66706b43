//! The place of a chunk in a view: the chunk is open, or known to be damaged.

use std::sync::Arc;

use crate::chunk::{Chunk, ChunkSummary};
use crate::fault::Fault;

/// A chunk of the checkpoint. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) enum ChunkSlot {
    Whole(Arc<Chunk>),
    /// What should be there, and what is wrong with the file. Reads of it answer that fault.
    Damaged(Arc<(ChunkSummary, Fault)>),
}

impl ChunkSlot {
    /// The place of a chunk that cannot be used.
    pub(crate) fn damaged(summary: ChunkSummary, fault: Fault) -> ChunkSlot {
        ChunkSlot::Damaged(Arc::new((summary, fault)))
    }

    /// Whether the other is this very one, open as the same file or damaged in the same way.
    pub(crate) fn is_same(&self, other: &ChunkSlot) -> bool {
        match (self, other) {
            (ChunkSlot::Whole(one), ChunkSlot::Whole(other)) => Arc::ptr_eq(one, other),
            (ChunkSlot::Damaged(one), ChunkSlot::Damaged(other)) => Arc::ptr_eq(one, other),
            _ => false,
        }
    }

    /// What the catalog keeps of the chunk.
    pub(crate) fn summary(&self) -> &ChunkSummary {
        match self {
            ChunkSlot::Whole(chunk) => chunk.summary(),
            ChunkSlot::Damaged(damaged) => &damaged.0,
        }
    }

    /// The chunk's number.
    pub(crate) fn number(&self) -> u64 {
        self.summary().number
    }

    /// The chunk. Error: what is wrong with it.
    pub(crate) fn chunk(&self) -> Result<&Arc<Chunk>, Fault> {
        match self {
            ChunkSlot::Whole(chunk) => Ok(chunk),
            ChunkSlot::Damaged(damaged) => Err(damaged.1.clone()),
        }
    }

    /// What is wrong with the chunk; `None` if it is whole as far as is known.
    pub(crate) fn fault(&self) -> Option<&Fault> {
        match self {
            ChunkSlot::Whole(_) => None,
            ChunkSlot::Damaged(damaged) => Some(&damaged.1),
        }
    }
}
