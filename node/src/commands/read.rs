//! `quorate read`: reads the events of a stream, or of what a query finds.

use std::io::{self, Write};

use clap::Args;
use quorate_client::{Client, EventStream, Query, ReadRequest, Source};
use quorate_proto::{
    self as proto, Category, CorrelationId, EventType, Path, StreamName, Tag, Timestamp,
};

use crate::cli::{Exit, Global, connect};
use crate::output::{
    Printing, count_of, print_events, print_subscription, print_tree, remark, write_event,
    write_passed_over, write_snapshot_before_events,
};
use crate::values::{query, time};

// The options for the events to look for.
#[derive(Args, Debug)]
struct What {
    /// The stream; without one, the whole log is searched.
    stream: Option<StreamName>,
    /// All streams of this category: `order` finds `order-42` and `acme/order-7`.
    #[arg(long, value_name = "NAME", conflicts_with = "stream")]
    category: Option<Category>,
    /// All streams in this path: `acme` finds `acme/order-7`.
    #[arg(long, value_name = "NAME", conflicts_with_all = ["stream", "category"])]
    path: Option<Path>,
    /// What this QUERY finds, such as `type:Enrolled,tag:course:c1 or stream:limits-7`; --help tells the syntax.
    #[arg(
        long,
        value_name = "QUERY",
        value_parser = query::parse,
        conflicts_with_all = ["stream", "category", "path", "types", "tags", "correlation"]
    )]
    query: Option<proto::Query>,
    /// Only events of this type; can be repeated, and then any of them.
    #[arg(long = "type", value_name = "TYPE")]
    types: Vec<EventType>,
    /// Only events with this tag; can be repeated, and then all of them.
    #[arg(long = "tag", value_name = "TAG")]
    tags: Vec<Tag>,
    /// Only events with this correlation id. With `read`, a person sees them as a tree: below each event those that
    /// it caused.
    #[arg(long, value_name = "ID")]
    correlation: Option<CorrelationId>,
    /// Find the system's events too: the changes of settings and the ends of streams.
    #[arg(long, conflicts_with = "stream")]
    system: bool,
    /// Begin with the newest snapshot of the stream, if there is one, and read what follows it. In JSON it is
    /// a line of its own before the events: {"snapshot":{…}}.
    #[arg(
        long,
        requires = "stream",
        conflicts_with_all = ["types", "tags", "correlation", "after", "from"]
    )]
    with_snapshot: bool,
    /// The newest schema of a snapshot that is of use, with --with-snapshot. One of a newer schema is passed over, and
    /// the stream is read whole; in JSON a line before the events says so: {"snapshot_passed_over":{"schema":…}}.
    #[arg(
        long,
        value_name = "SCHEMA",
        requires = "with_snapshot",
        value_parser = clap::value_parser!(u32).range(1..)
    )]
    snapshot_schema: Option<u32>,
    /// Only what comes after this one; 0 is the beginning.
    #[arg(long, value_name = "NUMBER")]
    after: Option<u64>,
    /// Only what was recorded at this time or later: RFC 3339, or how long ago (`90s`, `10m`, `2h`, `7d`).
    #[arg(long, value_name = "TIME", value_parser = time::parse)]
    from: Option<Timestamp>,
    /// At most so many events.
    #[arg(long, value_name = "COUNT")]
    limit: Option<u64>,
}

