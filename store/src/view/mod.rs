//! A view: the chunks, the catalog at their checkpoint, and the tails after them, as of one moment.
//!
//! Readers and the writer share one view at a time; everything that looks an event up goes through it. The room uses
//! chunks, catalog and groups; it knows neither what settings hide nor who reads.

mod hash;
mod head;
mod heads;
mod id_index;
mod index;
mod lookup;
mod segment;
mod shared;
mod slot;
mod tail;
mod window;

use std::path::Path;
use std::sync::Arc;

use quorate_proto::{Position, StreamName, Version};

use crate::catalog::CatalogExport;
use crate::chunk::{Chunk, Posting};
use crate::fault::Fault;
use crate::files::{ReadCounters, chunk_path};
use crate::format::catalog::KeyState;
use crate::format::{Identity, Key, StoredEvent};

pub(crate) use hash::Hasher;
pub(crate) use head::StreamHead;
pub(crate) use heads::{Heads, Remembered};
pub(crate) use index::Index;
pub(crate) use segment::{Segment, ordinal_of};
pub(crate) use shared::{Published, Shared};
pub(crate) use slot::ChunkSlot;
pub(crate) use tail::{StreamSlot, Tail, TailPosition, clip};
pub(crate) use window::Window;

/// The number of chunks that are tried beside each link (half the way to the oldest, a quarter of it, and so
/// on), as not every chunk needs to hold the key.
const PROBES: u32 = 4;

/// All events of the store, in files and in memory.
///
/// Invariants:
/// - Chunks, sealing tail and active tail follow each other without a gap.
/// - The catalog is pinned at the checkpoint of the last chunk: it names no chunk that is not here.
/// - Nothing is added to the sealing tail any more.
#[derive(Clone, Debug)]
pub(crate) struct View {
    /// The folder of the chunks.
    pub(crate) directory: Arc<Path>,
    pub(crate) chunks: Arc<Vec<ChunkSlot>>,
    pub(crate) catalog: Arc<CatalogExport>,
    pub(crate) sealing: Option<Arc<Tail>>,
    pub(crate) active: Arc<Tail>,
}

impl View {
    /// Returns this view with other chunks, of the same numbers.
    pub(crate) fn with_chunks(&self, chunks: Arc<Vec<ChunkSlot>>) -> View {
        View {
            directory: self.directory.clone(),
            chunks,
            catalog: self.catalog.clone(),
            sealing: self.sealing.clone(),
            active: self.active.clone(),
        }
    }

    /// The tails, newest first.
    pub(crate) fn tails(&self) -> impl Iterator<Item = &Arc<Tail>> {
        std::iter::once(&self.active).chain(&self.sealing)
    }

    /// Returns the version of a stream as of a position that is not below the last chunk's end.
    pub(crate) fn version(&self, stream: &StreamName, as_of: Position) -> Result<Version, Fault> {
        if let Some(version) = self.version_in_memory(stream.as_str(), as_of) {
            return Ok(version);
        }
        self.sealed_version(stream)
    }

    /// Returns the version of a stream at the end of the last chunk.
    pub(crate) fn sealed_version(&self, stream: &StreamName) -> Result<Version, Fault> {
        let state = self.key(&Key::Stream(stream.clone()))?;
        Ok(state.map_or(Version::ZERO, |state| state.version))
    }

    /// Returns the state of a key in the last chunk that holds it; `None` if none does.
    pub(crate) fn key(&self, key: &Key) -> Result<Option<KeyState>, Fault> {
        self.index().find(key)
    }

