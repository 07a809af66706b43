//! The names of a tail in order, sorted only when a list is first requested.

use std::borrow::Borrow;
use std::cmp::Ordering;
use std::collections::BTreeSet;
use std::ops::Bound;

use quorate_proto::Position;

use super::Tail;
use crate::format::Key;

/// The number of keys that are copied out of the tail at a time, so that the writer never waits for long.
const KEYS_PER_LOOK: usize = 4096;

/// The keys of a tail whose names can be listed, by kind and name.
#[derive(Debug, Default)]
pub(super) struct Names {
    /// The number of the tail's keys that are sorted here.
    seen: usize,
    streams: BTreeSet<ByName>,
    categories: BTreeSet<ByName>,
    paths: BTreeSet<ByName>,
    types: BTreeSet<ByName>,
}

impl Names {
    fn of_kind(&mut self, kind: u8) -> Option<&mut BTreeSet<ByName>> {
        match kind {
            Key::STREAM_KIND => Some(&mut self.streams),
            Key::CATEGORY_KIND => Some(&mut self.categories),
            Key::PATH_KIND => Some(&mut self.paths),
            Key::TYPE_KIND => Some(&mut self.types),
            _ => None,
        }
    }
}

/// A key, ordered by its name among the keys of its kind.
#[derive(Clone, Debug)]
struct ByName(Key);

impl Borrow<str> for ByName {
    fn borrow(&self) -> &str {
        self.0.name()
    }
}

impl PartialEq for ByName {
    fn eq(&self, other: &ByName) -> bool {
        self.0.name() == other.0.name()
    }
}

impl Eq for ByName {}

impl PartialOrd for ByName {
    fn partial_cmp(&self, other: &ByName) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for ByName {
    fn cmp(&self, other: &ByName) -> Ordering {
        self.0.name().cmp(other.0.name())
    }
}

impl Tail {
    /// Returns at most `max` keys of a kind from a name on, sorted by their names. A call first sorts the
    /// names that came since the last call; it holds up the writer only while it copies some of them.
    pub(crate) fn keys_from(&self, kind: u8, start: Bound<&str>, max: usize) -> Vec<Key> {
        let mut names = self.names.lock().expect(super::NO_PANIC);
        loop {
            let new = self.keys_since(names.seen);
            if new.is_empty() {
                break;
            }
            names.seen += new.len();
            for key in new {
                if let Some(of_kind) = names.of_kind(key.kind()) {
                    of_kind.insert(ByName(key));
                }
            }
        }
        let Some(of_kind) = names.of_kind(kind) else { return Vec::new() };
        let range = of_kind.range::<str, _>((start, Bound::Unbounded));
        range.take(max).map(|by_name| by_name.0.clone()).collect()
    }

    /// Returns the number of events of a key in this tail, up to a position.
    pub(crate) fn count(&self, key: &Key, as_of: Position) -> u64 {
        let contents = self.read();
        let ordinals = contents.ordinals(&self.hasher, key);
        ordinals.partition_point(|ordinal| self.position(*ordinal) <= as_of) as u64
    }

    fn keys_since(&self, seen: usize) -> Vec<Key> {
        let contents = self.read();
        contents.listed(seen).take(KEYS_PER_LOOK).collect()
    }
}