/// Read the events of a stream, or of what a query finds in the whole log.
///
/// Bounds are versions when a stream is read and positions otherwise.
///
/// In JSON, `data` and `metadata` are shown as they were stored where every common reader takes them. All else is shown
/// in base64, as `data_base64` and `metadata_base64`: bytes that are no JSON, text with half of a surrogate pair, and
/// JSON that is nested more than 60 levels deep.
#[derive(Args, Debug)]
#[command(after_long_help = query::SYNTAX)]
pub struct ReadArgs {
    #[command(flatten)]
    what: What,
    /// Only what comes before this one.
    #[arg(long, value_name = "NUMBER", conflicts_with = "with_snapshot")]
    before: Option<u64>,
    /// Only what was recorded at this time or earlier.
    #[arg(
        long,
        value_name = "TIME",
        value_parser = time::parse,
        conflicts_with = "with_snapshot"
    )]
    until: Option<Timestamp>,
    /// Newest first.
    #[arg(long, conflicts_with = "with_snapshot")]
    backwards: bool,
    /// The last so many events, oldest first.
    #[arg(
        long,
        value_name = "COUNT",
        conflicts_with_all = ["limit", "backwards", "with_snapshot", "follow"]
    )]
    tail: Option<u64>,
    /// The one event at this position of the log.
    #[arg(
        long,
        value_name = "POSITION",
        value_parser = clap::value_parser!(u64).range(1..),
        conflicts_with_all = [
            "stream", "category", "path", "query", "types", "tags", "correlation", "system",
            "with_snapshot", "after", "before", "from", "until", "limit", "backwards", "tail",
            "flat", "follow",
        ]
    )]
    position: Option<u64>,
    /// Print the events of a correlation id in the order of the log, with their data, and not as a tree.
    #[arg(long, requires = "correlation")]
    flat: bool,
    /// Go on with what is appended later, until interrupted or at the limit.
    #[arg(long, conflicts_with_all = ["before", "until", "backwards"])]
    follow: bool,
    /// With --follow and in JSON: also a line for where the reader stands and may resume, {"caught_up":{…}},
    /// {"fell_behind":{…}} or {"progress":{…}}, each with a position and, of a stream, a version.
    #[arg(long, requires = "follow")]
    marks: bool,
}

/// Follow the events of a stream, or of what a query finds: what is there, and what is appended later.
#[derive(Args, Debug)]
#[command(after_long_help = query::SYNTAX)]
pub struct SubscribeArgs {
    #[command(flatten)]
    what: What,
    /// Only what is appended from now on.
    #[arg(long, conflicts_with_all = ["after", "from", "with_snapshot"])]
    new: bool,
    /// In JSON: also a line for where the reader stands and may resume, {"caught_up":{…}}, {"fell_behind":{…}} or
    /// {"progress":{…}}, each with a position and, of a stream, a version.
    #[arg(long)]
    marks: bool,
}

/// Runs `subscribe`.
pub async fn subscribe(args: SubscribeArgs, global: &Global) -> Result<(), Exit> {
    let SubscribeArgs { mut what, new, marks } = args;
    let client = connect(global).await?;
    if new {
        let end = client.read(what.source()).consistency(global.consistency).limit(0);
        let end = end.stream().await?;
        what.after = Some(end_of(&end, what.stream.is_some()));
    }
    follow(&client, &what, marks, global).await
}

async fn follow(client: &Client, what: &What, marks: bool, global: &Global) -> Result<(), Exit> {
    let request = client.read(what.source()).consistency(global.consistency);
    let snapshot_of = what.stream.as_ref().filter(|_| what.with_snapshot);
    let printing = Printing { json: global.json(), marks, snapshot_of };
    print_subscription(what.narrow(request).follow(), printing).await
}

/// Runs the command.
pub async fn run(args: ReadArgs, global: &Global) -> Result<(), Exit> {
    let client = connect(global).await?;
    let what = &args.what;
    if args.follow {
        return follow(&client, what, args.marks, global).await;
    }
    if let Some(position) = args.position {
        return one(&client, position, global).await;
    }
    let request = client.read(what.source()).consistency(global.consistency);
    let mut request = args.narrow(request);
    if let Some(count) = args.tail {
        let (after, found) = tail(&client, &args, count, global).await?;
        request = request.after(after).limit(found);
    }
    let mut events = request.stream().await?;
    if let (Some(snapshot), Some(stream)) = (events.snapshot(), &what.stream) {
        write_snapshot_before_events(&mut io::stdout(), stream, snapshot, global.json())?;
    }
    if let Some(schema) = events.snapshot_schema_passed_over() {
        write_passed_over(&mut io::stdout(), schema, global.json())?;
    }
    let count = match args.is_tree() && !global.json() {
        true => print_tree(&mut events).await?,
        false => print_events(&mut events, global.json()).await?,
    };
    if !global.json() {
        let of_stream = match &what.stream {
            Some(stream) => format!("; `{stream}` is at version {}", events.version()),
            None => String::new(),
        };
        let events_read = count_of(count, "event");
        let as_of = events.as_of();
        writeln!(io::stdout(), "{events_read} as of position {as_of}{of_stream}")?;
    }
    remark_if_after_the_end(what.after.unwrap_or(0), end_of(&events, what.stream.is_some()));
    Ok(())
}

