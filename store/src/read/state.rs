//! The state of one stream, and the settings of a stream, a category or a path.

use quorate_proto::{Position, Scope, StreamName, Version};

use crate::fault::Fault;
use crate::format::retention::Limits;
pub use crate::retention::Settings;
use crate::retention::{self, Floors};
use crate::view::{Published, StreamHead};

/// A stream as of a position.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamState {
    /// The position as of which the state is given.
    pub as_of: Position,
    /// The version of its last event, removed or not; 0 if it never had one.
    pub version: Version,
    /// The first version that can be read; the one after `version` if none can.
    pub first_version: Version,
    /// The version at which the stream was last deleted or closed; 0 if never.
    pub deleted: Version,
    /// True if a tombstone closed the name for good.
    pub closed: bool,
    /// The settings of the stream itself.
    pub own: Settings,
    /// The settings that the stream is under: its own, else those of its category, else of its longest path
    /// that has any. `truncate_before` is its own.
    pub effective: Settings,
    /// The version of its aggregate snapshot, if one is kept.
    pub snapshot: Option<Version>,
}

/// Returns the state of a stream as of the published point.
pub(super) fn of(published: &Published, stream: &StreamName) -> Result<StreamState, Fault> {
    let Published { view, point } = published;
    let as_of = point.position;
    let StreamHead { version, deleted, closed } = view.head(stream, as_of)?;
    let own = view.record(&Scope::Stream(stream.clone()), as_of)?;
    let own = own.map(|record| record.settings()).unwrap_or_default();
    let Limits { max_count, max_age_us } = retention::limits(view, stream, as_of)?;
    let snapshot = view.snapshot(stream, *point)?;
    Ok(StreamState {
        as_of,
        version,
        first_version: Floors::at(*point).floor(view, stream)?,
        deleted,
        closed,
        own,
        effective: Settings { max_count, max_age_us, truncate_before: own.truncate_before },
        snapshot: snapshot.map(|recorded| recorded.snapshot.version),
    })
}
