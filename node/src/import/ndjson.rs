//! Events as lines of JSON, as `export` writes them and people make them.

use std::borrow::Cow;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use quorate_client::Event;
use quorate_proto::{EventId, StreamName, Timestamp};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

/// U+FEFF in UTF-8.
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// One line, parsed.
pub(crate) struct EventLine {
    /// The stream of the event, if the line names one.
    pub(crate) stream: Option<StreamName>,
    /// The event, with the id of the line or else a new one.
    pub(crate) event: Event,
    /// True if the line contained the id.
    pub(crate) has_id: bool,
}

impl EventLine {
    /// Reads a line; the error describes what is wrong with the line.
    pub(crate) fn parse(line: &[u8]) -> Result<EventLine, String> {
        // Serde would also accept an array of values in the right order.
        if !line.trim_ascii_start().starts_with(b"{") {
            return Err("no JSON object".to_owned());
        }
        let fields: Fields = serde_json::from_slice(line).map_err(|error| message_of(&error))?;
        let invalid = |invalid: quorate_proto::Invalid| invalid.to_string();
        let data = payload("data", fields.data, fields.data_base64.as_deref())?;
        let metadata = payload("metadata", fields.metadata, fields.metadata_base64.as_deref())?;
        let mut event = Event::new(&fields.r#type, data)
            .map_err(invalid)?
            .metadata(metadata)
            .schema(fields.schema.unwrap_or(1))
            .content_type(fields.content_type)
            .correlation(fields.correlation_id)
            .causation(fields.causation_id);
        for tag in fields.tags {
            event = event.tag(tag);
        }
        if let Some(time) = &fields.occurred_at {
            let parsed = Timestamp::parse(time);
            let refused = |why| format!("`occurred_at` is `{time}`, which {why}");
            event = event.occurred_at(parsed.map_err(refused)?);
        }
        if let Some(id) = &fields.id {
            event = event.id(EventId::parse(id).map_err(invalid)?);
        }
        let stream = fields.stream.map(|name| StreamName::new(&name)).transpose();
        Ok(EventLine { stream: stream.map_err(invalid)?, event, has_id: fields.id.is_some() })
    }
}

/// Returns a line without surrounding white space, and without the byte order mark that some programs write
/// at the beginning of a file: after files were concatenated, any line may begin with one.
pub(crate) fn trim(line: &[u8]) -> &[u8] {
    line.strip_prefix(BYTE_ORDER_MARK).unwrap_or(line).trim_ascii()
}

/// The fields of a line. Fields that the log alone decides are ignored.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Fields<'a> {
    #[serde(default, rename = "position")]
    _position: Option<serde::de::IgnoredAny>,
    #[serde(default, rename = "version")]
    _version: Option<serde::de::IgnoredAny>,
    #[serde(default, rename = "recorded_at")]
    _recorded_at: Option<serde::de::IgnoredAny>,
    #[serde(borrow)]
    stream: Option<Cow<'a, str>>,
    #[serde(borrow)]
    r#type: Cow<'a, str>,
    #[serde(borrow)]
    id: Option<Cow<'a, str>>,
    schema: Option<u32>,
    #[serde(borrow, alias = "timestamp")]
    occurred_at: Option<Cow<'a, str>>,
    #[serde(borrow, default, deserialize_with = "verbatim")]
    data: Option<&'a RawValue>,
    #[serde(borrow)]
    data_base64: Option<Cow<'a, str>>,
    #[serde(borrow, default, deserialize_with = "verbatim")]
    metadata: Option<&'a RawValue>,
    #[serde(borrow)]
    metadata_base64: Option<Cow<'a, str>>,
    #[serde(default)]
    tags: Vec<String>,
    #[serde(default)]
    content_type: String,
    #[serde(default)]
    correlation_id: String,
    #[serde(default)]
    causation_id: String,
}

/// Reads a value that is present, `null` included: that is data like any other.
fn verbatim<'de, D: Deserializer<'de>>(value: D) -> Result<Option<&'de RawValue>, D::Error> {
    <&RawValue>::deserialize(value).map(Some)
}

