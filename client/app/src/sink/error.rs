//! The errors of deliveries.

use std::time::Duration;

/// The longest wait that a destination may ask for.
pub(crate) const DELAY_MAX: Duration = Duration::from_secs(3600);
/// The maximum length of a reason, in bytes.
const REASON_BYTES_MAX: usize = 512;

/// The reason why an event was not delivered, with the next step for the event.
///
/// ```
/// use std::time::Duration;
/// use quorate_app::sink::SinkError;
///
/// /// Judges the answer of a mail server.
/// fn judge(code: u16) -> Result<(), SinkError> {
///     match code {
///         250 => Ok(()),
///         421 => Err(SinkError::retry_after("the server is busy", Duration::from_secs(60))),
///         400..500 => Err(SinkError::retry(format!("the server answers {code}"))),
///         _ => Err(SinkError::poison(format!("the server refuses it for good: {code}"))),
///     }
/// }
/// assert!(matches!(judge(550), Err(SinkError::Poison { .. })));
/// ```
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SinkError {
    /// The delivery may succeed later.
    #[error("{reason}")]
    Retry {
        /// The reason.
        reason: String,
        /// The time before the next attempt; `None` = the group's delay, which doubles with each attempt.
        after: Option<Duration>,
    },
    /// The delivery will not succeed: the event is parked.
    #[error("{reason}")]
    Poison {
        /// The reason.
        reason: String,
    },
}

impl SinkError {
    /// Makes the error of a delivery that may succeed after the group's delay.
    pub fn retry(reason: impl Into<String>) -> SinkError {
        SinkError::Retry { reason: reason.into(), after: None }
    }

    /// Makes the error of a delivery that may succeed after `delay`, at most an hour.
    pub fn retry_after(reason: impl Into<String>, delay: Duration) -> SinkError {
        SinkError::Retry { reason: reason.into(), after: Some(delay.min(DELAY_MAX)) }
    }

    /// Makes the error of a delivery that will not succeed.
    pub fn poison(reason: impl Into<String>) -> SinkError {
        SinkError::Poison { reason: reason.into() }
    }
}

/// Returns the beginning of a reason, as much as a group keeps, on one line.
pub(crate) fn brief(reason: &str) -> String {
    let mut brief = String::new();
    for character in reason.chars() {
        let character = if character.is_control() { ' ' } else { character };
        if brief.len() + character.len_utf8() > REASON_BYTES_MAX {
            break;
        }
        brief.push(character);
    }
    brief
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_is_short_and_stands_on_one_line() {
        assert_eq!(brief("a\nb\tc"), "a b c");
        let long = brief(&"ä".repeat(1_000));
        assert_eq!(long.len(), 512);
        assert!(long.chars().all(|one| one == 'ä'));
    }
}
