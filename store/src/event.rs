//! An event as the store keeps it: its place, its id, and a slice of the bytes it came in.

use bytes::Bytes;
use quorate_proto::{EventId, EventType, Position, RecordedEvent, StreamName, Timestamp, Version};

use crate::format::{Malformed, event};
use crate::key::Key;

/// An event of the log. Cheap to clone: the body is a slice of a command or of a block.
///
/// Invariant: the body decodes.
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
    /// The id that its writer gave it.
    pub id: EventId,
    /// Whether its append begins with it.
    pub(crate) begins: bool,
    /// All the rest, as `format::event` describes it.
    pub(crate) body: Bytes,
}

/// Which event stands at a place: what is kept of a scavenged one as long as a retry may ask for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Identity {
    pub(crate) position: Position,
    pub(crate) stream: StreamName,
    pub(crate) version: Version,
    pub(crate) recorded_at: Timestamp,
    pub(crate) id: EventId,
    /// Whether its append begins with it.
    pub(crate) begins: bool,
}

impl StoredEvent {
    /// Takes a body that decodes; anything else is malformed.
    pub(crate) fn new(identity: Identity, body: Bytes) -> Result<StoredEvent, Malformed> {
        let Identity { position, stream, version, recorded_at, id, begins } = identity;
        event::check(&body)?;
        Ok(StoredEvent { position, stream, version, recorded_at, id, begins, body })
    }

    /// Which event it is.
    pub(crate) fn identity(&self) -> Identity {
        let StoredEvent { position, version, recorded_at, id, begins, .. } = *self;
        Identity { position, stream: self.stream.clone(), version, recorded_at, id, begins }
    }

    /// The event's type.
    pub fn kind(&self) -> EventType {
        event::kind(&self.body).expect("the body decodes")
    }

    /// What the index finds it by: its stream, the category and the paths that lies in, its type, its tags and its
    /// correlation id; of an event of the system only its stream and its type.
    pub fn keys(&self) -> impl Iterator<Item = Key> {
        let stream = Key::Stream(self.stream.clone());
        std::iter::once(stream).chain(Key::above(&self.stream)).chain(Key::labels(self))
    }

    /// The same with a body of its own: one that is a slice keeps all of the command that it came in.
    #[must_use]
    pub fn detached(&self) -> StoredEvent {
        StoredEvent { body: Bytes::copy_from_slice(&self.body), ..self.clone() }
    }

    /// Bytes of id and body.
    pub fn size(&self) -> usize {
        self.id.as_bytes().len() + self.body.len()
    }

    /// The event with all its fields; `data` and `metadata` are slices of the body.
    pub fn decode(&self) -> RecordedEvent {
        RecordedEvent {
            position: self.position,
            stream: self.stream.clone(),
            version: self.version,
            recorded_at: self.recorded_at,
            event: event::decode(self.id, &self.body).expect("the body decodes"),
        }
    }
}
