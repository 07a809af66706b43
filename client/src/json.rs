//! Events and snapshots as JSON: what the command line prints, and what sinks send.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use quorate_proto::json::compact;
use quorate_proto::{
    CorrelationId, Position, RecordedEvent, RecordedSnapshot, StreamName, Tag, Version,
};
use serde::Serialize;
use serde_json::value::RawValue;

use crate::group::Delivery;

/// An event as a JSON object, as `quorate read --json` prints it: the fields are in the order on which programs rely,
/// and empty ones are left out.
///
/// Data and metadata that are JSON are contained verbatim, except for insignificant white space; other data, and JSON
/// that common readers refuse, as `data_base64` and `metadata_base64`.
///
/// ```
/// use quorate_client::{Event, EventJson, StreamName, Timestamp};
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let placed = Event::new("OrderPlaced", r#"{"total":50}"#)?;
/// let placed = placed.recorded(7, StreamName::new("order-42")?, 1, Timestamp(0));
/// let json = serde_json::to_value(EventJson::from(&placed))?;
/// assert_eq!((&json["stream"], &json["data"]["total"]), (&"order-42".into(), &50.into()));
/// # Ok(()) }
/// ```
#[derive(Clone, Debug, Serialize)]
pub struct EventJson<'a> {
    position: Position,
    stream: &'a str,
    version: Version,
    id: String,
    r#type: &'a str,
    schema: u32,
    recorded_at: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    occurred_at: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<Box<RawValue>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    data_base64: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    metadata: Option<Box<RawValue>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    metadata_base64: Option<String>,
    #[serde(skip_serializing_if = "<[Tag]>::is_empty")]
    tags: &'a [Tag],
    #[serde(skip_serializing_if = "str::is_empty")]
    content_type: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    correlation_id: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    causation_id: &'a str,
    /// The number of the attempt, if the event comes from a consumer group.
    #[serde(skip_serializing_if = "Option::is_none")]
    attempt: Option<u32>,
}

impl<'a> From<&'a RecordedEvent> for EventJson<'a> {
    fn from(event: &'a RecordedEvent) -> EventJson<'a> {
        let (data, data_base64) = payload(&event.data);
        let (metadata, metadata_base64) = payload(&event.metadata);
        EventJson {
            position: event.position,
            stream: event.stream.as_str(),
            version: event.version,
            id: event.id.to_string(),
            r#type: event.kind.as_str(),
            schema: event.schema,
            recorded_at: event.recorded_at.to_string(),
            occurred_at: event.occurred_at.map(|time| time.to_string()),
            data,
            data_base64,
            metadata,
            metadata_base64,
            tags: &event.tags,
            content_type: &event.content_type,
            correlation_id: event.correlation_id.as_ref().map_or("", CorrelationId::as_str),
            causation_id: &event.causation_id,
            attempt: None,
        }
    }
}

impl<'a> From<&'a Delivery> for EventJson<'a> {
    fn from(delivery: &'a Delivery) -> EventJson<'a> {
        EventJson { attempt: Some(delivery.attempt), ..EventJson::from(&delivery.event) }
    }
}

/// Returns the event as one compact JSON object, without a line feed: an [`EventJson`].
///
/// ```
/// use quorate_client::{Event, StreamName, Timestamp, json_line};
/// # fn main() -> Result<(), quorate_client::Invalid> {
/// let placed = Event::new("OrderPlaced", r#"{ "total": 50 }"#)?;
/// let placed = placed.recorded(7, StreamName::new("order-42")?, 1, Timestamp(0));
/// assert!(json_line(&placed).starts_with(br#"{"position":7,"stream":"order-42","version":1,"#));
/// # Ok(()) }
/// ```
pub fn json_line(event: &RecordedEvent) -> Vec<u8> {
    serde_json::to_vec(&EventJson::from(event))
        .expect("texts, numbers and checked JSON can be written as JSON")
}

