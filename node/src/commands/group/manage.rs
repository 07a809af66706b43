//! Creates, changes and ends groups, and decides on parked events.

use std::io::{self, Write};
use std::time::Duration;

use clap::Args;
use quorate_client::{GroupSettings, Selection, Strategy};
use quorate_proto::{GroupName, Query};
use serde::Serialize;

use crate::cli::{Confirmation, Exit, Global, connect};
use crate::output::{count_of, write_json};
use crate::values::query;
use crate::values::span;

/// The help on the defaults of a new group; an existing group keeps the settings that are not given.
const DEFAULTS: &str = "A group has, unless told: strategy round-robin, timeout 30s, 10 attempts, retry delay 1s, \
    window 4096.";

#[derive(Args, Debug)]
#[command(after_help = DEFAULTS, after_long_help = format!("{DEFAULTS}\n\n{}", query::SYNTAX))]
pub(super) struct CreateArgs {
    /// The group: up to 128 bytes.
    group: GroupName,
    /// What its consumers share.
    #[arg(long, value_name = "QUERY", value_parser = query::parse, default_value = "*")]
    query: Query,
    /// Only what comes after this position; 0 is the beginning.
    #[arg(long, value_name = "POSITION", default_value_t = 0)]
    after: u64,
    #[command(flatten)]
    settings: SettingsArgs,
}

#[derive(Args, Debug)]
struct SettingsArgs {
    /// Who gets what: round-robin, by-stream (one stream goes to one consumer at a time, in order) or single (one
    /// consumer gets everything, in order; another one when it leaves).
    #[arg(long, value_name = "HOW", value_parser = parse_strategy)]
    strategy: Option<Strategy>,
    /// How long a consumer may take over an event, from when it begins, before it is given to another: `500ms`, `30s`,
    /// `10m`. A change counts for what is begun from then on, or goes on and asks for more time.
    #[arg(long, value_name = "SPAN", value_parser = span::parse)]
    timeout: Option<Duration>,
    /// How often an event is tried before it is parked.
    #[arg(long, value_name = "COUNT")]
    attempts: Option<u32>,
    /// How long an event that failed waits before it is tried again; twice as long each further time, up to a minute.
    #[arg(long, value_name = "SPAN", value_parser = span::parse)]
    retry_delay: Option<Duration>,
    /// Most events that are with all consumers of the group at once.
    #[arg(long, value_name = "COUNT")]
    window: Option<u32>,
}

impl SettingsArgs {
    /// Returns the settings that are given, and the rest as it was.
    fn over(&self, was: GroupSettings) -> GroupSettings {
        let milliseconds = |span: Duration| span.as_millis() as u64;
        GroupSettings {
            strategy: self.strategy.unwrap_or(was.strategy),
            timeout_ms: self.timeout.map_or(was.timeout_ms, milliseconds),
            attempts_max: self.attempts.unwrap_or(was.attempts_max),
            retry_delay_ms: self.retry_delay.map_or(was.retry_delay_ms, milliseconds),
            window: self.window.unwrap_or(was.window),
        }
    }
}

#[derive(Args, Debug)]
pub(super) struct ConfigureArgs {
    /// The group.
    group: GroupName,
    #[command(flatten)]
    settings: SettingsArgs,
}

#[derive(Args, Debug)]
pub(super) struct DeleteArgs {
    /// The group.
    group: GroupName,
    #[command(flatten)]
    confirmation: Confirmation,
}

#[derive(Args, Debug)]
pub(super) struct ResetArgs {
    /// The group.
    group: GroupName,
    /// Everything that comes after this position is handed out again; 0 is the beginning.
    #[arg(long, value_name = "POSITION")]
    after: u64,
}

#[derive(Args, Debug)]
pub(super) struct SelectArgs {
    /// The group.
    group: GroupName,
    /// The positions of the events.
    #[arg(required_unless_present = "all", conflicts_with = "all", value_name = "POSITION")]
    positions: Vec<u64>,
    /// All that are parked.
    #[arg(long)]
    all: bool,
}

impl SelectArgs {
    fn selection(&self) -> Selection {
        if self.all { Selection::All } else { Selection::positions(self.positions.iter().copied()) }
    }
}

