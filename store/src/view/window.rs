//! The ids of the newest positions: they show whether an event was appended, without a look at the disk.

use quorate_proto::limits::RETRY_WINDOW;
use quorate_proto::{EventId, Position};

use super::hash::Hasher;
use super::id_index::{IdIndex, PARTS};

/// The ids of the newest `capacity` positions, and the positions.
///
/// Memory: 16 bytes an id in the ring, which grows by doubling, and 32 MiB of index, whatever the number of ids: 96 MiB
/// at the full 2^22 ids. The hash is keyed, so that a client that makes ids cannot aim at one bucket.
///
/// Invariants:
/// - `ring` holds the ids of the positions `last - ring.len() + 1 ..= last`; position p stands at slot
///   `(p - origin) % capacity`, and while the ring is not full its first slot is that of the oldest.
/// - `index` holds one slot for each different id in the ring: that of its newest position.
#[derive(Debug)]
pub(crate) struct Window {
    hasher: Hasher,
    capacity: u64,
    /// The position of the first id that came in.
    origin: Position,
    last: Position,
    ring: Vec<EventId>,
    index: IdIndex,
    /// The hashes of the ids that are being added: the list is used again.
    hashes: Vec<u64>,
}

impl Window {
    /// An empty window; the next id belongs to the position after `last`.
    pub(crate) fn new(hasher: Hasher, last: Position) -> Window {
        Window::with_capacity(hasher, last, RETRY_WINDOW)
    }

    /// An empty window with room for `ids` ids: a ring that grows is copied.
    pub(crate) fn with_room(hasher: Hasher, last: Position, ids: u64) -> Window {
        let room = usize::try_from(ids.min(RETRY_WINDOW)).expect("a window is in memory");
        let mut window = Window::new(hasher, last);
        window.ring.reserve_exact(room);
        window
    }

    fn with_capacity(hasher: Hasher, last: Position, capacity: u64) -> Window {
        let (ring, index) = (Vec::new(), IdIndex::new(capacity));
        let hashes = Vec::new();
        Window { hasher, capacity, origin: last.next(), last, ring, index, hashes }
    }

    /// Adds the ids of the next positions if it knows none of them, and returns true if so. No id is given twice.
    ///
    /// Each step goes over all ids before the next one begins: the processor then waits for many lines of memory at once.
    pub(crate) fn push_new(&mut self, ids: &[EventId]) -> bool {
        let mut hashes = std::mem::take(&mut self.hashes);
        hashes.clear();
        hashes.extend(ids.iter().map(|id| self.hasher.hash(id.as_bytes())));
        let is_new = ids.iter().zip(&hashes).all(|(id, hash)| self.slot_of(*hash, *id).is_none());
        if is_new && ids.len() as u64 > self.capacity {
            ids.iter().for_each(|id| self.push(*id));
        } else if is_new {
            self.forget_before(ids.len());
            for (id, hash) in ids.iter().zip(&hashes) {
                let slot = self.take_slot(*id);
                self.index.insert(*hash, slot);
            }
        }
        self.hashes = hashes;
        is_new
    }

    /// Forgets the ids whose slots the next `count` positions will take, of which there are at most `capacity`.
    fn forget_before(&mut self, count: usize) {
        for position in (1..=count as u64).map(|distance| self.last.plus(distance)) {
            let slot = self.slot(position);
            let Some(old) = self.ring.get(slot) else { return };
            // A newer position may have the same id: then its slot stands in the index.
            self.index.remove(self.hasher.hash(old.as_bytes()), index_slot(slot));
        }
    }

    /// Adds the id of the next position, and drops the oldest id if the window is full.
    pub(crate) fn push(&mut self, id: EventId) {
        self.forget_before(1);
        let slot = self.take_slot(id);
        self.remember(self.hasher.hash(id.as_bytes()), slot);
    }

    /// Writes the id of the next position into its slot, whose id was forgotten.
    fn take_slot(&mut self, id: EventId) -> u32 {
        self.last = self.last.next();
        let slot = self.slot(self.last);
        match self.ring.get_mut(slot) {
            Some(place) => *place = id,
            None => self.ring.push(id),
        }
        index_slot(slot)
    }

    /// Adds the ids of the next positions, as [`Window::push`] does; faster while none has to be dropped.
    ///
    /// The parts of the index are filled one after the other: one fits into the processor's cache, all of them do not.
    pub(crate) fn extend(&mut self, ids: &[EventId]) {
        if (self.ring.len() + ids.len()) as u64 > self.capacity {
            return ids.iter().for_each(|id| self.push(*id));
        }
        let start = self.ring.len();
        self.ring.extend_from_slice(ids);
        self.last = self.last.plus(ids.len() as u64);
        let hashes: Vec<u64> = ids.iter().map(|id| self.hasher.hash(id.as_bytes())).collect();
        for members in self.by_part(&hashes) {
            for (member, hash) in members {
                self.remember(hash, index_slot(start + member as usize));
            }
        }
    }

