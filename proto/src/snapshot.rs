//! Aggregate snapshots: the state of a stream at a version, so that rebuilding it reads only the events after it.

use std::ops::Deref;

use bytes::Bytes;
use serde::de::DeserializeOwned;

use crate::error::Invalid;
use crate::limits::SNAPSHOT_BYTES_MAX;
use crate::{StreamName, Timestamp, Version};

/// The state of an aggregate as its application made it from a stream's events. The newest snapshot of each
/// stream is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    /// The stream.
    pub stream: StreamName,
    /// The version of the stream at the snapshot: later events are still to be applied. At least 1.
    pub version: Version,
    /// The version of the shape of `data`; at least 1. An application passes over shapes it does not know. Of
    /// two snapshots at one version the one with the newer schema is kept.
    pub schema: u32,
    /// The state.
    pub data: Bytes,
}

impl Snapshot {
    /// Checks everything that can be checked without the log.
    pub fn check(&self) -> Result<(), Invalid> {
        if self.stream.is_system() {
            let why = format!("`{}` begins with `$`, which is kept for the system", self.stream);
            return Err(Invalid::new("stream", why));
        }
        if self.version == Version::ZERO {
            return Err(Invalid::new("version", "is 0: there is nothing to take a snapshot of"));
        }
        if self.schema == 0 {
            return Err(Invalid::new("schema", "is 0; the first is 1"));
        }
        if self.data.len() > SNAPSHOT_BYTES_MAX {
            let why =
                format!("has {} bytes; at most {SNAPSHOT_BYTES_MAX} are allowed", self.data.len());
            return Err(Invalid::too_large("snapshot", why, SNAPSHOT_BYTES_MAX as u64));
        }
        Ok(())
    }
}

/// A snapshot as the store returns it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordedSnapshot {
    /// The snapshot that the application put.
    pub snapshot: Snapshot,
    /// The time at which the leader stamped the snapshot.
    pub recorded_at: Timestamp,
}

impl RecordedSnapshot {
    /// Reads the state as JSON.
    pub fn json<T: DeserializeOwned>(&self) -> Result<T, serde_json::Error> {
        serde_json::from_slice(&self.data)
    }
}

impl Deref for RecordedSnapshot {
    type Target = Snapshot;

    fn deref(&self) -> &Snapshot {
        &self.snapshot
    }
}
