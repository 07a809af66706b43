//! The heads of streams that sealed tails knew, remembered so that the next append to them reads no disk.

use quorate_proto::StreamName;

use super::hash::{Hasher, Slots};
use super::{StreamHead, Tail};

/// The heads of streams as the tails knew them that were sealed last.
///
/// Invariant: a stream has its newest head here, unless a tail of the view has a newer one.
#[derive(Debug)]
pub(crate) struct Heads {
    hasher: Hasher,
    slots: Slots,
    /// The streams, those of the newest tail first.
    all: Vec<(StreamName, StreamHead)>,
}

impl Heads {
    /// No heads.
    pub(crate) fn none(hasher: Hasher) -> Heads {
        Heads { hasher, slots: Slots::default(), all: Vec::new() }
    }

    /// Returns at most `max` heads: those of a tail that gets no more events, and then those that are here.
    pub(crate) fn after(&self, tail: &Tail, max: usize) -> Heads {
        let mut newest = tail.newest_heads(max);
        newest.reserve(self.all.len().min(max - newest.len()));
        let slots = Slots::with_capacity(newest.capacity());
        let mut heads = Heads { hasher: self.hasher.clone(), slots, all: newest };
        for slot in 0..heads.all.len() {
            heads.add_slot(slot);
        }
        for (stream, head) in &self.all {
            if heads.all.len() >= max {
                break;
            }
            if heads.find(heads.hash(stream), stream.as_str()).is_none() {
                heads.all.push((stream.clone(), *head));
                heads.add_slot(heads.all.len() - 1);
            }
        }
        heads
    }

    /// Returns a stream, of this hash, and its head.
    pub(crate) fn find(&self, hash: u64, stream: &str) -> Option<&(StreamName, StreamHead)> {
        let at = |slot: u32| self.all.get(slot as usize);
        let is_same = |slot| at(slot).is_some_and(|(other, _)| other.as_str() == stream);
        at(self.slots.find(hash, is_same)?)
    }

    fn hash(&self, stream: &StreamName) -> u64 {
        self.hasher.hash_stream(stream.as_str())
    }

    fn add_slot(&mut self, slot: usize) {
        if let (Some((stream, _)), Ok(number)) = (self.all.get(slot), u32::try_from(slot)) {
            self.slots.insert(self.hash(stream), number);
        }
    }
}

#[cfg(test)]
mod tests {
    use quorate_proto::{Position, Version};

    use super::*;

    fn head(version: u64) -> StreamHead {
        StreamHead { version: Version(version), ..StreamHead::default() }
    }

    /// Returns a tail that knows these streams at these versions.
    fn tail(hasher: &Hasher, streams: &[(&str, u64)]) -> Tail {
        let tail = Tail::after(Position(0), hasher.clone());
        for (name, version) in streams {
            let stream = StreamName::new(name).expect("a name");
            tail.put_head(hasher.hash_stream(name), stream, head(*version));
        }
        tail
    }

    #[test]
    fn the_newest_heads_are_remembered_and_the_oldest_forgotten() {
        let hasher = Hasher::new(&[1; 16]);
        let version = |heads: &Heads, name: &str| {
            heads.find(hasher.hash_stream(name), name).map(|(_, head)| head.version.0)
        };
        let first = tail(&hasher, &[("a", 1), ("b", 2), ("c", 3)]);
        let second = tail(&hasher, &[("b", 5), ("d", 4)]);
        let heads = Heads::none(hasher.clone()).after(&first, 3).after(&second, 3);
        let found = ["a", "b", "c", "d"].map(|name| version(&heads, name));
        assert_eq!(found, [None, Some(5), Some(3), Some(4)]);
        assert_eq!(version(&heads.after(&first, 1), "c"), Some(3));
        assert_eq!(version(&heads.after(&first, 0), "c"), None);
    }
}