    /// The index over all chunks.
    pub(crate) fn index(&self) -> Index<'_> {
        Index { slots: &self.chunks, catalog: &self.catalog }
    }

    /// Returns the last chunk that holds a key; `None` if none does.
    pub(crate) fn last_chunk(&self, key: &Key) -> Result<Option<u64>, Fault> {
        Ok(self.key(key)?.map(|state| state.last_chunk))
    }

    /// Returns the slot of the chunk of a number.
    pub(crate) fn slot(&self, number: u64) -> Option<&ChunkSlot> {
        let index = self.chunks.binary_search_by_key(&number, |slot| slot.summary().number);
        index.ok().and_then(|index| self.chunks.get(index))
    }

    /// Returns the version of a stream as of a position, if it has events in a tail up to there.
    pub(crate) fn version_in_memory(&self, stream: &str, as_of: Position) -> Option<Version> {
        self.tails().find_map(|tail| tail.version(stream, as_of))
    }

    /// Returns the position of an event of a stream; `None` if there is none of that version.
    pub(crate) fn position_of(
        &self,
        stream: &StreamName,
        version: Version,
        reads: &mut ReadCounters,
    ) -> Result<Option<Position>, Fault> {
        for tail in self.tails() {
            if let Some(TailPosition::At(position)) = tail.position_of(stream, version) {
                return Ok(Some(position));
            }
        }
        let is_reached =
            |_: &Chunk, posting: &Posting| posting.first_version.unwrap_or_default() <= version;
        let found = self.newest_chunk(&Key::Stream(stream.clone()), is_reached, reads)?;
        let Some((chunk, posting)) = found else { return Ok(None) };
        let index = version.0.checked_sub(posting.first_version.unwrap_or_default().0);
        let index = index.and_then(|index| usize::try_from(index).ok());
        let ordinal = index.and_then(|index| posting.ordinals.get(index));
        let first = chunk.summary().first_position;
        Ok(ordinal.map(|ordinal| first.plus(u64::from(*ordinal))))
    }

    /// Returns the newest of the chunks that hold a key for which `is_reached` is true, with the posting
    /// there; `is_reached` must be true for all older ones, too. Each step follows the link to the chunk
    /// before, and then tries chunks far before that one: few chunks are looked into for a key that is in
    /// many, and a key that is in few has few links.
    pub(crate) fn newest_chunk(
        &self,
        key: &Key,
        is_reached: impl Fn(&Chunk, &Posting) -> bool,
        reads: &mut ReadCounters,
    ) -> Result<Option<(&Arc<Chunk>, Posting)>, Fault> {
        let mut next = self.last_chunk(key)?;
        let mut oldest = 1;
        while let Some(number) = next {
            let (chunk, posting) = self.find_linked(number, key, reads)?;
            if is_reached(chunk, &posting) {
                return Ok(Some((chunk, posting)));
            }
            next = posting.previous;
            let Some(before) = next.filter(|before| *before > oldest) else { continue };
            for number in (1..=PROBES).map(|power| before - ((before - oldest) >> power)) {
                let Some((chunk, posting)) = self.probe(number, key, reads) else { continue };
                if is_reached(chunk, &posting) {
                    oldest = number;
                } else {
                    next = posting.previous;
                }
                break;
            }
        }
        Ok(None)
    }

    /// Returns the posting of a key in a chunk that may lack it. A chunk that cannot be read is passed over:
    /// only the chunks that links lead to are needed.
    fn probe(
        &self,
        number: u64,
        key: &Key,
        reads: &mut ReadCounters,
    ) -> Option<(&Arc<Chunk>, Posting)> {
        let chunk = self.slot(number)?.chunk().ok()?;
        Some((chunk, chunk.find(key, reads).ok()??))
    }

    /// Returns the identities of the events at `count` positions from `first` on, except those that are
    /// removed. `count` is bounded by an append's limits.
    pub(crate) fn identities(&self, first: Position, count: u64) -> Result<Vec<Identity>, Fault> {
        let mut identities = Vec::new();
        let (mut at, end) = (first, first.plus(count));
        while at < end {
            let segment = self.segment_at(at)?;
            let start = ordinal_of(at, segment.first());
            let stop = ordinal_of(end, segment.first()).min(segment.end());
            if start >= stop {
                break;
            }
            identities.extend(segment.identities(start..stop)?);
            at = segment.first().plus(u64::from(stop));
        }
        Ok(identities)
    }

    /// Returns the event at a position; `None` if it was removed.
    pub(crate) fn event(&self, position: Position) -> Result<Option<StoredEvent>, Fault> {
        let segment = self.segment_at(position)?;
        let ordinal = ordinal_of(position, segment.first());
        Ok(segment.read([ordinal], 1, &mut ReadCounters::default())?.pop())
    }

    /// Returns the chunk that the catalog or a later chunk names for a key, and the key's posting in it.
    pub(crate) fn find_linked(
        &self,
        number: u64,
        key: &Key,
        reads: &mut ReadCounters,
    ) -> Result<(&Arc<Chunk>, Posting), Fault> {
        let chunk = self.chunk(number)?;
        let posting = chunk.find(key, reads)?;
        let lacks = || self.damaged(number, "it lacks a key that it is named for");
        Ok((chunk, posting.ok_or_else(lacks)?))
    }

    /// Returns the chunk of a number that the catalog or a later chunk names.
    pub(crate) fn chunk(&self, number: u64) -> Result<&Arc<Chunk>, Fault> {
        let unknown = || self.damaged(number, "the index names it, but the catalog does not");
        self.slot(number).ok_or_else(unknown)?.chunk()
    }

    fn damaged(&self, number: u64, why: &str) -> Fault {
        Fault::damaged(&chunk_path(&self.directory, number), 0, why)
    }

    /// Returns the chunk or the tail that holds a position.
    pub(crate) fn segment_at(&self, position: Position) -> Result<Segment, Fault> {
        for tail in self.tails() {
            if position >= tail.first() {
                return Ok(Segment::Tail(tail.clone()));
            }
        }
        let index = self.chunks.partition_point(|chunk| chunk.summary().last_position < position);
        let Some(slot) = self.chunks.get(index) else {
            let why = format!("no chunk holds position {position}");
            return Err(Fault::damaged(&self.directory, 0, why));
        };
        slot.chunk().cloned().map(Segment::Chunk)
    }
}
