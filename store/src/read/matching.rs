//! Finding the events of a chunk or a tail that match: postings, clipped and intersected.

use std::ops::Range;

use super::plan::Item;
use crate::chunk::Posting;
use crate::fault::Fault;
use crate::format::Key;
use crate::view::clip;

/// The part of a chunk or a tail that is within the bounds of a read.
#[derive(Clone, Debug)]
pub(super) struct Part {
    pub(super) ordinals: Range<u32>,
    /// The versions of the stream that is read; all if the source is a query.
    pub(super) versions: Range<u64>,
}

impl Part {
    /// Returns the ordinals that any of the items matches, ascending; `find` looks a key up.
    pub(super) fn matches(
        &self,
        items: &[Item],
        find: &mut dyn FnMut(&Key) -> Result<Option<Posting>, Fault>,
    ) -> Result<Vec<u32>, Fault> {
        let mut all = Vec::new();
        if self.ordinals.is_empty() {
            return Ok(all);
        }
        for item in items {
            merge(&mut all, self.matches_of(item, find)?);
        }
        Ok(all)
    }

    fn matches_of(
        &self,
        item: &Item,
        find: &mut dyn FnMut(&Key) -> Result<Option<Posting>, Fault>,
    ) -> Result<Vec<u32>, Fault> {
        let mut postings = Vec::with_capacity(item.all.len());
        for key in &item.all {
            match find(key)? {
                Some(posting) => postings.push(posting),
                None => return Ok(Vec::new()),
            }
        }
        self.intersect(postings, &item.any, find)
    }

    /// Returns the ordinals in all of the postings and, if `any` is not empty, in one of its keys' postings.
    pub(super) fn intersect(
        &self,
        postings: Vec<Posting>,
        any: &[Key],
        find: &mut dyn FnMut(&Key) -> Result<Option<Posting>, Fault>,
    ) -> Result<Vec<u32>, Fault> {
        let clip = |posting: Posting| {
            clip(&posting.ordinals, posting.first_version, &self.ordinals, &self.versions).ordinals
        };
        let mut lists: Vec<Vec<u32>> = postings.into_iter().map(clip).collect();
        lists.sort_by_key(Vec::len);
        let mut lists = lists.into_iter();
        let mut common = lists.next().unwrap_or_default();
        lists.for_each(|list| keep_common(&mut common, &list));
        if any.is_empty() || common.is_empty() {
            return Ok(common);
        }
        let mut union = Vec::new();
        for key in any {
            if let Some(posting) = find(key)? {
                let mut one = common.clone();
                keep_common(&mut one, &posting.ordinals);
                merge(&mut union, one);
            }
        }
        Ok(union)
    }
}

/// Adds ascending ordinals to ascending ones, each once.
pub(super) fn merge(all: &mut Vec<u32>, more: Vec<u32>) {
    if all.is_empty() {
        *all = more;
    } else if !more.is_empty() {
        all.extend(more);
        all.sort_unstable();
        all.dedup();
    }
}

/// Keeps the ordinals that are in both; looks ahead in doubling steps, as `other` is often much longer.
fn keep_common(common: &mut Vec<u32>, other: &[u32]) {
    let mut rest = other;
    common.retain(|ordinal| {
        let mut step = 1;
        while rest.get(step).is_some_and(|ahead| ahead < ordinal) {
            step *= 2;
        }
        let near = rest.get(..=step).unwrap_or(rest);
        let skipped = near.partition_point(|one| one < ordinal);
        rest = rest.get(skipped..).unwrap_or_default();
        rest.first() == Some(ordinal)
    });
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;
    use quorate_proto::EventType;

    use super::*;

    fn key(number: usize) -> Key {
        Key::Type(EventType::new(format!("T{number}")).expect("a type"))
    }

    proptest! {
        #[test]
        fn an_item_matches_what_all_of_its_keys_and_any_of_the_others_hold(
            lists in proptest::collection::vec(proptest::collection::btree_set(0..40_u32, 0..30), 1..5),
            all in 1..5_usize,
            ordinals in (0..40_u32, 0..41_u32),
        ) {
            let all = all.min(lists.len());
            let keys: Vec<Key> = (0..lists.len()).map(key).collect();
            let item = Item { all: keys[..all].to_vec(), any: keys[all..].to_vec() };
            let part = Part { ordinals: ordinals.0..ordinals.1, versions: 0..u64::MAX };
            let mut find = |wanted: &Key| {
                let at = keys.iter().position(|key| key == wanted).expect("one of them");
                let ordinals = lists[at].iter().copied().collect();
                Ok(Some(Posting { ordinals, first_version: None, previous: None }))
            };
            let found = part.matches(&[item], &mut find).expect("no fault");
            let is_match = |ordinal: &u32| {
                part.ordinals.contains(ordinal)
                    && lists[..all].iter().all(|list| list.contains(ordinal))
                    && (all == lists.len() || lists[all..].iter().any(|list| list.contains(ordinal)))
            };
            let expected: BTreeSet<u32> = (0..40).filter(is_match).collect();
            prop_assert_eq!(found, expected.into_iter().collect::<Vec<_>>());
        }
    }
}
