//! An event as its writer made it, and as the log returns it.

use std::error::Error;
use std::fmt;
use std::ops::Deref;

use bytes::Bytes;
use serde::de::DeserializeOwned;
use uuid::Uuid;

use crate::invalid::Invalid;
use crate::limits::{EVENT_PAYLOAD_BYTES_MAX, IDENTIFIER_BYTES_MAX, TAGS_MAX};
use crate::{CorrelationId, EventType, Position, StreamName, Tag, Timestamp, Version};

/// An event's id: a UUID made by the writer, which makes a repeated append safe. Never all zeros.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EventId(Uuid);

impl EventId {
    /// Makes an id; refuses the nil UUID, which is always somebody's forgotten field.
    pub fn new(id: Uuid) -> Result<EventId, Invalid> {
        if id.is_nil() {
            return Err(Invalid::new("id", "is the nil UUID"));
        }
        Ok(EventId(id))
    }

    /// Parses the usual ways of writing a UUID.
    pub fn parse(text: &str) -> Result<EventId, Invalid> {
        let id = Uuid::try_parse(text)
            .map_err(|error| Invalid::new("id", format!("`{text}` is no UUID: {error}")))?;
        EventId::new(id)
    }

    /// Makes an id of the 16 bytes of the UUID, most significant first.
    pub fn from_bytes(bytes: [u8; 16]) -> Result<EventId, Invalid> {
        EventId::new(Uuid::from_bytes(bytes))
    }

    /// Returns the 16 bytes of the UUID, most significant first.
    pub fn as_bytes(&self) -> &[u8; 16] {
        self.0.as_bytes()
    }

    /// Returns the UUID.
    pub fn uuid(&self) -> Uuid {
        self.0
    }
}

impl fmt::Display for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl fmt::Debug for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// An immutable fact, as its writer made it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// The event's id, made by the writer and kept over repetitions.
    pub id: EventId,
    /// The type of the fact, `OrderPaid` say.
    pub kind: EventType,
    /// The fact itself: bytes, JSON by custom.
    pub data: Bytes,
    /// Further data about the fact: bytes, JSON by custom.
    pub metadata: Bytes,
    /// The labels to find the event by; without repetition, in the writer's order.
    pub tags: Vec<Tag>,
    /// The media type of `data`; empty = not given.
    pub content_type: String,
    /// The version of the shape of `data`; 1 if not given.
    pub schema: u32,
    /// The id of the larger process that the event belongs to.
    pub correlation_id: Option<CorrelationId>,
    /// The id of the event's cause; empty = not given.
    pub causation_id: String,
    /// The time of the fact, given by the writer.
    pub occurred_at: Option<Timestamp>,
}

impl Event {
    /// Makes an event with only its id, type and data.
    pub fn new(id: EventId, kind: EventType, data: impl Into<Bytes>) -> Event {
        Event {
            id,
            kind,
            data: data.into(),
            metadata: Bytes::new(),
            tags: Vec::new(),
            content_type: String::new(),
            schema: 1,
            correlation_id: None,
            causation_id: String::new(),
            occurred_at: None,
        }
    }

    /// Returns the bytes that the event counts towards the limits: its contents and 64 for the envelope.
    pub fn size(&self) -> usize {
        let tags: usize = self.tags.iter().map(|tag| tag.as_str().len() + 4).sum();
        let correlation = self.correlation_id.as_ref().map_or(0, |id| id.as_str().len());
        64 + self.kind.as_str().len()
            + self.data.len()
            + self.metadata.len()
            + self.content_type.len()
            + correlation
            + self.causation_id.len()
            + tags
    }

    /// Returns true if the event has this tag.
    pub fn has_tag(&self, tag: &str) -> bool {
        self.tags.iter().any(|own| own.as_str() == tag)
    }

