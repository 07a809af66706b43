//! Reads a chunk: finds keys, gives out events.

use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use quorate_proto::{EventId, LogIndex, Timestamp};

use super::file::ChunkFile;
use super::{ChunkIdentity, ChunkSummary, Posting};
use crate::cache::{BlockCache, ReadCounters};
use crate::event::Identity;
use crate::format::chunk::block::{BlockEntry, BlockReader, decode_index};
use crate::format::chunk::dictionary::{
    DictionaryIndex, Entry, Ordinals, PageEntry, PageReader, decode_ordinals,
};
use crate::format::chunk::{Footer, HEADER_BYTES, Section};
use crate::format::{Input, Malformed};
use crate::vfs::Vfs;
use crate::{Fault, Key, StoredEvent};

/// An open chunk. Keeps footer, block index and a sparse index of the dictionary in memory; everything else
/// is read when asked for, and checked every time.
///
/// Invariants: the sections fill the file between header and footer; `blocks` are not empty and fill the
/// section of events.
#[derive(Debug)]
pub(crate) struct Chunk {
    pub(super) file: ChunkFile,
    pub(super) footer: Footer,
    pub(super) summary: ChunkSummary,
    blocks: Vec<BlockEntry>,
    pub(super) dictionary: DictionaryIndex,
}

impl Chunk {
    /// Opens the file at `path` and checks that it is the chunk that the catalog speaks of.
    ///
    /// Faults: damaged, when it is not what was written; foreign, when it is another chunk, or one with
    /// parts that this build does not know and must.
    pub(crate) fn open(
        vfs: &dyn Vfs,
        path: &Path,
        identity: &ChunkIdentity,
        expected: &ChunkSummary,
        cache: &Arc<BlockCache>,
    ) -> Result<Chunk, Fault> {
        let chunk = Chunk::open_any(vfs, path, identity, cache)?;
        if chunk.summary != *expected {
            let why = format!("it is {:?} but should be {expected:?}", chunk.summary);
            return Err(Fault::damaged(path, chunk.file.len, why));
        }
        Ok(chunk)
    }

    /// Opens the file at `path`, whatever it holds.
    pub(crate) fn open_any(
        vfs: &dyn Vfs,
        path: &Path,
        identity: &ChunkIdentity,
        cache: &Arc<BlockCache>,
    ) -> Result<Chunk, Fault> {
        let file = ChunkFile::open(vfs, path, identity, cache)?;
        let (footer, end) = file.footer()?;
        check_sections(&file, &footer, end)?;
        let range = |section| section_range(&file, &footer, section);
        let index = range(Section::BlockIndex)?;
        let payload = file.joined(Section::BlockIndex.number(), index.clone())?;
        let events = range(Section::Events)?;
        let (blocks, blocks_end) = decode_index(payload, events.start)
            .map_err(|malformed| file.damaged(index.start, malformed))?;
        let dictionary_index = range(Section::DictionaryIndex)?;
        let payload = file.joined(Section::DictionaryIndex.number(), dictionary_index.clone())?;
        let pages = range(Section::Dictionary)?;
        let (dictionary, pages_end) = DictionaryIndex::decode(payload, pages.start)
            .map_err(|malformed| file.damaged(dictionary_index.start, malformed))?;
        if blocks.is_empty() || blocks_end != events.end || pages_end != pages.end {
            let why = Malformed::new("an index does not fit what it indexes");
            return Err(file.damaged(index.start, why));
        }
        let summary = footer.summary(identity.number);
        Ok(Chunk { file, footer, summary, blocks, dictionary })
    }

    /// What the catalog keeps of it.
    pub(crate) fn summary(&self) -> &ChunkSummary {
        &self.summary
    }

    /// At most `max` bytes of the file from `offset` on, unchecked; empty at its end.
    pub(crate) fn raw(&self, offset: u64, max: usize) -> Result<Bytes, Fault> {
        let rest = self.file.len.saturating_sub(offset);
        let end = offset.saturating_add(rest.min(max as u64));
        if rest == 0 { Ok(Bytes::new()) } else { self.file.bytes(offset..end) }
    }

    /// Bytes of its file on this node.
    pub(crate) fn bytes(&self) -> u64 {
        self.file.len
    }

    /// The log index of the checkpoint that it was scavenged by, if it was.
    pub(crate) fn scavenged_at(&self) -> Option<LogIndex> {
        let removed = &self.footer.removed;
        (removed.count > 0).then_some(LogIndex(removed.checkpoint))
    }

