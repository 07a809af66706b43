//! The tail: consecutive events in memory, after the last chunk, with the same index that a chunk has.

mod changes;
mod contents;
mod keys;
mod matching;
mod names;
mod ordinals;
mod sorted;
mod streams;

use std::ops::Range;
use std::sync::{Mutex, RwLock, RwLockReadGuard, RwLockWriteGuard};

use bytes::Bytes;
use quorate_proto::{EventId, Position, StreamName, Timestamp, Version};

use super::StreamHead;
use super::hash::Hasher;
use crate::chunk::Posting;
use crate::format::command::ParsedEvent;
use crate::format::{Key, StoredEvent};

pub(crate) use changes::Changes;
use contents::Contents;
use ordinals::ordinal;

/// Consecutive events from `first` on. One writer appends; any number of readers copy pages of events.
///
/// Invariants:
/// - The event at ordinal n has the position `first + n`; ordinals are only added, never changed, so that the
///   events below an ordinal stay as they were when a reader saw them.
/// - Within a stream, versions are consecutive.
#[derive(Debug)]
pub(crate) struct Tail {
    first: Position,
    hasher: Hasher,
    contents: RwLock<Contents>,
    changes: RwLock<Changes>,
    /// The keys whose names can be listed and that were sorted by the last request for a list.
    names: Mutex<names::Names>,
}

/// The slot of a stream in a tail, where its head stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct StreamSlot(u32);

impl Tail {
    /// An empty tail whose first event will be the one after `last`.
    pub(crate) fn after(last: Position, hasher: Hasher) -> Tail {
        Tail {
            first: last.next(),
            hasher,
            contents: RwLock::default(),
            changes: RwLock::default(),
            names: Mutex::default(),
        }
    }

    /// The position of its first event, even if that event is still to come.
    pub(crate) fn first(&self) -> Position {
        self.first
    }

    /// Returns true if the tail has no event yet.
    pub(crate) fn is_empty(&self) -> bool {
        self.read().len() == 0
    }

    /// The ordinal that the next event will get.
    pub(crate) fn end(&self) -> u32 {
        ordinal(self.read().len())
    }

    /// Returns the slot and the head of a stream of this hash. The head is the newest, and only the writer may
    /// rely on it: an entry that is being applied may have moved it.
    pub(crate) fn head(&self, hash: u64, stream: &str) -> Option<(StreamSlot, StreamHead)> {
        let contents = self.read();
        let slot = contents.streams.find(hash, stream)?;
        contents.streams.get(slot).map(|stream| (StreamSlot(slot), stream.head))
    }

    /// Returns the name and the head of a stream of this hash. Meant for a tail that gets no more events.
    pub(crate) fn named_head(&self, hash: u64, stream: &str) -> Option<(StreamName, StreamHead)> {
        let contents = self.read();
        let stream = contents.streams.get(contents.streams.find(hash, stream)?)?;
        Some((stream.name.clone(), stream.head))
    }

    /// Sets the head of a stream of this hash to the newest.
    pub(crate) fn put_head(&self, hash: u64, name: StreamName, head: StreamHead) -> StreamSlot {
        StreamSlot(self.write().streams.put(hash, name, head))
    }

    /// Gives each stream and its head to `work`, with true if it has events here. Meant for a tail that gets no more
    /// events.
    pub(crate) fn each_head(&self, mut work: impl FnMut(&StreamName, StreamHead, bool)) {
        for stream in self.read().streams.all() {
            work(&stream.name, stream.head, !stream.ordinals().is_empty());
        }
    }

