//! Scrubbing: every byte of the chunks is checked, slowly, while the store is in use.

#![expect(clippy::unimplemented, reason = "lands next")]

use crate::fault::Fault;
use crate::store::Store;

/// A scrub under way: once over all chunks that there were when it began. It runs beside the store, wherever.
#[derive(Debug)]
pub struct Scrub {}

impl Scrub {
    /// Checks the next bytes, about as many as the budget says.
    ///
    /// Error: the catalog is damaged, or the disk cannot be read where it stands: the node stops. A chunk that
    /// is damaged is no error: another node may have it whole.
    pub fn step(&mut self, _budget_bytes: u64) -> Result<ScrubStep, Fault> {
        unimplemented!()
    }
}

/// What a step of a scrub found.
#[derive(Debug)]
pub enum ScrubStep {
    /// So many bytes are as they were written.
    Whole(u64),
    /// A chunk is damaged; the next step goes on behind it. The caller tells [`Store::note_damage`].
    Damaged {
        /// The chunk.
        number: u64,
        /// What is wrong, and where.
        fault: Fault,
    },
    /// Everything was checked.
    Done,
}

impl Store {
    /// Begins to check every byte of the chunks.
    pub fn scrub(&self) -> Scrub {
        unimplemented!()
    }

    /// Learns that a read, a scrub or a scavenge found a chunk damaged: from now on reads of it answer that
    /// fault at once, until it is repaired. The number of the chunk, if the fault speaks of one in use.
    pub fn note_damage(&mut self, _fault: &Fault) -> Option<u64> {
        unimplemented!()
    }
}
