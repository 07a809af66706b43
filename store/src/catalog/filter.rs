//! A filter in memory, by which a chunk either surely does not hold a key, or perhaps does.

use bytes::Bytes;
use xxhash_rust::xxh3::xxh3_64;

use crate::format::Malformed;
use crate::format::catalog::{FILTER_WORDS as WORDS, decode_filter, encode_filter};

/// The odd numbers that spread a hash over the words: those of Parquet's split-block filters.
const SALTS: [u32; WORDS] = [
    0x47b6_137b,
    0x4497_4d91,
    0x8824_ad5b,
    0xa2b7_289d,
    0x7054_95c7,
    0x2df1_424b,
    0x9efc_4947,
    0x5c6b_fb31,
];
/// The bits for each key. At 12 about one key in 250 that is not there passes.
const BITS_PER_KEY: usize = 12;
/// At most 4 MiB, enough for 2.8 million keys: a filter goes to another node in one message.
const BLOCKS_MAX: usize = 1 << 17;

/// A set of keys in 12 bits each: a Bloom filter whose bits for one key lie in one block of 32 bytes, so a
/// lookup is one memory access (Putze et al., "Cache-, Hash- and Space-Efficient Bloom Filters", 2007).
///
/// Invariant: there is at least one block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Filter {
    blocks: Vec<[u32; WORDS]>,
}

/// Returns the hash of a key, encoded as by [`crate::Key::encode`], that filters use.
pub(crate) fn hash_of(key: &[u8]) -> u64 {
    xxh3_64(key)
}

impl Filter {
    /// Returns the filter of the keys with these hashes.
    pub(crate) fn of(hashes: impl ExactSizeIterator<Item = u64>) -> Filter {
        let blocks = (hashes.len() * BITS_PER_KEY).div_ceil(WORDS * 32).clamp(1, BLOCKS_MAX);
        let mut filter = Filter { blocks: vec![[0; WORDS]; blocks] };
        for hash in hashes {
            let block = filter.block_of(hash);
            if let Some(block) = filter.blocks.get_mut(block) {
                for (word, bit) in block.iter_mut().zip(bits(hash)) {
                    *word |= bit;
                }
            }
        }
        filter
    }

    /// Returns false if the key of this hash is surely not among the keys that the filter was made of.
    pub(crate) fn may_hold(&self, hash: u64) -> bool {
        let block = self.blocks.get(self.block_of(hash));
        block.is_some_and(|block| block.iter().zip(bits(hash)).all(|(word, bit)| word & bit != 0))
    }

    /// Returns about how many keys the filter was made of.
    pub(crate) fn keys(&self) -> usize {
        self.bytes() * 8 / BITS_PER_KEY
    }

    /// Returns the bytes that the filter takes in memory.
    pub(crate) fn bytes(&self) -> usize {
        self.blocks.len() * WORDS * 4
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        encode_filter(&self.blocks)
    }

    pub(crate) fn decode(bytes: Bytes) -> Result<Filter, Malformed> {
        let blocks = decode_filter(bytes)?;
        Ok(Filter { blocks })
    }

    /// Returns the block of a hash: the upper half of the hash chooses it, without a division.
    fn block_of(&self, hash: u64) -> usize {
        (((hash >> 32) * self.blocks.len() as u64) >> 32) as usize
    }
}

/// Returns a bit for each word, which the lower half of the hash chooses.
fn bits(hash: u64) -> [u32; WORDS] {
    SALTS.map(|salt| 1 << ((hash as u32).wrapping_mul(salt) >> 27))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_passes_what_it_holds_and_little_else() {
        for count in [0_u64, 1, 10, 20_000] {
            let hash = |number: u64| xxh3_64(&number.to_le_bytes());
            let filter = Filter::of((0..count as usize).map(|number| hash(number as u64)));
            assert!((0..count).all(|number| filter.may_hold(hash(number))));
            let passed = (count..count + 100_000).filter(|number| filter.may_hold(hash(*number)));
            assert!(passed.count() < 1500);
            assert_eq!(Filter::decode(filter.encode().into()), Ok(filter));
        }
    }
}
