//! The chunks that a walk found and has not given out yet: a bit for each, and a bounded number of ordinals.

use std::collections::BTreeMap;
use std::ops::Range;

use super::matching::merge;

/// The number of ordinals remembered between two pages; the others are looked up again in their turn.
const REMEMBERED_MAX: usize = 8 * 1024;
/// The number of ordinals that a remembered chunk counts as beside its own, for the memory of its entry.
const ORDINALS_PER_CHUNK: usize = 24;

/// Numbers of chunks, with the ordinals that match in some of them.
///
/// Invariants: bits are those of chunks in `range`; only chunks with a bit are in `remembered`.
#[derive(Debug)]
pub(super) struct FoundChunks {
    range: Range<u64>,
    /// The lowest bit of the first word is that of the first chunk of the range.
    bits: Vec<u64>,
    remembered: BTreeMap<u64, Vec<u32>>,
    /// Ordinals in `remembered`, with [`ORDINALS_PER_CHUNK`] for each of its chunks.
    ordinals: usize,
}

impl FoundChunks {
    /// Returns no chunk of a range.
    pub(super) fn none_of(range: Range<u64>) -> FoundChunks {
        let words = range.end.saturating_sub(range.start).div_ceil(64);
        let bits = vec![0; usize::try_from(words).unwrap_or(0)];
        FoundChunks { range, bits, remembered: BTreeMap::new(), ordinals: 0 }
    }

    /// Returns all chunks of a range.
    pub(super) fn all_of(range: Range<u64>) -> FoundChunks {
        let mut found = FoundChunks::none_of(range.clone());
        range.for_each(|number| found.set(number, true));
        found
    }

    /// Adds the ordinals that match in a chunk of the range.
    pub(super) fn add(&mut self, number: u64, matches: Vec<u32>) {
        if matches.is_empty() {
            return;
        }
        let is_known = self.holds(number);
        self.set(number, true);
        let mut all = match self.remembered.remove(&number) {
            Some(all) => all,
            None if is_known => return,
            None => Vec::new(),
        };
        self.ordinals -= if all.is_empty() { 0 } else { weight(&all) };
        merge(&mut all, matches);
        // A single chunk may have more, so that a read backwards does not look into each chunk twice.
        if self.ordinals == 0 || self.ordinals + weight(&all) <= REMEMBERED_MAX {
            all.shrink_to_fit();
            self.ordinals += weight(&all);
            self.remembered.insert(number, all);
        }
    }

    pub(super) fn first(&self) -> Option<u64> {
        let word = self.bits.iter().position(|word| *word != 0)?;
        self.number(word, self.bits.get(word)?.trailing_zeros())
    }

    pub(super) fn last(&self) -> Option<u64> {
        let word = self.bits.iter().rposition(|word| *word != 0)?;
        self.number(word, 63 - self.bits.get(word)?.leading_zeros())
    }

    /// Takes a chunk out. `None`: its matches must be looked up.
    pub(super) fn take(&mut self, number: u64) -> Option<Vec<u32>> {
        self.set(number, false);
        let matches = self.remembered.remove(&number)?;
        self.ordinals -= weight(&matches);
        Some(matches)
    }

    /// Drops the remembered ordinals if they are above the bound that is kept between pages.
    pub(super) fn shrink(&mut self) {
        if self.ordinals > REMEMBERED_MAX {
            self.remembered.clear();
            self.ordinals = 0;
        }
    }

    fn holds(&self, number: u64) -> bool {
        let Some((word, bit)) = self.place(number) else { return false };
        self.bits.get(word).is_some_and(|bits| bits & bit != 0)
    }

    fn set(&mut self, number: u64, is_there: bool) {
        let Some((word, bit)) = self.place(number) else { return };
        if let Some(bits) = self.bits.get_mut(word) {
            *bits = if is_there { *bits | bit } else { *bits & !bit };
        }
    }

    fn place(&self, number: u64) -> Option<(usize, u64)> {
        let index = number.checked_sub(self.range.start)?;
        Some((usize::try_from(index / 64).ok()?, 1 << (index % 64)))
    }

    fn number(&self, word: usize, bit: u32) -> Option<u64> {
        Some(self.range.start + u64::try_from(word).ok()? * 64 + u64::from(bit))
    }
}

fn weight(ordinals: &[u32]) -> usize {
    ordinals.len() + ORDINALS_PER_CHUNK
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunks_are_found_from_both_ends_and_what_is_forgotten_is_still_found() {
        let mut found = FoundChunks::none_of(3..300);
        assert_eq!((found.first(), found.last()), (None, None));
        found.add(70, Vec::new());
        for number in [299, 3, 66, 67] {
            found.add(number, vec![number as u32, 7]);
        }
        found.add(66, vec![1, 7]);
        assert_eq!((found.first(), found.last()), (Some(3), Some(299)));
        assert_eq!(found.take(3), Some(vec![3, 7]));
        assert_eq!(found.take(66), Some(vec![1, 7, 66]));
        // Too many ordinals beside those remembered already.
        found.add(100, (0..9_000).collect());
        found.add(100, vec![9_500]);
        assert_eq!((found.take(299), found.take(67)), (Some(vec![299, 7]), Some(vec![67, 7])));
        assert_eq!((found.first(), found.last(), found.ordinals), (Some(100), Some(100), 0));
        assert_eq!(found.take(100), None);
        // A single chunk is remembered until the reader rests.
        found.add(100, (0..9_000).collect());
        found.shrink();
        assert_eq!((found.first(), found.take(100), found.first()), (Some(100), None, None));
        let mut all = FoundChunks::all_of(5..200);
        for number in 5..200 {
            assert_eq!((all.first(), all.take(number)), (Some(number), None));
        }
        assert_eq!((all.first(), FoundChunks::all_of(0..0).last()), (None, None));
    }
}