    /// Refuses a chunk that was scavenged by a newer checkpoint than this one: it may lack what was still there.
    pub(crate) fn check_scavenged(&self, checkpoint: Option<LogIndex>) -> Result<(), Fault> {
        match self.scavenged_at() {
            Some(index) if checkpoint.is_none_or(|checkpoint| index > checkpoint) => {
                let why = format!(
                    "it was scavenged by the checkpoint at log index {index}, which is not known here"
                );
                Err(Fault::foreign(&self.file.path, why))
            }
            _ => Ok(()),
        }
    }

    /// Where the events of a key are; `None` if the chunk holds none.
    pub(crate) fn find(
        &self,
        key: &Key,
        reads: &mut ReadCounters,
    ) -> Result<Option<Posting>, Fault> {
        let key = key.encode();
        let Some(page) = self.dictionary.page_of(&key) else { return Ok(None) };
        let entry = self.page(page, reads)?.find(&key);
        match entry.map_err(|malformed| self.file.damaged(page.offset, malformed))? {
            Some(entry) => self.posting(entry, page.offset, reads).map(Some),
            None => Ok(None),
        }
    }

    pub(super) fn page(
        &self,
        page: PageEntry,
        reads: &mut ReadCounters,
    ) -> Result<PageReader, Fault> {
        reads.pages += 1;
        let range = page.offset..page.offset + page.length;
        let payload = self.file.cached_frame(Section::Dictionary.number(), range, reads)?;
        PageReader::new(payload).map_err(|malformed| self.file.damaged(page.offset, malformed))
    }

    /// Completes an entry of the page at `offset` with its ordinals.
    pub(super) fn posting(
        &self,
        entry: Entry,
        offset: u64,
        reads: &mut ReadCounters,
    ) -> Result<Posting, Fault> {
        let damaged = |malformed| self.file.damaged(offset, malformed);
        let previous = self.previous(&entry, offset)?;
        let mut ordinals = Vec::new();
        match entry.ordinals {
            Ordinals::Here(bytes) => decode_ordinals(bytes, &mut ordinals).map_err(damaged)?,
            Ordinals::Elsewhere(range) => {
                let section = self.section(Section::Postings)?;
                let start = section.start.saturating_add(range.start);
                let end = section.start.saturating_add(range.end).min(section.end);
                for frame in self.file.frames(Section::Postings.number(), start..end) {
                    reads.pages += 1;
                    decode_ordinals(frame?.1, &mut ordinals).map_err(damaged)?;
                }
            }
        }
        if ordinals.len() as u64 != u64::from(entry.count) || ordinals.is_empty() {
            return Err(damaged(Malformed::new("a key has another number of ordinals")));
        }
        let first_version = entry.versions.map(|(first, _)| first);
        Ok(Posting { ordinals, first_version, previous })
    }

    /// The last chunk before this one that holds the key of an entry of the page at `offset`.
    pub(super) fn previous(&self, entry: &Entry, offset: u64) -> Result<Option<u64>, Fault> {
        let Some(distance) = entry.distance else { return Ok(None) };
        let number = self.summary.number.checked_sub(distance).filter(|number| *number > 0);
        let why = || Malformed::new("a key was last seen before the first chunk");
        number.map(Some).ok_or_else(|| self.file.damaged(offset, why()))
    }

    /// The events at these ascending ordinals, up to the first that brings their bodies to `budget_bytes`,
    /// so at least one. Ordinals that the chunk does not hold are passed over.
    pub(crate) fn read(
        &self,
        ordinals: impl IntoIterator<Item = u32>,
        budget_bytes: usize,
        reads: &mut ReadCounters,
    ) -> Result<Vec<StoredEvent>, Fault> {
        let mut ordinals = ordinals.into_iter().peekable();
        let mut events = Vec::new();
        let mut size = 0;
        while let Some(ordinal) = ordinals.peek().copied() {
            let Some(index) = self.block_of(ordinal) else { break };
            let mut block = self.block(index, reads)?;
            let damaged = |malformed| self.file.damaged(block.offset, malformed);
            while let Some(event) = block.reader.next().map_err(damaged)? {
                while ordinals.next_if(|wanted| *wanted < event.ordinal).is_some() {}
                if ordinals.next_if(|wanted| *wanted == event.ordinal).is_none() {
                    if ordinals.peek().is_none_or(|wanted| u64::from(*wanted) >= block.end) {
                        break;
                    }
                    continue;
                }
                let event = block.reader.complete(event, self.summary.first_position);
                let event = event.map_err(damaged)?;
                size += event.size();
                events.push(event);
                if size >= budget_bytes {
                    return Ok(events);
                }
            }
            while ordinals.next_if(|wanted| u64::from(*wanted) < block.end).is_some() {}
        }
        Ok(events)
    }

