//! Why an event was not delivered.

use std::time::Duration;

/// The longest wait that a destination may ask for.
pub(crate) const DELAY_MAX: Duration = Duration::from_secs(3600);
/// How much of a reason is kept, in bytes.
const REASON_BYTES_MAX: usize = 512;

/// Why an event was not delivered, and what is to become of it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SinkError {
    /// It may succeed later.
    #[error("{reason}")]
    Retry {
        /// What was the case.
        reason: String,
        /// When to try again; `None` = after the group's delay, which doubles with each attempt.
        after: Option<Duration>,
    },
    /// It will not succeed: the event is parked.
    #[error("{reason}")]
    Poison {
        /// Why not.
        reason: String,
    },
}

impl SinkError {
    /// It may succeed after the group's delay.
    pub fn retry(reason: impl Into<String>) -> SinkError {
        SinkError::Retry { reason: reason.into(), after: None }
    }

    /// It may succeed after so long; an hour at most.
    pub fn retry_after(reason: impl Into<String>, delay: Duration) -> SinkError {
        SinkError::Retry { reason: reason.into(), after: Some(delay.min(DELAY_MAX)) }
    }

    /// It will not succeed.
    pub fn poison(reason: impl Into<String>) -> SinkError {
        SinkError::Poison { reason: reason.into() }
    }
}

/// The beginning of a reason, as much as a group keeps, and on one line.
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
