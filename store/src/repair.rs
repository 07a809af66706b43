//! Repair: a chunk that is damaged here is put in place again, from another node's bytes.

#![expect(clippy::unimplemented, reason = "lands next")]

use crate::chunk::ChunkSummary;
use crate::fault::Fault;
use crate::store::Store;

/// A repair under way. It runs beside the store, wherever. Dropped, it leaves a file that the next repair or
/// the next open of the store removes.
#[derive(Debug)]
pub struct Repair {
    wanted: ChunkSummary,
}

impl Repair {
    /// What the chunk must be.
    pub fn wanted(&self) -> &ChunkSummary {
        &self.wanted
    }

    /// Puts bytes of the chunk's file; in any order, again if need be.
    pub fn put(&mut self, _offset: u64, _bytes: &[u8]) -> Result<(), Fault> {
        unimplemented!()
    }

    /// Verifies every byte and makes the file durable; it counts only after [`Store::finish_repair`].
    ///
    /// Errors: [`Fault::Damaged`] if the bytes are not the chunk; [`Fault::Foreign`] if they are of another one,
    /// or of one that was scavenged below floors that this node's checkpoint does not know. Other nodes' bytes
    /// may do. [`Fault::Io`]: the disk refuses.
    pub fn finish(self) -> Result<Repaired, Fault> {
        unimplemented!()
    }
}

/// A whole chunk, beside the damaged one.
#[derive(Debug)]
pub struct Repaired {
    number: u64,
}

impl Repaired {
    /// The chunk's number.
    pub fn number(&self) -> u64 {
        self.number
    }
}

impl Store {
    /// Begins to repair a chunk; `None` if there is no such chunk, or it is not damaged. One at a time for each
    /// chunk: the caller sees to it.
    pub fn begin_repair(&self, _number: u64) -> Option<Repair> {
        unimplemented!()
    }

    /// Puts the repaired chunk in its place, durably, and completes the retry window with its ids where they
    /// were missing. One that is not damaged any more (an install overtook the repair) is left as it is.
    pub fn finish_repair(&mut self, _repaired: Repaired) -> Result<(), Fault> {
        unimplemented!()
    }
}
