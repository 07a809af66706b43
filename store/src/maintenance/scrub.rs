//! Scrubbing: the bytes on the disk are checked, slowly, while the store is in use.

use std::vec::IntoIter;

use crate::catalog::CatalogScrub;
use crate::checkpoint::open_chunk_at;
use crate::chunk::Chunk;
use crate::fault::Fault;
use crate::files::Folder;
use crate::format::chunk::ChunkSummary;
use crate::options::Options;
use crate::store::Store;

/// A scrub under way: one pass over the files of all chunks that there were when it began, and then over the
/// catalog. It may run on any thread, beside the store.
#[derive(Debug)]
pub struct Scrub {
    folder: Folder,
    options: Options,
    chunks: IntoIter<ChunkSummary>,
    /// The chunk that is being checked, and the offset at which the next piece begins.
    open: Option<(Chunk, u64)>,
    catalog: CatalogScrub,
}

impl Scrub {
    /// Checks the next bytes of one chunk, or of the catalog: about as many as the budget, and at least one
    /// block.
    ///
    /// Errors: the catalog is damaged in a part in use, and the node must stop; or files cannot be checked,
    /// say because too many are open. A damaged or missing chunk is no error: another node may have it whole.
    pub fn step(&mut self, budget_bytes: u64) -> Result<ScrubStep, Fault> {
        let (chunk, offset) = match self.open.take() {
            Some(open) => open,
            None => {
                let Some(summary) = self.chunks.next() else {
                    return self.check_catalog(budget_bytes);
                };
                let path = self.folder.chunk(summary.number);
                match open_chunk_at(&self.folder, &self.options, &summary, &path) {
                    Ok(chunk) => (chunk, 0),
                    Err(fault) => return damaged(summary.number, fault),
                }
            }
        };
        match chunk.check_piece(offset, budget_bytes) {
            Ok(None) => Ok(ScrubStep::Whole(chunk.bytes().saturating_sub(offset))),
            Ok(Some(next)) => {
                self.open = Some((chunk, next));
                Ok(ScrubStep::Whole(next - offset))
            }
            Err(fault) => damaged(chunk.summary().number, fault),
        }
    }

    fn check_catalog(&mut self, budget_bytes: u64) -> Result<ScrubStep, Fault> {
        match self.catalog.step(budget_bytes)? {
            0 => Ok(ScrubStep::Done),
            bytes => Ok(ScrubStep::Whole(bytes)),
        }
    }

    /// The number of the chunk that is partly checked.
    pub fn chunk(&self) -> Option<u64> {
        self.open.as_ref().map(|(chunk, _)| chunk.summary().number)
    }
}

fn damaged(number: u64, fault: Fault) -> Result<ScrubStep, Fault> {
    if fault.is_damage() { Ok(ScrubStep::Damaged { number, fault }) } else { Err(fault) }
}

/// The result of a step of a scrub.
#[derive(Debug)]
pub enum ScrubStep {
    /// The number of bytes that were checked and found as they were written.
    Whole(u64),
    /// A chunk is damaged; the next step goes on after it. Give the fault to [`Store::note_damage`].
    Damaged {
        /// The chunk's number.
        number: u64,
        /// The damage and its place.
        fault: Fault,
    },
    /// Everything has been checked.
    Done,
}

impl Store {
    /// Begins to check every byte of the chunks and of the catalog.
    pub fn scrub(&self) -> Scrub {
        let chunks: Vec<ChunkSummary> =
            self.view.chunks.iter().map(|chunk| chunk.summary().clone()).collect();
        let (folder, options) = (self.folder.clone(), self.options.clone());
        let (chunks, catalog) = (chunks.into_iter(), self.catalog.scrub());
        Scrub { folder, options, chunks, open: None, catalog }
    }
}