    /// Adds the events of an append, which is part of a command: readers see all of them at once. The ids and the events
    /// are those of the written streams one after the other; the streams are given with the numbers of their events.
    pub(crate) fn append(
        &self,
        (command, recorded_at): (&Bytes, Timestamp),
        streams: impl Iterator<Item = (StreamSlot, usize)>,
        (ids, events): (&[EventId], &[ParsedEvent<'_>]),
    ) {
        let mut contents = self.write();
        contents.begin(command, recorded_at);
        let mut all = ids.iter().zip(events);
        let mut begins = true;
        for (slot, count) in streams {
            for (id, event) in all.by_ref().take(count) {
                contents.append(&self.hasher, slot.0, *id, event, begins);
                begins = false;
            }
        }
    }

    /// Returns the version of a stream as of a position; `None` if it has no event here up to there.
    pub(crate) fn version(&self, stream: &str, as_of: Position) -> Option<Version> {
        let contents = self.read();
        let stream = contents.streams.written(&self.hasher, stream)?;
        let ordinals = stream.ordinals();
        let count = match ordinals.last() {
            Some(last) if self.position(*last) <= as_of => ordinals.len(),
            _ => ordinals.partition_point(|ordinal| self.position(*ordinal) <= as_of),
        };
        (count > 0).then(|| Version(stream.first_version().0 + count as u64 - 1))
    }

    /// Returns the place of an event of a stream; `Before` if the stream's first version here is a later one.
    pub(crate) fn position_of(
        &self,
        stream: &StreamName,
        version: Version,
    ) -> Option<TailPosition> {
        let contents = self.read();
        let stream = contents.streams.written(&self.hasher, stream.as_str())?;
        let Some(index) = version.0.checked_sub(stream.first_version().0) else {
            return Some(TailPosition::Before);
        };
        let index = usize::try_from(index).ok()?;
        stream.ordinals().get(index).map(|ordinal| TailPosition::At(self.position(*ordinal)))
    }

    /// Returns the ordinals of a key within `range` and, if the key is a stream, within `versions`; the
    /// posting's first version is that of its first ordinal.
    pub(crate) fn find(
        &self,
        key: &Key,
        range: &Range<u32>,
        versions: &Range<u64>,
    ) -> Option<Posting> {
        let contents = self.read();
        let posting = match key {
            Key::Stream(stream) => {
                let stream = contents.streams.written(&self.hasher, stream.as_str())?;
                clip(stream.ordinals(), Some(stream.first_version()), range, versions)
            }
            _ => clip(contents.posting(&self.hasher, key)?, None, range, versions),
        };
        Some(posting)
    }

    /// Returns the version of a stream's first event in this tail.
    pub(crate) fn first_version(&self, stream: &str) -> Option<Version> {
        let contents = self.read();
        contents.streams.written(&self.hasher, stream).map(|stream| stream.first_version())
    }

    /// Returns the events at these ordinals, up to the first that brings their bodies to `budget_bytes`.
    pub(crate) fn read_events(
        &self,
        ordinals: impl IntoIterator<Item = u32>,
        budget_bytes: usize,
    ) -> Vec<StoredEvent> {
        let contents = self.read();
        let mut bytes = 0;
        let mut events = Vec::new();
        for ordinal in ordinals {
            let Some(event) = contents.event(ordinal, self.first) else { continue };
            bytes += event.size();
            events.push(event);
            if bytes >= budget_bytes {
                break;
            }
        }
        events
    }

    /// Returns the ordinals of the events recorded between these times (inclusive).
    pub(crate) fn ordinals_between(
        &self,
        from: Option<Timestamp>,
        until: Option<Timestamp>,
    ) -> Range<u32> {
        let contents = self.read();
        let start = from.map_or(0, |from| contents.first_not(|time| time < from));
        let all = ordinal(contents.len());
        let end = until.map_or(all, |until| contents.first_not(|time| time <= until));
        start..end
    }

    /// Gives the records and snapshots since the tail's first event to `work`.
    pub(crate) fn with_changes<T>(&self, work: impl FnOnce(&Changes) -> T) -> T {
        work(&self.changes.read().expect(NO_PANIC))
    }

    /// Lets `work` add records and snapshots.
    pub(crate) fn change(&self, work: impl FnOnce(&mut Changes)) {
        work(&mut self.changes.write().expect(NO_PANIC));
    }

    fn position(&self, ordinal: u32) -> Position {
        self.first.plus(u64::from(ordinal))
    }

    fn read(&self) -> RwLockReadGuard<'_, Contents> {
        self.contents.read().expect(NO_PANIC)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Contents> {
        self.contents.write().expect(NO_PANIC)
    }
}

/// Returns the part of a posting within a range of ordinals and, if it is a stream's, of versions.
pub(crate) fn clip(
    ordinals: &[u32],
    first_version: Option<Version>,
    range: &Range<u32>,
    versions: &Range<u64>,
) -> Posting {
    let mut from = ordinals.partition_point(|ordinal| *ordinal < range.start);
    let mut to = ordinals.partition_point(|ordinal| *ordinal < range.end);
    if let Some(first) = first_version {
        let index = |version: u64| usize::try_from(version.saturating_sub(first.0)).unwrap_or(to);
        from = from.max(index(versions.start));
        to = to.min(index(versions.end));
    }
    let ordinals = ordinals.get(from..to).unwrap_or_default().to_vec();
    let first_version = first_version.map(|version| version.plus(from as u64));
    Posting { ordinals, first_version, previous: None }
}

const NO_PANIC: &str = "nobody panics while holding the lock";

/// The place of an event of a stream, as far as a tail knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TailPosition {
    /// In this tail, at this position.
    At(Position),
    /// Before this tail.
    Before,
}
