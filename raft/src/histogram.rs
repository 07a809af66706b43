//! A histogram of times that is cheap enough for the way of every append: atomics, no lock, no allocation.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// The upper bounds of the buckets in nanoseconds: from a write that stays in memory to a disk that hangs.
const BOUNDS_NANOS: [u64; 20] = [
    10_000,
    25_000,
    50_000,
    100_000,
    250_000,
    500_000,
    1_000_000,
    2_500_000,
    5_000_000,
    10_000_000,
    25_000_000,
    50_000_000,
    100_000_000,
    250_000_000,
    500_000_000,
    1_000_000_000,
    2_500_000_000,
    5_000_000_000,
    10_000_000_000,
    30_000_000_000,
];
/// The buckets, with the one for all that is longer.
const BUCKETS: usize = BOUNDS_NANOS.len() + 1;

/// Counts times in buckets from 10 µs to 30 s. Any number of threads observe at once; none waits for another.
#[derive(Debug, Default)]
pub struct Histogram {
    counts: [AtomicU64; BUCKETS],
    sum_nanos: AtomicU64,
}

/// The counts of a histogram at one moment.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Observations {
    /// The upper bound of each bucket in seconds, the last one infinite, and how many times lie in this bucket and in
    /// none below. Empty where nothing is measured yet.
    pub buckets: Vec<(f64, u64)>,
    /// The sum of all times, in seconds.
    pub sum_seconds: f64,
}

impl Histogram {
    /// Counts one time.
    pub fn observe(&self, time: Duration) {
        self.observe_many(time, 1);
    }

    /// Counts a time that `count` things took.
    pub fn observe_many(&self, time: Duration, count: u64) {
        let nanos = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        let bucket = BOUNDS_NANOS.partition_point(|bound| *bound < nanos);
        self.counts[bucket].fetch_add(count, Ordering::Relaxed);
        self.sum_nanos.fetch_add(nanos.saturating_mul(count), Ordering::Relaxed);
    }

    /// Returns the counts so far. What is observed meanwhile may be in one number and not in another yet.
    pub fn observations(&self) -> Observations {
        let bounds = BOUNDS_NANOS.iter().map(|nanos| *nanos as f64 / 1e9).chain([f64::INFINITY]);
        let counts = self.counts.iter().map(|count| count.load(Ordering::Relaxed));
        let sum_seconds = self.sum_nanos.load(Ordering::Relaxed) as f64 / 1e9;
        Observations { buckets: bounds.zip(counts).collect(), sum_seconds }
    }
}

impl Observations {
    /// Returns how many times were counted.
    pub fn count(&self) -> u64 {
        self.buckets.iter().map(|(_, count)| count).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_counted_in_the_first_bucket_that_holds_it() {
        let histogram = Histogram::default();
        for micros in [0, 10, 11, 1_000, 1_001] {
            histogram.observe(Duration::from_micros(micros));
        }
        histogram.observe_many(Duration::from_secs(31), 3);
        let counted = histogram.observations();
        let full = counted.buckets.iter().filter(|(_, count)| *count > 0);
        let full: Vec<(f64, u64)> = full.copied().collect();
        assert_eq!(full, [(1e-5, 2), (2.5e-5, 1), (1e-3, 1), (2.5e-3, 1), (f64::INFINITY, 3)]);
        assert_eq!(counted.count(), 8);
        assert!((counted.sum_seconds - 93.002_022).abs() < 1e-9, "{}", counted.sum_seconds);
    }

    #[test]
    fn bounds_grow() {
        assert!(BOUNDS_NANOS.is_sorted_by(|one, next| one < next));
    }
}