/// A snapshot of a stream as a JSON object, as `quorate snapshot get --json` prints it.
#[derive(Clone, Debug, Serialize)]
pub struct SnapshotJson<'a> {
    stream: &'a str,
    version: Version,
    schema: u32,
    recorded_at: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<Box<RawValue>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    data_base64: Option<String>,
}

impl<'a> SnapshotJson<'a> {
    /// Returns the JSON of a stream's snapshot.
    pub fn new(stream: &'a StreamName, snapshot: &RecordedSnapshot) -> SnapshotJson<'a> {
        let (data, data_base64) = payload(&snapshot.data);
        SnapshotJson {
            stream: stream.as_str(),
            version: snapshot.version,
            schema: snapshot.schema,
            recorded_at: snapshot.recorded_at.to_string(),
            data,
            data_base64,
        }
    }
}

/// Returns bytes as verbatim JSON if they are JSON that every common reader accepts, otherwise in base64; nothing
/// if there are none.
fn payload(bytes: &[u8]) -> (Option<Box<RawValue>>, Option<String>) {
    if bytes.is_empty() {
        return (None, None);
    }
    match compact(bytes) {
        Some(json) => (Some(json), None),
        None => (None, Some(BASE64_STANDARD.encode(bytes))),
    }
}

#[cfg(test)]
mod tests {
    use quorate_proto::{EventId, Timestamp};

    use super::*;
    use crate::event::Event;

    #[test]
    fn an_event_is_one_compact_line_without_what_is_empty() {
        let id = EventId::from_bytes([0x11; 16]).expect("an id");
        let event = Event::new("Paid", "{ \"total\" : 50 }").expect("an event").id(id);
        let stream = StreamName::new("order-42").expect("a name");
        let line = json_line(&event.recorded(7, stream, 3, Timestamp(1_000_000)));
        assert_eq!(
            String::from_utf8(line).expect("JSON is UTF-8"),
            "{\"position\":7,\"stream\":\"order-42\",\"version\":3,\
             \"id\":\"11111111-1111-1111-1111-111111111111\",\"type\":\"Paid\",\"schema\":1,\
             \"recorded_at\":\"1970-01-01T00:00:01.000000Z\",\"data\":{\"total\":50}}"
        );
    }

    #[test]
    fn a_full_event_has_its_fields_in_the_order_that_users_rely_on() {
        let id = EventId::from_bytes([0x11; 16]).expect("an id");
        let event = Event::new("Order\"Paid", "{ \"total\" : 1.50 }").expect("an event").id(id);
        let event = event.metadata(vec![0xff]).tag("a").tag("b").correlation("c");
        let event = event.content_type("image/png").causation("d").occurred_at(Timestamp(-1));
        let stream = StreamName::new("order-42").expect("a name");
        let line = json_line(&event.recorded(7, stream, 3, Timestamp(1_000_000)));
        assert_eq!(
            String::from_utf8(line).expect("JSON is UTF-8"),
            "{\"position\":7,\"stream\":\"order-42\",\"version\":3,\
             \"id\":\"11111111-1111-1111-1111-111111111111\",\"type\":\"Order\\\"Paid\",\"schema\":1,\
             \"recorded_at\":\"1970-01-01T00:00:01.000000Z\",\
             \"occurred_at\":\"1969-12-31T23:59:59.999999Z\",\"data\":{\"total\":1.50},\
             \"metadata_base64\":\"/w==\",\"tags\":[\"a\",\"b\"],\"content_type\":\"image/png\",\
             \"correlation_id\":\"c\",\"causation_id\":\"d\"}"
        );
    }

    #[test]
    fn json_that_common_readers_refuse_is_written_as_base64() {
        let stream = StreamName::new("order-42").expect("a name");
        let event = Event::new("T", r#""\ud800""#).expect("an event");
        let line = json_line(&event.recorded(7, stream, 3, Timestamp(0)));
        let read: serde_json::Value = serde_json::from_slice(&line).expect("any reader takes it");
        assert_eq!(read["data_base64"], BASE64_STANDARD.encode(r#""\ud800""#));
    }
}
