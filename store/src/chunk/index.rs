//! Writes the index of a chunk: the postings of keys that have many, the dictionary, and its page index.

use super::draft::Draft;
use crate::Fault;
use crate::format::chunk::Section;
use crate::format::chunk::dictionary::{DictionaryIndex, PageEntry};
use crate::format::chunk::page::{NewEntry, PageBuilder};

/// The size from which on a page of the dictionary is closed.
const PAGE_BYTES: usize = 8 * 1024;
/// The most bytes of ordinals in a key's entry; longer ones stand apart, so that pages stay short.
const ORDINALS_HERE_BYTES_MAX: usize = 1024;
/// The size of the frames of ordinals that stand apart.
const POSTINGS_FRAME_BYTES: usize = 32 * 1024;

/// The dictionary of a chunk while it is written: postings at once, pages once all postings are written.
pub(super) struct Index {
    start: u64,
    full: Vec<Page>,
    open: PageBuilder,
}

struct Page {
    first_key: Vec<u8>,
    last_key: Vec<u8>,
    payload: Vec<u8>,
}

impl Index {
    pub(super) fn new(draft: &Draft) -> Index {
        Index { start: draft.offset(), full: Vec::new(), open: PageBuilder::default() }
    }

    /// Adds the next key, with its ordinals in the entry; if they are many, they are placed apart.
    pub(super) fn push(&mut self, draft: &mut Draft, entry: &NewEntry<'_>) -> Result<(), Fault> {
        let apart = if entry.ordinals.len() > ORDINALS_HERE_BYTES_MAX {
            let start = draft.offset() - self.start;
            for piece in entry.ordinals.chunks(POSTINGS_FRAME_BYTES) {
                draft.put(Section::Postings, piece)?;
            }
            Some(start..draft.offset() - self.start)
        } else {
            None
        };
        self.open.push(entry, apart);
        if self.open.size() >= PAGE_BYTES {
            self.close_page();
        }
        Ok(())
    }

    /// Writes the sections of postings, dictionary and its index.
    pub(super) fn finish(mut self, draft: &mut Draft) -> Result<(), Fault> {
        self.close_page();
        draft.close(Section::Postings, self.start);
        let start = draft.offset();
        let mut index = DictionaryIndex::default();
        let mut before = Vec::new();
        for page in self.full {
            let offset = draft.offset();
            let length = draft.put(Section::Dictionary, &page.payload)?;
            index.push(&before, &page.first_key, PageEntry { offset, length });
            before = page.last_key;
        }
        draft.close(Section::Dictionary, start);
        draft.put_section(Section::DictionaryIndex, &index.encode())
    }

    fn close_page(&mut self) {
        let page = std::mem::take(&mut self.open);
        if page.size() > 0 {
            let (first_key, last_key) = page.bounds();
            let (first_key, last_key) = (first_key.to_vec(), last_key.to_vec());
            self.full.push(Page { first_key, last_key, payload: page.finish() });
        }
    }
}
