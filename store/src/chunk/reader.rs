//! Reads a chunk: finds keys and returns events.

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use quorate_proto::{EventId, LogIndex, Position, Timestamp, Version};

use super::Posting;
use super::ahead::Ahead;
use super::file::ChunkFile;
use crate::files::{BlockCache, ReadCounters};
use crate::format::chunk::block::{Block, BlockEntry, EventOrStub, ID_BYTES, decode_index};
use crate::format::chunk::dictionary::{DictionaryIndex, PageEntry, decode_ordinals};
use crate::format::chunk::page::{Entry, Ordinals, PageReader};
use crate::format::chunk::{ChunkIdentity, ChunkSummary, Footer, HEADER_BYTES, Section};
use crate::format::{Identity, Input, Malformed};
use crate::vfs::Vfs;
use crate::{Fault, Key, StoredEvent};

/// An open chunk. Keeps the footer, the block index and a sparse index of the dictionary in memory.
/// Everything else is read when it is needed, checked each time it is read, and then kept in the cache.
///
/// Invariants: the sections fill the file between header and footer; `blocks` fill the sections of events and
/// ids.
#[derive(Debug)]
pub(crate) struct Chunk {
    pub(super) file: ChunkFile,
    pub(super) footer: Footer,
    pub(super) summary: ChunkSummary,
    blocks: Vec<BlockEntry>,
    pub(super) dictionary: DictionaryIndex,
}

