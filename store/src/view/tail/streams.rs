//! The streams of a tail: their heads and the ordinals of their events.

use quorate_proto::{StreamName, Version};

use super::ordinals::{Ordinals, ordinal};
use crate::view::StreamHead;
use crate::view::hash::{Hasher, Slots};

/// The streams that were written or judged since the tail began.
#[derive(Debug, Default)]
pub(super) struct Streams {
    slots: Slots,
    all: Vec<StreamTail>,
}

/// A stream as a tail knows it.
///
/// Invariants: the head is the newest; the events here are the last ones of the stream, one ordinal for each version.
#[derive(Debug)]
pub(super) struct StreamTail {
    pub(super) name: StreamName,
    pub(super) head: StreamHead,
    ordinals: Ordinals,
    /// The index of its lineage in the tail's; `None` before the first event.
    pub(super) lineage: Option<u32>,
}

impl StreamTail {
    pub(super) fn ordinals(&self) -> &[u32] {
        self.ordinals.as_slice()
    }

    /// The version of the first event here; one after the last version if there is none.
    pub(super) fn first_version(&self) -> Version {
        Version(self.head.version.0 + 1 - self.ordinals().len() as u64)
    }

    /// Adds the next event of the stream.
    pub(super) fn push(&mut self, ordinal: u32) -> Version {
        self.head.version = self.head.version.next();
        self.ordinals.push(ordinal);
        self.head.version
    }
}

impl Streams {
    /// Returns the slot of a stream of this hash.
    pub(super) fn find(&self, hash: u64, stream: &str) -> Option<u32> {
        let is_same = |slot| self.get(slot).is_some_and(|other| other.name.as_str() == stream);
        self.slots.find(hash, is_same)
    }

    pub(super) fn get(&self, slot: u32) -> Option<&StreamTail> {
        self.all.get(slot as usize)
    }

    pub(super) fn get_mut(&mut self, slot: u32) -> Option<&mut StreamTail> {
        self.all.get_mut(slot as usize)
    }

    /// Returns a stream that has events here.
    pub(super) fn written(&self, hasher: &Hasher, stream: &str) -> Option<&StreamTail> {
        let slot = self.find(hasher.hash_stream(stream), stream)?;
        self.get(slot).filter(|stream| !stream.ordinals().is_empty())
    }

    /// Sets the head of a stream that has this hash, and returns its slot.
    pub(super) fn put(&mut self, hash: u64, name: StreamName, head: StreamHead) -> u32 {
        if let Some(slot) = self.find(hash, name.as_str()) {
            if let Some(stream) = self.get_mut(slot) {
                stream.head = head;
            }
            return slot;
        }
        let slot = ordinal(self.all.len());
        self.all.push(StreamTail { name, head, ordinals: Ordinals::default(), lineage: None });
        self.slots.insert(hash, slot);
        slot
    }

    /// Returns the streams that have events here.
    pub(super) fn written_ones(&self) -> impl Iterator<Item = &StreamTail> {
        self.all.iter().filter(|stream| !stream.ordinals().is_empty())
    }

    /// Returns all streams, those that came last at the end.
    pub(super) fn all(&self) -> &[StreamTail] {
        &self.all
    }
}
