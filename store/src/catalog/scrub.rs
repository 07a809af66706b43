//! Checks the file of a catalog while the catalog is in use.

use super::pages::Pages;
use super::verify::verify_file;
use crate::Fault;
use crate::format::catalog::{BLOCK_BYTES, checksum_offset, page_offset};

/// The tries to read a page that is being written. A page of a durable checkpoint is written over only after
/// two more checkpoints, so a page that is never seen at rest can wait for the next scrub.
const TRIES: usize = 64;

/// A check of all pages, some at a time; pages that redb has in memory do not matter to it.
///
/// A page that fails its checksum is not damage yet: a power cut leaves torn pages of a commit that never
/// counted, and nothing uses them. So if a bad page is found, all pages that the newest checkpoint uses are
/// verified at the end.
#[derive(Debug)]
pub(crate) struct CatalogScrub {
    pages: Pages,
    next: u64,
    /// True if a page was found that its checksum does not match, used or not.
    is_suspect: bool,
}

impl CatalogScrub {
    pub(super) fn new(pages: Pages) -> CatalogScrub {
        CatalogScrub { pages, next: 0, is_suspect: false }
    }

    /// Checks the next pages, about `budget_bytes` of them but at least one, and returns the number of bytes
    /// checked; 0 at the end. The last step may read all the pages in use once more.
    ///
    /// Error: [`Fault::Damaged`] for a page that the newest checkpoint uses; [`Fault::Io`].
    pub(crate) fn step(&mut self, budget_bytes: u64) -> Result<u64, Fault> {
        let mut bytes = 0;
        let count = (budget_bytes / BLOCK_BYTES).max(1);
        for page in self.next..self.next.saturating_add(count) {
            if page >= self.pages.state().checksums.len() as u64 {
                break;
            }
            self.is_suspect |= !self.is_whole(page);
            self.next = page + 1;
            bytes += BLOCK_BYTES;
        }
        if bytes == 0 && std::mem::take(&mut self.is_suspect) {
            self.verify_what_is_used()?;
        }
        Ok(bytes)
    }

    /// Returns true if a page and its checksum in the file are what was written.
    fn is_whole(&self, page: u64) -> bool {
        for _ in 0..TRIES {
            let before = self.pages.state().writes;
            let mut bytes = vec![0; BLOCK_BYTES as usize];
            let mut checksum = [0; 4];
            let file = &self.pages.file;
            let read = file.read_at(&mut bytes, page_offset(page));
            let read = read.and_then(|()| file.read_at(&mut checksum, checksum_offset(page)));
            let state = self.pages.state();
            let known = usize::try_from(page).ok().and_then(|page| state.checksums.get(page));
            let Some(known) = known.copied() else { return true };
            let is_whole = match known {
                0 => bytes.iter().all(|byte| *byte == 0),
                known => state.slot.page_checksum(page, &bytes) == known,
            };
            if read.is_ok() && is_whole && u32::from_le_bytes(checksum) == known {
                return true;
            }
            if is_at_rest(before, state.writes) {
                return false;
            }
        }
        true
    }

    fn verify_what_is_used(&self) -> Result<(), Fault> {
        for _ in 0..TRIES {
            let before = self.pages.state().writes;
            let verified = verify_file(self.pages.file.clone(), &self.pages.path);
            if verified.is_ok() || is_at_rest(before, self.pages.state().writes) {
                return verified.map(|_| ());
            }
        }
        Ok(())
    }
}

/// Returns true if nothing was written between the two counts.
fn is_at_rest(before: u64, after: u64) -> bool {
    before.is_multiple_of(2) && before == after
}
