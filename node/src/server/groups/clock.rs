//! The clock of the owner of a group: times that are due are written in the log, where the next leader finds them.

use std::time::Duration;

use quorate_proto::Timestamp;
use tokio::time::Instant;

/// A clock that only moves forward from where it was started.
#[derive(Clone, Copy, Debug)]
pub(super) struct Clock {
    wall: Timestamp,
    since: Instant,
}

impl Clock {
    /// Starts the clock at the current stamp, but never before log time: a clock that went back would delay what an
    /// earlier leader recorded as due.
    pub(super) fn start(stamp: Timestamp, log_time: Timestamp) -> Clock {
        Clock { wall: stamp.max(log_time), since: Instant::now() }
    }

    pub(super) fn now(&self) -> Timestamp {
        let micros = i64::try_from(self.since.elapsed().as_micros()).unwrap_or(i64::MAX);
        Timestamp(self.wall.0.saturating_add(micros))
    }

    pub(super) fn instant(&self, time: Timestamp) -> Instant {
        let micros = u64::try_from(time.0.saturating_sub(self.wall.0)).unwrap_or_default();
        // A time that is too far away for `Instant` is checked again tomorrow.
        let day = Duration::from_secs(24 * 3600);
        let due = self.since.checked_add(Duration::from_micros(micros));
        due.unwrap_or_else(|| Instant::now() + day)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_is_to_be_tried_again_is_due_on_time_although_the_clocks_went_back_an_hour() {
        let second = 1_000_000;
        let before = Clock::start(Timestamp(7_200 * second), Timestamp(0));
        let due = Timestamp(before.now().0 + 10 * second);
        // The failure was stamped; then another node leads, whose clock is an hour behind.
        let after = Clock::start(Timestamp(3_600 * second), before.now());
        assert_eq!(after.instant(due), Instant::now() + Duration::from_secs(10));
        tokio::time::advance(Duration::from_secs(10)).await;
        assert_eq!(after.now(), due);
    }

    #[tokio::test(start_paused = true)]
    async fn a_clock_ahead_of_log_time_is_followed() {
        assert_eq!(Clock::start(Timestamp(9), Timestamp(7)).now(), Timestamp(9));
    }
}
