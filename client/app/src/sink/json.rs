//! An event as one JSON object, the same as `quorate read --json` prints.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use quorate_client::{RecordedEvent, compact_json};
use serde::Serialize;
use serde_json::value::RawValue;

/// The fields in the order on which users rely; empty ones are left out.
#[derive(Serialize)]
struct EventLine<'a> {
    position: u64,
    stream: &'a str,
    version: u64,
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
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    tags: &'a [String],
    #[serde(skip_serializing_if = "str::is_empty")]
    content_type: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    correlation_id: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    causation_id: &'a str,
}

/// Returns the event as one compact JSON object, without a line feed: as `quorate read --json` prints it. Data and
/// metadata that are JSON are contained verbatim, except for insignificant white space; other data, and JSON that
/// common readers refuse, as `data_base64` and `metadata_base64`.
pub fn json_line(event: &RecordedEvent) -> Vec<u8> {
    let (data, data_base64) = payload(&event.data);
    let (metadata, metadata_base64) = payload(&event.metadata);
    let line = EventLine {
        position: event.position.0,
        stream: event.stream.as_str(),
        version: event.version.0,
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
        correlation_id: &event.correlation_id,
        causation_id: &event.causation_id,
    };
    serde_json::to_vec(&line).expect("texts, numbers and checked JSON can be written as JSON")
}

/// Returns bytes as verbatim JSON if they are JSON that every common reader accepts, otherwise in base64; nothing
/// if there are none.
fn payload(bytes: &[u8]) -> (Option<Box<RawValue>>, Option<String>) {
    if bytes.is_empty() {
        return (None, None);
    }
    match compact_json(bytes) {
        Some(json) => (Some(json), None),
        None => (None, Some(STANDARD.encode(bytes))),
    }
}

#[cfg(test)]
mod tests {
    use quorate_client::{Event, EventId, StreamName, Timestamp};

    use super::*;

    #[test]
    fn an_event_is_what_the_command_line_prints() {
        let id = EventId::from_bytes([0x11; 16]).expect("an id");
        let event = Event::new("Order\"Paid", "{ \"total\" : 1.50 }").expect("an event").id(id);
        let event = event.metadata(vec![0xff]).tag("a").correlation("c");
        let stream = StreamName::new("order-42").expect("a name");
        let line = json_line(&event.recorded(7, stream, 3, Timestamp(1_000_000)));
        assert_eq!(
            String::from_utf8(line).expect("JSON is UTF-8"),
            "{\"position\":7,\"stream\":\"order-42\",\"version\":3,\
             \"id\":\"11111111-1111-1111-1111-111111111111\",\"type\":\"Order\\\"Paid\",\"schema\":1,\
             \"recorded_at\":\"1970-01-01T00:00:01.000000Z\",\"data\":{\"total\":1.50},\
             \"metadata_base64\":\"/w==\",\"tags\":[\"a\"],\"correlation_id\":\"c\"}"
        );
    }

    #[test]
    fn json_that_common_readers_refuse_is_told_apart() {
        let stream = StreamName::new("order-42").expect("a name");
        let event = Event::new("T", r#""\ud800""#).expect("an event");
        let line = json_line(&event.recorded(7, stream, 3, Timestamp(0)));
        let read: serde_json::Value = serde_json::from_slice(&line).expect("any reader takes it");
        assert_eq!(read["data_base64"], STANDARD.encode(r#""\ud800""#));
    }
}
