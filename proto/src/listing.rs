//! Listing what there is: streams, categories, paths and types, by name, with how many events each had.

use crate::error::Invalid;
use crate::limits::NAME_BYTES_MAX;
use crate::{Category, Consistency, Path, Version};

/// What is listed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Listed {
    /// Streams.
    Streams,
    /// The streams of a category, in whatever path.
    StreamsOf(Category),
    /// The streams in a path.
    StreamsIn(Path),
    /// Categories of streams.
    Categories,
    /// Paths that streams lie in.
    Paths,
    /// Types of events.
    Types,
}

/// A list that is asked for, in the order of the names' bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listing {
    /// What is listed.
    pub listed: Listed,
    /// Only names that begin so; all if empty.
    pub prefix: String,
    /// Only names after this one; all if empty. It need not be one that is there.
    pub after: String,
    /// At most so many names; all if not told.
    pub limit: Option<u64>,
    /// How fresh.
    pub consistency: Consistency,
    /// Whether the system's are listed too, whose names begin with `$`; they are where `prefix` does.
    pub with_system: bool,
    /// Whether streams are listed too of which no event can be read any more.
    pub with_removed: bool,
}

impl Listing {
    /// All of these.
    pub fn of(listed: Listed) -> Listing {
        Listing {
            listed,
            prefix: String::new(),
            after: String::new(),
            limit: None,
            consistency: Consistency::default(),
            with_system: false,
            with_removed: false,
        }
    }

    /// Checks the limits.
    pub fn check(&self) -> Result<(), Invalid> {
        for (field, text) in [("prefix", &self.prefix), ("after", &self.after)] {
            if text.len() > NAME_BYTES_MAX {
                let why =
                    format!("has {} bytes; no name has more than {NAME_BYTES_MAX}", text.len());
                return Err(Invalid::limit(field, why, NAME_BYTES_MAX as u64));
            }
        }
        Ok(())
    }
}

/// One line of a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Named {
    /// The name.
    pub name: String,
    /// Of a stream: how many of its events can be read. Of anything else: how many were recorded, those that
    /// were removed since included; `None` when that is not known, as of a store that an early build wrote.
    pub events: Option<u64>,
    /// Of a stream: where it is.
    pub stream: Option<NamedStream>,
}

/// Where a stream of a list is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NamedStream {
    /// The version of its last event, there or not.
    pub version: Version,
    /// The first version that can be read; the one after `version` when none can.
    pub first_version: Version,
    /// Whether a tombstone closed the name for good.
    pub closed: bool,
}
