//! Appends and events whose texts and bytes lie in a message or in a store, for a node that handles many.

use std::ops::Deref;

use crate::event::check_identifier;
use crate::limits::{
    APPEND_BYTES_MAX, APPEND_EVENTS_MAX, APPEND_STREAMS_MAX, EVENT_PAYLOAD_BYTES_MAX, TAGS_MAX,
};
use crate::{
    CorrelationId, Event, EventId, EventType, Expectation, Position, RecordedEvent, StreamName,
    Tag, Timestamp, Version,
};

/// An append that writes, and requires nothing of other streams and of the log.
///
/// Invariant: it passes [`crate::Append::check`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AppendRef<'a> {
    writes: Vec<WriteRef<'a>>,
}

/// Events for one stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WriteRef<'a> {
    /// The name of the stream.
    pub stream: &'a str,
    /// The demand on the stream before the append.
    pub expectation: Expectation,
    /// The events.
    pub events: Vec<EventRef<'a>>,
}

/// An event; its fields are those of [`Event`], where an empty text is one that is not given.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the fields are those of `Event`")]
pub struct EventRef<'a> {
    pub id: EventId,
    pub kind: &'a str,
    pub data: &'a [u8],
    pub metadata: &'a [u8],
    pub tags: Vec<&'a str>,
    pub content_type: &'a str,
    pub schema: u32,
    pub correlation_id: &'a str,
    pub causation_id: &'a str,
    pub occurred_at: Option<Timestamp>,
}

impl<'a> AppendRef<'a> {
    /// Makes an append; returns none if it does not pass [`crate::Append::check`], which knows the reason.
    pub fn new(writes: Vec<WriteRef<'a>>) -> Option<AppendRef<'a>> {
        let append = AppendRef { writes };
        append.passes().then_some(append)
    }

    /// Returns the writes, at least one.
    pub fn writes(&self) -> &[WriteRef<'a>] {
        &self.writes
    }

    /// Returns the bytes that the append counts towards the limit, as [`crate::Append::size`] does.
    pub fn size(&self) -> usize {
        let size = |write: &WriteRef<'_>| {
            16 + write.stream.len() + write.events.iter().map(EventRef::size).sum::<usize>()
        };
        self.writes.iter().map(size).sum()
    }

    fn passes(&self) -> bool {
        let events: usize = self.writes.iter().map(|write| write.events.len()).sum();
        let all = || self.writes.iter().flat_map(|write| &write.events);
        (1..=APPEND_STREAMS_MAX).contains(&self.writes.len())
            && events <= APPEND_EVENTS_MAX
            && self.writes.iter().all(WriteRef::passes)
            && are_distinct(self.writes.iter().map(|write| write.stream))
            && are_distinct(all().map(|event| event.id))
            && self.size() <= APPEND_BYTES_MAX
    }
}

impl WriteRef<'_> {
    fn passes(&self) -> bool {
        StreamName::check(self.stream).is_ok()
            && !self.stream.starts_with('$')
            && !self.events.is_empty()
            && self.events.iter().all(EventRef::passes)
    }
}

impl EventRef<'_> {
    fn size(&self) -> usize {
        let texts = [self.kind, self.content_type, self.correlation_id, self.causation_id];
        let tags: usize = self.tags.iter().map(|tag| tag.len() + 4).sum();
        let texts: usize = texts.iter().map(|text| text.len()).sum();
        64 + self.data.len() + self.metadata.len() + texts + tags
    }

    fn passes(&self) -> bool {
        EventType::check(self.kind).is_ok()
            && !self.kind.starts_with('$')
            && self.data.len() + self.metadata.len() <= EVENT_PAYLOAD_BYTES_MAX
            && self.schema > 0
            && self.tags.len() <= TAGS_MAX
            && self.tags.iter().all(|tag| Tag::check(tag).is_ok())
            && are_distinct(self.tags.iter().copied())
            && check_identifier("content_type", self.content_type).is_ok()
            && check_identifier("causation_id", self.causation_id).is_ok()
            && (self.correlation_id.is_empty() || CorrelationId::check(self.correlation_id).is_ok())
            && self.occurred_at.is_none_or(Timestamp::is_writable)
    }
}

impl<'a> From<&'a Event> for EventRef<'a> {
    fn from(event: &'a Event) -> EventRef<'a> {
        EventRef {
            id: event.id,
            kind: event.kind.as_str(),
            data: &event.data,
            metadata: &event.metadata,
            tags: event.tags.iter().map(Tag::as_str).collect(),
            content_type: &event.content_type,
            schema: event.schema,
            correlation_id: event.correlation_id.as_ref().map_or("", CorrelationId::as_str),
            causation_id: &event.causation_id,
            occurred_at: event.occurred_at,
        }
    }
}

fn are_distinct<T: Ord>(all: impl Iterator<Item = T>) -> bool {
    let mut all: Vec<T> = all.collect();
    all.sort_unstable();
    all.windows(2).all(|pair| pair.first() != pair.last())
}

/// An event as the log returns it, borrowed from where it is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the fields are those of `RecordedEvent`")]
pub struct RecordedEventRef<'a> {
    pub position: Position,
    pub stream: &'a str,
    pub version: Version,
    pub recorded_at: Timestamp,
    pub event: EventRef<'a>,
}

impl<'a> Deref for RecordedEventRef<'a> {
    type Target = EventRef<'a>;

    fn deref(&self) -> &EventRef<'a> {
        &self.event
    }
}

impl<'a> From<&'a RecordedEvent> for RecordedEventRef<'a> {
    fn from(event: &'a RecordedEvent) -> RecordedEventRef<'a> {
        let RecordedEvent { position, stream, version, recorded_at, event } = event;
        let (position, version, recorded_at) = (*position, *version, *recorded_at);
        let (stream, event) = (stream.as_str(), event.into());
        RecordedEventRef { position, stream, version, recorded_at, event }
    }
}
