//! The progress of a subscription.

use quorate_proto::wire::v1;
use quorate_proto::{Position, Version};

/// The progress of a subscription: everything that matches up to here was given out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Cursor {
    pub(crate) position: Position,
    /// The version, if the source is a stream.
    pub(crate) version: Option<Version>,
}

impl From<Cursor> for v1::Cursor {
    fn from(cursor: Cursor) -> v1::Cursor {
        v1::Cursor { position: cursor.position.0, version: cursor.version.map(u64::from) }
    }
}
