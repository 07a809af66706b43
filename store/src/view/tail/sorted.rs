//! All events of a tail with all their keys in order, as a chunk is written of them.

use super::Tail;
use crate::chunk::KeyEvents;
use crate::format::{EventParts, Key};

impl Tail {
    /// Gives all events, in order, and all keys, sorted as [`Key::encode`] sorts, to `work`. Meant for a tail that gets
    /// no more events: `work` may take its time.
    pub(crate) fn with_all<T>(
        &self,
        work: impl FnOnce(&mut dyn ExactSizeIterator<Item = EventParts<'_>>, &[KeyEvents<'_>]) -> T,
    ) -> T {
        let contents = self.read();
        let streams = contents.streams.written_ones().map(|stream| KeyEvents {
            kind: Key::STREAM_KIND,
            name: stream.name.as_str(),
            first_version: Some(stream.first_version()),
            ordinals: stream.ordinals(),
        });
        let others = contents.keys.all().iter().map(|(key, ordinals)| KeyEvents {
            kind: key.kind(),
            name: key.name(),
            first_version: None,
            ordinals,
        });
        let mut keys: Vec<_> = streams.chain(others).collect();
        keys.sort_by_key(|key| key.kind);
        keys.chunk_by_mut(|one, other| one.kind == other.kind).for_each(sort_by_name);
        work(&mut contents.events(self.first), &keys)
    }
}

/// Sorts by names. Most names differ soon behind what all of them begin with: a few bytes from there on, side by side
/// in memory, decide most comparisons.
fn sort_by_name(keys: &mut [KeyEvents<'_>]) {
    let Some(first) = keys.first().map(|key| key.name.as_bytes()) else { return };
    let common = keys.iter().fold(first.len(), |length, key| {
        let pairs = first.iter().zip(key.name.as_bytes()).take(length);
        pairs.take_while(|(one, other)| one == other).count()
    });
    let mut order: Vec<(u64, usize)> = Vec::with_capacity(keys.len());
    order.extend(keys.iter().map(|key| differing(key, common)).zip(0..));
    let name = |at: usize| keys.get(at).map(|key| key.name);
    order.sort_unstable_by(|one, other| {
        one.0.cmp(&other.0).then_with(|| name(one.1).cmp(&name(other.1)))
    });
    let unsorted = keys.to_vec();
    for (key, (_, at)) in keys.iter_mut().zip(order) {
        *key = unsorted[at];
    }
}

/// Returns the first bytes of a name behind what all names begin with, as a number that sorts as they do.
fn differing(key: &KeyEvents<'_>, common: usize) -> u64 {
    let mut bytes = [0; 8];
    let rest = key.name.as_bytes().get(common..).unwrap_or_default();
    bytes.iter_mut().zip(rest).for_each(|(to, from)| *to = *from);
    u64::from_be_bytes(bytes)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn names_are_sorted(
            common in "[a-z]{0,4}", rests in prop::collection::hash_set("[ab\u{0}\u{1}é]{0,12}", 0..40),
        ) {
            let names: Vec<String> = rests.iter().map(|rest| format!("{common}{rest}")).collect();
            let keys = names.iter().map(|name| KeyEvents {
                kind: 1, name, first_version: None, ordinals: &[],
            });
            let mut keys: Vec<_> = keys.collect();
            sort_by_name(&mut keys);
            let mut expected: Vec<_> = names.iter().map(String::as_str).collect();
            expected.sort_unstable();
            let sorted: Vec<_> = keys.iter().map(|key| key.name).collect();
            prop_assert_eq!(sorted, expected);
        }
    }
}
