//! Finding the newest event of a tail that matches an item of a query, by postings alone.

use std::ops::Range;

use quorate_proto::{QueryItem, Scope};

use super::Tail;
use super::contents::Contents;
use crate::format::{Key, StoredEvent};
use crate::view::hash::Hasher;

impl Tail {
    /// Returns the newest event at these ordinals that an item matches.
    pub(crate) fn newest_match(&self, item: &QueryItem, range: &Range<u32>) -> Option<StoredEvent> {
        if range.is_empty() {
            return None;
        }
        let contents = self.read();
        let ordinal = contents.newest_match(&self.hasher, item, range)?;
        contents.event(ordinal, self.first)
    }
}

impl Contents {
    fn newest_match(&self, hasher: &Hasher, item: &QueryItem, range: &Range<u32>) -> Option<u32> {
        let scope = item.scope.iter().map(Key::of_scope);
        let tags = item.tags.iter().cloned().map(Key::Tag);
        let correlation = item.correlation.iter().cloned().map(Key::Correlation);
        let all: Vec<&[u32]> = scope
            .chain(tags)
            .chain(correlation)
            .map(|key| within(self.ordinals(hasher, &key), range))
            .collect();
        let types = item.types.iter().cloned().map(Key::Type);
        let types: Vec<&[u32]> =
            types.map(|key| within(self.ordinals(hasher, &key), range)).collect();
        let is_named = matches!(item.scope, Some(Scope::Stream(_))) || !types.is_empty();
        let matches = |ordinal: &u32| {
            let holds = |posting: &&[u32]| posting.binary_search(ordinal).is_ok();
            all.iter().all(holds)
                && (types.is_empty() || types.iter().any(holds))
                && (is_named || !self.is_system(*ordinal))
        };
        match all.iter().min_by_key(|posting| posting.len()) {
            Some(shortest) => shortest.iter().rev().find(|ordinal| matches(ordinal)).copied(),
            None if !types.is_empty() => {
                types.iter().filter_map(|posting| posting.last()).max().copied()
            }
            None => range.clone().rev().find(matches),
        }
    }

    fn is_system(&self, ordinal: u32) -> bool {
        self.stream_of(ordinal).is_some_and(|stream| stream.name.is_system())
    }
}

/// Returns the part of a posting that lies in a range of ordinals.
fn within<'a>(posting: &'a [u32], range: &Range<u32>) -> &'a [u32] {
    let from = posting.partition_point(|ordinal| *ordinal < range.start);
    let to = posting.partition_point(|ordinal| *ordinal < range.end);
    posting.get(from..to).unwrap_or_default()
}
