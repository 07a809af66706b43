//! The heads of streams that no tail knows, remembered so that an append to them reads no disk.

mod fill;
mod table;

use std::sync::{Mutex, MutexGuard, PoisonError, TryLockError};

use quorate_proto::Version;

use super::hash::Hasher;
use super::{StreamHead, Tail};
use crate::format::Key;
use crate::format::catalog::KeyState;
use fill::Fill;
use table::{Known, Table};

/// The bytes of memory for which there is one shard more.
const SHARD_BYTES: usize = 1 << 20;
const SHARDS_MAX: usize = 64;

/// The part of a stream that is remembered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Remembered {
    /// Its head.
    Head(StreamHead),
    /// No chunk holds it.
    New,
    /// Nothing: it must be looked for.
    Nothing,
}

/// The heads of streams as they were when the last tail that knew them was sealed, within a bound of memory. As long as
/// all streams of the store have room, it also says that a stream is new, which else takes a look at many chunks.
///
/// A store that was opened with chunks knows few streams at first: each seal fills in some more of the index.
///
/// Seals write to it on their own thread while apply reads from it. What a seal writes is of streams that the sealing
/// tail has, where apply looks first.
///
/// Invariants:
/// - A stream that is here has its newest head and last chunk, unless a tail of the view knows the stream.
/// - A complete shard has all its streams that chunks hold.
#[derive(Debug)]
pub(crate) struct Heads {
    hasher: Hasher,
    shards: Vec<Mutex<Shard>>,
    fill: Mutex<Fill>,
}

/// The streams with some of the hashes, in two generations: when the young one takes its half of the memory, the old one
/// is dropped.
#[derive(Debug)]
struct Shard {
    young: Table,
    old: Table,
    half_bytes: usize,
    is_complete: bool,
    /// True if a stream was dropped, so that the shard can never be complete.
    has_dropped: bool,
}

impl Heads {
    /// No heads, with room for about so many bytes. `is_all` is true if there are no streams at all.
    pub(crate) fn new(hasher: Hasher, bytes: usize, is_all: bool) -> Heads {
        let shards = (bytes / SHARD_BYTES).clamp(1, SHARDS_MAX);
        let half_bytes = bytes / shards / 2;
        let shard = || Mutex::new(Shard::new(half_bytes, is_all));
        let shards = std::iter::repeat_with(shard).take(shards).collect();
        let fill = if is_all { Fill::Over } else { Fill::Through(vec![Key::STREAM_KIND]) };
        Heads { hasher, shards, fill: Mutex::new(fill) }
    }

    /// Returns what is remembered of a stream of this hash that no tail knows. It never waits: a seal, which may stand
    /// still in the middle of a change, would hold up apply for longer than a look into the chunks does.
    pub(crate) fn find(&self, hash: u64, stream: &str) -> Remembered {
        let shard = match self.mutex(hash).try_lock() {
            Ok(shard) => shard,
            Err(TryLockError::Poisoned(shard)) => shard.into_inner(),
            Err(TryLockError::WouldBlock) => return Remembered::Nothing,
        };
        match shard.find(hash, stream) {
            Some(known) => Remembered::Head(known.head),
            None if shard.is_complete => Remembered::New,
            None => Remembered::Nothing,
        }
    }

    /// Returns where a key, which is encoded, was last seen before a chunk: `Some(None)` if it never was, `None` if
    /// that is not remembered.
    pub(crate) fn key_state(&self, key: &[u8], chunk: u64) -> Option<Option<KeyState>> {
        let (kind, name) = key.split_first()?;
        if *kind != Key::STREAM_KIND {
            return None;
        }
        let name = std::str::from_utf8(name).ok()?;
        let hash = self.hasher.hash_stream(name);
        let shard = self.shard(hash);
        let Some(Known { head, last_chunk }) = shard.find(hash, name) else {
            return shard.is_complete.then_some(None);
        };
        let (last_chunk, version) = (u64::from(last_chunk), head.version);
        let is_before = last_chunk > 0 && last_chunk < chunk;
        is_before.then_some(Some(KeyState { last_chunk, version }))
    }

