//! An event as the store keeps it: its place, its id, and a slice of the bytes that it arrived in.

use bytes::Bytes;
use quorate_proto::{
    EventId, EventType, Position, RecordedEvent, RecordedEventRef, StreamName, Timestamp, Version,
};

use crate::format::{Key, Malformed, event};

/// An event of the log. Cheap to clone: the body is a slice of a command or of a block.
///
/// Invariant: the body decodes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredEvent {
    /// The event's place in the whole log.
    pub position: Position,
    /// The stream that the event belongs to.
    pub stream: StreamName,
    /// The event's place in its stream.
    pub version: Version,
    /// The time at which the leader stamped the event.
    pub recorded_at: Timestamp,
    /// The id that the event's writer gave it.
    pub id: EventId,
    /// True if the event is the first of its append.
    pub(crate) begins: bool,
    /// All other fields, encoded as `format::event` describes.
    pub(crate) body: Bytes,
}

/// The identity of the event at a place: a scavenged event keeps it as a stub while a retry may need it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Identity {
    pub(crate) position: Position,
    pub(crate) stream: StreamName,
    pub(crate) version: Version,
    pub(crate) recorded_at: Timestamp,
    pub(crate) id: EventId,
    /// True if the event is the first of its append.
    pub(crate) begins: bool,
}

/// The parts of an event, borrowed from whoever holds them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct EventParts<'a> {
    pub(crate) position: Position,
    pub(crate) stream: &'a str,
    pub(crate) version: Version,
    pub(crate) recorded_at: Timestamp,
    pub(crate) id: EventId,
    /// True if the event is the first of its append.
    pub(crate) begins: bool,
    pub(crate) body: &'a [u8],
}

impl StoredEvent {
    /// Makes an event with a body that decodes; another body is malformed.
    pub(crate) fn new(identity: Identity, body: Bytes) -> Result<StoredEvent, Malformed> {
        let Identity { position, stream, version, recorded_at, id, begins } = identity;
        event::check(&body)?;
        Ok(StoredEvent { position, stream, version, recorded_at, id, begins, body })
    }

    /// Returns the parts of the event.
    pub(crate) fn parts(&self) -> EventParts<'_> {
        let StoredEvent { position, version, recorded_at, id, begins, .. } = *self;
        let (stream, body) = (self.stream.as_str(), &*self.body);
        EventParts { position, stream, version, recorded_at, id, begins, body }
    }

    /// Returns the identity of the event.
    pub(crate) fn identity(&self) -> Identity {
        let StoredEvent { position, version, recorded_at, id, begins, .. } = *self;
        Identity { position, stream: self.stream.clone(), version, recorded_at, id, begins }
    }

    /// Returns the event's type.
    pub fn kind(&self) -> EventType {
        event::kind(&self.body).expect("the body decodes")
    }

    /// Returns the keys by which the index finds the event: its stream, the stream's category and paths, its
    /// type, its tags and its correlation id; for an event of the system only its stream and its type.
    pub fn keys(&self) -> impl Iterator<Item = Key> {
        let stream = Key::Stream(self.stream.clone());
        std::iter::once(stream).chain(Key::above(&self.stream)).chain(self.labels())
    }

    /// Returns the keys of the event beside those of its stream: its type, tags and correlation id; for an
    /// event of the system the type alone.
    pub(crate) fn labels(&self) -> impl Iterator<Item = Key> {
        let labels = event::labels(&self.body).expect("the body decodes");
        let count = if self.stream.is_system() { 1 } else { usize::MAX };
        let key = |(kind, name)| Key::of_kind(kind, name).expect("checked with the body");
        labels.iter().map(key).take(count)
    }

    /// Returns the event with a body of its own: a body that is a slice keeps all of its command in memory.
    #[must_use]
    pub fn detached(&self) -> StoredEvent {
        StoredEvent { body: Bytes::copy_from_slice(&self.body), ..self.clone() }
    }

    /// Returns the size of id and body, in bytes.
    pub fn size(&self) -> usize {
        self.id.as_bytes().len() + self.body.len()
    }

    /// Returns the event with all its fields where they stand, for those who only pass them on.
    pub fn borrow(&self) -> RecordedEventRef<'_> {
        let place = (self.position, self.version, self.recorded_at);
        let event = event::borrow(&self.body, self.id, self.stream.as_str(), place);
        event.expect("the body decodes")
    }

    /// Returns the event with all its fields; `data` and `metadata` are slices of the body.
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
