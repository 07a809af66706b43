//! `quorate read`: reads the events of a stream, or of what a query finds.

use std::io::{self, Write};

use clap::Args;
use quorate_client::{Query, ReadRequest, Source};
use quorate_proto::{Category, CorrelationId, EventType, Path, StreamName, Tag, Timestamp};

use crate::age;
use crate::causation::print_tree;
use crate::cli::Global;
use crate::connect::connect;
use crate::exit::Exit;
use crate::follow::{Printing, print_feed};
use crate::output::{count_of, write_snapshot_before_events};
use crate::print::print_events;

/// Read the events of a stream, or of what a query finds in the whole log.
///
/// Bounds are versions when a stream is read and positions otherwise.
#[derive(Args, Debug)]
pub struct ReadArgs {
    /// The stream; without one, the whole log is searched.
    stream: Option<StreamName>,
    /// All streams of this category: `order` finds `order-42` and `acme/order-7`.
    #[arg(long, value_name = "NAME", conflicts_with = "stream")]
    category: Option<Category>,
    /// All streams in this path: `acme` finds `acme/order-7`.
    #[arg(
        long,
        value_name = "NAME",
        conflicts_with_all = ["stream", "category"])]
    path: Option<Path>,
    /// Only events of this type; can be repeated, and then any of them.
    #[arg(long = "type", value_name = "TYPE")]
    types: Vec<EventType>,
    /// Only events with this tag; can be repeated, and then all of them.
    #[arg(long = "tag", value_name = "TAG")]
    tags: Vec<Tag>,
    /// Only events with this correlation id. A person sees them as a tree: below each event those that it caused.
    #[arg(long, value_name = "ID")]
    correlation: Option<CorrelationId>,
    /// Print the events of a correlation id in the order of the log, with their data, and not as a tree.
    #[arg(long, requires = "correlation")]
    flat: bool,
    /// Find the system's events too: the changes of settings and the ends of streams.
    #[arg(long, conflicts_with = "stream")]
    system: bool,
    /// Begin with the newest snapshot of the stream, if there is one, and read what follows it. In JSON it is
    /// a line of its own before the events: {"snapshot":{…}}.
    #[arg(
        long,
        requires = "stream",
        conflicts_with_all = ["types", "tags", "correlation", "after", "before", "from", "until", "backwards"]
    )]
    with_snapshot: bool,
    /// Only what comes after this one; 0 is the beginning.
    #[arg(long, value_name = "NUMBER")]
    after: Option<u64>,
    /// Only what comes before this one.
    #[arg(long, value_name = "NUMBER")]
    before: Option<u64>,
    /// Only what was recorded at this time or later: RFC 3339, or how long ago (`90s`, `10m`, `2h`, `7d`).
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    from: Option<Timestamp>,
    /// Only what was recorded at this time or earlier.
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    until: Option<Timestamp>,
    /// Newest first.
    #[arg(long)]
    backwards: bool,
    /// At most so many events.
    #[arg(long, value_name = "COUNT")]
    limit: Option<u64>,
    /// Go on with what is appended later, until interrupted or at the limit.
    #[arg(long, conflicts_with_all = ["before", "until", "backwards"])]
    follow: bool,
    /// With --follow and in JSON: also a line for where the reader stands and may resume, {"caught_up":{…}},
    /// {"fell_behind":{…}} or {"progress":{…}}, each with a position and, of a stream, a version.
    #[arg(long)]
    marks: bool,
}

/// Follow the events of a stream, or of what a query finds: `read --follow`.
#[derive(Args, Debug)]
pub struct SubscribeArgs {
    #[command(flatten)]
    read: ReadArgs,
}

/// Runs `subscribe`.
pub async fn subscribe(args: SubscribeArgs, global: &Global) -> Result<(), Exit> {
    run(ReadArgs { follow: true, ..args.read }, global).await
}

