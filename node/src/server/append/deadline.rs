//! The deadlines of requests, and the instant from which those of a session are counted.

use std::time::Duration;

use quorate_proto::limits::DEADLINE_MS_DEFAULT;
use tokio::time::Instant;

/// The maximum time to a deadline, so that adding a number of milliseconds never overflows.
const DEADLINE_MAX: Duration = Duration::from_secs(24 * 3600);

/// Returns the instant that is a number of milliseconds from now; 0 stands for the default.
pub(crate) fn deadline_of(time_left_ms: u64) -> Instant {
    let left = if time_left_ms == 0 { DEADLINE_MS_DEFAULT } else { time_left_ms };
    Instant::now() + Duration::from_millis(left).min(DEADLINE_MAX)
}

/// The times of a request.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Due {
    /// The time at which this node received the request.
    pub(crate) came: Instant,
    /// The time after which the request is not proposed any more.
    pub(crate) deadline: Instant,
    /// True if later requests need not wait until this one is sent again after its deadline passed.
    pub(crate) expires_alone: bool,
}

/// An instant before the first message of a session was sent. The caller counts from the receipt of that
/// message, which is later: so no deadline is later than the caller means, however long an append takes to
/// arrive.
///
/// This assumes that the monotonic clocks of the two machines run at about the same rate (see `deadline_ms`),
/// also while one of the machines is suspended.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Anchor(Instant);

impl Anchor {
    /// Returns the present instant; the first message must be sent after this call.
    pub(crate) fn now() -> Anchor {
        Anchor(Instant::now())
    }

    /// Returns the instant for the `deadline_ms` of an append that came just now.
    pub(crate) fn deadline(self, deadline_ms: u64, came: Instant) -> Instant {
        let latest = came + DEADLINE_MAX;
        let meant = self.0.checked_add(Duration::from_millis(deadline_ms));
        meant.map_or(latest, |meant| meant.min(latest))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_deadline_does_not_move_while_the_append_is_on_its_way() {
        let anchor = Anchor::now();
        let at_once = anchor.deadline(1_500, Instant::now());
        tokio::time::advance(Duration::from_secs(100)).await;
        assert_eq!(anchor.deadline(1_500, Instant::now()), at_once);
        assert!(at_once < Instant::now());
    }

    #[tokio::test(start_paused = true)]
    async fn no_number_is_too_large_for_a_deadline() {
        let anchor = Anchor::now();
        let now = Instant::now();
        assert_eq!(anchor.deadline(u64::MAX, now), now + DEADLINE_MAX);
    }
}
