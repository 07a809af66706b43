//! Shows groups, how far they are, and what is parked.

use std::io::{self, Write};

use clap::Args;
use quorate_client::{EventJson, Group, GroupConsumer, ParkedEvent};
use quorate_proto::GroupName;
use serde::Serialize;

use super::manage::settings_of;
use crate::cli::{Exit, Global, Nothing, connect};
use crate::output::{Watch, count_of, write_event, write_json, write_line};
use crate::values::query;

#[derive(Args, Debug)]
pub(super) struct ShowArgs {
    /// The group.
    group: GroupName,
    /// Show it again each second until Ctrl-C; into a pipe or a file, whenever something changed.
    #[arg(long)]
    watch: bool,
}

#[derive(Args, Debug)]
pub(super) struct ParkedArgs {
    /// The group.
    group: GroupName,
    /// Only what comes after this position.
    #[arg(long, value_name = "POSITION", default_value_t = 0)]
    after: u64,
    /// At most so many.
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u64).range(1..))]
    limit: Option<u64>,
}

/// A group as a JSON line.
#[derive(Serialize)]
struct GroupLine<'a> {
    group: &'a str,
    query: String,
    after: u64,
    strategy: &'static str,
    timeout_ms: u64,
    attempts: u32,
    retry_delay_ms: u64,
    window: u32,
    floor: u64,
    lag: u64,
    settled: u64,
    failed: u64,
    parked: u64,
    /// Known to the leader alone, and not in lists.
    #[serde(flatten)]
    live: Option<LiveLine<'a>>,
}

#[derive(Serialize)]
struct LiveLine<'a> {
    in_flight: u64,
    consumers: &'a [GroupConsumer],
}

impl GroupLine<'_> {
    fn new(group: &Group, with_consumers: bool) -> GroupLine<'_> {
        let Group { in_flight, consumers, .. } = group;
        let live = with_consumers.then_some(LiveLine { in_flight: *in_flight, consumers });
        GroupLine {
            group: &group.name,
            query: query::show(&group.query),
            after: group.after.0,
            strategy: group.settings.strategy.as_str(),
            timeout_ms: group.settings.timeout_ms,
            attempts: group.settings.attempts_max,
            retry_delay_ms: group.settings.retry_delay_ms,
            window: group.settings.window,
            floor: group.floor.0,
            lag: group.lag,
            settled: group.settled,
            failed: group.failed,
            parked: group.parked,
            live,
        }
    }
}

/// A parked event as a JSON line.
#[derive(Serialize)]
struct ParkedLine<'a> {
    position: u64,
    attempts: u32,
    reason: &'a str,
    parked_at: String,
    /// None if the event was removed since.
    #[serde(skip_serializing_if = "Option::is_none")]
    event: Option<EventJson<'a>>,
}

pub(super) async fn list(_args: Nothing, global: &Global) -> Result<(), Exit> {
    let groups = connect(global).await?.groups_as(global.consistency).await?;
    let mut output = io::stdout().lock();
    if !global.json() {
        return Ok(write_table(&mut output, &groups)?);
    }
    for group in &groups {
        write_json(&mut output, &GroupLine::new(group, false))?;
    }
    Ok(())
}

/// Writes groups as a table of the values that a person looks for first.
fn write_table(output: &mut impl Write, groups: &[Group]) -> io::Result<()> {
    let width = groups.iter().map(|group| group.name.chars().count()).max().unwrap_or_default();
    let width = width.max("group".len());
    let head = ("position", "behind", "retried", "parked", "strategy");
    let (floor, lag, failed, parked, strategy) = head;
    let group = "group";
    write_line(
        output,
        format_args!(
            "{group:<width$}  {floor:>10}  {lag:>10}  {failed:>7}  {parked:>7}  {strategy}"
        ),
    )?;
    for Group { name, floor, lag, failed, parked, settings, .. } in groups {
        let strategy = settings.strategy;
        write_line(
            output,
            format_args!(
                "{name:<width$}  {floor:>10}  {lag:>10}  {failed:>7}  {parked:>7}  {strategy}"
            ),
        )?;
    }
    writeln!(output, "{}", count_of(groups.len() as u64, "group"))
}