    #[expect(dead_code, reason = "the retry check over scavenged chunks lands next")]
    /// Which events stand at these ascending ordinals, scavenged ones included as long as a retry may ask for
    /// them. Ordinals that the chunk does not hold are passed over.
    pub(crate) fn identities(
        &self,
        ordinals: impl IntoIterator<Item = u32>,
        reads: &mut ReadCounters,
    ) -> Result<Vec<Identity>, Fault> {
        let events = self.read(ordinals, usize::MAX, reads)?;
        Ok(events.iter().map(StoredEvent::identity).collect())
    }

    /// The ids of all events, in order.
    pub(crate) fn ids(&self) -> Result<Vec<EventId>, Fault> {
        let mut ids = Vec::with_capacity(self.footer.count as usize);
        for frame in self.file.frames(Section::Ids.number(), self.section(Section::Ids)?) {
            let (offset, payload) = frame?;
            let mut input = Input::new(payload);
            while input.remaining() > 0 {
                let id = input.event_id();
                ids.push(id.map_err(|malformed| self.file.damaged(offset, malformed))?);
            }
        }
        Ok(ids)
    }

    /// Ordinals outside which nothing was recorded between these times (inclusive); costs no I/O and may be
    /// wider than need be by a block on either side.
    pub(crate) fn ordinals_between(
        &self,
        from: Option<Timestamp>,
        until: Option<Timestamp>,
    ) -> Range<u32> {
        // Times do not decrease along ordinals, so whole blocks at either end can be left out.
        let start = from.map_or(0, |from| {
            let before = self.blocks.partition_point(|block| block.first_recorded_at < from);
            before.saturating_sub(1)
        });
        let end = until.map_or(self.blocks.len(), |until| {
            self.blocks.partition_point(|block| block.first_recorded_at <= until)
        });
        let after_all = from.is_some_and(|from| from > self.summary.last_recorded_at);
        let ordinal = |index: usize| match self.blocks.get(index) {
            Some(block) => block.first_ordinal,
            None => self.ordinals_end(),
        };
        if start >= end || after_all { 0..0 } else { ordinal(start)..ordinal(end) }
    }

    /// One more than the last ordinal.
    fn ordinals_end(&self) -> u32 {
        let span = self.summary.last_position.0 - self.summary.first_position.0;
        u32::try_from(span + 1).expect("the footer was checked to cover fewer positions")
    }

    /// `None` if the chunk ends before.
    fn block_of(&self, ordinal: u32) -> Option<usize> {
        if ordinal >= self.ordinals_end() {
            return None;
        }
        let after = self.blocks.partition_point(|block| block.first_ordinal <= ordinal);
        Some(after.saturating_sub(1))
    }

    fn block(&self, index: usize, reads: &mut ReadCounters) -> Result<OpenBlock, Fault> {
        reads.blocks += 1;
        let entry = self.blocks.get(index).expect("found among the blocks");
        let next = self.blocks.get(index + 1);
        let end = next.map_or(self.ordinals_end(), |next| next.first_ordinal);
        let range = entry.offset..entry.offset + entry.length;
        let payload = self.file.cached_frame(Section::Events.number(), range, reads)?;
        let reader = BlockReader::new(payload)
            .map_err(|malformed| self.file.damaged(entry.offset, malformed))?;
        Ok(OpenBlock { reader, offset: entry.offset, end: u64::from(end) })
    }

    pub(super) fn section(&self, section: Section) -> Result<Range<u64>, Fault> {
        section_range(&self.file, &self.footer, section)
    }
}

struct OpenBlock {
    reader: BlockReader,
    /// Of its frame, in the file.
    offset: u64,
    /// No ordinal of the block is here or after.
    end: u64,
}

/// The sections must fill the file, so that every byte is in a frame, and those that are critical known.
fn check_sections(file: &ChunkFile, footer: &Footer, end: u64) -> Result<(), Fault> {
    let mut offset = HEADER_BYTES;
    for section in &footer.sections {
        if section.range.start != offset {
            let why = Malformed::new(format!("section {} leaves a gap", section.number));
            return Err(file.damaged(offset, why));
        }
        offset = section.range.end;
        let known = Section::ALL.iter().any(|known| known.number() == section.number);
        if section.critical && !known {
            let why = format!("its section {} is unknown to this build", section.number);
            return Err(Fault::foreign(&file.path, why));
        }
    }
    if offset != end {
        return Err(file.damaged(offset, Malformed::new("the sections do not reach the footer")));
    }
    Ok(())
}

fn section_range(file: &ChunkFile, footer: &Footer, section: Section) -> Result<Range<u64>, Fault> {
    let mut found = footer.sections.iter().filter(|entry| entry.number == section.number());
    match (found.next(), found.next()) {
        (Some(entry), None) => Ok(entry.range.clone()),
        _ => {
            let why = format!("it does not have exactly one section {}", section.number());
            Err(file.damaged(file.len, Malformed::new(why)))
        }
    }
}
