//! Aggregate snapshots that an application makes.

use bytes::Bytes;
use quorate_proto::Version;
use serde::Serialize;

/// The state of an aggregate at a version of its stream: a rebuild reads only the events after that version.
///
/// ```
/// use quorate_client::Snapshot;
/// # fn main() -> Result<(), serde_json::Error> {
/// let state = Snapshot::json(3, &serde_json::json!({ "total": 50 }))?.schema(2);
/// # let _ = state; Ok(()) }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    /// The version at which the snapshot was made; at least 1.
    pub version: Version,
    /// The version of the shape of `data`; 1 by default.
    pub schema: u32,
    /// The state: a little less than 4 MiB at most, usually JSON.
    pub data: Bytes,
}

impl Snapshot {
    /// Makes a snapshot of any bytes, as the state at a version.
    pub fn new(version: impl Into<Version>, data: impl Into<Bytes>) -> Snapshot {
        Snapshot { version: version.into(), schema: 1, data: data.into() }
    }

    /// Makes a snapshot of a value as JSON, as the state at a version.
    pub fn json<T: Serialize + ?Sized>(
        version: impl Into<Version>,
        value: &T,
    ) -> Result<Snapshot, serde_json::Error> {
        Ok(Snapshot::new(version, serde_json::to_vec(value)?))
    }

    /// Sets the version of the shape of the data: an application ignores shapes that it does not know.
    #[must_use]
    pub fn schema(mut self, schema: u32) -> Snapshot {
        self.schema = schema;
        self
    }
}