pub(super) async fn show(args: ShowArgs, global: &Global) -> Result<(), Exit> {
    let reference = connect(global).await?.group(args.group.as_str());
    let first = reference.show_as(global.consistency).await?;
    if !args.watch {
        return Ok(io::stdout().write_all(&shown(&first, global.json())?)?);
    }
    let watch = Watch::new(global.json());
    let mut last = Vec::new();
    let mut group = first;
    loop {
        let now =
            if watch.is_drawn() { shown(&group, false)? } else { line(&group, global.json())? };
        if watch.is_drawn() || now != last {
            watch.show(&now)?;
            last = now;
        }
        if !watch.goes_on().await {
            return Ok(());
        }
        group = reference.show_as(global.consistency).await?;
    }
}

/// One line: what changes as a group goes on.
fn line(group: &Group, json: bool) -> io::Result<Vec<u8>> {
    let mut output = Vec::new();
    match json {
        true => write_json(&mut output, &GroupLine::new(group, true))?,
        false => write_progress(&mut output, group)?,
    }
    Ok(output)
}

/// Returns the text or the JSON line that shows everything known of a group.
fn shown(group: &Group, json: bool) -> io::Result<Vec<u8>> {
    let mut output = line(group, json)?;
    if json {
        return Ok(output);
    }
    let query = query::show(&group.query);
    write_line(&mut output, format_args!("query      {query}, after position {}", group.after))?;
    write_line(&mut output, format_args!("settings   {}", settings_of(&group.settings)))?;
    let consumers = count_of(group.consumers.len() as u64, "consumer");
    writeln!(output, "consumers  {consumers}, {} in flight", group.in_flight)?;
    for GroupConsumer { name, in_flight, window, settled } in &group.consumers {
        let work = format_args!("{in_flight} of {window} in flight, {settled} settled");
        write_line(&mut output, format_args!("  {name}  {work}"))?;
    }
    Ok(output)
}

fn write_progress(output: &mut impl Write, group: &Group) -> io::Result<()> {
    let Group { name, floor, lag, failed, parked, .. } = group;
    write!(output, "group `{name}` is at position {floor}, {lag} behind")?;
    if *failed > 0 {
        write!(output, ", {failed} to be tried again")?;
    }
    if *parked > 0 {
        write!(output, ", {parked} parked")?;
    }
    writeln!(output)
}

pub(super) async fn parked(args: ParkedArgs, global: &Global) -> Result<(), Exit> {
    let ParkedArgs { group, after, limit } = args;
    let group = connect(global).await?.group(group.as_str());
    let parked = group.parked_as(after, limit.unwrap_or(0), global.consistency).await?;
    let mut output = io::BufWriter::new(io::stdout().lock());
    for ParkedEvent { position, attempts, reason, parked_at, event } in &parked {
        let (position, attempts) = (*position, *attempts);
        if global.json() {
            let event = event.as_ref().map(EventJson::from);
            let parked_at = parked_at.to_string();
            let line = ParkedLine { position: position.0, attempts, reason, parked_at, event };
            write_json(&mut output, &line)?;
            continue;
        }
        match event {
            Some(event) => write_event(&mut output, event, false)?,
            None => writeln!(output, "{position:>8}  (removed)")?,
        }
        let tried = count_of(attempts.into(), "attempt");
        let indentation = format_args!("{:>8}", "");
        let line = format_args!("{indentation}  after {tried}, {parked_at}: {reason}");
        write_line(&mut output, line)?;
    }
    if !global.json() {
        writeln!(output, "{}", count_of(parked.len() as u64, "parked event"))?;
    }
    output.flush()?;
    Ok(())
}
