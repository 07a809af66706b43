//! The keys of a chunk, as the index over all chunks needs them.

use std::ops::Bound;

use quorate_proto::Version;

use super::Chunk;
use crate::files::ReadCounters;
use crate::format::catalog::KeyState;
use crate::format::chunk::dictionary::{Entry, PageReader};
use crate::{Fault, Key};

impl Chunk {
    /// Returns where a key was last seen by the end of this chunk; `None` if the chunk does not hold it.
    pub(crate) fn key_state(
        &self,
        key: &Key,
        reads: &mut ReadCounters,
    ) -> Result<Option<KeyState>, Fault> {
        let key = key.encode();
        let Some(page) = self.dictionary.page_of(&key) else { return Ok(None) };
        let entry = self.entry(&key, page, reads)?;
        Ok(entry.map(|entry| self.state_of(&entry)))
    }

    /// Returns the keys from `start` on, sorted, encoded as by [`Key::encode`], each with where it was last
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
        let mut open: Option<(u64, PageReader)> = None;
        std::iter::from_fn(move || {
            loop {
                if let Some((offset, reader)) = &mut open {
                    match reader.next() {
                        Ok(Some(entry)) if is_before(&entry.key) => continue,
                        Ok(Some(entry)) => return Some(Ok((self.state_of(&entry), entry.key))),
                        Ok(None) => {}
                        Err(malformed) => {
                            let fault = self.file.damaged(*offset, malformed);
                            (open, pages) = (None, [].iter());
                            return Some(Err(fault));
                        }
                    }
                }
                let page = pages.next()?;
                match self.page(*page) {
                    Ok(reader) => open = Some((page.offset, reader)),
                    Err(fault) => {
                        (open, pages) = (None, [].iter());
                        return Some(Err(fault));
                    }
                }
            }
        })
        .map(|row| row.map(|(state, key)| (key, state)))
    }

    fn state_of(&self, entry: &Entry) -> KeyState {
        let version = entry.versions.map_or(Version(entry.total), |(_, last)| last);
        KeyState { last_chunk: self.summary.number, version }
    }
}
