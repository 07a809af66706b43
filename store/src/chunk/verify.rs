//! Checks every byte of a chunk, and that its indexes say what its events say.

use quorate_proto::Version;

use super::Chunk;
use super::postings::{KeyPostings, Postings};
use crate::cache::ReadCounters;
use crate::format::Malformed;
use crate::format::chunk::dictionary::{Entry, PageReader};
use crate::format::chunk::{Removed, event_digest};
use crate::{Fault, Key};

/// Memory for the events of one step.
const STEP_BYTES: usize = 1024 * 1024;

/// A key of a chunk, as its dictionary has it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct ChunkKey {
    pub(crate) key: Key,
    /// Of a stream: the version of its first event in the chunk.
    pub(crate) first_version: Option<Version>,
    /// Of a stream: the version of its last event in the chunk; 0 for other keys.
    pub(crate) last_version: Version,
    /// The last chunk before this one that holds the key.
    pub(crate) previous: Option<u64>,
}

impl Chunk {
    /// Checks every byte of the file, and that ids, dictionary and digest are those of the events.
    /// Takes memory for the index of the chunk.
    pub(crate) fn verify(&self) -> Result<(), Fault> {
        self.verify_frames()?;
        let postings = self.verify_events()?;
        self.verify_dictionary(postings)
    }

    /// How many events the chunk holds.
    pub(crate) fn count(&self) -> u32 {
        self.footer.count
    }

    /// Sections that this build does not know are under checksums too.
    fn verify_frames(&self) -> Result<(), Fault> {
        for section in &self.footer.sections {
            for frame in self.file.frames(section.number, section.range.clone()) {
                frame?;
            }
        }
        Ok(())
    }

    fn verify_events(&self) -> Result<Vec<(Key, KeyPostings)>, Fault> {
        let wrong = |why: &str| self.file.damaged(self.file.len, Malformed::new(why));
        let mut postings = Postings::default();
        let mut ids = self.ids()?.into_iter();
        let (mut digest, mut count, mut scratch) = (self.footer.removed.digest, 0, Vec::new());
        let (mut next, end) = (0, self.ordinals_between(None, None).end);
        let mut reads = ReadCounters::default();
        let mut recorded_at = self.summary.first_recorded_at;
        while next < end {
            let events = self.read(next..end, STEP_BYTES, &mut reads)?;
            let Some(last) = events.last() else { break };
            next = self.ordinal(last) + 1;
            for event in &events {
                if ids.next() != Some(event.id) {
                    return Err(wrong("the list of ids differs from the events"));
                }
                if event.recorded_at < recorded_at {
                    return Err(wrong("the times of the events decrease"));
                }
                recorded_at = event.recorded_at;
                digest = event_digest(event, &mut scratch).wrapping_add(digest);
                count += 1;
                postings.push(self.ordinal(event), event);
            }
        }
        let whole = self.footer.removed != Removed::default() || count == end;
        if ids.next().is_some() || count != self.footer.count || !whole {
            return Err(wrong("the number of events is not what the footer says"));
        }
        if digest != self.footer.digest || recorded_at != self.summary.last_recorded_at {
            return Err(wrong("the events are not those that the footer sums up"));
        }
        Ok(postings.finish())
    }

    fn ordinal(&self, event: &crate::StoredEvent) -> u32 {
        let ordinal = event.position.0 - self.summary.first_position.0;
        u32::try_from(ordinal).expect("it was read by a 32-bit ordinal")
    }

    fn verify_dictionary(&self, postings: Vec<(Key, KeyPostings)>) -> Result<(), Fault> {
        let mut postings = postings.into_iter();
        for entry in self.entries() {
            let (offset, entry) = entry?;
            let why = Malformed::new("the dictionary differs from the events");
            let differs = || self.file.damaged(offset, why.clone());
            let (key, expected) = postings.next().ok_or_else(differs)?;
            let found = (entry.key.clone(), entry.versions, entry.count);
            if found != (key.encode(), expected.versions, expected.count) {
                return Err(differs());
            }
            let posting = self.posting(entry, offset, &mut ReadCounters::default())?;
            let page = self.dictionary.page_of(&key.encode());
            let is_found_there = page.is_some_and(|page| page.offset == offset);
            if posting.ordinals != expected.ordinals() || !is_found_there {
                return Err(differs());
            }
        }
        if postings.next().is_some() {
            let why = Malformed::new("the dictionary lacks a key of its events");
            return Err(self.file.damaged(self.file.len, why));
        }
        Ok(())
    }

    /// The keys of the chunk, sorted; ends with the first fault. Keeps one page of the dictionary in memory.
    pub(crate) fn keys(&self) -> impl Iterator<Item = Result<ChunkKey, Fault>> {
        self.entries().map(|entry| {
            let (offset, entry) = entry?;
            let key = Key::decode(&entry.key);
            let key = key.map_err(|malformed| self.file.damaged(offset, malformed))?;
            let first_version = entry.versions.map(|(first, _)| first);
            let last_version = entry.versions.map_or(Version::ZERO, |(_, last)| last);
            let previous = self.previous(&entry, offset)?;
            Ok(ChunkKey { key, first_version, last_version, previous })
        })
    }

    /// The entries of the dictionary, each with the offset of its page; ends with the first fault.
    fn entries(&self) -> impl Iterator<Item = Result<(u64, Entry), Fault>> {
        let mut pages = self.dictionary.pages().iter();
        let mut open: Option<(u64, PageReader)> = None;
        std::iter::from_fn(move || {
            loop {
                if let Some((offset, reader)) = &mut open {
                    match reader.next().transpose() {
                        Some(Ok(entry)) => return Some(Ok((*offset, entry))),
                        Some(Err(malformed)) => {
                            let fault = self.file.damaged(*offset, malformed);
                            (open, pages) = (None, [].iter());
                            return Some(Err(fault));
                        }
                        None => {}
                    }
                }
                let page = pages.next()?;
                match self.page(*page, &mut ReadCounters::default()) {
                    Ok(reader) => open = Some((page.offset, reader)),
                    Err(fault) => {
                        (open, pages) = (None, [].iter());
                        return Some(Err(fault));
                    }
                }
            }
        })
    }
}
