//! Times as people write them: RFC 3339, or how long ago.

use quorate_proto::Timestamp;

use super::span;

/// Reads a time as RFC 3339, or as a span before now.
pub(crate) fn parse(text: &str) -> Result<Timestamp, String> {
    // The command line is the one place where the wall clock is asked: `10m` means ten minutes before
    // the person pressed enter.
    parse_at(text, jiff::Timestamp::now().as_microsecond())
}

fn parse_at(text: &str, now: i64) -> Result<Timestamp, String> {
    let why = match Timestamp::parse(text) {
        Ok(time) => return Ok(time),
        Err(why) => why,
    };
    let span =
        span::parse_age(text).ok_or_else(|| format!("{why}, and is no time span like `10m`"))?;
    let time = i64::try_from(span.as_micros()).ok().and_then(|span| now.checked_sub(span));
    time.map(Timestamp).ok_or_else(|| "is too long a time span".to_owned())
}

/// Reads a time as RFC 3339.
pub(crate) fn parse_exact(text: &str) -> Result<Timestamp, String> {
    Timestamp::parse(text).map_err(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_rfc_3339_or_a_span_before_now() {
        let now = 10_000_000_000_000;
        for (text, time) in [
            ("1970-01-01T00:00:01Z", 1_000_000),
            ("0s", now),
            ("90s", now - 90_000_000),
            ("10m", now - 600_000_000),
            ("2h", now - 7_200_000_000),
            ("1d", now - 86_400_000_000),
            ("1w", now - 604_800_000_000),
        ] {
            assert_eq!(parse_at(text, now), Ok(Timestamp(time)), "{text}");
        }
        for wrong in
            ["", "m", "10", "-10m", "10 m", "10x", "yesterday", "1.5h", "99999999999m", "ä"]
        {
            assert!(parse_at(wrong, now).is_err(), "{wrong}");
        }
        assert!(parse_at("4000000000s", now).is_ok());
        assert_eq!(parse_at("4000000000w", now), Err("is too long a time span".to_owned()));
    }
}
