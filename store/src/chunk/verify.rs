//! Checks every byte of a chunk, and that its indexes agree with its events.

use std::path::Path;

use quorate_proto::Version;

use super::Chunk;
use super::file::ChunkFile;
use super::postings::{KeyPostings, Postings};
use crate::files::{BlockCache, chunk_path};
use crate::format::Malformed;
use crate::format::chunk::block::EventOrStub;
use crate::format::chunk::dictionary::PageEntry;
use crate::format::chunk::page::{Entry, PageReader};
use crate::format::chunk::{Removed, Section, event_digest};
use crate::vfs::Vfs;
use crate::{Fault, Key, StoredEvent};

/// A key of a chunk, as its dictionary has it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct ChunkKey {
    pub(crate) key: Key,
    /// For a stream the version of its first event in the chunk.
    pub(crate) first_version: Option<Version>,
    /// For a stream the version of its last event in the chunk. For another key the number of events recorded
    /// with it by the end of the chunk; 0 = not known.
    pub(crate) last_version: Version,
    /// The number of its events that are there.
    pub(crate) count: u32,
    /// The last chunk before this one that holds the key.
    pub(crate) previous: Option<u64>,
}

/// Checks a file that is known only to have the name of a chunk.
pub(crate) fn verify_alone(vfs: &dyn Vfs, path: &Path) -> Result<(), Fault> {
    let identity = ChunkFile::identity(vfs, path)?;
    let chunk = Chunk::open_any(vfs, path, &identity, &BlockCache::new(0))?;
    if path.file_name() != chunk_path(Path::new(""), identity.number).file_name() {
        return Err(Fault::foreign(path, format!("it is chunk {}", identity.number)));
    }
    chunk.verify()
}

impl Chunk {
    /// Checks every byte of the file, and that ids, dictionary and digest are those of the events. Holds the
    /// index of the chunk in memory.
    pub(crate) fn verify(&self) -> Result<(), Fault> {
        self.verify_frames()?;
        let postings = self.verify_events()?;
        self.verify_dictionary(postings)
    }

    /// Returns the number of events that the chunk holds.
    pub(crate) fn count(&self) -> u32 {
        self.footer.count
    }

