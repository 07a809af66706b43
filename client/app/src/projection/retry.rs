//! The waiting times before something is tried again.

use std::time::Duration;

/// The waits while a database or a cluster cannot be reached; there is no last attempt.
pub(super) const LOST: Backoff =
    Backoff { first: Duration::from_millis(50), longest: Duration::from_secs(10) };

/// Waits that double from the first to the longest.
///
/// ```
/// use std::time::Duration;
/// use quorate_app::projection::Backoff;
/// let backoff = Backoff { first: Duration::from_millis(100), longest: Duration::from_secs(1) };
/// assert_eq!(backoff.after(3), Duration::from_millis(400));
/// assert_eq!(backoff.after(9), Duration::from_secs(1));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backoff {
    /// The first wait.
    pub first: Duration,
    /// The longest wait.
    pub longest: Duration,
}

impl Backoff {
    /// Returns the wait after a number of attempts, counted from 1.
    pub fn after(&self, attempts: u32) -> Duration {
        let doubled = 2u32.saturating_pow(attempts.saturating_sub(1).min(31));
        self.first.saturating_mul(doubled).min(self.longest)
    }
}

impl Default for Backoff {
    fn default() -> Backoff {
        Backoff { first: Duration::from_millis(100), longest: Duration::from_secs(30) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_longest() {
        let backoff =
            Backoff { first: Duration::from_millis(100), longest: Duration::from_secs(1) };
        let waits: Vec<u128> =
            [0, 1, 2, 3, 4, 5, u32::MAX].map(|n| backoff.after(n).as_millis()).to_vec();
        assert_eq!(waits, [100, 100, 200, 400, 800, 1_000, 1_000]);
    }
}
