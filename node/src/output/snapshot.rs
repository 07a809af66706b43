//! Snapshots in the output, alone or before the events of their stream.

use std::io::{self, Write};

use quorate_client::{RecordedSnapshot, SnapshotJson};
use quorate_proto::StreamName;
use serde::Serialize;

use super::event::shown;
use super::{write_json, write_line};

#[derive(Serialize)]
struct SnapshotBeforeEvents<'a> {
    snapshot: SnapshotJson<'a>,
}

/// Writes a snapshot, as one JSON line or for a person.
pub(crate) fn write_snapshot(
    output: &mut impl Write,
    stream: &StreamName,
    snapshot: &RecordedSnapshot,
    json: bool,
) -> io::Result<()> {
    if json {
        return write_json(output, &SnapshotJson::new(stream, snapshot));
    }
    let (version, recorded_at) = (snapshot.version, snapshot.recorded_at);
    let data = shown(&snapshot.data);
    write_line(output, format_args!("snapshot  {stream}  {version}  {recorded_at}  {data}"))
}

/// Writes the snapshot on which the events follow; in JSON it is a line that is no event.
pub(crate) fn write_snapshot_before_events(
    output: &mut impl Write,
    stream: &StreamName,
    snapshot: &RecordedSnapshot,
    json: bool,
) -> io::Result<()> {
    match json {
        true => {
            let snapshot = SnapshotJson::new(stream, snapshot);
            write_json(output, &SnapshotBeforeEvents { snapshot })
        }
        false => write_snapshot(output, stream, snapshot, json),
    }
}

#[derive(Serialize)]
struct PassedOver {
    snapshot_passed_over: Schema,
}

#[derive(Serialize)]
struct Schema {
    schema: u32,
}

/// Writes that the events follow no snapshot, because the one that is stored is of a newer schema.
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

#[cfg(test)]
mod tests {
    use quorate_proto::{Snapshot, Timestamp, Version};

    use super::*;

    #[test]
    fn a_snapshot_before_events_cannot_be_taken_for_one() {
        let stream = StreamName::new("order-42").expect("a name");
        let snapshot = Snapshot {
            stream: stream.clone(),
            version: Version(3),
            schema: 1,
            data: "{ \"total\" : 50 }".into(),
        };
        let snapshot = RecordedSnapshot { snapshot, recorded_at: Timestamp(0) };
        let mut line = Vec::new();
        write_snapshot_before_events(&mut line, &stream, &snapshot, true).expect("memory");
        assert_eq!(
            String::from_utf8(line).expect("JSON is UTF-8"),
            "{\"snapshot\":{\"stream\":\"order-42\",\"version\":3,\"schema\":1,\
             \"recorded_at\":\"1970-01-01T00:00:00.000000Z\",\"data\":{\"total\":50}}}\n"
        );
    }
}
