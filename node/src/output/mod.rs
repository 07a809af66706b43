//! The output of commands: JSON lines for machines, which are a contract, and plain lines for people.

mod causation;
mod events;
mod follow;
mod reader;
pub(crate) mod screen;
mod watch;

use std::fmt::Display;
use std::io::{self, Write};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use indicatif::HumanCount;
use quorate_client::{AppendError, RecordedEvent, RecordedSnapshot, compact_json};
use quorate_proto::{Problem, StreamName};
use serde::Serialize;
use serde_json::value::RawValue;

pub(crate) use causation::print_tree;
pub(crate) use events::print_events;
pub(crate) use follow::{Printing, print_feed};
pub(crate) use reader::Reader;
pub(crate) use screen::write_line;
pub(crate) use watch::Watch;

/// An event as a JSON line, in the order of the fields that users rely on.
#[derive(Serialize)]
pub(crate) struct EventLine<'a> {
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
    /// The number of the attempt, if the event comes from a consumer group.
    #[serde(skip_serializing_if = "Option::is_none")]
    attempt: Option<u32>,
}

/// Writes an event as one JSON line: the same bytes for the same event, on every node.
pub(crate) fn write_event_json(output: &mut impl Write, event: &RecordedEvent) -> io::Result<()> {
    write_json(output, &event_line(event, None))
}

/// Returns an event as a JSON line, with the attempt if it comes from a consumer group.
pub(crate) fn event_line(event: &RecordedEvent, attempt: Option<u32>) -> EventLine<'_> {
    let (data, data_base64) = payload(&event.data);
    let (metadata, metadata_base64) = payload(&event.metadata);
    EventLine {
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
        correlation_id: &event.correlation_id,
        causation_id: &event.causation_id,
        attempt,
    }
}

/// A snapshot as a JSON line.
#[derive(Serialize)]
struct SnapshotLine<'a> {
    stream: &'a str,
    version: u64,
    schema: u32,
    recorded_at: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<Box<RawValue>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    data_base64: Option<String>,
}

#[derive(Serialize)]
struct SnapshotBeforeEvents<'a> {
    snapshot: SnapshotLine<'a>,
}

fn snapshot_line<'a>(stream: &'a StreamName, snapshot: &RecordedSnapshot) -> SnapshotLine<'a> {
    let (data, data_base64) = payload(&snapshot.data);
    SnapshotLine {
        stream: stream.as_str(),
        version: snapshot.version,
        schema: snapshot.schema,
        recorded_at: snapshot.recorded_at.to_string(),
        data,
        data_base64,
    }
}

/// Writes a snapshot, as one JSON line or for a person.
pub(crate) fn write_snapshot(
    output: &mut impl Write,
    stream: &StreamName,
    snapshot: &RecordedSnapshot,
    json: bool,
) -> io::Result<()> {
    if json {
        return write_json(output, &snapshot_line(stream, snapshot));
    }
    let RecordedSnapshot { version, recorded_at, data, .. } = snapshot;
    let data = match payload(data) {
        (Some(json), _) => json.get().to_owned(),
        (None, _) => format!("({} bytes)", data.len()),
    };
    let line = format!("snapshot  {stream}  {version}  {recorded_at}  {data}");
    write_line(output, line)
}

/// Writes the snapshot on which the events follow; in JSON it is a line that is no event.
pub(crate) fn write_snapshot_before_events(
    output: &mut impl Write,
    stream: &StreamName,
    snapshot: &RecordedSnapshot,
    json: bool,
) -> io::Result<()> {
    if json {
        let snapshot = snapshot_line(stream, snapshot);
        return write_json(output, &SnapshotBeforeEvents { snapshot });
    }
    write_snapshot(output, stream, snapshot, json)
}

#[derive(Serialize)]
struct PassedOver {
    snapshot_passed_over: Schema,
}

#[derive(Serialize)]
struct Schema {
    schema: u32,
}

/// Writes that the events follow no snapshot, because the one that is kept is of a newer schema.
pub(crate) fn write_passed_over(
    output: &mut impl Write,
    schema: u32,
    json: bool,
) -> io::Result<()> {
    match json {
        true => write_json(output, &PassedOver { snapshot_passed_over: Schema { schema } }),
        false => writeln!(output, "(a snapshot of schema {schema} is passed over)"),
    }
}

