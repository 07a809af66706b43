//! The hash of names and ids in tables in memory: keyed, so that nobody can choose names that collide.

use std::fmt;
use std::sync::Arc;

use hashbrown::HashTable;
use siphasher::sip128::SipHasher24;
use xxhash_rust::xxh3::xxh3_64_with_secret;

use crate::format::Key;

const SECRET_BYTES: usize = 192;
/// Spreads the mark of an entry over the bits that a table uses: 2^64 divided by the golden ratio.
const SPREAD: u64 = 0x9e37_79b9_7f4a_7c15;

/// A keyed hash: XXH3 (64 bits) under a secret that a seed is stretched to. Cheap to clone.
///
/// Hashes find things in memory alone: no outcome depends on them, and none is stored.
#[derive(Clone)]
pub(crate) struct Hasher {
    secret: Arc<[u8; SECRET_BYTES]>,
}

impl fmt::Debug for Hasher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Hasher")
    }
}

impl Hasher {
    /// Stretches a seed to the secret: SipHash-2-4 (128 bits) of ascending numbers, with the seed as the key.
    pub(crate) fn new(seed: &[u8; 16]) -> Hasher {
        let sip = SipHasher24::new_with_key(seed);
        let mut secret = [0; SECRET_BYTES];
        for (number, part) in (0_u8..).zip(secret.chunks_mut(16)) {
            part.copy_from_slice(&sip.hash(&[number]).as_bytes());
        }
        Hasher { secret: Arc::new(secret) }
    }

    /// Returns the hash of some bytes.
    pub(crate) fn hash(&self, bytes: &[u8]) -> u64 {
        xxh3_64_with_secret(bytes, &*self.secret)
    }

    /// Returns the hash of the name of a stream.
    pub(crate) fn hash_stream(&self, name: &str) -> u64 {
        self.hash_key(Key::STREAM_KIND, name)
    }

    /// Returns the hash of a name among the names of its kind.
    pub(crate) fn hash_key(&self, kind: u8, name: &str) -> u64 {
        self.hash(name.as_bytes()).wrapping_add(u64::from(kind).wrapping_mul(SPREAD))
    }
}

/// The slots of names in a list that somebody else keeps, found by the hashes of the names.
///
/// An entry has a part of the hash, so that a name which is not there is compared with none, and a table that
/// grows looks at no name.
#[derive(Clone, Debug, Default)]
pub(crate) struct Slots {
    table: HashTable<Entry>,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    mark: u32,
    slot: u32,
}

impl Slots {
    /// Returns the slot of this hash for which `is_same` returns true.
    pub(crate) fn find(&self, hash: u64, mut is_same: impl FnMut(u32) -> bool) -> Option<u32> {
        let mark = mark_of(hash);
        let found =
            self.table.find(spread(mark), |entry| entry.mark == mark && is_same(entry.slot));
        found.map(|entry| entry.slot)
    }

    /// Adds a slot that is not there.
    pub(crate) fn insert(&mut self, hash: u64, slot: u32) {
        let mark = mark_of(hash);
        let place = |entry: &Entry| spread(entry.mark);
        self.table.insert_unique(spread(mark), Entry { mark, slot }, place);
    }
}

fn mark_of(hash: u64) -> u32 {
    (hash >> 32) as u32
}

fn spread(mark: u32) -> u64 {
    u64::from(mark).wrapping_mul(SPREAD)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_bit_of_the_seed_changes_the_hashes_of_names_of_every_length() {
        let seed = [7; 16];
        let hasher = Hasher::new(&seed);
        for bit in 0..128 {
            let mut other = seed;
            other[bit / 8] ^= 1 << (bit % 8);
            let other = Hasher::new(&other);
            for length in 1..255 {
                let name = "n".repeat(length);
                let hash = |hasher: &Hasher| hasher.hash_key(1, &name);
                assert_ne!(hash(&hasher), hash(&other), "{bit} {length}");
            }
        }
        assert_ne!(hasher.hash_key(1, "order"), hasher.hash_key(2, "order"));
    }

    #[test]
    fn slots_of_one_hash_are_told_apart() {
        let mut slots = Slots::default();
        (0..2000).for_each(|slot| slots.insert(u64::from(slot / 2) << 32, slot));
        for slot in 0..2000_u32 {
            let hash = u64::from(slot / 2) << 32;
            assert_eq!(slots.find(hash, |other| other == slot), Some(slot));
            assert_eq!(slots.find(hash + (1 << 52), |other| other == slot), None);
        }
    }
}