/// Runs the command.
pub async fn run(args: ReadArgs, global: &Global) -> Result<(), Exit> {
    let client = connect(global).await?;
    let request = client.read(args.source()).consistency(global.consistency);
    if args.follow {
        let snapshot_of = args.stream.as_ref().filter(|_| args.with_snapshot);
        let printing = Printing { json: global.json(), marks: args.marks, snapshot_of };
        return print_feed(args.narrow(request).follow(), printing).await;
    }
    let mut events = args.narrow(request).stream().await?;
    if let (Some(snapshot), Some(stream)) = (events.snapshot(), &args.stream) {
        write_snapshot_before_events(&mut io::stdout(), stream, snapshot, global.json())?;
    }
    let count = match args.is_tree() && !global.json() {
        true => print_tree(&mut events).await?,
        false => print_events(&mut events, global.json()).await?,
    };
    if !global.json() {
        let of_stream = match &args.stream {
            Some(stream) => format!("; `{stream}` is at version {}", events.version()),
            None => String::new(),
        };
        let events_read = count_of(count, "event");
        let as_of = events.as_of();
        writeln!(io::stdout(), "{events_read} as of position {as_of}{of_stream}")?;
    }
    Ok(())
}

impl ReadArgs {
    /// Whether a person sees which event caused which.
    fn is_tree(&self) -> bool {
        self.correlation.is_some() && !self.flat && !self.backwards
    }

    fn source(&self) -> Source {
        match (&self.stream, &self.category, &self.path) {
            (Some(stream), _, _) => stream.clone().into(),
            (None, Some(category), _) => Query::category(category.as_str()).into(),
            (None, None, Some(path)) => Query::path(path.as_str()).into(),
            (None, None, None) => Query::everything().into(),
        }
    }

    fn narrow(&self, request: ReadRequest) -> ReadRequest {
        let mut request = request.after(self.after.unwrap_or(0));
        if !self.types.is_empty() {
            request = request.types(self.types.iter().map(EventType::as_str));
        }
        if !self.tags.is_empty() {
            request = request.tags(self.tags.iter().map(Tag::as_str));
        }
        if let Some(correlation) = &self.correlation {
            request = request.correlation(correlation.as_str());
        }
        if self.system {
            request = request.with_system();
        }
        if self.with_snapshot {
            request = request.with_snapshot();
        }
        if let Some(before) = self.before {
            request = request.before(before);
        }
        if let Some(from) = self.from {
            request = request.from(from);
        }
        if let Some(until) = self.until {
            request = request.until(until);
        }
        if let Some(limit) = self.limit {
            request = request.limit(limit);
        }
        if self.backwards { request.backwards() } else { request }
    }
}

fn parse_time(text: &str) -> Result<Timestamp, String> {
    // The command line is the one place where the wall clock is asked: `10m` means ten minutes before
    // the person pressed enter.
    parse_time_at(text, jiff::Timestamp::now().as_microsecond())
}

fn parse_time_at(text: &str, now: i64) -> Result<Timestamp, String> {
    if let Some(time) = Timestamp::parse(text) {
        return Ok(time);
    }
    let span = age::parse(text)
        .ok_or_else(|| "is no RFC 3339 time, and no time span like `10m`".to_owned())?;
    let time = i64::try_from(span.as_micros()).ok().and_then(|span| now.checked_sub(span));
    time.map(Timestamp).ok_or_else(|| "is too long a time span".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_rfc_3339_or_a_span_before_now() {
        let now = 10_000_000_000_000;
        for (text, time) in [
            ("1970-01-01T00:00:01Z", 1_000_000),
            ("0s", now),
            ("90s", now - 90_000_000),
            ("10m", now - 600_000_000),
            ("2h", now - 7_200_000_000),
            ("1d", now - 86_400_000_000),
            ("1w", now - 604_800_000_000),
        ] {
            assert_eq!(parse_time_at(text, now), Ok(Timestamp(time)), "{text}");
        }
        for wrong in
            ["", "m", "10", "-10m", "10 m", "10x", "yesterday", "1.5h", "99999999999m", "ä"]
        {
            assert!(parse_time_at(wrong, now).is_err(), "{wrong}");
        }
        assert!(parse_time_at("4000000000s", now).is_ok());
        assert_eq!(parse_time_at("4000000000w", now), Err("is too long a time span".to_owned()));
    }
}
