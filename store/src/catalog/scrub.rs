//! Checks the pages of a catalog as they stand in its file, while it is in use.

use super::pages::Pages;
use crate::Fault;
use crate::format::catalog::{BLOCK_BYTES, checksum_offset, page_offset};

/// How often a page is read again because something was written meanwhile. Pages that a durable checkpoint
/// needs are never written, so that one that cannot be seen at rest can be passed over.
const TRIES: usize = 64;

/// A check of all pages, some at a time; what redb has in memory does not matter to it.
#[derive(Debug)]
pub(crate) struct CatalogScrub {
    pages: Pages,
    next: u64,
}

impl CatalogScrub {
    pub(super) fn new(pages: Pages) -> CatalogScrub {
        CatalogScrub { pages, next: 0 }
    }

    /// Checks the next pages, as many as make about so many bytes, and at least one; how many bytes it were, 0
    /// at the end.
    pub(crate) fn step(&mut self, budget_bytes: u64) -> Result<u64, Fault> {
        let mut bytes = 0;
        let count = (budget_bytes / BLOCK_BYTES).max(1);
        for page in self.next..self.next.saturating_add(count) {
            if page >= self.pages.state().checksums.len() as u64 {
                break;
            }
            self.check(page)?;
            self.next = page + 1;
            bytes += BLOCK_BYTES;
        }
        Ok(bytes)
    }

    fn check(&self, page: u64) -> Result<(), Fault> {
        let path = &self.pages.path;
        for _ in 0..TRIES {
            let before = self.pages.state().writes;
            let mut bytes = vec![0; BLOCK_BYTES as usize];
            let mut checksum = [0; 4];
            let file = &self.pages.file;
            let read = file.read_at(&mut bytes, page_offset(page));
            let read = read.and_then(|()| file.read_at(&mut checksum, checksum_offset(page)));
            let state = self.pages.state();
            let known = usize::try_from(page).ok().and_then(|page| state.checksums.get(page));
            let Some(known) = known.copied() else { return Ok(()) };
            let is_whole = match known {
                0 => bytes.iter().all(|byte| *byte == 0),
                known => state.slot.page_checksum(page, &bytes) == known,
            };
            if read.is_ok() && is_whole && u32::from_le_bytes(checksum) == known {
                return Ok(());
            }
            if before.is_multiple_of(2) && state.writes == before {
                read.map_err(Fault::io("read", path))?;
                let offset = if is_whole { checksum_offset(page) } else { page_offset(page) };
                return Err(Fault::damaged(
                    path,
                    offset,
                    "a page of the catalog fails its checksum",
                ));
            }
        }
        Ok(())
    }
}