/// The result of a command on a group, as a JSON line.
#[derive(Serialize)]
struct DoneLine<'a> {
    group: &'a str,
    #[serde(flatten)]
    done: Done,
}

/// The field that says what was done.
#[derive(Serialize)]
#[serde(rename_all = "snake_case")]
enum Done {
    Created(bool),
    Changed(bool),
    Deleted(bool),
    /// The position after which the group begins again.
    After(u64),
    /// The number of parked events.
    Count(u64),
}

pub(super) async fn create(args: CreateArgs, global: &Global) -> Result<(), Exit> {
    let CreateArgs { group, query, after, settings } = args;
    let client = connect(global).await?;
    let settings = settings.over(GroupSettings::default());
    let creating = client.group(group.as_str()).create(query).after(after).settings(settings);
    let created = creating.send().await?;
    let state = if created { "created" } else { "there already" };
    report(global, &group, Done::Created(created), &format!("group `{group}` is {state}"))
}

pub(super) async fn configure(args: ConfigureArgs, global: &Global) -> Result<(), Exit> {
    let ConfigureArgs { group, settings } = args;
    let client = connect(global).await?;
    let reference = client.group(group.as_str());
    let settings = settings.over(reference.show().await?.settings);
    let changed = reference.configure(settings).await?;
    report(
        global,
        &group,
        Done::Changed(changed),
        &format!("group `{group}`: {}", settings_of(&settings)),
    )
}

pub(super) async fn delete(args: DeleteArgs, global: &Global) -> Result<(), Exit> {
    let DeleteArgs { group, confirmation } = args;
    confirmation
        .ask(&format!("removes the group `{group}` with all that is known of its progress"))?;
    let deleted = connect(global).await?.group(group.as_str()).delete().await?;
    let state = if deleted { "is deleted" } else { "was not there" };
    report(global, &group, Done::Deleted(deleted), &format!("group `{group}` {state}"))
}

pub(super) async fn reset(args: ResetArgs, global: &Global) -> Result<(), Exit> {
    let ResetArgs { group, after } = args;
    connect(global).await?.group(group.as_str()).reset(after).await?;
    report(
        global,
        &group,
        Done::After(after),
        &format!("group `{group}` begins again after position {after}"),
    )
}

pub(super) async fn replay(args: SelectArgs, global: &Global) -> Result<(), Exit> {
    let group = &args.group;
    let count = connect(global).await?.group(group.as_str()).replay(args.selection()).await?;
    let events = count_of(count, "parked event");
    report(
        global,
        group,
        Done::Count(count),
        &format!("group `{group}`: {events} to be tried again"),
    )
}

pub(super) async fn give_up(args: SelectArgs, global: &Global) -> Result<(), Exit> {
    let group = &args.group;
    let count = connect(global).await?.group(group.as_str()).drop_parked(args.selection()).await?;
    let events = count_of(count, "parked event");
    report(global, group, Done::Count(count), &format!("group `{group}`: {events} given up"))
}

fn report(global: &Global, group: &GroupName, done: Done, sentence: &str) -> Result<(), Exit> {
    let mut output = io::stdout().lock();
    let written = match global.json() {
        true => write_json(&mut output, &DoneLine { group: group.as_str(), done }),
        false => writeln!(output, "{sentence}"),
    };
    Exit::after_report(Ok(()), written)
}

/// Describes settings to a person.
pub(super) fn settings_of(settings: &GroupSettings) -> String {
    let GroupSettings { strategy, timeout_ms, attempts_max, retry_delay_ms, window } = settings;
    let attempts = count_of((*attempts_max).into(), "attempt");
    let [timeout, delay] =
        [*timeout_ms, *retry_delay_ms].map(Duration::from_millis).map(span::show);
    format!("{strategy}, timeout {timeout}, {attempts}, retry delay {delay}, window {window}")
}

pub(in crate::commands) fn parse_strategy(text: &str) -> Result<Strategy, String> {
    let known = Strategy::ALL.map(Strategy::as_str).join(", ");
    Strategy::parse(text).ok_or_else(|| format!("is none of {known}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_help_shows_what_a_new_group_begins_with() {
        let settings = settings_of(&GroupSettings::default());
        let defaults = DEFAULTS.trim_start_matches("A group has, unless told: strategy ");
        assert_eq!(defaults.trim_end_matches('.'), settings);
    }
}