impl Chunk {
    /// Opens the file at `path` and checks that it is the chunk that the catalog lists.
    ///
    /// Faults: damaged, when it is not what was written; foreign, when it is another chunk, or has critical
    /// parts that this build does not know.
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
        let payload = file.joined(Section::BlockIndex, index.clone())?;
        let (events, ids) = (range(Section::Events)?, range(Section::Ids)?);
        let (blocks, blocks_end, ids_end) = decode_index(payload, events.start, ids.start)
            .map_err(|malformed| file.damaged(index.start, malformed))?;
        let dictionary_index = range(Section::DictionaryIndex)?;
        let payload = file.joined(Section::DictionaryIndex, dictionary_index.clone())?;
        let pages = range(Section::Dictionary)?;
        let (dictionary, pages_end) = DictionaryIndex::decode(payload, pages.start)
            .map_err(|malformed| file.damaged(dictionary_index.start, malformed))?;
        if (blocks_end, ids_end, pages_end) != (events.end, ids.end, pages.end) {
            let why = Malformed::new("an index does not fit what it indexes");
            return Err(file.damaged(index.start, why));
        }
        let summary = footer.summary(identity.number);
        let chunk = Chunk { file, footer, summary, blocks, dictionary };
        // So each block ends behind its beginning: the blocks ascend, and the last one ends with the chunk.
        if chunk.blocks.last().is_some_and(|last| last.first_ordinal >= chunk.ordinals_end()) {
            let why = Malformed::new("a block begins after the last event of the chunk");
            return Err(chunk.file.damaged(index.start, why));
        }
        Ok(chunk)
    }

    /// Sets the path that its file is about to get, which faults name from now on; until then it has the former one.
    pub(crate) fn move_to(&mut self, path: PathBuf, former_path: PathBuf) {
        self.file.move_to(path, former_path);
    }

    /// Keeps the file open while somebody reads from it: another file is about to get its name.
    pub(crate) fn hold(&self) -> Result<(), Fault> {
        self.file.hold()
    }

    /// Returns the catalog's data about the chunk.
    pub(crate) fn summary(&self) -> &ChunkSummary {
        &self.summary
    }

    /// Returns at most `max` bytes of the file from `offset` on, unchecked; empty at its end.
    pub(crate) fn raw(&self, offset: u64, max: usize) -> Result<Bytes, Fault> {
        let rest = self.file.len.saturating_sub(offset);
        let end = offset.saturating_add(rest.min(max as u64));
        if rest == 0 { Ok(Bytes::new()) } else { self.file.bytes(offset..end) }
    }

    /// Returns the size of the chunk's file on this node, in bytes.
    pub(crate) fn bytes(&self) -> u64 {
        self.file.len
    }

    /// Returns the log index of the checkpoint that the chunk was scavenged by, if it was scavenged.
    pub(crate) fn scavenged_at(&self) -> Option<LogIndex> {
        let removed = &self.footer.removed;
        (removed.count > 0).then_some(LogIndex(removed.checkpoint))
    }

    /// Refuses a chunk that a checkpoint newer than this one scavenged: it may lack events that this one still has.
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

    /// Returns the places of a key's events; `None` if the chunk does not have the key.
    pub(crate) fn find(
        &self,
        key: &Key,
        reads: &mut ReadCounters,
    ) -> Result<Option<Posting>, Fault> {
        let key = key.encode();
        let Some(page) = self.dictionary.page_of(&key) else { return Ok(None) };
        let Some(entry) = self.entry(&key, page, reads)? else { return Ok(None) };
        let read = |range| self.file.piece(Section::Postings, range, reads);
        self.posting(entry, page.offset, read).map(Some)
    }

    /// Returns the entry of a key from the page that would have it.
    pub(super) fn entry(
        &self,
        key: &[u8],
        page: PageEntry,
        reads: &mut ReadCounters,
    ) -> Result<Option<Entry>, Fault> {
        let entry = self.cached_page(page, reads)?.find(key);
        entry.map_err(|malformed| self.file.damaged(page.offset, malformed))
    }

    /// Reads a page of the dictionary, by way of the cache.
    pub(super) fn cached_page(
        &self,
        page: PageEntry,
        reads: &mut ReadCounters,
    ) -> Result<PageReader, Fault> {
        let range = page.offset..page.offset.saturating_add(page.length);
        let payload = self.file.piece(Section::Dictionary, range, reads)?;
        PageReader::new(payload).map_err(|malformed| self.file.damaged(page.offset, malformed))
    }

    /// Completes an entry of the page at `offset` with its ordinals; `read` reads those that stand apart.
    pub(super) fn posting(
        &self,
        entry: Entry,
        offset: u64,
        read: impl FnOnce(Range<u64>) -> Result<Bytes, Fault>,
    ) -> Result<Posting, Fault> {
        let damaged = |malformed| self.file.damaged(offset, malformed);
        let previous = self.previous(&entry, offset)?;
        let encoded = match entry.ordinals {
            Ordinals::Here(bytes) => bytes,
            Ordinals::Elsewhere(range) => {
                let section = self.section(Section::Postings)?;
                let start = section.start.saturating_add(range.start);
                let end = section.start.saturating_add(range.end).min(section.end);
                read(start..end)?
            }
        };
        let ordinals = decode_ordinals(encoded, entry.count).map_err(damaged)?;
        // The removed events of a stream are always its oldest.
        let first_version = match entry.versions {
            None => None,
            Some((_, last)) => {
                let before = last.0.checked_sub(u64::from(entry.count));
                let why = || Malformed::new("a stream has more events than versions");
                Some(Version(before.ok_or_else(|| damaged(why()))?).next())
            }
        };
        Ok(Posting { ordinals, first_version, previous })
    }

    /// Returns the last chunk before this one that holds the key of an entry of the page at `offset`.
    pub(super) fn previous(&self, entry: &Entry, offset: u64) -> Result<Option<u64>, Fault> {
        let Some(distance) = entry.distance else { return Ok(None) };
        let number = self.summary.number.checked_sub(distance).filter(|number| *number > 0);
        let why = || Malformed::new("a key was last seen before the first chunk");
        number.map(Some).ok_or_else(|| self.file.damaged(offset, why()))
    }

    /// Returns the events at these ascending ordinals, up to the first that brings their size to `budget_bytes`, so at
    /// least one. Ordinals without an event, also those of removed events, are passed over.
    pub(crate) fn read(
        &self,
        ordinals: impl IntoIterator<Item = u32, IntoIter: Clone>,
        budget_bytes: usize,
        reads: &mut ReadCounters,
    ) -> Result<Vec<StoredEvent>, Fault> {
        let mut events = Vec::new();
        let mut size = 0;
        self.walk(ordinals, reads, |block, index, first| {
            if block.is_event(index)
                && let Some(EventOrStub::Event(event)) = block.event_or_stub(index, first)?
            {
                size += event.size();
                events.push(event);
            }
            Ok(size < budget_bytes || events.is_empty())
        })?;
        Ok(events)
    }

    /// Returns the identities of the events at these ascending ordinals, those of stubs included. Ordinals
    /// that the chunk does not hold, or no longer holds, are passed over.
    pub(crate) fn identities(
        &self,
        ordinals: impl IntoIterator<Item = u32, IntoIter: Clone>,
        reads: &mut ReadCounters,
    ) -> Result<Vec<Identity>, Fault> {
        let mut identities = Vec::new();
        self.walk(ordinals, reads, |block, index, first| {
            identities.extend(block.event_or_stub(index, first)?.map(|stored| match stored {
                EventOrStub::Event(event) => event.identity(),
                EventOrStub::Stub(identity) => identity,
            }));
            Ok(true)
        })?;
        Ok(identities)
    }

    /// Shows `visit` the entries at these ascending ordinals, each by its block, the index in the block, and
    /// the position of the chunk's first event, as long as `visit` returns true.
    fn walk(
        &self,
        ordinals: impl IntoIterator<Item = u32, IntoIter: Clone>,
        reads: &mut ReadCounters,
        mut visit: impl FnMut(&Block, usize, Position) -> Result<bool, Malformed>,
    ) -> Result<(), Fault> {
        let ordinals = ordinals.into_iter();
        let mut ahead = Ahead::of(ordinals.clone());
        let mut ordinals = ordinals.peekable();
        let mut blocks = 0;
        while let Some(ordinal) = ordinals.peek() {
            let Some((entry, end)) = self.block_of(*ordinal) else { break };
            let wait = || {
                ahead.tell(blocks, |ordinal, is_needed| {
                    let (entry, end) = self.block_of(ordinal)?;
                    if is_needed {
                        self.file.will_read(entry);
                    }
                    Some(end)
                });
            };
            let block = self.file.block(entry, reads, wait)?;
            blocks += 1;
            while let Some(ordinal) = ordinals.next_if(|ordinal| *ordinal < end) {
                let index = block.index_of(ordinal);
                if block.ordinal(index) != Some(ordinal) {
                    continue;
                }
                let goes_on = visit(&block, index, self.summary.first_position);
                if !goes_on.map_err(|malformed| self.file.damaged(entry.offset, malformed))? {
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    /// Returns the ids of all events from an ordinal on, those of stubs included.
    ///
    /// Fault: damaged, if one of the ids is no longer there.
    pub(crate) fn ids_from(&self, ordinal: u32) -> Result<Vec<EventId>, Fault> {
        let mut ids = Vec::new();
        let mut next = ordinal;
        for (entry, end) in self.blocks_from(ordinal) {
            let gap = || {
                let why = format!("it does not know the id of ordinal {next} any more");
                self.file.damaged(entry.ids_offset, Malformed::new(why))
            };
            let skipped = next.checked_sub(entry.first_ordinal).ok_or_else(gap)?;
            // If a block has an entry for every ordinal, reading its ids is enough.
            if end - entry.first_ordinal == entry.count {
                self.push_ids(entry, skipped, &mut ids)?;
            } else {
                let block = self.file.block(entry, &mut ReadCounters::default(), || {})?;
                for (at, ordinal) in (block.index_of(next)..block.len()).zip(next..end) {
                    if block.ordinal(at) != Some(ordinal) {
                        return Err(gap());
                    }
                    let id = block.id(at);
                    ids.push(id.map_err(|malformed| self.file.damaged(entry.offset, malformed))?);
                }
            }
            next = end;
        }
        if ids.len() as u64 != u64::from(self.ordinals_end().saturating_sub(ordinal)) {
            let why = "it does not know the ids of all its newest events any more";
            return Err(self.file.damaged(self.file.len, Malformed::new(why)));
        }
        Ok(ids)
    }

    /// Adds the ids of a block, except the first `skipped`.
    fn push_ids(
        &self,
        entry: &BlockEntry,
        skipped: u32,
        ids: &mut Vec<EventId>,
    ) -> Result<(), Fault> {
        let bytes = self.file.ids(entry)?;
        let start = (skipped as usize).saturating_mul(ID_BYTES).min(bytes.len());
        let mut input = Input::new(bytes.slice(start..));
        while input.remaining() > 0 {
            let id = input.event_id();
            ids.push(id.map_err(|malformed| self.file.damaged(entry.ids_offset, malformed))?);
        }
        Ok(())
    }

    /// Returns the ordinals outside which nothing was recorded between these times (inclusive); costs no I/O
    /// and may be wider than need be by a block on either side.
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

    /// Returns true if the chunk has stubs, not only events.
    pub(super) fn has_stubs(&self) -> bool {
        let entries: u64 = self.blocks.iter().map(|block| u64::from(block.count)).sum();
        entries > u64::from(self.footer.count)
    }

    /// Returns one more than the last ordinal.
    pub(super) fn ordinals_end(&self) -> u32 {
        let span = self.summary.last_position.0 - self.summary.first_position.0;
        u32::try_from(span + 1).expect("the footer was checked to cover fewer positions")
    }

    /// Returns the block that an ordinal lies in, or else the next one, and the ordinal that ends it; `None`
    /// if there is none.
    pub(super) fn block_of(&self, ordinal: u32) -> Option<(&BlockEntry, u32)> {
        self.blocks_from(ordinal).next()
    }

    /// Returns the blocks that end after an ordinal, each with the ordinal that ends it.
    pub(super) fn blocks_from(&self, ordinal: u32) -> impl Iterator<Item = (&BlockEntry, u32)> {
        let after = self.blocks.partition_point(|block| block.first_ordinal <= ordinal);
        let blocks = self.blocks.get(after.saturating_sub(1)..).unwrap_or_default();
        let next = blocks.iter().skip(1).map(|block| block.first_ordinal);
        let ends = next.chain(std::iter::once(self.ordinals_end()));
        blocks.iter().zip(ends).filter(move |(_, end)| *end > ordinal)
    }

    pub(super) fn section(&self, section: Section) -> Result<Range<u64>, Fault> {
        section_range(&self.file, &self.footer, section)
    }
}

/// Checks that the sections fill the file, so that every byte is in a frame, and that critical ones are known.
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