    /// Takes in the heads of a tail that was sealed as the chunk of this number.
    pub(crate) fn put_sealed(&self, tail: &Tail, chunk: u64) {
        // 0 stands for a chunk that is not known, as a number does for which there is no room.
        let chunk = u32::try_from(chunk).unwrap_or(0);
        tail.each_head(|stream, head, is_written| {
            let hash = self.hasher.hash_stream(stream.as_str());
            self.shard(hash).put(hash, stream.as_str(), head, is_written.then_some(chunk));
        });
    }

    fn shard(&self, hash: u64) -> MutexGuard<'_, Shard> {
        self.mutex(hash).lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn mutex(&self, hash: u64) -> &Mutex<Shard> {
        // Slots use the upper half of the hash.
        let at = hash as u32 as usize % self.shards.len();
        self.shards.get(at).expect("there is one for each remainder")
    }
}

impl Shard {
    fn new(half_bytes: usize, is_complete: bool) -> Shard {
        let (young, old) = (Table::default(), Table::default());
        Shard { young, old, half_bytes, is_complete, has_dropped: false }
    }

    fn find(&self, hash: u64, stream: &str) -> Option<Known> {
        let generations = [&self.young, &self.old].into_iter();
        let mut found = generations.filter_map(|table| table.get(table.find(hash, stream)?));
        found.next()
    }

    /// Sets the newest head of a stream, and the chunk that holds it now; `None` if its chunks are the same as before.
    fn put(&mut self, hash: u64, stream: &str, head: StreamHead, chunk: Option<u32>) {
        let now = |before: Option<Known>| {
            let before = before.map_or(0, |known| known.last_chunk);
            Known { head, last_chunk: chunk.unwrap_or(before) }
        };
        if let Some(place) = self.young.find(hash, stream) {
            self.young.set(place, now(self.young.get(place)));
        } else if let Some(place) = self.old.find(hash, stream) {
            let known = now(self.old.get(place));
            // The streams that were used last stay where others are dropped.
            match self.is_complete {
                true => self.old.set(place, known),
                false => self.insert(hash, stream, known),
            }
        } else if chunk.is_some() || head.version > Version::ZERO {
            self.insert(hash, stream, now(None));
        }
    }

