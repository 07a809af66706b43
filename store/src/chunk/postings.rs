//! Collects the ordinals of each key's events while a chunk is written or verified.

use std::collections::HashMap;

use bytes::Bytes;
use quorate_proto::{StreamName, Version};

use crate::format::chunk::dictionary::decode_ordinals;
use crate::format::{Identity, Output};
use crate::{Key, StoredEvent};

/// The events of one key so far.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct KeyPostings {
    /// The ordinals, encoded as in the dictionary: the first, then the distances.
    pub(super) encoded: Vec<u8>,
    pub(super) count: u32,
    last_ordinal: u32,
    /// For a stream the versions of its first and its last event.
    pub(super) versions: Option<(Version, Version)>,
}

impl KeyPostings {
    fn push(&mut self, ordinal: u32) {
        self.encoded.put_varint(u64::from(ordinal - self.last_ordinal));
        self.last_ordinal = ordinal;
        self.count += 1;
    }

    fn push_version(&mut self, version: Version) {
        let (first, _) = self.versions.unwrap_or((version, version));
        self.versions = Some((first, version));
    }

    pub(super) fn ordinals(&self) -> Vec<u32> {
        decode_ordinals(Bytes::copy_from_slice(&self.encoded), self.count)
            .expect("they were encoded in this process")
    }
}

/// The events of all keys.
///
/// The maps only find slots; the result is sorted, so their order does not matter.
#[derive(Debug, Default)]
pub(super) struct Postings {
    slots: Vec<(Key, KeyPostings)>,
    of_key: HashMap<Key, usize>,
    of_stream: HashMap<StreamName, usize>,
    streams: Vec<StreamSlots>,
}

/// The slots of a stream. It lies in the same category and paths for good, so their slots are found once.
#[derive(Debug)]
struct StreamSlots {
    stream: usize,
    /// The slots of its category and paths; found with its first event.
    above: Option<Box<[usize]>>,
}

impl Postings {
    /// Adds the next event; ordinals ascend.
    pub(super) fn push(&mut self, ordinal: u32, event: &StoredEvent) {
        let stream = self.push_to_stream(ordinal, &event.stream, event.version);
        if self.streams[stream].above.is_none() {
            let above = Key::above(&event.stream).map(|key| self.slot(key)).collect();
            self.streams[stream].above = Some(above);
        }
        for slot in self.streams[stream].above.iter().flatten() {
            self.slots[*slot].1.push(ordinal);
        }
        for label in event.labels() {
            let slot = self.slot(label);
            self.slots[slot].1.push(ordinal);
        }
    }

    /// Adds the stub of a removed event: only its stream has the stub's ordinal.
    pub(super) fn push_stub(&mut self, ordinal: u32, stub: &Identity) {
        self.push_to_stream(ordinal, &stub.stream, stub.version);
    }

    fn push_to_stream(&mut self, ordinal: u32, stream: &StreamName, version: Version) -> usize {
        let at = match self.of_stream.get(stream) {
            Some(at) => *at,
            None => {
                let at = self.streams.len();
                self.streams.push(StreamSlots { stream: self.slots.len(), above: None });
                self.slots.push((Key::Stream(stream.clone()), KeyPostings::default()));
                self.of_stream.insert(stream.clone(), at);
                at
            }
        };
        let postings = &mut self.slots[self.streams[at].stream].1;
        postings.push(ordinal);
        postings.push_version(version);
        at
    }

    fn slot(&mut self, key: Key) -> usize {
        if let Some(slot) = self.of_key.get(&key) {
            return *slot;
        }
        let slot = self.slots.len();
        self.of_key.insert(key.clone(), slot);
        self.slots.push((key, KeyPostings::default()));
        slot
    }

    /// Returns all keys, sorted.
    pub(super) fn finish(self) -> Vec<(Key, KeyPostings)> {
        let mut slots = self.slots;
        slots.sort_unstable_by(|(one, _), (other, _)| one.cmp(other));
        slots
    }
}