    /// Checks everything that the types do not.
    pub fn check(&self) -> Result<(), Invalid> {
        if self.kind.is_system() {
            let why = format!("`{}` begins with `$`, which is kept for the system", self.kind);
            return Err(Invalid::new("type", why));
        }
        let payload = self.data.len() + self.metadata.len();
        if payload > EVENT_PAYLOAD_BYTES_MAX {
            let why = format!(
                "and `metadata` have {payload} bytes; at most {EVENT_PAYLOAD_BYTES_MAX} are allowed"
            );
            return Err(Invalid::too_large("data", why, EVENT_PAYLOAD_BYTES_MAX as u64));
        }
        if self.schema == 0 {
            return Err(Invalid::new("schema", "is 0; the first is 1"));
        }
        if self.tags.len() > TAGS_MAX {
            let why = format!("are {}; at most {TAGS_MAX} are allowed", self.tags.len());
            return Err(Invalid::limit("tags", why, TAGS_MAX as u64));
        }
        for (at, tag) in self.tags.iter().enumerate() {
            if self.tags.iter().take(at).any(|earlier| earlier == tag) {
                return Err(Invalid::new("tags", format!("contain `{tag}` twice")));
            }
        }
        check_identifier("content_type", &self.content_type)?;
        check_identifier("causation_id", &self.causation_id)?;
        match self.occurred_at {
            Some(time) if !time.is_writable() => {
                Err(Invalid::new("occurred_at", "lies outside the years -9999 to 9999"))
            }
            _ => Ok(()),
        }
    }
}

/// An event as the log returns it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordedEvent {
    /// The event's place in the whole log.
    pub position: Position,
    /// The stream that the event belongs to.
    pub stream: StreamName,
    /// The event's place in its stream.
    pub version: Version,
    /// The time at which the leader stamped the event; never decreasing along positions.
    pub recorded_at: Timestamp,
    /// The event as its writer made it; its fields are read as the recorded event's own.
    pub event: Event,
}

impl Deref for RecordedEvent {
    type Target = Event;

    fn deref(&self) -> &Event {
        &self.event
    }
}

impl RecordedEvent {
    /// Reads the data as JSON.
    pub fn json<T: DeserializeOwned>(&self) -> Result<T, DecodeError> {
        serde_json::from_slice(&self.data).map_err(|source| self.undecoded(source))
    }

    /// Reads the metadata as JSON.
    pub fn metadata_json<T: DeserializeOwned>(&self) -> Result<T, DecodeError> {
        let read = serde_json::from_slice(&self.metadata);
        read.map_err(|source| DecodeError { part: "metadata", ..self.undecoded(source) })
    }

    /// Returns the error that the data of this event cannot be read, for readers other than [`RecordedEvent::json`].
    pub fn undecoded(&self, source: impl Into<Box<dyn Error + Send + Sync>>) -> DecodeError {
        DecodeError {
            stream: self.stream.clone(),
            version: self.version,
            position: self.position,
            kind: self.kind.clone(),
            part: "data",
            source: source.into(),
        }
    }
}

/// The error that an event's data or metadata does not have the expected form.
#[derive(Debug, thiserror::Error)]
#[error(
    "the {part} of `{stream}` version {version} (position {position}, type `{kind}`) cannot be read: {source}"
)]
#[non_exhaustive]
pub struct DecodeError {
    /// The stream of the event.
    pub stream: StreamName,
    /// The event's place in the stream.
    pub version: Version,
    /// The event's place in the log.
    pub position: Position,
    /// The event's type.
    pub kind: EventType,
    part: &'static str,
    /// The reason, as the reader of the data reported it.
    pub source: Box<dyn Error + Send + Sync>,
}

pub(crate) fn check_identifier(field: &'static str, text: &str) -> Result<(), Invalid> {
    if text.len() > IDENTIFIER_BYTES_MAX {
        let why = format!("has {} bytes; at most {IDENTIFIER_BYTES_MAX} are allowed", text.len());
        return Err(Invalid::limit(field, why, IDENTIFIER_BYTES_MAX as u64));
    }
    if text.chars().any(char::is_control) {
        return Err(Invalid::new(field, format!("{text:?} contains a control character")));
    }
    Ok(())
}
