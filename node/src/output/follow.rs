//! Prints the messages of a subscription as they come, and flushes whenever no further one is ready.

use std::io::Write;

use quorate_client::{Cursor, Message, Subscription};
use quorate_proto::StreamName;
use serde::Serialize;

use super::{
    Reader, buffered, next_or_flush, remark, write_event, write_json, write_passed_over,
    write_snapshot_before_events,
};
use crate::cli::Exit;

/// The options with which a subscription is printed.
pub(crate) struct Printing<'a> {
    pub(crate) json: bool,
    /// True if lines of JSON report the progress of the subscription.
    pub(crate) marks: bool,
    /// The stream whose snapshot comes first, if it was requested.
    pub(crate) snapshot_of: Option<&'a StreamName>,
}

/// The progress of a subscription, as a JSON line with one of the three fields.
#[derive(Default, Serialize)]
struct MarkLine {
    #[serde(skip_serializing_if = "Option::is_none")]
    caught_up: Option<At>,
    #[serde(skip_serializing_if = "Option::is_none")]
    fell_behind: Option<At>,
    #[serde(skip_serializing_if = "Option::is_none")]
    progress: Option<At>,
}

#[derive(Serialize)]
struct At {
    position: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<u64>,
}

/// Prints a subscription to standard output until it ends, at a limit, or the reader of a pipe goes.
pub(crate) async fn print_subscription(
    mut subscription: Subscription,
    printing: Printing<'_>,
) -> Result<(), Exit> {
    let mut output = buffered();
    let mut snapshot_of = printing.snapshot_of;
    let reader = Reader::of_output();
    loop {
        let next = tokio::select! {
            biased;
            next = next_or_flush(&mut output, subscription.try_next()) => next?,
            () = reader.gone() => return Ok(()),
        };
        let Some(message) = next? else { break };
        if let Some(stream) = snapshot_of.take() {
            if let Some(snapshot) = subscription.snapshot() {
                write_snapshot_before_events(&mut output, stream, snapshot, printing.json)?;
            }
            if let Some(schema) = subscription.snapshot_schema_passed_over() {
                write_passed_over(&mut output, schema, printing.json)?;
            }
        }
        match message {
            Message::Event(event) => write_event(&mut output, &event, printing.json)?,
            mark if printing.json && printing.marks => write_json(&mut output, &line_of(&mark))?,
            mark if !printing.json => {
                output.flush()?;
                remark_progress(&mark);
            }
            _ => {}
        }
    }
    output.flush()?;
    Ok(())
}

/// Reports the subscription's progress to a person; standard output stays a list of events.
fn remark_progress(mark: &Message) {
    match mark {
        Message::CaughtUp(at) => {
            remark(format_args!("caught up at {}; waiting for more", place(at)));
        }
        Message::FellBehind(at) => {
            remark(format_args!("fell behind at {}; catching up", place(at)));
        }
        Message::Progress(_) | Message::Event(_) => {}
    }
}

fn place(mark: &Cursor) -> String {
    match mark.version {
        Some(version) => format!("version {version}, position {}", mark.position),
        None => format!("position {}", mark.position),
    }
}

fn line_of(mark: &Message) -> MarkLine {
    let at = |mark: &Cursor| {
        Some(At { position: mark.position.0, version: mark.version.map(u64::from) })
    };
    match mark {
        Message::CaughtUp(mark) => MarkLine { caught_up: at(mark), ..MarkLine::default() },
        Message::FellBehind(mark) => MarkLine { fell_behind: at(mark), ..MarkLine::default() },
        Message::Progress(mark) => MarkLine { progress: at(mark), ..MarkLine::default() },
        Message::Event(_) => MarkLine::default(),
    }
}

#[cfg(test)]
mod tests {
    use quorate_client::{Position, Version};

    use super::*;

    #[test]
    fn a_mark_is_one_compact_line() {
        let mark = Cursor { position: Position(7), version: Some(Version(3)) };
        let line = serde_json::to_string(&line_of(&Message::CaughtUp(mark))).expect("a line");
        assert_eq!(line, r#"{"caught_up":{"position":7,"version":3}}"#);
        let mark = Cursor { position: Position(7), version: None };
        let line = serde_json::to_string(&line_of(&Message::Progress(mark))).expect("a line");
        assert_eq!(line, r#"{"progress":{"position":7}}"#);
    }
}
