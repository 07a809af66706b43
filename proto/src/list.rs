//! Lists of names: streams, categories, paths and types, each with its number of events.

use crate::invalid::Invalid;
use crate::limits::NAME_BYTES_MAX;
use crate::{Category, Consistency, Path, Version};

/// The kind of names that are listed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ListTarget {
    /// Streams.
    Streams,
    /// The streams of a category, in any path.
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

/// A request for a list, in the order of the names' bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListRequest {
    /// The kind of names that are listed.
    pub listed: ListTarget,
    /// The prefix of the names in the list; all names if empty.
    pub prefix: String,
    /// The name after which the list begins; it need not exist. All names if empty.
    pub after: String,
    /// The most names in the list; all names if `None`.
    pub limit: Option<u64>,
    /// The consistency of the read.
    pub consistency: Consistency,
    /// True if names of the system, which begin with `$`, are listed too; they are if `prefix` begins so.
    pub with_system: bool,
    /// True if streams without any readable event are listed too.
    pub with_removed: bool,
}

impl ListRequest {
    /// Requests all names of a kind.
    pub fn of(listed: ListTarget) -> ListRequest {
        ListRequest {
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

/// A name in a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListEntry {
    /// The name.
    pub name: String,
    /// For a stream the number of its events that can be read. For any other name the number of events
    /// recorded, removed ones included; `None` if that is not known, as in a store that an early build wrote.
    pub events: Option<u64>,
    /// For a stream its versions and its state.
    pub stream: Option<ListedStream>,
}

/// The versions and the state of a stream in a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ListedStream {
    /// The version of the stream's last event, removed or not: the expectation of the next append.
    pub version: Version,
    /// The first version that can be read; the one after `version` if none can.
    pub first_version: Version,
    /// True if a tombstone closed the name for good.
    pub closed: bool,
}
