//! `quorate progress`: shows how far projections and process managers are.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::time::Duration;

use clap::Args;
use quorate_client::{Client, Runner, RunnerKind, RunnerReport, RunnerState, Runners};
use serde::Serialize;
use uuid::Uuid;

use crate::cli::{Exit, Global, connect};
use crate::output::{Watch, count_of, remark, write_json, write_line};
use crate::values::span;

/// Show how far projections and process managers are.
///
/// Each tells a node every five seconds, and when it begins to do something else; the nodes keep it in memory. One that
/// is not heard any more is shown for a day: its process died, or reaches no node. One that ended is shown until it is
/// started again, at most for a day, or for an hour if it stopped as it was told to. Consumer groups are shown by
/// `quorate group list`.
#[derive(Args, Debug)]
pub struct ProgressArgs {
    /// Show it again each second until Ctrl-C; into a pipe or a file, whenever something changed.
    #[arg(long)]
    watch: bool,
}

/// A projection or a process manager as a JSON line.
#[derive(Serialize)]
struct RunnerLine<'a> {
    name: &'a str,
    kind: &'static str,
    state: &'static str,
    /// True if it did not report for more than 20 s and did not end: `state` is the last that it reported.
    silent: bool,
    rebuilds: bool,
    #[serde(skip_serializing_if = "str::is_empty")]
    error: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    position: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    behind: Option<u64>,
    partitions: u32,
    handled: u64,
    parked: u64,
    heard_ms_ago: u128,
    running_ms: u128,
    place: &'a str,
    instance: String,
}

/// Runs the command.
pub async fn run(args: ProgressArgs, global: &Global) -> Result<(), Exit> {
    let client = connect(global).await?;
    let first = ask(&client).await?;
    if !args.watch {
        return Ok(io::stdout().write_all(&shown(&first, global.json())?)?);
    }
    let watch = Watch::new(global.json());
    let (mut list, mut before) = (first, BTreeMap::new());
    loop {
        if watch.is_drawn() {
            watch.show(&shown(&list, false)?)?;
        } else {
            let all = list.runners.iter();
            let now = all.map(|runner| (runner.report.instance, change_of(&list, runner)));
            let now: BTreeMap<Uuid, Change> = now.collect();
            let is_new = |runner: &&Runner| {
                let instance = runner.report.instance;
                before.get(&instance) != now.get(&instance)
            };
            let changed: Vec<&Runner> = list.runners.iter().filter(is_new).collect();
            watch.show(&lines(&list, &changed, global.json())?)?;
            before = now;
        }
        if !watch.goes_on().await {
            return Ok(());
        }
        list = ask(&client).await?;
    }
}

/// Asks a node for all runners, and remarks which nodes do not answer.
async fn ask(client: &Client) -> Result<Runners, Exit> {
    let list = client.runners().await?;
    for node in &list.unreachable {
        remark(format_args!("{node} does not answer: what only that node heard is missing"));
    }
    if list.left_out > 0 {
        remark(format_args!("{} more, not heard for longer, are left out", list.left_out));
    }
    Ok(list)
}

/// The parts of a runner whose change is worth another line: neither the number of the report nor the times.
#[derive(PartialEq)]
struct Change {
    report: RunnerReport,
    silent: bool,
    behind: Option<u64>,
}

fn change_of(list: &Runners, runner: &Runner) -> Change {
    let report = RunnerReport { number: 0, running: Duration::ZERO, ..runner.report.clone() };
    Change { report, silent: runner.is_silent(), behind: list.behind(runner) }
}

/// Returns the text or the JSON lines that show all runners.
fn shown(list: &Runners, json: bool) -> io::Result<Vec<u8>> {
    let all: Vec<&Runner> = list.runners.iter().collect();
    let mut output = lines(list, &all, json)?;
    if !json {
        let count = |kind| all.iter().filter(|runner| runner.report.kind == kind).count() as u64;
        let projections = count_of(count(RunnerKind::Projection), "projection");
        let managers = count_of(count(RunnerKind::ProcessManager), "process manager");
        let position = list.last_position;
        writeln!(output, "{projections}, {managers} as of position {position}")?;
    }
    Ok(output)
}

fn lines(list: &Runners, runners: &[&Runner], json: bool) -> io::Result<Vec<u8>> {
    let mut output = Vec::new();
    if !json {
        write_table(&mut output, list, runners)?;
        return Ok(output);
    }
    for runner in runners {
        let RunnerReport { name, kind, state, rebuilds, error, place, .. } = &runner.report;
        let line = RunnerLine {
            name,
            kind: kind.as_str(),
            state: state.as_str(),
            silent: runner.is_silent(),
            rebuilds: *rebuilds,
            error,
            position: runner.report.position.map(|position| position.0),
            behind: list.behind(runner),
            partitions: runner.report.partitions,
            handled: runner.report.handled,
            parked: runner.report.parked,
            heard_ms_ago: runner.heard_ago.as_millis(),
            running_ms: runner.report.running.as_millis(),
            place,
            instance: runner.report.instance.to_string(),
        };
        write_json(&mut output, &line)?;
    }
    Ok(output)
}