    /// Adds a stream to the young generation, which does not have it.
    fn insert(&mut self, hash: u64, stream: &str, known: Known) {
        if self.young.bytes() + Table::bytes_of(stream) > self.half_bytes {
            let dropped = std::mem::replace(&mut self.old, std::mem::take(&mut self.young));
            if dropped.bytes() > 0 {
                (self.is_complete, self.has_dropped) = (false, true);
            }
        }
        self.young.insert(hash, stream, known);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;
    use quorate_proto::{Position, StreamName};

    use super::*;

    fn head(version: u64, deleted: u64, closed: bool) -> StreamHead {
        StreamHead { version: Version(version), deleted: Version(deleted), closed }
    }

    /// A head that is put: of a stream, with the version at the last delete, and the chunk unless it was only judged.
    fn any_put() -> impl Strategy<Value = (u8, u64, bool, bool)> {
        (0..40_u8, 0..3_u64, any::<bool>(), any::<bool>())
    }

    proptest! {
        #[test]
        fn what_is_remembered_is_the_truth_although_all_hashes_collide(
            bytes in 0..4000_usize, puts in proptest::collection::vec(any_put(), 0..200)
        ) {
            let heads = Heads::new(Hasher::new(&[1; 16]), bytes, true);
            let (hash, name) = (|number: u8| u64::from(number % 3) << 32, |number| format!("s-{number}"));
            let mut truth: HashMap<u8, (StreamHead, u32)> = HashMap::new();
            for ((number, deleted, closed, is_written), chunk) in puts.into_iter().zip(1_u32..) {
                let hash_of_it = hash(number);
                let known = truth.get(&number).copied();
                // Apply has looked, so it knows the truth.
                let (before, last) = known.unwrap_or_default();
                let version = before.version.0 + u64::from(is_written);
                let deleted = if version > 0 { deleted.min(version).max(before.deleted.0) } else { 0 };
                let new = head(version, deleted, closed && version > 0);
                heads.shard(hash_of_it).put(hash_of_it, &name(number), new, is_written.then_some(chunk));
                if version > 0 {
                    truth.insert(number, (new, if is_written { chunk } else { last }));
                }
                let has_dropped = heads.shard(hash_of_it).has_dropped;
                for number in 0..40 {
                    let expected = truth.get(&number);
                    match heads.find(hash(number), &name(number)) {
                        Remembered::Head(head) => {
                            prop_assert_eq!(Some(head), expected.map(|(head, _)| *head));
                            let last = heads.shard(hash(number)).find(hash(number), &name(number));
                            let last = last.expect("found").last_chunk;
                            prop_assert!(last == 0 && has_dropped || Some(last) == expected.map(|(_, chunk)| *chunk));
                        }
                        Remembered::New => prop_assert!(expected.is_none() && !has_dropped),
                        Remembered::Nothing => prop_assert!(has_dropped),
                    }
                }
            }
        }
    }

    /// Returns a tail that knows these streams at these versions, and has events of none.
    fn tail(hasher: &Hasher, streams: &[(&str, u64)]) -> Tail {
        let tail = Tail::after(Position(0), hasher.clone());
        for (name, version) in streams {
            let stream = StreamName::new(name).expect("a name");
            tail.put_head(hasher.hash_stream(name), stream, head(*version, 0, false));
        }
        tail
    }

    #[test]
    fn the_newest_heads_are_remembered_and_the_oldest_forgotten() {
        let hasher = Hasher::new(&[1; 16]);
        let find = |heads: &Heads, name: &str| heads.find(hasher.hash_stream(name), name);
        let known = |version| Remembered::Head(head(version, 0, false));
        // Each generation has room for two streams.
        let heads = Heads::new(hasher.clone(), 4 * Table::bytes_of("a"), true);
        heads.put_sealed(&tail(&hasher, &[("a", 1), ("b", 2), ("c", 3), ("d", 4)]), 1);
        assert_eq!(["a", "b", "c", "d"].map(|name| find(&heads, name)), [1, 2, 3, 4].map(known));
        assert_eq!(find(&heads, "e"), Remembered::New);
        heads.put_sealed(&tail(&hasher, &[("a", 5), ("e", 6)]), 2);
        let found = ["a", "b", "c", "d", "e"].map(|name| find(&heads, name));
        let forgotten = Remembered::Nothing;
        assert_eq!(found, [forgotten, forgotten, known(3), known(4), known(6)]);
        assert_eq!(find(&heads, "f"), Remembered::Nothing);
    }

    #[test]
    fn apply_does_not_wait_for_a_seal_that_writes() {
        let heads = Heads::new(Hasher::new(&[1; 16]), 1000, true);
        let _seal = heads.shard(5);
        assert_eq!(heads.find(5, "a"), Remembered::Nothing);
    }

    #[test]
    fn a_seal_does_not_believe_what_is_remembered_of_its_own_chunk_or_of_none() {
        let hasher = Hasher::new(&[1; 16]);
        let heads = Heads::new(hasher.clone(), 1000, true);
        let key = |name: &str| Key::Stream(StreamName::new(name).expect("a name")).encode();
        let put = |name, chunk| {
            let hash = hasher.hash_stream(name);
            heads.shard(hash).put(hash, name, head(7, 0, false), chunk);
        };
        put("a", Some(3));
        put("b", None);
        let state = KeyState { last_chunk: 3, version: Version(7) };
        assert_eq!(heads.key_state(&key("a"), 4), Some(Some(state)));
        assert_eq!(heads.key_state(&key("a"), 3), None);
        assert_eq!(heads.key_state(&key("b"), 4), None);
        assert_eq!(heads.key_state(&key("c"), 4), Some(None));
        let category = Key::of_kind(Key::CATEGORY_KIND, "a").expect("a key");
        assert_eq!(heads.key_state(&category.encode(), 4), None);
    }
}
