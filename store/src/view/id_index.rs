//! The index of the window: it leads from the hash of an id to the slot that may hold the id, in one access to memory.

use std::ops::Range;

use hashbrown::HashTable;

/// The numbers of a bucket: as many as fill a line of the processor's cache.
const BUCKET: usize = 16;
/// The place of the number of spilled slots in a bucket; the places before it hold slots.
const SPILLED: usize = BUCKET - 1;
/// The slots for which a bucket is meant: about one bucket in a hundred spills.
const SLOTS_PER_BUCKET: u64 = 8;
const SLOT_BITS: u32 = 22;
const SLOT_MASK: u32 = (1 << SLOT_BITS) - 1;
/// The number of different tags. None is 0, so that 0 is a free place.
const TAGS: u64 = (1 << (u32::BITS - SLOT_BITS)) - 1;
/// The number of parts of the index, each of which fits into the processor's cache.
pub(super) const PARTS: usize = 256;

/// The slots of ids by the ids' hashes, at most 2^22 of them.
///
/// It has its size from the beginning: an index that grows looks at all ids again, all over the memory, and stops apply
/// meanwhile. The system gives the memory when it is written to for the first time.
///
/// Invariants:
/// - a slot stands in the bucket that its hash selects, together with a tag of the hash; or it is in `spilled`, and the
///   bucket counts it;
/// - no slot stands in it twice.
pub(super) struct IdIndex {
    numbers: Vec<u32>,
    /// The first number that begins a line of the cache.
    begin: usize,
    buckets: usize,
    /// The slots for which their buckets had no place, with the hashes of their ids.
    spilled: HashTable<(u64, u32)>,
}

impl IdIndex {
    /// Returns an index for so many slots.
    pub(super) fn new(slots: u64) -> IdIndex {
        let buckets = slots.min(1 << SLOT_BITS).div_ceil(SLOTS_PER_BUCKET).next_power_of_two();
        let buckets = usize::try_from(buckets).expect("an index is in memory");
        let numbers = vec![0; (buckets + 1) * BUCKET];
        let begin = numbers.as_ptr().align_offset(BUCKET * size_of::<u32>()).min(BUCKET);
        IdIndex { numbers, begin, buckets, spilled: HashTable::new() }
    }

    /// Returns the slot of this hash that `is_same` recognizes.
    pub(super) fn find(&self, hash: u64, is_same: impl Fn(u32) -> bool) -> Option<u32> {
        let bucket = self.bucket(hash);
        let tag = tag_of(hash);
        let mut candidates = places(bucket, |number| number >> SLOT_BITS == tag);
        while candidates != 0 {
            let number = bucket.get(candidates.trailing_zeros() as usize)?;
            let slot = number & SLOT_MASK;
            if is_same(slot) {
                return Some(slot);
            }
            candidates &= candidates - 1;
        }
        if bucket.last() == Some(&0) {
            return None;
        }
        let known = self.spilled.find(hash, |(other, slot)| *other == hash && is_same(*slot));
        known.map(|(_, slot)| *slot)
    }

    /// Adds a slot that is not there yet.
    pub(super) fn insert(&mut self, hash: u64, slot: u32) {
        let range = self.range(hash);
        let Some(bucket) = self.numbers.get_mut(range) else { return };
        let free = places(bucket, |number| number == 0);
        if let Some(place) = bucket.get_mut(free.trailing_zeros() as usize) {
            *place = tag_of(hash) << SLOT_BITS | slot;
        } else if let Some(spilled) = bucket.last_mut() {
            *spilled += 1;
            self.spilled.insert_unique(hash, (hash, slot), |(hash, _)| *hash);
        }
    }

    /// Removes a slot if it is there.
    pub(super) fn remove(&mut self, hash: u64, slot: u32) {
        let number = tag_of(hash) << SLOT_BITS | slot;
        let range = self.range(hash);
        let Some(bucket) = self.numbers.get_mut(range) else { return };
        let known = places(bucket, |other| other == number);
        if let Some(place) = bucket.get_mut(known.trailing_zeros() as usize) {
            *place = 0;
        } else if let Some(spilled) = bucket.last_mut().filter(|spilled| **spilled > 0)
            && let Ok(known) = self.spilled.find_entry(hash, |(_, other)| *other == slot)
        {
            known.remove();
            *spilled -= 1;
        }
    }

    /// Returns the part of the index in which a hash has its bucket.
    pub(super) fn part_of(&self, hash: u64) -> usize {
        self.at(hash) * PARTS / self.buckets
    }

    fn at(&self, hash: u64) -> usize {
        hash as usize & (self.buckets - 1)
    }

    fn bucket(&self, hash: u64) -> &[u32] {
        self.numbers.get(self.range(hash)).unwrap_or_default()
    }

    /// Returns where the bucket of a hash lies among the numbers.
    fn range(&self, hash: u64) -> Range<usize> {
        let from = self.begin + self.at(hash) * BUCKET;
        from..from + BUCKET
    }
}

impl std::fmt::Debug for IdIndex {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("IdIndex").field("buckets", &self.buckets).finish_non_exhaustive()
    }
}

/// Returns a bit for each place of a bucket whose number is one of these. All places are looked at, without a branch: the
/// processor then goes on to the next id while it waits for this bucket.
fn places(bucket: &[u32], is_one: impl Fn(u32) -> bool) -> u32 {
    let places = bucket.iter().take(SPILLED).enumerate();
    places.fold(0, |found, (at, number)| found | u32::from(is_one(*number)) << at)
}

/// Returns the tag of a hash, from bits that select no bucket; never 0.
fn tag_of(hash: u64) -> u32 {
    (((hash >> 32) * TAGS) >> 32) as u32 + 1
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// Few different hashes for many slots, so that buckets spill, and tags meet.
        #[test]
        fn an_index_finds_what_was_added_and_not_removed(
            steps in proptest::collection::vec((0..40_u32, 0..6_u64, any::<bool>()), 0..200)
        ) {
            let hash_of = |number: u64| ((number % 3) << 60) | (number % 2);
            let mut index = IdIndex::new(16);
            let mut model: BTreeMap<u32, u64> = BTreeMap::new();
            for (slot, number, adds) in steps {
                if let Some(hash) = model.remove(&slot) {
                    index.remove(hash, slot);
                }
                index.remove(hash_of(number), slot);
                if adds {
                    index.insert(hash_of(number), slot);
                    model.insert(slot, hash_of(number));
                }
                for slot in 0..40 {
                    for number in 0..6 {
                        let found = index.find(hash_of(number), |other| other == slot);
                        let is_there = model.get(&slot) == Some(&hash_of(number));
                        prop_assert_eq!(found, is_there.then_some(slot));
                    }
                }
            }
            let spilled: u32 = (0..2).filter_map(|hash| index.bucket(hash).last()).sum();
            prop_assert_eq!(spilled as usize, index.spilled.len());
        }
    }

    #[test]
    fn each_bucket_begins_a_line_of_the_cache_and_all_are_reached() {
        let index = IdIndex::new(1 << SLOT_BITS);
        assert_eq!(index.buckets, 1 << 19);
        for hash in [0, 1, (1 << 19) - 1, u64::MAX] {
            let bucket = index.bucket(hash);
            assert_eq!((bucket.len(), bucket.as_ptr() as usize % 64), (BUCKET, 0));
            assert!(index.part_of(hash) < PARTS && tag_of(hash) > 0 && tag_of(hash) < 1 << 10);
        }
    }
}
