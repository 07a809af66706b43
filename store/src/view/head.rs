//! The head of a stream, by which expectations on the stream are judged.

use quorate_proto::{Expectation, Version};

/// The state of a stream that expectations are judged by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct StreamHead {
    /// The version of the last event; 0 if there never was one.
    pub(crate) version: Version,
    /// The version at the last delete or tombstone; 0 if it was never deleted.
    pub(crate) deleted: Version,
    /// True if the stream was closed for good.
    pub(crate) closed: bool,
}

impl StreamHead {
    /// Returns true if the stream meets an expectation. Deleted events are gone, but their versions are used.
    pub(crate) fn meets(&self, expectation: Expectation) -> bool {
        match expectation {
            Expectation::Any => true,
            Expectation::None => self.version == self.deleted,
            Expectation::Exists => self.version > self.deleted,
            Expectation::Exactly(version) => self.version == version,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deleted_stream_is_empty_at_its_version() {
        let head = |version, deleted| StreamHead {
            version: Version(version),
            deleted: Version(deleted),
            closed: false,
        };
        let exactly = |version| Expectation::Exactly(Version(version));
        for (head, none, exists, met, unmet) in [
            (head(0, 0), true, false, 0, 1),
            (head(5, 0), false, true, 5, 0),
            (head(5, 5), true, false, 5, 0),
            (head(6, 5), false, true, 6, 5),
        ] {
            assert!(head.meets(Expectation::Any));
            assert_eq!(head.meets(Expectation::None), none, "{head:?}");
            assert_eq!(head.meets(Expectation::Exists), exists, "{head:?}");
            assert!(head.meets(exactly(met)) && !head.meets(exactly(unmet)), "{head:?}");
        }
    }
}
