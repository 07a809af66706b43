//! The payloads of events: random text, and real JSON.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use flate2::read::GzDecoder;
use serde::Deserialize;
use serde_json::value::RawValue;
use uuid::Builder;

use crate::peer::Event;

/// The size of a random payload.
const RANDOM_BYTES: usize = 256;
/// The size of the random text that random payloads are cut from.
const POOL_BYTES: usize = 4 * 1024 * 1024;
/// The number of real events that are kept in memory.
const REAL_EVENTS: usize = 50_000;

/// The source of payloads.
#[derive(Debug)]
pub(crate) enum Payloads {
    /// Text that is as random as text gets.
    Random { kind: Arc<str>, pool: Bytes },
    /// The types and data of real events, in their order.
    Real(Vec<(Arc<str>, Bytes)>),
}

/// A line of the file.
#[derive(Deserialize)]
struct RealEvent<'a> {
    #[serde(rename = "type")]
    kind: String,
    #[serde(borrow)]
    data: &'a RawValue,
}

impl Payloads {
    /// Returns random payloads.
    pub(crate) fn random() -> Payloads {
        const DIGITS: &[u8; 64] =
            b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
        let mut dice = Dice::new(0);
        let mut pool = Vec::with_capacity(POOL_BYTES);
        while pool.len() < POOL_BYTES {
            let number = dice.next();
            pool.extend((0..10).map(|at| DIGITS[(number >> (at * 6)) as usize & 63]));
        }
        Payloads::Random { kind: "Measured".into(), pool: pool.into() }
    }

    /// Returns the payloads of the file with real events.
    pub(crate) fn real(path: &Path) -> Result<Payloads> {
        let file = File::open(path).with_context(|| path.display().to_string())?;
        let mut events = Vec::new();
        for line in BufReader::new(GzDecoder::new(file)).lines().take(REAL_EVENTS) {
            let line = line?;
            let event: RealEvent<'_> = serde_json::from_str(&line)?;
            events.push((event.kind.into(), Bytes::from(event.data.get().to_owned())));
        }
        ensure!(!events.is_empty(), "{} holds no event", path.display());
        Ok(Payloads::Real(events))
    }

    /// Returns events that no client has appended yet.
    pub(crate) fn take(&self, dice: &mut Dice, count: usize) -> Vec<Event> {
        (0..count).map(|_| self.event(dice)).collect()
    }

    fn event(&self, dice: &mut Dice) -> Event {
        let (kind, data) = match self {
            Payloads::Random { kind, pool } => {
                let start = dice.below(pool.len() - RANDOM_BYTES);
                (Arc::clone(kind), pool.slice(start..start + RANDOM_BYTES))
            }
            Payloads::Real(events) => events[dice.below(events.len())].clone(),
        };
        let (high, low) = (u128::from(dice.next()), u128::from(dice.next()));
        let id = Builder::from_random_bytes((high << 64 | low).to_be_bytes()).into_uuid();
        Event { id, kind, data }
    }
}

/// A generator of numbers that look random.
#[derive(Debug)]
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) fn new(seed: u64) -> Dice {
        // SplitMix64's step keeps neighbouring seeds apart.
        Dice(seed.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15))
    }

    /// Returns the next number, by xorshift64*.
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound.max(1) as u64) as usize
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::Compression;
    use flate2::write::GzEncoder;

    use super::*;

    #[test]
    fn random_payloads_have_their_size_and_differ() {
        let payloads = Payloads::random();
        let mut dice = Dice::new(1);
        let events = payloads.take(&mut dice, 3);
        assert!(events.iter().all(|event| event.data.len() == RANDOM_BYTES));
        assert!(events[0].data != events[1].data && events[0].id != events[1].id);
        let others = payloads.take(&mut Dice::new(2), 1);
        assert_ne!(events[0].data, others[0].data);
    }

    #[test]
    fn real_payloads_are_what_the_file_holds() -> Result<()> {
        let folder = tempfile::tempdir()?;
        let path = folder.path().join("events.gz");
        let mut file = GzEncoder::new(File::create(&path)?, Compression::fast());
        writeln!(file, r#"{{"stream":"a-1","type":"Paid","timestamp":"t","data":{{"sum":"5"}}}}"#)?;
        file.finish()?;
        let events = Payloads::real(&path)?.take(&mut Dice::new(1), 1);
        assert_eq!((&*events[0].kind, &events[0].data[..]), ("Paid", &br#"{"sum":"5"}"#[..]));
        assert!(Payloads::real(&folder.path().join("none")).is_err());
        Ok(())
    }
}
