//! The codecs that pack payloads on disk. A codec's number stands there, and is never used for another codec.

use std::cell::RefCell;

use bytes::Bytes;
use zstd::bulk::{Compressor, Decompressor};

use super::Malformed;

/// The payload as it is.
const PLAIN: u8 = 0;
/// The payload as one Zstandard frame.
const ZSTANDARD: u8 = 1;

/// The level of compression, chosen by measurement on pieces of 16 KiB. On JSON events level 3 takes a quarter longer and
/// saves nothing; on random text, where there is nothing to find, it takes nearly twice as long for 1 % of the size.
const LEVEL: i32 = 1;

/// A piece is packed if it gets shorter by this part of its length: unpacking it costs at each read.
const WORTH: usize = 8;

/// The most bytes of a frame once unpacked, whatever its header says: nothing larger is ever written, because
/// a block is closed by the event that fills it, and an event has about 1 MiB at most.
pub(crate) const PLAIN_BYTES_MAX: usize = 4 * 1024 * 1024;

thread_local! {
    /// A decompressor for each thread: setting one up costs more than unpacking a block.
    static DECOMPRESSOR: RefCell<Option<Decompressor<'static>>> = const { RefCell::new(None) };
}

/// The number of kinds of pieces that a packer keeps apart.
const KINDS: usize = 8;
/// The most pieces of a kind that are left as they are before one is tried again.
const PASSED_MAX: u32 = 63;

/// Packs one piece after the other.
///
/// Pieces of one kind are much alike. If one hardly shrinks, those after it are left as they are without a trial, and
/// the more of them in a row the longer the trials go in vain.
pub(crate) struct Packer {
    compressor: Compressor<'static>,
    packed: Vec<u8>,
    kinds: [Kind; KINDS],
}

/// The experience with one kind of pieces.
#[derive(Clone, Copy, Debug, Default)]
struct Kind {
    /// The number of pieces that are still left as they are.
    left: u32,
    /// The number of pieces that were left as they are after the last trial.
    passed: u32,
}

impl Packer {
    pub(crate) fn new() -> Packer {
        let compressor = Compressor::new(LEVEL).expect("the level is one that zstd knows");
        Packer { compressor, packed: Vec::new(), kinds: [Kind::default(); KINDS] }
    }

    /// Returns a codec and the packed bytes of a piece; bytes that do not get much shorter stay as they are.
    pub(crate) fn pack<'a>(&'a mut self, kind: u16, plain: &'a [u8]) -> (u8, &'a [u8]) {
        let kind = &mut self.kinds[usize::from(kind) % KINDS];
        if kind.left > 0 {
            kind.left -= 1;
            return (PLAIN, plain);
        }
        self.packed.clear();
        self.packed.reserve(zstd::zstd_safe::compress_bound(plain.len()));
        match self.compressor.compress_to_buffer(plain, &mut self.packed) {
            Ok(length) if length <= plain.len() - plain.len() / WORTH && length < plain.len() => {
                kind.passed = 0;
                (ZSTANDARD, &self.packed)
            }
            _ => {
                kind.passed = (kind.passed * 2 + 1).min(PASSED_MAX);
                kind.left = kind.passed;
                (PLAIN, plain)
            }
        }
    }
}

/// Unpacks bytes to the length that stands beside them.
pub(crate) fn unpack(codec: u8, packed: Bytes, length: usize) -> Result<Bytes, Malformed> {
    let other_length = || Malformed::new("it has another length once unpacked than it says");
    if length > PLAIN_BYTES_MAX {
        return Err(Malformed::new(format!("it says that it has {length} bytes once unpacked")));
    }
    match codec {
        PLAIN if packed.len() == length => Ok(packed),
        PLAIN => Err(other_length()),
        ZSTANDARD => {
            let mut plain = Vec::with_capacity(length);
            let unpacked = DECOMPRESSOR.with_borrow_mut(|decompressor| {
                let decompressor = match decompressor {
                    Some(decompressor) => decompressor,
                    None => decompressor.insert(Decompressor::new()?),
                };
                decompressor.decompress_to_buffer(&packed, &mut plain)
            });
            match unpacked {
                Ok(unpacked) if unpacked == length => Ok(Bytes::from(plain)),
                Ok(_) => Err(other_length()),
                Err(error) => Err(Malformed::new(format!("it cannot be unpacked: {error}"))),
            }
        }
        _ => Err(Malformed::new(format!("it has the codec {codec}, unknown to this build"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_packed_is_unpacked_and_what_does_not_shrink_stays() {
        let mut packer = Packer::new();
        let mut seed = 7_u32;
        let random = (0..5000).map(|_| {
            seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (seed >> 24) as u8
        });
        let pieces = [(vec![9; 5000], ZSTANDARD), (random.collect(), PLAIN), (Vec::new(), PLAIN)];
        for (kind, (plain, expected)) in (0..).zip(pieces) {
            let (codec, packed) = packer.pack(kind, &plain);
            assert_eq!(codec, expected);
            assert!(packed.len() <= plain.len());
            let packed = Bytes::copy_from_slice(packed);
            assert_eq!(unpack(codec, packed.clone(), plain.len()).expect("unpacked"), plain);
            assert!(unpack(codec, packed.clone(), plain.len() + 1).is_err(), "another length");
            assert!(unpack(codec + 2, packed, plain.len()).is_err(), "another codec");
        }
    }

    #[test]
    fn pieces_like_those_that_did_not_shrink_are_tried_more_and_more_seldom() {
        let mut packer = Packer::new();
        let mut noise = 1_u64;
        let mut noise = move || {
            noise = noise.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (noise >> 56) as u8
        };
        let mut tried = Vec::new();
        for at in 0..200 {
            let plain: Vec<u8> = (0..1000).map(|_| noise()).collect();
            assert_eq!(packer.pack(1, &plain).0, PLAIN);
            if packer.kinds[1].left == packer.kinds[1].passed {
                tried.push(at);
            }
        }
        assert_eq!(tried, [0, 2, 6, 14, 30, 62, 126, 190]);
        assert_eq!(packer.pack(2, &[0; 1000]).0, ZSTANDARD, "another kind");
        let shrinks_again = (0..).find(|_| packer.pack(1, &[0; 1000]).0 == ZSTANDARD);
        assert!(shrinks_again.is_some_and(|after| after <= PASSED_MAX), "{shrinks_again:?}");
        assert_eq!(packer.pack(1, &[0; 1000]).0, ZSTANDARD, "the next one, at once");
    }

    #[test]
    fn a_length_that_lies_takes_no_memory() {
        let mut packer = Packer::new();
        let (codec, packed) = packer.pack(1, &[0; 100_000]);
        let packed = Bytes::copy_from_slice(packed);
        for length in [0, 1, 99_999, PLAIN_BYTES_MAX + 1, usize::MAX] {
            assert!(unpack(codec, packed.clone(), length).is_err(), "{length}");
        }
    }
}
