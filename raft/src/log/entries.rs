//! The index of the entries: the place of each entry on disk, and the bytes of the newest ones in memory.

use std::collections::VecDeque;

use bytes::Bytes;
use quorate_proto::LogId;

use super::format::{ENTRY_OVERHEAD_BYTES, Place};
use super::{EntryKind, LogEntry};

/// The index's data about one entry.
#[derive(Clone, Copy, Debug)]
pub(super) struct Slot {
    pub(super) term: u64,
    pub(super) kind: EntryKind,
    /// The length of the payload.
    pub(super) length: u32,
    /// The number of the entry among all that were appended since the start: 1, 2, 3 …
    ticket: u64,
    /// The place of the entry's record; `None` until it is durable.
    pub(super) place: Option<Place>,
}

impl Slot {
    /// Returns the length of the whole record on disk.
    pub(super) fn record_bytes(&self) -> u64 {
        u64::from(self.length) + ENTRY_OVERHEAD_BYTES as u64
    }
}

/// All entries after the last purged.
///
/// Invariants:
/// - `slots` holds the entries from `first` on, without a gap, with growing tickets and growing places;
/// - `cache` holds the payloads of the last of these entries, at least of those without a place.
#[derive(Debug)]
pub(super) struct Entries {
    first: u64,
    slots: VecDeque<Slot>,
    cache: VecDeque<Bytes>,
    cached_bytes: usize,
    cache_bytes: usize,
}

impl Entries {
    /// Returns an index without entries.
    pub(super) fn new(cache_bytes: usize) -> Entries {
        let (slots, cache) = (VecDeque::new(), VecDeque::new());
        Entries { first: 0, slots, cache, cached_bytes: 0, cache_bytes }
    }

    /// Sets the index of the first entry; nothing was pushed yet.
    pub(super) fn begin_at(&mut self, first: u64) {
        self.first = first;
    }

    /// Returns the index of the first entry, or of the next one if there is none.
    pub(super) fn first(&self) -> u64 {
        self.first
    }

    /// Returns the index after the last entry.
    pub(super) fn until(&self) -> u64 {
        self.first + self.slots.len() as u64
    }

    pub(super) fn len(&self) -> u64 {
        self.slots.len() as u64
    }

    pub(super) fn get(&self, index: u64) -> Option<&Slot> {
        let nth = index.checked_sub(self.first)?;
        self.slots.get(usize::try_from(nth).ok()?)
    }

    pub(super) fn id(&self, index: u64) -> Option<LogId> {
        self.get(index).map(|slot| LogId::new(slot.term, index))
    }

    /// Returns the payload, if it is in memory.
    pub(super) fn cached(&self, index: u64) -> Option<&Bytes> {
        let uncached = self.slots.len() - self.cache.len();
        let nth = index.checked_sub(self.first + uncached as u64)?;
        self.cache.get(usize::try_from(nth).ok()?)
    }

    /// Returns the place of the first entry on disk; `None` when there is no entry, or it is not durable.
    pub(super) fn first_place(&self) -> Option<Place> {
        self.slots.front().and_then(|slot| slot.place)
    }

    /// Adds an entry that is not on disk yet; its index follows the last one, or it is the first entry.
    pub(super) fn push(&mut self, entry: &LogEntry, ticket: u64) {
        if self.slots.is_empty() {
            self.first = entry.id.index.0;
        }
        self.slots.push_back(slot(entry.id, entry.kind, entry.payload.len(), ticket, None));
        self.cached_bytes += weight(&entry.payload);
        self.cache.push_back(entry.payload.clone());
    }

    /// Adds an entry that was found on disk; no entry may be in memory yet.
    pub(super) fn push_found(
        &mut self,
        id: LogId,
        kind: EntryKind,
        length: usize,
        ticket: u64,
        place: Place,
    ) {
        if self.slots.is_empty() {
            self.first = id.index.0;
        }
        self.slots.push_back(slot(id, kind, length, ticket, Some(place)));
    }

    /// Drops all entries after `end`.
    pub(super) fn truncate_after(&mut self, end: Option<LogId>) {
        let until = end.map_or(0, |end| end.index.0 + 1);
        while self.until() > until && self.slots.pop_back().is_some() {
            if let Some(payload) = self.cache.pop_back() {
                self.cached_bytes -= weight(&payload);
            }
        }
        self.first = self.first.min(until);
    }

    /// Drops all entries up to `index`, which may lie beyond the last one.
    pub(super) fn purge(&mut self, index: u64) {
        while self.first <= index && self.slots.pop_front().is_some() {
            self.first += 1;
            if self.cache.len() > self.slots.len() {
                self.drop_oldest_cached();
            }
        }
        if self.slots.is_empty() {
            self.first = self.first.max(index + 1);
        }
    }

    /// Notes that the entries with tickets from `ticket` on, one per offset, are durable in segment `number`.
    pub(super) fn settle(&mut self, number: u64, ticket: u64, offsets: &[u64]) {
        let from = self.slots.partition_point(|slot| slot.ticket < ticket);
        for slot in self.slots.range_mut(from..) {
            let nth = usize::try_from(slot.ticket - ticket).ok();
            let Some(offset) = nth.and_then(|nth| offsets.get(nth)) else { break };
            slot.place = Some(Place { number, offset: *offset });
        }
        while self.cached_bytes > self.cache_bytes && self.oldest_cached_is_durable() {
            self.drop_oldest_cached();
        }
    }

    /// Returns the last entry whose ticket is not above `ticket`.
    pub(super) fn last_appended_by(&self, ticket: u64) -> Option<LogId> {
        let count = self.slots.partition_point(|slot| slot.ticket <= ticket) as u64;
        self.id((self.first + count).checked_sub(1)?)
    }

    fn oldest_cached_is_durable(&self) -> bool {
        let oldest = self.slots.len() - self.cache.len();
        !self.cache.is_empty() && self.slots.get(oldest).is_some_and(|slot| slot.place.is_some())
    }

    fn drop_oldest_cached(&mut self) {
        if let Some(payload) = self.cache.pop_front() {
            self.cached_bytes -= weight(&payload);
        }
    }
}

fn slot(id: LogId, kind: EntryKind, length: usize, ticket: u64, place: Option<Place>) -> Slot {
    let length = u32::try_from(length).expect("an entry is at most 8 MiB");
    Slot { term: id.term.0, kind, length, ticket, place }
}

/// Returns the bytes that a payload counts in the cache: an entry without a payload counts, too.
fn weight(payload: &Bytes) -> usize {
    payload.len() + 64
}
