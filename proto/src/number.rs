//! Versions, positions, log indexes, terms and times: numbers that must not be mixed up.

use std::fmt;

use jiff::SignedDuration;
use jiff::civil::{DateTime, date};
use jiff::fmt::temporal::Pieces;
use serde::Serialize;

/// The time that the numbers of a [`Timestamp`] count from.
const EPOCH: DateTime = date(1970, 1, 1).at(0, 0, 0, 0);
const NO_TIME: &str = "is no RFC 3339 time";
const NO_YEAR: &str = "lies outside the years -9999 to 9999 in UTC";

macro_rules! number {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
        #[serde(transparent)]
        pub struct $name(pub u64);

        impl $name {
            /// The number before the first.
            pub const ZERO: $name = $name(0);

            /// Returns the number after this one.
            ///
            /// # Panics
            /// At the end of 64 bits, which no cluster reaches.
            #[must_use]
            pub const fn next(self) -> $name {
                self.plus(1)
            }

            /// Returns the number `count` after this one.
            ///
            /// # Panics
            /// At the end of 64 bits, which no cluster reaches.
            #[must_use]
            pub const fn plus(self, count: u64) -> $name {
                match self.0.checked_add(count) {
                    Some(sum) => $name(sum),
                    None => panic!("a 64-bit number ran over"),
                }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0, f)
            }
        }

        impl From<u64> for $name {
            fn from(number: u64) -> Self {
                $name(number)
            }
        }

        impl From<$name> for u64 {
            fn from(number: $name) -> Self {
                number.0
            }
        }
    };
}

number! {
    /// An event's place in its stream: 1, 2, 3 …; 0 = nothing yet. A stream's version is its last event's.
    Version
}
number! {
    /// An event's place in the whole log: 1, 2, 3 …; 0 = before the first.
    Position
}
number! {
    /// An entry's place in the Raft log; 0 is the entry that founds the cluster.
    LogIndex
}
number! {
    /// A Raft term.
    Term
}

/// The name of a Raft log entry: by Log Matching (Raft §5.3) equal ids mean equal logs up to there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LogId {
    /// The term in which a leader proposed the entry.
    pub term: Term,
    /// The entry's place in the log.
    pub index: LogIndex,
}

impl LogId {
    /// Makes the id of the entry of that term and index.
    pub const fn new(term: u64, index: u64) -> LogId {
        LogId { term: Term(term), index: LogIndex(index) }
    }
}

impl fmt::Display for LogId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.term, self.index)
    }
}

/// A time, in microseconds since the Unix epoch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(pub i64);

impl Timestamp {
    /// Parses RFC 3339 (`2011-10-01T00:38:44.546+02:00`), to the end of the year 9999; the error is the
    /// reason. Digits below a microsecond are cut off, and a leap second is read as the second before it: the
    /// numbers of the Unix epoch have no place for either.
    pub fn parse(text: &str) -> Result<Timestamp, &'static str> {
        let pieces = Pieces::parse(text).map_err(|_| NO_TIME)?;
        let time = pieces.time().ok_or(NO_TIME)?;
        let offset = pieces.to_numeric_offset().ok_or(NO_TIME)?;
        // Not by jiff's own timestamps: they end 26 hours before the year 9999 does.
        let since = pieces.date().to_datetime(time).duration_since(EPOCH).as_nanos();
        let micros = since.div_euclid(1000) - i128::from(offset.seconds()) * 1_000_000;
        i64::try_from(micros).ok().map(Timestamp).filter(|time| time.is_writable()).ok_or(NO_YEAR)
    }

    /// Returns true if the time can be written as RFC 3339.
    pub fn is_writable(self) -> bool {
        self.civil().is_some()
    }

    /// Returns the time in UTC, if the calendar has it.
    fn civil(self) -> Option<DateTime> {
        EPOCH.checked_add(SignedDuration::from_micros(self.0)).ok()
    }
}

impl fmt::Display for Timestamp {
    /// Writes RFC 3339 with microseconds, in UTC, or a number of microseconds if RFC 3339 cannot express the time.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.civil() {
            Some(time) => write!(f, "{time:.6}Z"),
            None => write!(f, "{}us", self.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timestamps_are_read_with_an_offset_and_written_in_utc() {
        let time = Timestamp::parse("2011-10-01T00:38:44.546+02:00").expect("a time");
        assert_eq!(time.to_string(), "2011-09-30T22:38:44.546000Z");
        assert_eq!(Timestamp::parse(&time.to_string()), Ok(time));
        for wrong in [
            "",
            "now",
            "2011-10-01",
            "2011-10-01T00:00:00",
            "2011-13-01T00:00:00Z",
            "2024-01-01T24:00:00Z",
        ] {
            assert_eq!(Timestamp::parse(wrong), Err(NO_TIME), "{wrong}");
        }
    }

    #[test]
    fn times_are_read_to_the_edges_of_the_calendar() {
        for (text, expected) in [
            ("9999-12-31T23:59:59.999999Z", "9999-12-31T23:59:59.999999Z"),
            ("9999-12-31T23:59:59.9999999Z", "9999-12-31T23:59:59.999999Z"),
            ("9999-12-30T22:00:00Z", "9999-12-30T22:00:00.000000Z"),
            ("9999-12-31T23:59:59+14:00", "9999-12-31T09:59:59.000000Z"),
            ("2016-12-31T23:59:60Z", "2016-12-31T23:59:59.000000Z"),
            ("1969-12-31T23:59:59.999999Z", "1969-12-31T23:59:59.999999Z"),
            ("1969-12-31T23:59:59.9999999Z", "1969-12-31T23:59:59.999999Z"),
            ("0000-01-01T00:00:00Z", "0000-01-01T00:00:00.000000Z"),
            ("2024-01-01T00:00:00.123456789Z", "2024-01-01T00:00:00.123456Z"),
            ("2024-03-31T02:30:00+14:00", "2024-03-30T12:30:00.000000Z"),
            ("2024-01-01t00:00:00z", "2024-01-01T00:00:00.000000Z"),
            ("-009999-01-01T00:00:00Z", "-009999-01-01T00:00:00.000000Z"),
        ] {
            let time = Timestamp::parse(text).unwrap_or_else(|why| panic!("{text} {why}"));
            assert_eq!(time.to_string(), expected, "{text}");
            assert_eq!(Timestamp::parse(expected), Ok(time));
        }
        for beyond in ["9999-12-31T23:59:59-00:01", "-009999-01-01T00:00:00+00:01"] {
            assert_eq!(Timestamp::parse(beyond), Err(NO_YEAR), "{beyond}");
        }
    }

    #[test]
    fn a_time_beyond_the_calendar_is_still_shown() {
        assert!(!Timestamp(i64::MAX).is_writable());
        assert_eq!(Timestamp(i64::MAX).to_string(), "9223372036854775807us");
    }
}
