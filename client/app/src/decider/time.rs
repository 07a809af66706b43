//! The time that a command or a load may take.

use std::time::Duration;

use quorate_client::{ErrorKind, Outcome, Problem};
use tokio::time::Instant;

/// The shortest time that a request gets: one without time would not be sent.
const REQUEST_TIME_MIN: Duration = Duration::from_millis(1);
/// The longest rest before a command is decided anew.
const REST_MAX: Duration = Duration::from_millis(200);

/// Returns the time that is left for a request.
pub(crate) fn left(give_up_at: Instant) -> Duration {
    give_up_at.saturating_duration_since(Instant::now()).max(REQUEST_TIME_MIN)
}

/// Returns the problem that the time is over before anything was appended.
pub(crate) fn late(what: &str) -> Problem {
    let message = format!("the {what} did not end before its deadline; nothing was appended");
    Problem::new(ErrorKind::Deadline, Outcome::NotAppended, message)
}

/// Returns the rest after a number of conflicts: none at first, since the state is fresh then, and longer when many
/// writers fight for a stream.
pub(crate) fn rest_after(conflicts: u32) -> Duration {
    match conflicts {
        0..=2 => Duration::ZERO,
        more => (Duration::from_millis(2) * (1 << (more - 3).min(10))).min(REST_MAX),
    }
}

/// Returns the rest before a command is handled again that failed so often before: it doubles up to two seconds.
pub(crate) fn rest_after_failure(failed: u32) -> Duration {
    Duration::from_millis(50) * (1 << failed.min(5))
        + Duration::from_millis(400) * u32::from(failed > 5)
}