fn payload(field: &str, json: Option<&RawValue>, base64: Option<&str>) -> Result<Bytes, String> {
    match (json, base64) {
        (Some(_), Some(_)) => Err(format!("`{field}` is there twice, as JSON and as base64")),
        (Some(json), None) => Ok(Bytes::copy_from_slice(json.get().as_bytes())),
        (None, Some(text)) => STANDARD
            .decode(text)
            .map(Bytes::from)
            .map_err(|error| format!("`{field}_base64` is no base64: {error}")),
        (None, None) => Ok(Bytes::new()),
    }
}

/// Returns the error without its line, which is always 1 here, but with its column.
fn message_of(error: &serde_json::Error) -> String {
    let message = error.to_string();
    let what = message.split(" at line ").next().unwrap_or(&message);
    format!("{what} (column {})", error.column())
}

#[cfg(test)]
mod tests {
    use quorate_proto::{CorrelationId, Event as ProtoEvent, Tag};

    use super::*;

    fn parse(line: &str) -> Result<(Option<StreamName>, ProtoEvent, bool), String> {
        EventLine::parse(line.as_bytes())
            .map(|line| (line.stream, line.event.try_into().expect("an event"), line.has_id))
    }

    #[test]
    fn a_line_as_people_make_it() {
        let (stream, event, has_id) = parse(
            r#"{"stream":"a-1","type":"T","timestamp":"2011-10-01T00:38:44.546+02:00","data":{"x": 1}}"#,
        )
        .expect("a line");
        assert_eq!(stream.expect("a stream").as_str(), "a-1");
        assert_eq!((event.data.as_ref(), event.schema, has_id), (&b"{\"x\": 1}"[..], 1, false));
        assert_eq!(event.occurred_at, Timestamp::parse("2011-09-30T22:38:44.546Z").ok());
    }

    #[test]
    fn a_line_as_export_writes_it() {
        let line = concat!(
            r#"{"position":7,"stream":"a-1","version":3,"id":"11111111-1111-1111-1111-111111111111","#,
            r#""type":"T","schema":2,"recorded_at":"1970-01-01T00:00:01.000000Z","#,
            r#""occurred_at":"1970-01-01T00:00:01.000000Z","data":null,"metadata_base64":"/w==","#,
            r#""tags":["a"],"content_type":"x","correlation_id":"c","causation_id":"d"}"#,
        );
        let (_, event, has_id) = parse(line).expect("a line");
        assert!(has_id);
        assert_eq!((event.data.as_ref(), event.metadata.as_ref()), (&b"null"[..], &b"\xff"[..]));
        assert_eq!(
            (event.schema, event.tags, event.content_type.as_str()),
            (2, vec![Tag::new("a").expect("a tag")], "x")
        );
        let correlation = CorrelationId::new("c").ok();
        assert_eq!((event.correlation_id, event.causation_id.as_str()), (correlation, "d"));
    }

    #[test]
    fn a_bad_line_is_refused_with_what_is_wrong_with_it() {
        for (line, why) in [
            ("", "no JSON object"),
            ("{\"type\":", "EOF while parsing a value (column 8)"),
            ("[]", "no JSON object"),
            (r#"{"stream":"a"}"#, "missing field `type`"),
            (r#"{"type":"T","typo":1}"#, "unknown field `typo`"),
            (r#"{"type":"T","id":"no"}"#, "`no` is no UUID"),
            (r#"{"type":"T","id":"00000000-0000-0000-0000-000000000000"}"#, "nil UUID"),
            (r#"{"type":"","stream":"a"}"#, "`type` is empty"),
            (r#"{"type":"T","stream":"a//b"}"#, "empty part"),
            (r#"{"type":"T","timestamp":"yesterday"}"#, "no RFC 3339 time"),
            (r#"{"type":"T","timestamp":"9999-12-31T23:59:59-14:00"}"#, "outside the years"),
            (r#"{"type":"T","data":1,"data_base64":""}"#, "is there twice"),
            (r#"{"type":"T","data_base64":"?"}"#, "no base64"),
            (r#"{"type":"T","type":"T"}"#, "duplicate field `type`"),
        ] {
            let refused = parse(line).expect_err(line);
            assert!(refused.contains(why), "{line}: {refused}");
        }
    }
}
