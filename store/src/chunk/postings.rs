//! Collects where the events of each key are, while a chunk is written or verified.

use std::collections::HashMap;

use bytes::Bytes;
use quorate_proto::{StreamName, Version};

use crate::format::Output;
use crate::format::chunk::dictionary::decode_ordinals;
use crate::{Key, StoredEvent};

/// The events of one key so far.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct KeyPostings {
    /// The ordinals as the dictionary has them: the first, then the distances.
    pub(super) encoded: Vec<u8>,
    pub(super) count: u32,
    last_ordinal: u32,
    /// Of a stream: the versions of its first and its last event.
    pub(super) versions: Option<(Version, Version)>,
}

impl KeyPostings {
    fn push(&mut self, ordinal: u32) {
        self.encoded.put_varint(u64::from(ordinal - self.last_ordinal));
        self.last_ordinal = ordinal;
        self.count += 1;
    }

    pub(super) fn ordinals(&self) -> Vec<u32> {
        let mut ordinals = Vec::with_capacity(self.count as usize);
        decode_ordinals(Bytes::copy_from_slice(&self.encoded), &mut ordinals)
            .expect("they were encoded in this process");
        ordinals
    }

    fn push_version(&mut self, version: Version) {
        let (first, _) = self.versions.unwrap_or((version, version));
        self.versions = Some((first, version));
    }
}

/// The events of all keys.
///
/// The maps only find slots; what comes out is sorted, so their order does not matter.
#[derive(Debug, Default)]
pub(super) struct Postings {
    slots: Vec<(Key, KeyPostings)>,
    of_key: HashMap<Key, usize>,
    of_stream: HashMap<StreamName, StreamSlots>,
}

/// A stream lies in the same category and paths for good, so they are found once.
#[derive(Clone, Debug)]
struct StreamSlots {
    stream: usize,
    above: Box<[usize]>,
}

impl Postings {
    /// Adds the next event; ordinals ascend.
    pub(super) fn push(&mut self, ordinal: u32, event: &StoredEvent) {
        let slots = match self.of_stream.get(&event.stream) {
            Some(slots) => slots.clone(),
            None => self.add_stream(&event.stream),
        };
        let stream = &mut self.slots[slots.stream].1;
        stream.push(ordinal);
        stream.push_version(event.version);
        for slot in &slots.above {
            self.slots[*slot].1.push(ordinal);
        }
        for label in Key::labels(event) {
            let slot = match self.of_key.get(&label) {
                Some(slot) => *slot,
                None => self.add(label),
            };
            self.slots[slot].1.push(ordinal);
        }
    }

    fn add_stream(&mut self, stream: &StreamName) -> StreamSlots {
        let above = Key::above(stream).map(|key| match self.of_key.get(&key) {
            Some(slot) => *slot,
            None => self.add(key),
        });
        let above = above.collect();
        let slots = StreamSlots { stream: self.slots.len(), above };
        self.slots.push((Key::Stream(stream.clone()), KeyPostings::default()));
        self.of_stream.insert(stream.clone(), slots.clone());
        slots
    }

    fn add(&mut self, key: Key) -> usize {
        let slot = self.slots.len();
        self.of_key.insert(key.clone(), slot);
        self.slots.push((key, KeyPostings::default()));
        slot
    }

    /// All keys, sorted.
    pub(super) fn finish(self) -> Vec<(Key, KeyPostings)> {
        let mut slots = self.slots;
        slots.sort_unstable_by(|(one, _), (other, _)| one.cmp(other));
        slots
    }
}
