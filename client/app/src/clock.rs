//! The time of day.

use std::time::{SystemTime, UNIX_EPOCH};

use quorate_client::Timestamp;

/// Tells the time: by it due times are judged and messages are stamped.
pub trait Clock: Send + Sync + 'static {
    /// The time now. It may jump, forwards and backwards: who waits for a time asks again at least every second.
    fn now(&self) -> Timestamp;
}

/// The clock of this machine.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    /// The ban on the clock is for what the simulation must repeat; here an application asks for the time of day,
    /// and who needs another one brings another [`Clock`].
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