fn write_table(output: &mut impl Write, list: &Runners, runners: &[&Runner]) -> io::Result<()> {
    if runners.is_empty() {
        return Ok(());
    }
    let width = runners.iter().map(|runner| runner.report.name.chars().count()).max();
    let width = width.unwrap_or_default().max("name".len());
    let row = |name: &str, kind: &str, [position, behind, heard]: [&str; 3], state: &str| {
        format!("{name:<width$}  {kind:<15}  {position:>10}  {behind:>10}  {heard:>5}  {state}")
    };
    let head = row("name", "kind", ["position", "behind", "heard"], "state");
    write_line(output, &head)?;
    let number = |number: Option<u64>| number.map_or("-".to_owned(), |number| number.to_string());
    for runner in runners {
        let RunnerReport { name, kind, position, .. } = &runner.report;
        let (position, behind) = (number(position.map(|at| at.0)), number(list.behind(runner)));
        let (kind, heard) = (kind.as_str().replace('-', " "), span::rough(runner.heard_ago));
        let line = row(name, &kind, [&position, &behind, &heard], &state_of(runner));
        write_line(output, &line)?;
        for detail in details(list, runner) {
            write_line(output, format_args!("  {detail}"))?;
        }
    }
    Ok(())
}

/// Returns the state of a runner as a person reads it.
fn state_of(runner: &Runner) -> String {
    let RunnerReport { state, rebuilds, .. } = &runner.report;
    if runner.is_silent() {
        return format!("not heard for {}", span::rough(runner.heard_ago));
    }
    match state {
        RunnerState::CatchingUp | RunnerState::Live if *rebuilds => "rebuilding".to_owned(),
        RunnerState::Stopped | RunnerState::Failed if *rebuilds => format!("rebuild {state}"),
        _ => state.as_str().replace('-', " "),
    }
}

/// Returns the lines below the line of a runner: its error, the number of parked events, and its place if it failed,
/// tries again, is silent, or is one of several of its name.
fn details(list: &Runners, runner: &Runner) -> Vec<String> {
    let report = &runner.report;
    let is_same =
        |other: &&Runner| other.report.kind == report.kind && other.report.name == report.name;
    let is_one_of_several = list.runners.iter().filter(is_same).count() > 1;
    let parked = (report.parked > 0).then(|| count_of(report.parked, "event") + " parked");
    let is_wanted = is_one_of_several || runner.is_silent() || !report.error.is_empty();
    let place = (is_wanted && !report.place.is_empty()).then(|| report.place.clone());
    let error = (!report.error.is_empty()).then(|| report.error.clone());
    // The texts come from an application: they must not control the terminal.
    let plain = |text: String| text.replace(char::is_control, " ");
    [error, parked, place].into_iter().flatten().map(plain).collect()
}

#[cfg(test)]
mod tests {
    use quorate_client::Position;

    use super::*;

    #[test]
    fn a_state_is_shown_in_words_and_a_silent_runner_is_not_shown_as_live() {
        let shown = |state, rebuilds, seconds| {
            let report = RunnerReport {
                kind: RunnerKind::Projection,
                name: "orders".to_owned(),
                instance: Uuid::from_u128(1),
                place: "process 7 on host-a".to_owned(),
                number: 1,
                state,
                rebuilds,
                error: String::new(),
                position: None,
                partitions: 1,
                handled: 0,
                parked: 0,
                running: Duration::ZERO,
            };
            let (heard_ago, last_position) = (Duration::from_secs(seconds), Position(0));
            let runner = Runner { report, heard_ago, last_position };
            let list = Runners::default();
            (state_of(&runner), details(&list, &runner).join("; "))
        };
        let expected = |state: &str, details: &str| (state.to_owned(), details.to_owned());
        assert_eq!(shown(RunnerState::Live, false, 20), expected("live", ""));
        let silent = expected("not heard for 3m", "process 7 on host-a");
        assert_eq!(shown(RunnerState::Live, false, 200), silent);
        assert_eq!(shown(RunnerState::Stopped, false, 200), expected("stopped", ""));
        assert_eq!(shown(RunnerState::CatchingUp, true, 1), expected("rebuilding", ""));
        assert_eq!(shown(RunnerState::Failed, true, 1), expected("rebuild failed", ""));
        assert_eq!(shown(RunnerState::StandingBy, false, 1), expected("standing by", ""));
    }
}
