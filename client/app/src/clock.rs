//! The time of day.

use std::time::{SystemTime, UNIX_EPOCH};

use quorate_client::Timestamp;

/// A source of the time, by which due times are judged and messages are stamped.
///
/// ```
/// use quorate_app::Clock;
/// use quorate_client::Timestamp;
///
/// /// A clock of a test, which stands still.
/// struct Still(Timestamp);
///
/// impl Clock for Still {
///     fn now(&self) -> Timestamp {
///         self.0
///     }
/// }
/// # assert_eq!(Still(Timestamp(7)).now(), Timestamp(7));
/// ```
pub trait Clock: Send + Sync + 'static {
    /// Returns the present time. It may jump in both directions: a caller that waits for a time asks every second.
    fn now(&self) -> Timestamp;
}

/// The clock of this machine.
///
/// ```
/// use quorate_app::{Clock, SystemClock};
/// use quorate_client::Timestamp;
/// assert!(SystemClock.now() > Timestamp::parse("2020-01-01T00:00:00Z")?);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    /// The clock is banned for code that the simulation must repeat; here an application needs the time of day, and
    /// a test can pass another [`Clock`].
    #[allow(clippy::disallowed_methods)]
    fn now(&self) -> Timestamp {
        let now = SystemTime::now();
        let micros = match now.duration_since(UNIX_EPOCH) {
            Ok(since) => i64::try_from(since.as_micros()).unwrap_or(i64::MAX),
            Err(before) => i64::try_from(before.duration().as_micros()).map_or(i64::MIN, |us| -us),
        };
        Timestamp(micros)
    }
}