/// Writes an event for a person.
pub(crate) fn write_event_plain(output: &mut impl Write, event: &RecordedEvent) -> io::Result<()> {
    let RecordedEvent { position, stream, version, kind, recorded_at, data, .. } = event;
    let mut line = format!("{position:>8}  {stream}  {version}  {kind}  {recorded_at}");
    match payload(data) {
        (Some(json), _) => line.extend(["  ", json.get()]),
        (None, Some(_)) => line.push_str(&format!("  ({} bytes)", data.len())),
        (None, None) => {}
    }
    if !event.tags.is_empty() {
        line.push_str(&format!("  [{}]", event.tags.join(", ")));
    }
    write_line(output, line)
}

/// Returns a count with its noun, for a person: `1 event`, `2 events`.
pub(crate) fn count_of(count: u64, one: &str) -> String {
    match count {
        1 => format!("1 {one}"),
        _ => format!("{} {one}s", HumanCount(count)),
    }
}

/// Writes a remark for a person beside the output. The work goes on when nobody can read it.
pub(crate) fn remark(line: impl Display) {
    let _ = writeln!(io::stderr(), "{line}");
}

/// Writes a value as one compact JSON line.
pub(crate) fn write_json(output: &mut impl Write, value: &impl Serialize) -> io::Result<()> {
    serde_json::to_writer(&mut *output, value)?;
    output.write_all(b"\n")
}

/// The JSON line with which a command that appends reports a failure.
#[derive(Serialize)]
struct FailureLine {
    error: &'static str,
    outcome: &'static str,
    message: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    failures: Vec<FailedExpectation>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    violations: Vec<ViolatedCondition>,
    #[serde(skip_serializing_if = "String::is_empty")]
    field: String,
    #[serde(skip_serializing_if = "is_zero")]
    limit: u64,
    /// The number of further failures and violations that the line does not contain.
    #[serde(skip_serializing_if = "is_zero")]
    left_out: u64,
    /// The ids with which to repeat the append when the outcome is unknown.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    ids: Vec<String>,
    /// The line of the file that failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    line: Option<u64>,
}

#[derive(Serialize)]
struct FailedExpectation {
    stream: String,
    expected: String,
    actual: u64,
}

#[derive(Serialize)]
struct ViolatedCondition {
    /// The number of the condition in the request; the first is 0.
    condition: usize,
    /// The position of the newest event that the condition forbids.
    position: u64,
}

/// Writes the failure of an append as one JSON line; `line` is the line of the file that it came from.
pub(crate) fn write_failure_json(
    output: &mut impl Write,
    error: &AppendError,
    line: Option<u64>,
) -> io::Result<()> {
    let Problem { kind, outcome, message, failures, violations, field, limit, left_out } =
        error.problem();
    let failed = failures.into_iter().map(|failure| FailedExpectation {
        stream: failure.stream.to_string(),
        expected: failure.expected.to_string(),
        actual: failure.actual.0,
    });
    let violated = violations.into_iter().map(|violation| ViolatedCondition {
        condition: violation.condition,
        position: violation.position.0,
    });
    let ids = match error {
        AppendError::Unknown(append) => append.ids().map(|id| id.to_string()).collect(),
        _ => Vec::new(),
    };
    let line = FailureLine {
        error: kind.as_str(),
        outcome: outcome.as_str(),
        message,
        failures: failed.collect(),
        violations: violated.collect(),
        field,
        limit,
        left_out,
        ids,
        line,
    };
    write_json(output, &line)
}

/// Returns bytes as verbatim JSON if they are JSON that every common reader takes, or else in base64; nothing if
/// there are none.
fn payload(bytes: &[u8]) -> (Option<Box<RawValue>>, Option<String>) {
    if bytes.is_empty() {
        return (None, None);
    }
    match compact_json(bytes) {
        Some(json) => (Some(json), None),
        None => (None, Some(STANDARD.encode(bytes))),
    }
}

fn is_zero(number: &u64) -> bool {
    *number == 0
}

#[cfg(test)]
mod tests {
    use quorate_proto::{
        EventId, EventType, Expectation, Failure, Position, Timestamp, Version, Violation,
    };

