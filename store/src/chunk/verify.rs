//! Checks every byte of a chunk, and that its indexes say what its events say.

use quorate_proto::Version;

use super::Chunk;
use super::postings::{KeyPostings, Postings};
use crate::format::Malformed;
use crate::format::chunk::dictionary::PageReader;
use crate::format::chunk::{Removed, Section, event_digest};
use crate::{Fault, Key};

/// Memory for the events of one step.
const STEP_BYTES: usize = 1024 * 1024;

/// A key of a chunk, as its dictionary has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ChunkKey {
    pub(crate) key: Key,
    /// Of a stream: the version of its last event in the chunk; 0 for other keys.
    pub(crate) last_version: Version,
    /// The last chunk before this one that holds the key.
    pub(crate) previous: Option<u64>,
}

impl Chunk {
    /// Checks every byte of the file, and that ids, dictionary and digest are those of the events.
    /// Returns the keys, sorted. Takes memory for the index of one chunk.
    pub(crate) fn verify(&self) -> Result<Vec<ChunkKey>, Fault> {
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
        let mut recorded_at = self.summary.first_recorded_at;
        while next < end {
            let events = self.read(next..end, STEP_BYTES)?;
            let Some(last) = events.last() else { break };
            next = self.ordinal(last) + 1;
            for event in &events {
                if ids.next() != Some(event.id()) {
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

    fn verify_dictionary(&self, postings: Vec<(Key, KeyPostings)>) -> Result<Vec<ChunkKey>, Fault> {
        let mut keys = Vec::with_capacity(postings.len());
        let mut postings = postings.into_iter();
        for page in self.dictionary.pages() {
            let range = page.offset..page.offset + page.length;
            let damaged = |malformed| self.file.damaged(page.offset, malformed);
            let payload = self.file.frame(Section::Dictionary.number(), range)?;
            let mut reader = PageReader::new(payload).map_err(damaged)?;
            while let Some(entry) = reader.next().map_err(damaged)? {
                let differs = || damaged(Malformed::new("the dictionary differs from the events"));
                let (key, expected) = postings.next().ok_or_else(differs)?;
                let found = (entry.key.clone(), entry.versions, entry.count);
                if found != (key.encode(), expected.versions, expected.count) {
                    return Err(differs());
                }
                let posting = self.posting(entry, page.offset)?;
                if posting.ordinals != expected.ordinals() || self.find(&key)?.is_none() {
                    return Err(differs());
                }
                let last_version = expected.versions.map_or(Version::ZERO, |(_, last)| last);
                keys.push(ChunkKey { key, last_version, previous: posting.previous });
            }
        }
        if postings.next().is_some() {
            let why = Malformed::new("the dictionary lacks a key of its events");
            return Err(self.file.damaged(self.file.len, why));
        }
        Ok(keys)
    }
}