    /// Returns the newest position of an id, if the id is in the window.
    pub(crate) fn find(&self, id: EventId) -> Option<Position> {
        let slot = self.slot_of(self.hasher.hash(id.as_bytes()), id)?;
        Some(self.position(slot))
    }

    fn slot_of(&self, hash: u64, id: EventId) -> Option<u32> {
        self.index.find(hash, |slot| self.ring.get(slot as usize) == Some(&id))
    }

    /// Returns the oldest position whose id is here; one after the last if there is none.
    pub(crate) fn first(&self) -> Position {
        Position(self.last.0 + 1 - self.ring.len() as u64)
    }

    fn slot(&self, position: Position) -> usize {
        let from_origin = (position.0 - self.origin.0) % self.capacity;
        usize::try_from(from_origin).expect("less than the capacity, which is in memory")
    }

    fn position(&self, slot: u32) -> Position {
        let newest = (self.last.0 - self.origin.0) % self.capacity;
        let age = (newest + self.capacity - u64::from(slot)) % self.capacity;
        Position(self.last.0 - age)
    }

    /// Adds the slot of an id to the index, in the place of an older one.
    fn remember(&mut self, hash: u64, slot: u32) {
        let id = self.ring.get(slot as usize);
        let known = self.index.find(hash, |other| self.ring.get(other as usize) == id);
        if let Some(known) = known {
            self.index.remove(hash, known);
        }
        self.index.insert(hash, slot);
    }

    /// Groups hashes by the parts of the index, each with its number, in their order.
    fn by_part(&self, hashes: &[u64]) -> Vec<Vec<(u32, u64)>> {
        let room = hashes.len() / PARTS * 9 / 8;
        let mut parts: Vec<Vec<(u32, u64)>> =
            (0..PARTS).map(|_| Vec::with_capacity(room)).collect();
        for (hash, at) in hashes.iter().zip(0..) {
            if let Some(part) = parts.get_mut(self.index.part_of(*hash)) {
                part.push((at, *hash));
            }
        }
        parts
    }
}

fn index_slot(slot: usize) -> u32 {
    u32::try_from(slot).expect("less than the capacity of 2^22")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn id(number: u8) -> EventId {
        EventId::from_bytes([number; 16]).expect("not nil")
    }

    proptest! {
        #[test]
        fn a_window_finds_the_newest_position_of_each_id_in_it(
            start in 0..100_u64, capacity in 1..9_u64, batch in 1..20_usize, ids in proptest::collection::vec(1..12_u8, 0..60)
        ) {
            let mut window = Window::with_capacity(Hasher::new(&[3; 16]), Position(start), capacity);
            let mut log: Vec<(EventId, Position)> = Vec::new();
            let many: Vec<EventId> = ids.iter().map(|number| id(*number)).collect();
            let mut extended = Window::with_capacity(Hasher::new(&[3; 16]), Position(start), capacity);
            many.chunks(batch).for_each(|ids| extended.extend(ids));
            let mut together = Window::with_capacity(Hasher::new(&[3; 16]), Position(start), capacity);
            for ids in many.chunks(batch) {
                let is_twice = |(at, id)| ids.iter().take(at).any(|before| before == id);
                if ids.iter().enumerate().any(is_twice) || !together.push_new(ids) {
                    ids.iter().for_each(|id| together.push(*id));
                }
            }
            for (number, position) in ids.into_iter().zip(start + 1..) {
                window.push(id(number));
                log.push((id(number), Position(position)));
                let newest = &log[log.len().saturating_sub(capacity as usize)..];
                prop_assert_eq!(Some(window.first()), newest.first().map(|(_, position)| *position));
                for number in 1..12 {
                    let expected = newest.iter().rev().find(|(other, _)| *other == id(number));
                    prop_assert_eq!(window.find(id(number)), expected.map(|(_, position)| *position));
                }
            }
            for number in 1..12 {
                prop_assert_eq!(extended.find(id(number)), window.find(id(number)));
                prop_assert_eq!(together.find(id(number)), window.find(id(number)));
            }
            prop_assert_eq!(extended.first(), window.first());
        }
    }

    #[test]
    fn ids_are_added_together_or_not_at_all() {
        let mut window = Window::with_capacity(Hasher::new(&[3; 16]), Position(7), 3);
        assert!(window.push_new(&[id(1), id(2)]));
        assert!(!window.push_new(&[id(3), id(2)]) && window.find(id(3)).is_none());
        assert!(window.push_new(&[id(3), id(4)]));
        assert_eq!((window.find(id(1)), window.find(id(4))), (None, Some(Position(11))));
        assert!(window.push_new(&[id(1)]), "it was forgotten");
    }

    #[test]
    fn an_empty_window_knows_nothing() {
        let window = Window::new(Hasher::new(&[0; 16]), Position(7));
        assert_eq!(window.find(id(1)), None);
        assert_eq!(window.first(), Position(8));
    }
}
