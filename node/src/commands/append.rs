//! `quorate append`: appends one event, or several atomically.

use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use clap::Args;
use quorate_client::{AppendError, Client, Done, Event, Expect};
use quorate_proto::limits::APPEND_BYTES_MAX;
use quorate_proto::{EventId, EventType, Query, StreamName, Timestamp};

use crate::cli::{Exit, Global, connect, stdin};
use crate::import::{EventLine, Format, trim};
use crate::output::{DoneLine, append_failed, append_not_begun, write_json};
use crate::values::{expectation, json, query, time};

/// Append an event to a stream, or several events atomically.
///
/// The events are on the disks of a majority of the nodes when the command ends with 0. It ends with 3
/// if the append was rejected, and with 4 if it is not known whether the events were appended: then
/// repeat it with the ids it tells, unless it says that they are forgotten. It ends with 5 if the events are
/// there, but standard output took no word of it; a reader that left before the end changes no exit code.
#[derive(Args, Debug)]
#[command(after_long_help = query::SYNTAX)]
pub struct AppendArgs {
    /// The stream; with --file, where lines without a `stream` go.
    #[arg(required_unless_present = "file")]
    stream: Option<StreamName>,
    /// What must be the case: any, none (no event yet, or none since it was deleted), exists (an event since
    /// then), or the version of the stream, which a deletion leaves as it is. With --file, of every stream in
    /// it. The default is `any`: nothing is checked.
    #[arg(long, value_name = "WHAT", default_value = "any", value_parser = expectation::parse)]
    expect: Expect,
    /// Append only if no event after --after matches this QUERY, such as `type:Enrolled,tag:course:c1`; --help
    /// tells the syntax. Can be repeated, each with its --after.
    #[arg(long, value_name = "QUERY", value_parser = query::parse, requires = "after")]
    unless: Vec<Query>,
    /// The position up to which the --unless before it does not look: the `as of` of the read that the
    /// decision was made on; 0 looks at the whole log. A position that the log has not reached is refused.
    #[arg(long, value_name = "POSITION", requires = "unless")]
    after: Vec<u64>,
    /// Several events from a file, one JSON object a line as `export` writes them; all or none. `-` reads standard
    /// input.
    #[arg(long, value_name = "FILE|-", conflicts_with = "Content")]
    file: Option<PathBuf>,
    #[command(flatten)]
    content: Content,
}

/// The event, when it stands on the command line.
#[derive(Args, Debug)]
#[group(multiple = true)]
struct Content {
    /// What happened.
    #[arg(long, required_unless_present = "file")]
    r#type: Option<EventType>,
    /// The data as JSON; `-` reads any bytes from standard input.
    #[arg(long, value_name = "JSON|-", value_parser = json::parse_argument, allow_hyphen_values = true)]
    data: Option<String>,
    /// The event's id, a UUID: the same one again makes a repetition safe. A new one if not given.
    #[arg(long, value_name = "UUID", value_parser = EventId::parse)]
    id: Option<EventId>,
    /// A label; can be repeated.
    #[arg(long = "tag", value_name = "TAG")]
    tags: Vec<String>,
    /// The metadata: facts around the event, as JSON.
    #[arg(long, value_name = "JSON", value_parser = json::parse, allow_hyphen_values = true)]
    metadata: Option<String>,
    /// What larger thing the event belongs to.
    #[arg(long, value_name = "ID")]
    correlation: Option<String>,
    /// What caused the event.
    #[arg(long, value_name = "ID")]
    causation: Option<String>,
    /// The media type of the data.
    #[arg(long, value_name = "TYPE")]
    content_type: Option<String>,
    /// The version of the shape of the data.
    #[arg(long, value_name = "NUMBER")]
    schema: Option<u32>,
    /// When it happened, as RFC 3339, to the end of the year 9999. Digits below a microsecond are cut off, and a
    /// leap second (`:60`) becomes the second before it.
    #[arg(long, value_name = "TIME", value_parser = time::parse_exact)]
    occurred_at: Option<Timestamp>,
}

/// Runs the command.
pub async fn run(args: AppendArgs, global: &Global) -> Result<(), Exit> {
    let AppendArgs { stream, expect, unless, after, file, content } = args;
    if unless.len() != after.len() {
        let (unless, after) = (unless.len(), after.len());
        let message = format!("each --unless needs its --after: there are {unless} and {after}");
        return Err(Exit::usage(message));
    }
    let conditions: Vec<(Query, u64)> = unless.into_iter().zip(after).collect();
    let has_conditions = !conditions.is_empty();
    let writes = match file {
        Some(file) => from_file(&file, stream)?,
        None => {
            let stream = stream.ok_or_else(|| Exit::usage("a stream or --file is needed"))?;
            vec![(stream, vec![content.into_event()?])]
        }
    };
    let not_begun = |problem| append_not_begun(global, problem);
    let client = connect(global).await.map_err(not_begun)?;
    let streams: Vec<StreamName> = writes.iter().map(|(stream, _)| stream.clone()).collect();
    let done = append(&client, expect, writes, conditions).await;
    let done = done.map_err(|error| append_failed(global, &error))?;
    Exit::after_report(
        Ok(()),
        report(global, &expectation::met(expect, has_conditions), &streams, &done),
    )
}

async fn append(
    client: &Client,
    expect: Expect,
    writes: Vec<(StreamName, Vec<Event>)>,
    conditions: Vec<(Query, u64)>,
) -> Result<Done, AppendError> {
    let transaction =
        writes.into_iter().fold(client.transaction(), |transaction, (stream, events)| {
            transaction.write(stream.as_str(), expect, events)
        });
    let transaction = conditions
        .into_iter()
        .fold(transaction, |transaction, (query, after)| transaction.unless(query.into(), after));
    transaction.commit().await
}

