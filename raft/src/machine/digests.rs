//! The newest digests of outcomes, by which replicas compare what the same entries came to.

use std::collections::VecDeque;

/// The number of the newest digests that are kept: those of several seconds, 32 bytes each.
const KEPT: usize = 16 * 1024;

/// The newest digests, by log index.
///
/// Invariants: the indexes grow.
#[derive(Debug, Default)]
pub(crate) struct Digests(VecDeque<(u64, u128)>);

impl Digests {
    /// Notes the digest of the outcomes of all entries up to `index`.
    pub(crate) fn note(&mut self, index: u64, digest: u128) {
        if self.newest().is_some_and(|(newest, _)| newest >= index) {
            return;
        }
        if self.0.len() == KEPT {
            self.0.pop_front();
        }
        self.0.push_back((index, digest));
    }

    pub(crate) fn newest(&self) -> Option<(u64, u128)> {
        self.0.back().copied()
    }

    /// Returns the digest at an index, if it is known already and not forgotten yet.
    pub(crate) fn at(&self, index: u64) -> Option<u128> {
        let place = self.0.binary_search_by_key(&index, |(index, _)| *index).ok()?;
        self.0.get(place).map(|(_, digest)| *digest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_digests_are_kept() {
        let mut digests = Digests::default();
        for index in 5..5 + KEPT as u64 + 10 {
            digests.note(index, u128::from(index) * 7);
        }
        assert_eq!((digests.at(14), digests.at(15)), (None, Some(105)));
        digests.note(20, 1);
        assert_eq!(digests.at(20), Some(140), "an older one changes nothing");
        // A checkpoint of another node leaves a gap in the indexes.
        digests.note(1_000_000, 3);
        assert_eq!((digests.at(999_999), digests.newest()), (None, Some((1_000_000, 3))));
    }
}
