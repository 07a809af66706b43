//! `quorate history`: shows who did what to a stream, and when.

use std::fmt;
use std::io::{self, Write};

use clap::Args;
use quorate_client::{CorrelationId, Query, RecordedEvent};
use quorate_proto::{StreamName, Tag, Timestamp};
use serde::Deserialize;

use crate::cli::{Exit, Global, connect};
use crate::output::{buffered, count_of, next_or_flush, shown, write_event, write_line};
use crate::values::time;

/// The tag that names the command of which an event is the last one, as the application library writes it.
const COMMAND_TAG: &str = "command:";

/// Show who did what to a stream, and when: its events, and the changes of its settings and its end among them.
///
/// The user and the tenant are `created_by` and `tenant` in the metadata of an event, the command is its tag
/// `command:ID`; the application library writes them so. In JSON, the events are those of `read --json`.
#[derive(Args, Debug)]
pub struct HistoryArgs {
    /// The stream.
    stream: StreamName,
    /// Only what was recorded at this time or later: RFC 3339, or how long ago (`90s`, `10m`, `2h`, `7d`).
    #[arg(long, value_name = "TIME", value_parser = time::parse)]
    from: Option<Timestamp>,
    /// Only what was recorded at this time or earlier.
    #[arg(long, value_name = "TIME", value_parser = time::parse)]
    until: Option<Timestamp>,
}

/// The fields of an event's metadata that a history shows.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Origin {
    created_by: Option<String>,
    tenant: Option<String>,
}

/// Runs the command.
pub async fn run(args: HistoryArgs, global: &Global) -> Result<(), Exit> {
    let HistoryArgs { stream, from, until } = args;
    let query = Query::stream(stream.as_str());
    let query = match StreamName::new(format!("$${stream}")) {
        Ok(control) => query.or(Query::stream(control.as_str())),
        // A stream whose name is so long has no settings of its own.
        Err(_) => query,
    };
    let client = connect(global).await?;
    let mut read = client.read(query).with_system().consistency(global.consistency);
    read = from.into_iter().fold(read, |read, time| read.from(time));
    read = until.into_iter().fold(read, |read, time| read.until(time));
    let mut events = read.stream().await?;
    let (mut output, mut count) = (buffered(), 0);
    while let Some(event) = next_or_flush(&mut output, events.try_next()).await?? {
        count += 1;
        match global.json() {
            true => write_event(&mut output, &event, true)?,
            false => write_entry(&mut output, &event)?,
        }
    }
    if !global.json() {
        writeln!(output, "{} as of position {}", count_of(count, "event"), events.as_of())?;
    }
    Ok(output.flush()?)
}

/// Writes an event for a person: one line for what happened, and one for its origin if it is known.
fn write_entry(output: &mut impl Write, event: &RecordedEvent) -> io::Result<()> {
    let RecordedEvent { version, recorded_at, .. } = event;
    let (kind, data) = (&event.kind, &event.data);
    // Changes of the stream itself are counted apart.
    let version = match event.stream.is_system() {
        true => "-".to_owned(),
        false => version.to_string(),
    };
    let data = match data.is_empty() {
        true => String::new(),
        false => format!("  {}", shown(data)),
    };
    write_line(output, format_args!("{version:>6}  {recorded_at}  {kind}{data}"))?;
    let origin = origin_of(event);
    if !origin.is_empty() {
        write_line(output, format_args!("        {origin}"))?;
    }
    Ok(())
}

/// Returns on whose behalf, by which command, in which activity, and because of what an event was written.
fn origin_of(event: &RecordedEvent) -> String {
    let Origin { created_by, tenant } = event.metadata_json().unwrap_or_default();
    let command = event.tags.iter().find_map(|tag: &Tag| tag.as_str().strip_prefix(COMMAND_TAG));
    let correlation = event.correlation_id.as_ref().map(CorrelationId::as_str);
    let cause = Some(event.causation_id.as_str()).filter(|cause| !cause.is_empty());
    let named =
        |name: &str, text: Option<&dyn fmt::Display>| text.map(|text| format!("{name} {text}"));
    let parts = [
        named("by", created_by.as_ref().map(|text| text as &dyn fmt::Display)),
        named("of", tenant.as_ref().map(|text| text as &dyn fmt::Display)),
        named("command", command.as_ref().map(|text| text as &dyn fmt::Display)),
        named("correlation", correlation.as_ref().map(|text| text as &dyn fmt::Display)),
        named("cause", cause.as_ref().map(|text| text as &dyn fmt::Display)),
    ];
    parts.into_iter().flatten().collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use quorate_client::Event;

    use super::*;

    fn written(stream: &str, event: Event) -> String {
        let stream = StreamName::new(stream).expect("a name");
        let mut output = Vec::new();
        write_entry(&mut output, &event.recorded(17, stream, 3, Timestamp(0))).expect("written");
        String::from_utf8(output).expect("text")
    }

    #[test]
    fn an_entry_shows_what_happened_and_its_origin() {
        let event = Event::new("Paid", "{ \"amount\": 30 }").expect("an event");
        let event = event.metadata(r#"{"created_by":"ann","tenant":"acme","more":1}"#);
        let event = event.tag("command:cmd-91").correlation("req-7").causation("cmd-91");
        assert_eq!(
            written("order-42", event),
            "     3  1970-01-01T00:00:00.000000Z  Paid  {\"amount\":30}\n        \
             by ann, of acme, command cmd-91, correlation req-7, cause cmd-91\n"
        );
    }

    #[test]
    fn an_entry_without_an_origin_is_one_line_and_a_change_of_the_stream_has_no_version() {
        let plain = Event::new("Paid", "").expect("an event");
        assert_eq!(written("order-42", plain), "     3  1970-01-01T00:00:00.000000Z  Paid\n");
        let broken = Event::new("Paid", "").expect("an event").metadata(r#"{"created_by":7}"#);
        assert_eq!(written("order-42", broken).lines().count(), 1);
        let control = Event::new("Changed", "").expect("an event");
        assert!(written("$$order-42", control).starts_with("     -  "));
    }
}
