//! An event as the store keeps it: its place, and a slice of the bytes it came in.

use bytes::Bytes;
use quorate_proto::{EventId, EventType, Position, RecordedEvent, StreamName, Timestamp, Version};

use crate::format::{Malformed, event};

/// An event of the log. Cheap to clone: the body is a slice of a command or of a block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredEvent {
    /// Its place in the whole log.
    pub position: Position,
    /// The stream it belongs to.
    pub stream: StreamName,
    /// Its place in that stream.
    pub version: Version,
    /// When the leader stamped it.
    pub recorded_at: Timestamp,
    /// The body, as `format::event` describes it; it decodes.
    pub(crate) body: Bytes,
}

impl StoredEvent {
    /// Takes a body that decodes; anything else is malformed.
    pub(crate) fn new(
        position: Position,
        stream: StreamName,
        version: Version,
        recorded_at: Timestamp,
        body: Bytes,
    ) -> Result<StoredEvent, Malformed> {
        event::decode(&body)?;
        Ok(StoredEvent { position, stream, version, recorded_at, body })
    }

    /// The event's id.
    pub fn id(&self) -> EventId {
        event::id(&self.body).expect("the body decodes")
    }

    /// The event's type.
    pub fn kind(&self) -> EventType {
        event::kind(&self.body).expect("the body decodes")
    }

    /// Bytes of the body.
    pub fn size(&self) -> usize {
        self.body.len()
    }

    /// The event with all its fields; `data` and `metadata` are slices of the body.
    pub fn decode(&self) -> RecordedEvent {
        RecordedEvent {
            position: self.position,
            stream: self.stream.clone(),
            version: self.version,
            recorded_at: self.recorded_at,
            event: event::decode(&self.body).expect("the body decodes"),
        }
    }
}