    /// Checks all frames: sections that this build does not know are under checksums too.
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
        let mut sum = Sum { digest: self.footer.removed.digest, ..Sum::default() };
        let mut recorded_at = self.summary.first_recorded_at;
        for (entry, end) in self.blocks_from(0) {
            let damaged = |malformed| self.file.damaged(entry.offset, malformed);
            let block = self.file.read_block(entry)?;
            let bounds = (block.ordinal(0), block.ordinal(block.len().saturating_sub(1)));
            if bounds.0 != Some(entry.first_ordinal) || bounds.1.is_none_or(|last| last >= end) {
                return Err(damaged(Malformed::new("a block is not what the index says")));
            }
            for at in 0..block.len() {
                let stored =
                    block.event_or_stub(at, self.summary.first_position).map_err(damaged)?;
                let (Some(stored), Some(ordinal)) = (stored, block.ordinal(at)) else { continue };
                let time = match stored {
                    EventOrStub::Event(event) => {
                        sum.add(&event);
                        postings.push(ordinal, &event);
                        event.recorded_at
                    }
                    EventOrStub::Stub(stub) => {
                        postings.push_stub(ordinal, &stub);
                        stub.recorded_at
                    }
                };
                if time < recorded_at || at == 0 && time != entry.first_recorded_at {
                    return Err(damaged(Malformed::new("the times of the events decrease")));
                }
                recorded_at = time;
            }
        }
        if u64::from(sum.count) + self.footer.removed.count != u64::from(self.ordinals_end())
            || sum.count != self.footer.count
        {
            return Err(wrong("the number of events is not what the footer says"));
        }
        let last = self.summary.last_recorded_at;
        let is_last = if self.is_scavenged() { recorded_at <= last } else { recorded_at == last };
        if sum.digest != self.footer.digest || !is_last {
            return Err(wrong("the events are not those that the footer sums up"));
        }
        Ok(postings.finish())
    }

    fn is_scavenged(&self) -> bool {
        self.footer.removed != Removed::default()
    }

    /// Checks that the dictionary is that of the events; a scavenged chunk may also have keys without any event.
    fn verify_dictionary(&self, postings: Vec<(Key, KeyPostings)>) -> Result<(), Fault> {
        let mut postings =
            postings.into_iter().map(|(key, found)| (key.encode(), found)).peekable();
        let mut versions = 0;
        for entry in self.entries() {
            let (offset, entry) = entry?;
            let why = Malformed::new("the dictionary differs from the events");
            let differs = || self.file.damaged(offset, why.clone());
            let page = self.dictionary.page_of(&entry.key);
            let is_found_there = page.is_some_and(|page| page.offset == offset);
            let expected = postings.next_if(|(key, _)| *key == entry.key);
            let expected = expected.map(|(_, expected)| expected);
            let is_right = match &expected {
                Some(expected) => self.is_right(&entry, expected),
                None => self.is_scavenged() && entry.count == 0,
            };
            if !is_right || !is_found_there {
                return Err(differs());
            }
            if let Some((first, last)) = entry.versions {
                versions += last.0.checked_sub(first.0).ok_or_else(differs)? + 1;
            }
            let read = |range| self.file.joined(Section::Postings, range);
            let found = self.posting(entry, offset, read)?.ordinals;
            if found != expected.map(|expected| expected.ordinals()).unwrap_or_default() {
                return Err(differs());
            }
        }
        if postings.next().is_some() || versions != u64::from(self.ordinals_end()) {
            let why = Malformed::new("the dictionary lacks a key of its events");
            return Err(self.file.damaged(self.file.len, why));
        }
        Ok(())
    }

    /// Returns true if an entry counts the events that are there. A stream's removed events are always its oldest.
    fn is_right(&self, entry: &Entry, expected: &KeyPostings) -> bool {
        let versions = match (entry.versions, expected.versions) {
            (Some(all), Some(kept)) if self.is_scavenged() => all.1 == kept.1 && all.0 <= kept.0,
            (all, kept) => all == kept,
        };
        // Some recorded events may be gone, but no event is there that was not recorded.
        let count = u64::from(entry.count);
        let is_first = entry.distance.is_none() && !self.is_scavenged();
        let total = match entry.total {
            0 => true,
            total if is_first => total == count,
            total => total >= count,
        };
        versions && total && entry.count == expected.count
    }

    /// Returns the keys of the chunk, sorted; ends with the first fault. Keeps one page of the dictionary in memory.
    pub(crate) fn keys(&self) -> impl Iterator<Item = Result<ChunkKey, Fault>> {
        self.entries().map(|entry| {
            let (offset, entry) = entry?;
            let key = Key::decode(&entry.key);
            let key = key.map_err(|malformed| self.file.damaged(offset, malformed))?;
            let first_version = entry.versions.map(|(first, _)| first);
            let last_version = entry.versions.map_or(Version(entry.total), |(_, last)| last);
            let previous = self.previous(&entry, offset)?;
            Ok(ChunkKey { key, first_version, last_version, count: entry.count, previous })
        })
    }

    /// Returns the entries of the dictionary, each with the offset of its page; ends with the first fault.
    pub(super) fn entries(&self) -> impl Iterator<Item = Result<(u64, Entry), Fault>> {
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
                match self.page(*page) {
                    Ok(reader) => open = Some((page.offset, reader)),
                    Err(fault) => {
                        (open, pages) = (None, [].iter());
                        return Some(Err(fault));
                    }
                }
            }
        })
    }

    /// Reads a page past the cache: a pass over all pages would drive out of it the pieces that others use.
    pub(super) fn page(&self, page: PageEntry) -> Result<PageReader, Fault> {
        let range = page.offset..page.offset.saturating_add(page.length);
        let payload = self.file.frame(Section::Dictionary.number(), range)?;
        PageReader::new(payload).map_err(|malformed| self.file.damaged(page.offset, malformed))
    }
}

/// The sums that the footer has.
#[derive(Default)]
struct Sum {
    count: u32,
    digest: u128,
    scratch: Vec<u8>,
}

impl Sum {
    fn add(&mut self, event: &StoredEvent) {
        self.count += 1;
        self.digest = self.digest.wrapping_add(event_digest(&event.parts(), &mut self.scratch));
    }
}
