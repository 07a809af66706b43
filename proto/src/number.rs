//! Versions, positions, log indexes, terms and times: numbers that must not be mixed up.

use std::fmt;

macro_rules! number {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub u64);

        impl $name {
            /// Before the first.
            pub const ZERO: $name = $name(0);

            /// The one after this one.
            ///
            /// # Panics
            /// At the end of 64 bits, which no cluster reaches.
            #[must_use]
            pub const fn next(self) -> $name {
                self.plus(1)
            }

            /// This one, `count` further on.
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
    /// Its place in the log.
    pub index: LogIndex,
}

impl LogId {
    /// The entry of that term and index.
    pub const fn new(term: u64, index: u64) -> LogId {
        LogId { term: Term(term), index: LogIndex(index) }
    }
}

impl fmt::Display for LogId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.term, self.index)
    }
}

/// Microseconds since the Unix epoch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(pub i64);

impl Timestamp {
    /// Reads RFC 3339 (`2011-10-01T00:38:44.546+02:00`); what is finer than a microsecond is cut off.
    pub fn parse(text: &str) -> Option<Timestamp> {
        let parsed: jiff::Timestamp = text.parse().ok()?;
        Some(Timestamp(parsed.as_microsecond()))
    }

    /// Whether the time can be written as RFC 3339.
    pub fn is_writable(self) -> bool {
        jiff::Timestamp::from_microsecond(self.0).is_ok()
    }
}

impl fmt::Display for Timestamp {
    /// RFC 3339 with microseconds, in UTC; a number of microseconds where RFC 3339 has no words for it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match jiff::Timestamp::from_microsecond(self.0) {
            Ok(time) => write!(f, "{time:.6}"),
            Err(_) => write!(f, "{}us", self.0),
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
        assert_eq!(Timestamp::parse(&time.to_string()), Some(time));
        for wrong in ["", "now", "2011-10-01", "2011-13-01T00:00:00Z"] {
            assert_eq!(Timestamp::parse(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_time_beyond_the_calendar_is_still_shown() {
        assert!(!Timestamp(i64::MAX).is_writable());
        assert_eq!(Timestamp(i64::MAX).to_string(), "9223372036854775807us");
    }
}
