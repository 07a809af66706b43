//! How the deadlines of a session's appends are written, so that no delay on the way moves them.

use std::time::Duration;

/// How long the deadlines of one session are counted from its first message; then its caller replaces
/// it. Bounds what [`deadline_ms`] takes off for clocks that run at different rates.
pub const SESSION_LIFE: Duration = Duration::from_secs(60);

/// The monotonic clocks of two machines differ in rate by less than this part of the time.
const RATE_DIFFERENCE: u32 = 1_000;

/// A deadline as an append of a session tells it: `since_first_message` is the time from the caller's
/// receipt of the session's first message to that deadline.
///
/// The receiver counts from an instant before it sent that message, which is before the receipt. So its
/// deadline is never later than the caller's, even if its clock is slower by a part in a thousand, and
/// however long the append was on its way. It is earlier by the first message's time on its way and by
/// 60 ms for that part at the most, in a session within its life.
pub fn deadline_ms(since_first_message: Duration) -> u64 {
    let safe = since_first_message - since_first_message / RATE_DIFFERENCE;
    u64::try_from(safe.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deadline_is_told_as_no_later_than_it_is() {
        assert_eq!(deadline_ms(Duration::ZERO), 0);
        assert_eq!(deadline_ms(Duration::from_micros(1_999)), 1);
        assert_eq!(deadline_ms(Duration::from_secs(60)), 59_940);
    }
}
