//! Events on the wire.

use bytes::Bytes;

use super::v1;
use crate::{
    CorrelationId, Event, EventId, EventType, Invalid, Position, RecordedEvent, StreamName, Tag,
    Timestamp, Version,
};

impl From<Event> for v1::NewEvent {
    fn from(event: Event) -> v1::NewEvent {
        v1::NewEvent {
            id: Bytes::copy_from_slice(event.id.as_bytes()),
            r#type: event.kind.as_str().to_owned(),
            data: event.data,
            metadata: event.metadata,
            tags: event.tags.iter().map(|tag| tag.as_str().to_owned()).collect(),
            content_type: event.content_type,
            schema: event.schema,
            correlation_id: text_of(event.correlation_id.as_ref()),
            causation_id: event.causation_id,
            occurred_at: event.occurred_at.map(|time| time.0),
        }
    }
}

impl TryFrom<v1::NewEvent> for Event {
    type Error = Invalid;

    fn try_from(event: v1::NewEvent) -> Result<Event, Invalid> {
        Ok(Event {
            id: id_of(&event.id)?,
            kind: EventType::new(event.r#type)?,
            data: event.data,
            metadata: event.metadata,
            tags: tags_of(event.tags)?,
            content_type: event.content_type,
            schema: event.schema.max(1),
            correlation_id: correlation_of(&event.correlation_id)?,
            causation_id: event.causation_id,
            occurred_at: event.occurred_at.map(Timestamp),
        })
    }
}

/// Returns the text of an id that may be missing; the wire has an empty one then.
pub(super) fn text_of(correlation: Option<&CorrelationId>) -> String {
    correlation.map_or("", CorrelationId::as_str).to_owned()
}

pub(super) fn correlation_of(id: &str) -> Result<Option<CorrelationId>, Invalid> {
    if id.is_empty() { Ok(None) } else { CorrelationId::new(id).map(Some) }
}

pub(super) fn tags_of(tags: Vec<String>) -> Result<Vec<Tag>, Invalid> {
    let invalid = |invalid| Invalid { field: "tags", ..invalid };
    tags.into_iter().map(|tag| Tag::new(tag).map_err(invalid)).collect()
}

/// Returns the id in the bytes of a message.
pub(super) fn id_of(bytes: &[u8]) -> Result<EventId, Invalid> {
    let bytes = <[u8; 16]>::try_from(bytes)
        .map_err(|_| Invalid::new("id", format!("has {} bytes, not 16", bytes.len())))?;
    EventId::from_bytes(bytes)
}

impl From<RecordedEvent> for v1::RecordedEvent {
    fn from(event: RecordedEvent) -> v1::RecordedEvent {
        v1::RecordedEvent {
            position: event.position.0,
            stream: event.stream.as_str().to_owned(),
            version: event.version.0,
            recorded_at: event.recorded_at.0,
            event: Some(event.event.into()),
        }
    }
}

impl TryFrom<v1::RecordedEvent> for RecordedEvent {
    type Error = Invalid;

    fn try_from(event: v1::RecordedEvent) -> Result<RecordedEvent, Invalid> {
        let body = event.event.ok_or_else(|| Invalid::new("event", "is missing"))?;
        Ok(RecordedEvent {
            position: Position(event.position),
            stream: StreamName::new(event.stream)?,
            version: Version(event.version),
            recorded_at: Timestamp(event.recorded_at),
            event: body.try_into()?,
        })
    }
}
