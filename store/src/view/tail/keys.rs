//! The postings of a tail's keys other than streams.

use super::ordinal;
use crate::format::Key;
use crate::view::hash::{Hasher, Slots};

/// The keys other than streams, each with the ordinals of its events.
#[derive(Debug, Default)]
pub(super) struct Keys {
    slots: Slots,
    all: Vec<(Key, Vec<u32>)>,
}

impl Keys {
    /// Returns the slot of a key.
    pub(super) fn find(&self, hasher: &Hasher, kind: u8, name: &str) -> Option<u32> {
        self.find_hashed(hasher.hash_key(kind, name), kind, name)
    }

    fn find_hashed(&self, hash: u64, kind: u8, name: &str) -> Option<u32> {
        let is_same =
            |slot| self.get(slot).is_some_and(|(key, _)| key.kind() == kind && key.name() == name);
        self.slots.find(hash, is_same)
    }

    /// Returns the slot of a key whose name was checked, and true if the key is new.
    pub(super) fn slot(&mut self, hasher: &Hasher, kind: u8, name: &str) -> (u32, bool) {
        let hash = hasher.hash_key(kind, name);
        if let Some(slot) = self.find_hashed(hash, kind, name) {
            return (slot, false);
        }
        let slot = ordinal(self.all.len());
        let key = Key::of_kind(kind, name).expect("checked before");
        self.all.push((key, Vec::new()));
        self.slots.insert(hash, slot);
        (slot, true)
    }

    pub(super) fn get(&self, slot: u32) -> Option<&(Key, Vec<u32>)> {
        self.all.get(slot as usize)
    }

    /// Adds an ordinal to the posting in a slot.
    pub(super) fn post(&mut self, slot: u32, ordinal: u32) {
        if let Some((_, ordinals)) = self.all.get_mut(slot as usize) {
            ordinals.push(ordinal);
        }
    }
}