    use super::*;

    fn event() -> RecordedEvent {
        RecordedEvent {
            position: 7,
            stream: StreamName::new("order-42").expect("a name"),
            version: 3,
            recorded_at: Timestamp(1_000_000),
            id: EventId::from_bytes([0x11; 16]).expect("an id"),
            kind: EventType::new("Order\"Paid").expect("a type"),
            data: "{ \"total\" : 50 }".into(),
            metadata: Default::default(),
            tags: Vec::new(),
            content_type: String::new(),
            schema: 1,
            correlation_id: String::new(),
            causation_id: String::new(),
            occurred_at: None,
        }
    }

    fn line(event: &RecordedEvent) -> String {
        let mut line = Vec::new();
        write_event_json(&mut line, event).expect("memory");
        String::from_utf8(line).expect("JSON is UTF-8")
    }

    #[test]
    fn one_is_not_many() {
        let told = [0, 1, 2000].map(|count| count_of(count, "event"));
        assert_eq!(told, ["0 events", "1 event", "2,000 events"]);
    }

    #[test]
    fn an_event_is_one_compact_line_without_what_is_empty() {
        assert_eq!(
            line(&event()),
            "{\"position\":7,\"stream\":\"order-42\",\"version\":3,\
             \"id\":\"11111111-1111-1111-1111-111111111111\",\"type\":\"Order\\\"Paid\",\"schema\":1,\
             \"recorded_at\":\"1970-01-01T00:00:01.000000Z\",\"data\":{\"total\":50}}\n"
        );
    }

    #[test]
    fn a_full_event_has_its_fields_in_the_order_that_users_rely_on() {
        let full = RecordedEvent {
            data: vec![0xff].into(),
            metadata: "[1]".into(),
            tags: vec!["a".into(), "b".into()],
            content_type: "image/png".into(),
            correlation_id: "c".into(),
            causation_id: "d".into(),
            occurred_at: Some(Timestamp(-1)),
            ..event()
        };
        let tail = "\"recorded_at\":\"1970-01-01T00:00:01.000000Z\",\
             \"occurred_at\":\"1969-12-31T23:59:59.999999Z\",\"data_base64\":\"/w==\",\"metadata\":[1],\
             \"tags\":[\"a\",\"b\"],\"content_type\":\"image/png\",\"correlation_id\":\"c\",\
             \"causation_id\":\"d\"}\n";
        assert!(line(&full).ends_with(tail), "{}", line(&full));
    }

    #[test]
    fn a_conflict_tells_all_that_was_not_as_demanded() {
        let failure = Failure {
            stream: StreamName::new("order-42").expect("a name"),
            expected: Expectation::Exactly(Version(2)),
            actual: Version(3),
        };
        let violation = Violation { condition: 1, position: Position(9) };
        let error = AppendError::Rejected(Problem::conflict(vec![failure], vec![violation]));
        let mut line = Vec::new();
        write_failure_json(&mut line, &error, None).expect("memory");
        let line = String::from_utf8(line).expect("JSON is UTF-8");
        assert!(
            line.starts_with("{\"error\":\"conflict\",\"outcome\":\"not appended\","),
            "{line}"
        );
        let details = "\"failures\":[{\"stream\":\"order-42\",\"expected\":\"2\",\"actual\":3}],\
             \"violations\":[{\"condition\":1,\"position\":9}]}\n";
        assert!(line.ends_with(details), "{line}");
    }

    #[test]
    fn a_snapshot_before_events_cannot_be_taken_for_one() {
        let stream = StreamName::new("order-42").expect("a name");
        let snapshot = RecordedSnapshot {
            version: 3,
            schema: 1,
            data: "{ \"total\" : 50 }".into(),
            recorded_at: Timestamp(0),
        };
        let mut line = Vec::new();
        write_snapshot_before_events(&mut line, &stream, &snapshot, true).expect("memory");
        assert_eq!(
            String::from_utf8(line).expect("JSON is UTF-8"),
            "{\"snapshot\":{\"stream\":\"order-42\",\"version\":3,\"schema\":1,\
             \"recorded_at\":\"1970-01-01T00:00:00.000000Z\",\"data\":{\"total\":50}}}\n"
        );
    }
}
