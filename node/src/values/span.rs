//! Spans of time as people write them: `90s`, `10m`, `2h`, `30d`, `4w`.

use std::time::Duration;

const UNITS: [(char, u64); 5] =
    [('s', 1), ('m', 60), ('h', 60 * 60), ('d', 24 * 60 * 60), ('w', 7 * 24 * 60 * 60)];

/// Reads an age, which is a whole number and its unit; none if the text is something else.
pub(crate) fn parse_age(text: &str) -> Option<Duration> {
    let unit = text.chars().last()?;
    let (_, seconds) = UNITS.iter().find(|(known, _)| *known == unit)?;
    let count: u32 = text.strip_suffix(unit)?.parse().ok()?;
    Some(Duration::from_secs(seconds * u64::from(count)))
}

/// Writes an age in the largest unit that leaves a whole number.
pub(crate) fn show_age(span: Duration) -> String {
    let micros = span.as_micros();
    if !micros.is_multiple_of(1_000_000) {
        return format!("{micros}us");
    }
    let seconds = span.as_secs();
    let whole =
        UNITS.iter().rev().find(|(_, unit)| seconds >= *unit && seconds.is_multiple_of(*unit));
    whole.map_or("0s".to_owned(), |(unit, each)| format!("{}{unit}", seconds / each))
}

/// Writes a span for a person, as much of it as there is of the largest unit: `59s`, `3m`, `2h`.
pub(crate) fn rough(span: Duration) -> String {
    let seconds = span.as_secs();
    let fitting = UNITS.iter().rev().find(|(_, each)| seconds >= *each);
    fitting.map_or("0s".to_owned(), |(unit, each)| format!("{}{unit}", seconds / each))
}

/// Reads a span of time that may be short: `500ms`, or as everywhere `90s`, `10m`, `2h`.
pub(crate) fn parse(text: &str) -> Result<Duration, String> {
    let milliseconds = text.strip_suffix("ms").and_then(|count| count.parse::<u32>().ok());
    let span = milliseconds.map(|count| Duration::from_millis(count.into()));
    span.or_else(|| parse_age(text))
        .ok_or_else(|| "is no time span like `500ms` or `30s`".to_owned())
}

/// Writes a span for a person, as [`parse`] reads it.
pub(crate) fn show(span: Duration) -> String {
    if span.as_micros().is_multiple_of(1_000_000) {
        show_age(span)
    } else {
        format!("{}ms", span.as_millis())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_may_be_shorter_than_a_second() {
        for (text, milliseconds) in [("500ms", 500), ("0ms", 0), ("30s", 30_000), ("2m", 120_000)] {
            let span = Duration::from_millis(milliseconds);
            assert_eq!(parse(text), Ok(span), "{text}");
            assert_eq!(parse(&show(span)), Ok(span), "{text}");
        }
        for wrong in ["", "ms", "-1ms", "1.5ms", "10"] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_rough_span_is_shown_in_its_largest_unit() {
        for (seconds, shown) in [(0, "0s"), (59, "59s"), (179, "2m"), (3_600, "1h"), (90_000, "1d")]
        {
            assert_eq!(rough(Duration::from_millis(seconds * 1000 + 999)), shown);
        }
    }

    #[test]
    fn spans_are_read_and_shown_with_their_unit() {
        for (text, seconds, shown) in [
            ("0s", 0, "0s"),
            ("90s", 90, "90s"),
            ("120s", 120, "2m"),
            ("24h", 86_400, "1d"),
            ("30d", 2_592_000, "30d"),
            ("2w", 1_209_600, "2w"),
        ] {
            let span = Duration::from_secs(seconds);
            assert_eq!(parse_age(text), Some(span), "{text}");
            assert_eq!(show_age(span), shown);
        }
        assert_eq!(show_age(Duration::from_micros(1_500_000)), "1500000us");
        for wrong in ["", "m", "10", "-10m", "10 m", "10x", "1.5h", "99999999999m", "ä"] {
            assert_eq!(parse_age(wrong), None, "{wrong}");
        }
    }
}
