//! The partitions of a projection, among which its events are shared.

use std::fmt;
use std::sync::Arc;

use quorate_client::RecordedEvent;

/// A function that returns the key of an event; the events of one key stay in order.
pub(super) type KeyOf = Arc<dyn Fn(&RecordedEvent) -> String + Send + Sync>;

/// The way in which events are shared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Partitioning {
    /// One partition for all events, in order.
    One,
    /// This number of partitions; the events of one stream are in the same one.
    Streams(u32),
    /// This number of partitions; the events of one key are in the same one.
    Keys(u32),
}

impl Partitioning {
    pub(super) fn count(self) -> u32 {
        match self {
            Partitioning::One => 1,
            Partitioning::Streams(count) | Partitioning::Keys(count) => count,
        }
    }

    /// Returns the partition of an event. Bookmarks depend on this: it must not change.
    pub(super) fn of(self, event: &RecordedEvent, key_of: Option<&KeyOf>) -> u32 {
        let hash = match (self, key_of) {
            (Partitioning::One, _) => return 0,
            (Partitioning::Keys(_), Some(key_of)) => fnv1a(key_of(event).as_bytes()),
            (Partitioning::Streams(_) | Partitioning::Keys(_), _) => {
                fnv1a(event.stream.as_str().as_bytes())
            }
        };
        (hash % u64::from(self.count())) as u32
    }

    pub(super) fn parse(text: &str) -> Option<Partitioning> {
        if text == "1" {
            return Some(Partitioning::One);
        }
        let (by, count) = text.split_once('/')?;
        let count = count.parse().ok().filter(|count| *count > 0)?;
        match by {
            "stream" => Some(Partitioning::Streams(count)),
            "key" => Some(Partitioning::Keys(count)),
            _ => None,
        }
    }
}

impl fmt::Display for Partitioning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Partitioning::One => f.write_str("1"),
            Partitioning::Streams(count) => write!(f, "stream/{count}"),
            Partitioning::Keys(count) => write!(f, "key/{count}"),
        }
    }
}

/// Returns the FNV-1a hash, 64 bits, which is the same everywhere and for ever.
fn fnv1a(bytes: &[u8]) -> u64 {
    let mix = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, mix)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_again() {
        for partitioning in [Partitioning::One, Partitioning::Streams(4), Partitioning::Keys(7)] {
            assert_eq!(Partitioning::parse(&partitioning.to_string()), Some(partitioning));
        }
        for wrong in ["", "2", "stream/0", "stream/x", "tag/4"] {
            assert_eq!(Partitioning::parse(wrong), None, "{wrong}");
        }
    }

    /// The values of the FNV test suite: a changed hash would move streams away from their bookmarks' partitions.
    #[test]
    fn the_hash_stays_what_it_is() {
        assert_eq!(fnv1a(b""), 0xcbf2_9ce4_8422_2325);
        assert_eq!(fnv1a(b"a"), 0xaf63_dc4c_8601_ec8c);
        assert_eq!(fnv1a(b"foobar"), 0x8594_4171_f739_67e8);
    }
}