fn report(global: &Global, met: &str, streams: &[StreamName], done: &Done) -> io::Result<()> {
    let mut output = io::stdout().lock();
    let versions = streams.iter().zip(&done.versions);
    if global.json() {
        let versions = versions.map(|(stream, version)| (stream.as_str(), version.0)).collect();
        return write_json(&mut output, &DoneLine { position: done.position.0, versions });
    }
    for (stream, version) in versions {
        write!(output, "`{stream}` is at version {version}, position {}", done.position)?;
        writeln!(output, " ({met})")?;
    }
    Ok(())
}

impl Content {
    fn into_event(self) -> Result<Event, Exit> {
        let kind = self.r#type.ok_or_else(|| Exit::usage("--type is needed"))?;
        let data = match self.data {
            None => Bytes::new(),
            Some(dash) if dash == "-" => stdin::read_data(APPEND_BYTES_MAX)?,
            Some(text) => match (json::parse(&text), &self.content_type) {
                (Err(why), None) => {
                    let advice = "for other bytes use `--data -` or give their --content-type";
                    return Err(Exit::usage(format!("--data {why}; {advice}")));
                }
                _ => text.into(),
            },
        };
        let event = Event::new(kind.as_str(), data).map_err(Exit::usage)?;
        let event = event
            .metadata(self.metadata.unwrap_or_default())
            .correlation(self.correlation.unwrap_or_default())
            .causation(self.causation.unwrap_or_default())
            .content_type(self.content_type.unwrap_or_default())
            .schema(self.schema.unwrap_or(1));
        let event = self.tags.into_iter().fold(event, Event::tag);
        let event = self.occurred_at.into_iter().fold(event, Event::occurred_at);
        Ok(self.id.into_iter().fold(event, Event::id))
    }
}

/// Returns the writes of a file, in the order in which its streams first occur.
fn from_file(
    file: &Path,
    fallback: Option<StreamName>,
) -> Result<Vec<(StreamName, Vec<Event>)>, Exit> {
    // A line can be longer than the event it describes, but an append is not a bulk import.
    let bytes_max = 4 * APPEND_BYTES_MAX as u64;
    let shown = stdin::name_of(file);
    let failed = |error: io::Error| Exit::failed(format!("{shown}: {error}"));
    let mut text = Vec::new();
    let input: Box<dyn Read> = match stdin::is_stdin(file) {
        true => Box::new(io::stdin().lock()),
        false => Box::new(std::fs::File::open(file).map_err(failed)?),
    };
    input.take(bytes_max + 1).read_to_end(&mut text).map_err(failed)?;
    if text.len() as u64 > bytes_max {
        return Err(Exit::usage(format!("{shown} is too large for one append; use `import`")));
    }
    match Format::of(&text) {
        Format::Text => {}
        Format::Gzip | Format::Zstd => {
            return Err(Exit::usage(format!("{shown} is an archive, which `import` reads")));
        }
        Format::Other(message) => return Err(Exit::usage(format!("{shown}: {message}"))),
    }
    let mut writes: Vec<(StreamName, Vec<Event>)> = Vec::new();
    for (line, number) in text.split(|byte| *byte == b'\n').zip(1..) {
        let line = trim(line);
        if line.is_empty() {
            continue;
        }
        let refused =
            |why: String| Exit::usage(format!("{shown}:{number}: {why}; nothing was appended"));
        let parsed = EventLine::parse(line).map_err(refused)?;
        let stream = match (parsed.stream, &fallback) {
            (Some(named), Some(fallback)) if named != *fallback => {
                return Err(refused(format!("the line is for `{named}`, not for `{fallback}`")));
            }
            (Some(named), _) => named,
            (None, Some(fallback)) => fallback.clone(),
            (None, None) => return Err(refused("`stream` is missing".to_owned())),
        };
        match writes.iter_mut().find(|(known, _)| *known == stream) {
            Some((_, events)) => events.push(parsed.event),
            None => writes.push((stream, vec![parsed.event])),
        }
    }
    Ok(writes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(text: &str) -> tempfile::NamedTempFile {
        let mut file = tempfile::NamedTempFile::new().expect("a file");
        file.write_all(text.as_bytes()).expect("a file");
        file
    }

    #[test]
    fn a_file_is_one_append_to_its_streams_in_order() {
        let text = "{\"stream\":\"b\",\"type\":\"T\"}\n\n{\"type\":\"T\",\"stream\":\"a\"}\n\
                    {\"stream\":\"b\",\"type\":\"U\"}";
        let writes = from_file(file(text).path(), None).expect("writes");
        let shape: Vec<_> =
            writes.iter().map(|(stream, events)| (stream.as_str(), events.len())).collect();
        assert_eq!(shape, [("b", 2), ("a", 1)]);
    }

    #[test]
    fn a_bad_line_of_a_file_is_reported_by_its_number() {
        let stream = || StreamName::new("a").expect("a name");
        for (text, fallback, why) in [
            ("{\"stream\":\"a\",\"type\":\"T\"}\n{", None, ":2: EOF"),
            ("{\"type\":\"T\"}", None, ":1: `stream` is missing"),
            ("{\"stream\":\"b\",\"type\":\"T\"}", Some(stream()), ":1: the line is for `b`"),
        ] {
            let refused = from_file(file(text).path(), fallback).expect_err(text);
            assert!(refused.message.contains(why), "{refused:?}");
            assert_eq!(refused.code, crate::cli::Code::Usage);
        }
    }
}
