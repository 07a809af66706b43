//! The keys of a chunk, as the index over all chunks needs them.

use std::ops::Bound;

use super::Chunk;
use crate::Fault;
use crate::files::ReadCounters;
use crate::format::catalog::KeyState;
use crate::format::chunk::dictionary::PageEntry;
use crate::format::chunk::page::PageReader;

impl Chunk {
    /// Returns where a key was last seen by the end of this chunk; `None` if the chunk does not hold it. The key is
    /// encoded as by [`crate::Key::encode`].
    pub(crate) fn key_state(
        &self,
        key: &[u8],
        reads: &mut ReadCounters,
    ) -> Result<Option<KeyState>, Fault> {
        let Some(page) = self.dictionary.page_of(key) else { return Ok(None) };
        let mut reader = self.cached_page(page, reads)?;
        let found = reader.seek(key);
        let found = found.map_err(|malformed| self.file.damaged(page.offset, malformed))?;
        Ok(found.then(|| self.state(&reader)))
    }

    /// Returns a finder of keys that ascend.
    pub(crate) fn finder(&self) -> KeyFinder<'_> {
        KeyFinder { chunk: self, open: None }
    }

    /// Returns the keys from `start` on, sorted, encoded as by [`crate::Key::encode`], each with where it was last
    /// seen by the end of this chunk; ends with the first fault. Keeps one page of the dictionary in memory.
    pub(crate) fn key_states_from(
        &self,
        start: Bound<&[u8]>,
    ) -> impl Iterator<Item = Result<(Vec<u8>, KeyState), Fault>> + use<'_> {
        let start = start.map(<[u8]>::to_vec);
        let mut pages = match &start {
            Bound::Included(start) | Bound::Excluded(start) => self.dictionary.pages_from(start),
            Bound::Unbounded => self.dictionary.pages(),
        }
        .iter();
        let is_before = move |key: &[u8]| match &start {
            Bound::Included(start) => key < start.as_slice(),
            Bound::Excluded(start) => key <= start.as_slice(),
            Bound::Unbounded => false,
        };
        let mut open: Option<(PageEntry, PageReader)> = None;
        std::iter::from_fn(move || {
            loop {
                if let Some((page, reader)) = &mut open {
                    match reader.advance() {
                        Ok(true) if is_before(reader.key()) => continue,
                        Ok(true) => return Some(Ok((reader.key().to_vec(), self.state(reader)))),
                        Ok(false) => {}
                        Err(malformed) => {
                            let fault = self.file.damaged(page.offset, malformed);
                            (open, pages) = (None, [].iter());
                            return Some(Err(fault));
                        }
                    }
                }
                let page = pages.next()?;
                match self.page(*page) {
                    Ok(reader) => open = Some((*page, reader)),
                    Err(fault) => {
                        (open, pages) = (None, [].iter());
                        return Some(Err(fault));
                    }
                }
            }
        })
    }

    /// Returns the state of a key by the current entry of a page.
    fn state(&self, page: &PageReader) -> KeyState {
        KeyState { last_chunk: self.summary.number, version: page.version() }
    }
}

/// Finds keys of a chunk that ascend: each page of the dictionary is read at most once, and past the cache, from which
/// a pass over all pages would drive out what others use.
#[derive(Debug)]
pub(crate) struct KeyFinder<'a> {
    chunk: &'a Chunk,
    /// The page of the last key, and its index.
    open: Option<(usize, PageReader)>,
}

impl KeyFinder<'_> {
    /// Returns where a key was last seen by the end of the chunk; `None` if the chunk does not hold it.
    pub(crate) fn find(&mut self, key: &[u8]) -> Result<Option<KeyState>, Fault> {
        let Chunk { dictionary, file, .. } = self.chunk;
        let at = match &self.open {
            Some((at, _)) if !dictionary.ends_before(*at, key) => *at,
            _ => dictionary.index_of(key),
        };
        let Some(page) = dictionary.pages().get(at) else { return Ok(None) };
        let reader = match &mut self.open {
            Some((open, reader)) if *open == at => reader,
            open => &mut open.insert((at, self.chunk.page(*page)?)).1,
        };
        let found = reader.seek(key);
        let found = found.map_err(|malformed| file.damaged(page.offset, malformed))?;
        Ok(found.then(|| self.chunk.state(reader)))
    }
}
