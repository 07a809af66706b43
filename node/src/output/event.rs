//! Events in the output, as JSON lines or for a person.

use std::io::{self, Write};

use quorate_client::{EventJson, RecordedEvent, Tag, compact_json};

use super::{write_json, write_line};

/// Writes an event, as one JSON line or for a person.
pub(crate) fn write_event(
    output: &mut impl Write,
    event: &RecordedEvent,
    json: bool,
) -> io::Result<()> {
    match json {
        true => write_json(output, &EventJson::from(event)),
        false => write_event_plain(output, event),
    }
}

fn write_event_plain(output: &mut impl Write, event: &RecordedEvent) -> io::Result<()> {
    let RecordedEvent { position, stream, version, recorded_at, .. } = event;
    let (kind, data) = (&event.kind, &event.data);
    let mut line = format!("{position:>8}  {stream}  {version}  {kind}  {recorded_at}");
    if !data.is_empty() {
        line.extend(["  ", &shown(data)]);
    }
    if !event.tags.is_empty() {
        let tags: Vec<&str> = event.tags.iter().map(Tag::as_str).collect();
        line.push_str(&format!("  [{}]", tags.join(", ")));
    }
    write_line(output, line)
}

/// Returns data for a person: JSON as it is, or else its size.
pub(crate) fn shown(data: &[u8]) -> String {
    match compact_json(data) {
        Some(json) => json.get().to_owned(),
        None => format!("({} bytes)", data.len()),
    }
}
