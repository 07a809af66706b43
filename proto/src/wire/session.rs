//! The deadlines of a session's appends, written so that no delay on the way moves them.

use std::time::Duration;

/// The time for which the deadlines of one session are counted from its first message; then its caller
/// replaces the session. It bounds the time that [`deadline_ms`] takes off for clocks of different rates.
pub const SESSION_LIFE: Duration = Duration::from_secs(60);

/// The part of the time by which the rates of two machines' monotonic clocks differ at most.
const RATE_DIFFERENCE: u32 = 1_000;

/// Returns a deadline as an append of a session gives it: `since_first_message` is the time from the caller's
/// receipt of the session's first message to the deadline.
///
/// The receiver counts from an instant before it sent that message, which is before the receipt. So its
/// deadline is never later than the caller's, even if its clock is slower by a part in a thousand, and
/// however long the append was on its way. It is earlier by the travel time of the first message, and by at
/// most 60 ms for that part, in a session within its life.
pub fn deadline_ms(since_first_message: Duration) -> u64 {
    let safe = since_first_message - since_first_message / RATE_DIFFERENCE;
    u64::try_from(safe.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deadline_is_sent_as_no_later_than_it_is() {
        assert_eq!(deadline_ms(Duration::ZERO), 0);
        assert_eq!(deadline_ms(Duration::from_micros(1_999)), 1);
        assert_eq!(deadline_ms(Duration::from_secs(60)), 59_940);
    }
}
