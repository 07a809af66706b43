//! The loads that `bench` puts on a cluster, and the results that it measures.

mod append;
mod cpu;
mod group;
mod paths;
mod read;
mod subscribe;

use std::future::Future;
use std::time::Duration;

use hdrhistogram::Histogram;
use tokio::task::JoinSet;
use tokio::time::Instant;

pub(crate) use append::{append_load, event_bytes};
pub(crate) use cpu::cpu_time;
pub(crate) use group::group_load;
pub(crate) use paths::{HotPath, ROUNDS_MAX, Ran};
pub(crate) use read::read_load;
pub(crate) use subscribe::{catch_up_load, live_load};

/// Latencies above an hour count as one.
const LATENCY_US_MAX: u64 = 3_600_000_000;

/// The number of clients of a measurement, and its duration.
pub(crate) struct Load {
    pub(crate) clients: u64,
    pub(crate) time: Duration,
}

/// The results of a measurement.
pub(crate) struct Measured {
    /// The latencies of the requests that succeeded, in microseconds.
    pub(crate) latencies: Histogram<u64>,
    pub(crate) events: u64,
    pub(crate) errors: u64,
    pub(crate) first_error: Option<String>,
    pub(crate) time: Duration,
}

impl Measured {
    fn new() -> Measured {
        let latencies = Histogram::new_with_bounds(1, LATENCY_US_MAX, 3).expect("they are allowed");
        Measured { latencies, events: 0, errors: 0, first_error: None, time: Duration::ZERO }
    }

    /// Records one request: the number of its events, or the error.
    fn note(&mut self, began_at: Instant, outcome: Result<u64, String>) {
        match outcome {
            Ok(events) => {
                self.events += events;
                self.latencies.saturating_record(began_at.elapsed().as_micros() as u64);
            }
            Err(error) => {
                self.errors += 1;
                self.first_error.get_or_insert(error);
            }
        }
    }

    fn add(&mut self, other: Measured) {
        self.latencies.add(&other.latencies).expect("histograms of one kind can be added");
        self.events += other.events;
        self.errors += other.errors;
        self.first_error = self.first_error.take().or(other.first_error);
    }
}

/// Runs all clients until the time is up, and adds up what they measured.
async fn run_clients<C, F>(load: &Load, client: C) -> Measured
where
    C: Fn(u64, Instant) -> F,
    F: Future<Output = Measured> + Send + 'static,
{
    let began_at = Instant::now();
    let mut running = JoinSet::new();
    for number in 0..load.clients {
        running.spawn(client(number, began_at + load.time));
    }
    let mut whole = Measured::new();
    while let Some(measured) = running.join_next().await {
        match measured {
            Ok(measured) => whole.add(measured),
            Err(error) => whole.note(began_at, Err(error.to_string())),
        }
    }
    whole.time = began_at.elapsed();
    whole
}

/// A generator of numbers that look random. It needs no seed from outside: a load must not be constant,
/// but it may be the same in each run.
struct Dice(u64);

impl Dice {
    fn new(seed: u64) -> Dice {
        // SplitMix64's step keeps neighbouring seeds apart.
        Dice(seed.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15))
    }

    /// The next number, by xorshift64*.
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// A number below `bound`.
    fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound.max(1) as u64) as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dice_of_neighbouring_seeds_fall_differently() {
        let first: Vec<u64> = (0..64).map(|seed| Dice::new(seed).next()).collect();
        for (at, number) in first.iter().enumerate() {
            assert!(!first.iter().skip(at + 1).any(|other| other == number));
        }
        let mut dice = Dice::new(0);
        assert!((0..1000).all(|_| dice.below(7) < 7));
    }

    /// The histogram once stayed at its smallest range, and showed everything above 2 ms as 2 ms or 2 µs.
    #[test]
    fn long_latencies_are_recorded() {
        let mut measured = Measured::new();
        measured.latencies.saturating_record(7_000_000);
        assert!(measured.latencies.value_at_quantile(0.5).abs_diff(7_000_000) < 7_000);
    }

    #[test]
    fn what_clients_measured_is_added_up() {
        let mut whole = Measured::new();
        let mut part = Measured::new();
        part.note(Instant::now(), Ok(3));
        part.note(Instant::now(), Err("no".into()));
        whole.add(part);
        assert_eq!((whole.events, whole.errors, whole.latencies.len()), (3, 1, 1));
        assert_eq!(whole.first_error.as_deref(), Some("no"));
    }
}
