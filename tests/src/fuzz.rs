//! Feeds broken bytes to a decoder: mutations of valid ones, from a seed, so that a failure can be repeated.

use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::random::Random;

/// The length above which inputs are cut.
const BYTES_MAX: usize = 64 * 1024;
/// Numbers that often break decoders when they stand for lengths and counts.
const NUMBERS: [u64; 10] =
    [0, 1, 0x7f, 0x80, 0xff, 0xffff, 0x7fff_ffff, 0xffff_ffff, i64::MAX as u64, u64::MAX];

/// A decoder that must withstand any bytes.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// The name of the format that it decodes.
    pub name: &'static str,
    /// Decodes the bytes; the result does not matter, only that it returns.
    pub decode: fn(&[u8]),
    /// Valid bytes to begin with, at least one input.
    pub seeds: fn() -> Vec<Vec<u8>>,
}

/// Runs a target over `inputs` inputs.
///
/// # Panics
/// If the decoder does; the message has the input.
pub fn run(target: &Target, seed: u64, inputs: u64) {
    let mut corpus = (target.seeds)();
    assert!(!corpus.is_empty(), "{}: no good bytes to begin with", target.name);
    let mut random = Random::part(seed, target.name.bytes().map(u64::from).sum());
    for bytes in &corpus {
        check(target, bytes);
        for end in 0..bytes.len().min(1024) {
            check(target, &bytes[..end]);
        }
    }
    for _ in 0..inputs {
        let mut bytes = random.pick(&corpus).clone();
        for _ in 0..random.between(1, 4) {
            mutate(&mut bytes, &corpus, &mut random);
        }
        bytes.truncate(BYTES_MAX);
        check(target, &bytes);
        // Mutations of mutations reach further.
        if random.chance(1) && corpus.len() < 256 {
            corpus.push(bytes);
        }
    }
}

fn check(target: &Target, bytes: &[u8]) {
    if catch_unwind(AssertUnwindSafe(|| (target.decode)(bytes))).is_err() {
        let input: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        panic!("the decoder of {} panicked at {input}", target.name);
    }
}

fn mutate(bytes: &mut Vec<u8>, corpus: &[Vec<u8>], random: &mut Random) {
    if bytes.is_empty() {
        bytes.push(random.next() as u8);
        return;
    }
    let at = random.below(bytes.len() as u64) as usize;
    match random.below(7) {
        0 => bytes[at] ^= 1 << random.below(8),
        1 => bytes[at] = random.next() as u8,
        2 => bytes.truncate(at),
        3 => bytes.insert(at, random.next() as u8),
        4 => {
            let number = random.pick(&NUMBERS).wrapping_sub(random.below(2)).to_le_bytes();
            let width = *random.pick(&[1, 2, 4, 8]);
            for (to, from) in bytes[at..].iter_mut().zip(&number[..width]) {
                *to = *from;
            }
        }
        5 => {
            let other = random.pick(corpus);
            let from = random.below(other.len() as u64 + 1) as usize;
            bytes.truncate(at);
            bytes.extend_from_slice(&other[from..]);
        }
        _ => {
            let end = at + random.below((bytes.len() - at) as u64 + 1) as usize;
            bytes.drain(at..end);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[should_panic(expected = "the decoder of pairs panicked")]
    fn a_decoder_that_trusts_a_length_is_found() {
        fn decode(bytes: &[u8]) {
            if let [length, rest @ ..] = bytes {
                let _ = &rest[..usize::from(*length)];
            }
        }
        run(&Target { name: "pairs", decode, seeds: || vec![vec![2, 7, 7]] }, 1, 1000);
    }
}
