//! The place of a chunk in a view: the chunk is open, or known to be damaged.

use std::sync::Arc;

use crate::chunk::Chunk;
use crate::fault::Fault;
use crate::format::chunk::ChunkSummary;

/// A chunk of the checkpoint. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) enum ChunkSlot {
    Whole(Arc<Chunk>),
    /// The summary of the chunk that should be there, and the damage. Reads of the chunk return that fault.
    Damaged(Arc<(ChunkSummary, Fault)>),
}

impl ChunkSlot {
    /// The slot of a chunk that cannot be used.
    pub(crate) fn damaged(summary: ChunkSummary, fault: Fault) -> ChunkSlot {
        ChunkSlot::Damaged(Arc::new((summary, fault)))
    }

    /// Returns true if both slots are the same: open as the same file, or marked damaged by the same fault.
    pub(crate) fn is_same(&self, other: &ChunkSlot) -> bool {
        match (self, other) {
            (ChunkSlot::Whole(one), ChunkSlot::Whole(other)) => Arc::ptr_eq(one, other),
            (ChunkSlot::Damaged(one), ChunkSlot::Damaged(other)) => Arc::ptr_eq(one, other),
            _ => false,
        }
    }

    /// The summary that the catalog keeps of the chunk.
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

    /// The chunk. Error: its damage.
    pub(crate) fn chunk(&self) -> Result<&Arc<Chunk>, Fault> {
        match self {
            ChunkSlot::Whole(chunk) => Ok(chunk),
            ChunkSlot::Damaged(damaged) => Err(damaged.1.clone()),
        }
    }

    /// The damage of the chunk; `None` if it is whole as far as is known.
    pub(crate) fn fault(&self) -> Option<&Fault> {
        match self {
            ChunkSlot::Whole(_) => None,
            ChunkSlot::Damaged(damaged) => Some(&damaged.1),
        }
    }
}
