//! The tail: consecutive events in memory, after the last chunk, with the same index that a chunk has.

mod changes;
mod matching;
mod names;
mod sorted;

use std::collections::HashMap;
use std::ops::Range;
use std::sync::{Mutex, RwLock, RwLockReadGuard, RwLockWriteGuard};

use quorate_proto::{Position, StreamName, Timestamp, Version};

use crate::chunk::Posting;
use crate::format::{Key, StoredEvent};

pub(crate) use changes::Changes;

/// Consecutive events from `first` on. One writer appends; any number of readers copy pages of events.
///
/// Invariants:
/// - The event at ordinal n has the position `first + n`; ordinals are only added, never changed, so that the
///   events below an ordinal stay as they were when a reader saw them.
/// - Each posting is ascending, and each event is in the postings of all its keys ([`StoredEvent::keys`]).
/// - Within a stream, versions are consecutive.
#[derive(Debug)]
pub(crate) struct Tail {
    first: Position,
    contents: RwLock<Contents>,
    changes: RwLock<Changes>,
    /// The keys whose names can be listed and that were sorted by the last request for a list.
    names: Mutex<names::Names>,
}

#[derive(Debug, Default)]
struct Contents {
    events: Vec<StoredEvent>,
    streams: HashMap<StreamName, StreamTail>,
    /// The index in `postings` of each key other than a stream; a stream has its ordinals in `streams`.
    slots: HashMap<Key, u32>,
    postings: Vec<Vec<u32>>,
    /// The keys whose names can be listed, in the order in which they came.
    listed: Vec<Key>,
}

#[derive(Debug)]
struct StreamTail {
    first_version: Version,
    ordinals: Vec<u32>,
    /// The indexes of the postings of its category and paths.
    above: Box<[u32]>,
}

impl Tail {
    /// An empty tail whose first event will be the one after `last`.
    pub(crate) fn after(last: Position) -> Tail {
        Tail {
            first: last.next(),
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
        self.read().events.is_empty()
    }

    /// The ordinal that the next event will get.
    pub(crate) fn end(&self) -> u32 {
        ordinal(self.read().events.len())
    }

    /// Adds the next events; readers see all of them at once.
    pub(crate) fn append(&self, events: Vec<StoredEvent>) {
        let mut contents = self.write();
        for event in events {
            contents.append(event);
        }
    }

    /// Returns the version of a stream as of a position; `None` if it has no event here up to there.
    pub(crate) fn version(&self, stream: &StreamName, as_of: Position) -> Option<Version> {
        let contents = self.read();
        let stream = contents.streams.get(stream)?;
        let count = stream.ordinals.partition_point(|ordinal| self.position(*ordinal) <= as_of);
        (count > 0).then(|| Version(stream.first_version.0 + count as u64 - 1))
    }

    /// Returns the place of an event of a stream; `Before` if the stream's first version here is a later one.
    pub(crate) fn position_of(
        &self,
        stream: &StreamName,
        version: Version,
    ) -> Option<TailPosition> {
        let contents = self.read();
        let stream = contents.streams.get(stream)?;
        let Some(index) = version.0.checked_sub(stream.first_version.0) else {
            return Some(TailPosition::Before);
        };
        let index = usize::try_from(index).ok()?;
        stream.ordinals.get(index).map(|ordinal| TailPosition::At(self.position(*ordinal)))
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
                let stream = contents.streams.get(stream)?;
                clip(&stream.ordinals, Some(stream.first_version), range, versions)
            }
            _ => {
                let slot = *contents.slots.get(key)?;
                clip(contents.postings.get(slot as usize)?, None, range, versions)
            }
        };
        Some(posting)
    }

    /// Returns the version of a stream's first event in this tail.
    pub(crate) fn first_version(&self, stream: &StreamName) -> Option<Version> {
        self.read().streams.get(stream).map(|stream| stream.first_version)
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
            let Some(event) = contents.events.get(ordinal as usize) else { continue };
            bytes += event.size();
            events.push(event.clone());
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
        let before = |events: &[StoredEvent], is_before: &dyn Fn(Timestamp) -> bool| {
            ordinal(events.partition_point(|event| is_before(event.recorded_at)))
        };
        let start = from.map_or(0, |from| before(&contents.events, &|time| time < from));
        let all = ordinal(contents.events.len());
        let end = until.map_or(all, |until| before(&contents.events, &|time| time <= until));
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

impl Contents {
    fn append(&mut self, mut event: StoredEvent) {
        let ordinal = ordinal(self.events.len());
        for label in event.labels() {
            let slot = self.slot(label);
            self.post(slot, ordinal);
        }
        match self.streams.get_key_value(&event.stream) {
            // The events of a stream share one copy of its name; the memory of the others is given back.
            Some((name, _)) => event.stream = name.clone(),
            None => {
                let above = Key::above(&event.stream).map(|key| self.slot(key)).collect();
                let (first_version, ordinals) = (event.version, Vec::new());
                let stream = StreamTail { first_version, ordinals, above };
                self.listed.push(Key::Stream(event.stream.clone()));
                self.streams.insert(event.stream.clone(), stream);
            }
        }
        if let Some(stream) = self.streams.get_mut(&event.stream) {
            stream.ordinals.push(ordinal);
            for slot in &stream.above {
                if let Some(posting) = self.postings.get_mut(*slot as usize) {
                    posting.push(ordinal);
                }
            }
        }
        self.events.push(event);
    }

    fn slot(&mut self, key: Key) -> u32 {
        if let Some(slot) = self.slots.get(&key) {
            return *slot;
        }
        let slot = ordinal(self.postings.len());
        self.postings.push(Vec::new());
        if key.kind() <= Key::TYPE_KIND {
            self.listed.push(key.clone());
        }
        self.slots.insert(key, slot);
        slot
    }

    fn post(&mut self, slot: u32, ordinal: u32) {
        if let Some(posting) = self.postings.get_mut(slot as usize) {
            posting.push(ordinal);
        }
    }
}

/// Converts an index to an ordinal: the commands of a chunk hold far fewer than 2^32 events.
fn ordinal(index: usize) -> u32 {
    u32::try_from(index).expect("a tail is at most two chunk sizes long")
}