/// Returns the version at which a stream ended, or else the position at which the log did.
fn end_of(events: &EventStream, is_of_stream: bool) -> u64 {
    if is_of_stream { events.version().0 } else { events.as_of().0 }
}

/// Remarks that a read found nothing because it begins after the end: readers of JSON see no end.
pub(crate) fn remark_if_after_the_end(after: u64, end: u64) {
    if after > end {
        remark(format_args!("--after {after} is from the future: what was read ends at {end}"));
    }
}

/// Prints the event at a position.
async fn one(client: &Client, position: u64, global: &Global) -> Result<(), Exit> {
    let request = client.read(Query::everything()).consistency(global.consistency).with_system();
    // Read backwards: a read that begins after the end of the log is refused.
    let request = request.before(position.saturating_add(1)).backwards();
    let found = request.limit(1).collect().await?;
    let as_of = found.as_of;
    match found.events.first() {
        Some(event) if event.position.0 == position => {
            Ok(write_event(&mut io::stdout(), event, global.json())?)
        }
        _ if position > as_of.0 => Err(Exit::failed(format!(
            "no event is at position {position}: the log ends at {as_of}"
        ))),
        _ => Err(Exit::failed(format!("the event at position {position} was removed"))),
    }
}

/// Returns the part of the log that `--tail` selects: the version or position before it, and the number of events.
async fn tail(
    client: &Client,
    args: &ReadArgs,
    count: u64,
    global: &Global,
) -> Result<(u64, u64), Exit> {
    let request = client.read(args.what.source()).consistency(global.consistency);
    let request = args.narrow(request).backwards().limit(count);
    let mut events = request.stream().await?;
    let of_stream = args.what.stream.is_some();
    let (mut first, mut found) = (end_of(&events, of_stream).saturating_add(1), 0);
    // The events are only counted: however many are requested, they are printed later as they come in.
    while let Some(event) = events.try_next().await? {
        first = if of_stream { event.version.0 } else { event.position.0 };
        found += 1;
    }
    Ok((first.saturating_sub(1), found))
}

impl What {
    fn source(&self) -> Source {
        match (&self.stream, &self.category, &self.path, &self.query) {
            (Some(stream), ..) => stream.clone().into(),
            (None, Some(category), ..) => Query::category(category.as_str()).into(),
            (None, None, Some(path), _) => Query::path(path.as_str()).into(),
            (None, None, None, Some(query)) => Query::from(query.clone()).into(),
            (None, None, None, None) => Query::everything().into(),
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
        if let Some(schema) = self.snapshot_schema {
            request = request.snapshot_schema_max(schema);
        }
        if let Some(from) = self.from {
            request = request.from(from);
        }
        self.limit.into_iter().fold(request, ReadRequest::limit)
    }
}

impl ReadArgs {
    /// Returns true if a person sees the events as a tree of causes.
    fn is_tree(&self) -> bool {
        self.what.correlation.is_some() && !self.flat && !self.backwards
    }

    fn narrow(&self, request: ReadRequest) -> ReadRequest {
        let request = self.what.narrow(request);
        let request = self.before.into_iter().fold(request, ReadRequest::before);
        let request = self.until.into_iter().fold(request, ReadRequest::until);
        if self.backwards { request.backwards() } else { request }
    }
}
