//! `quorate process`: lists, replays and drops the triggers that a process manager parked.

use std::collections::BTreeSet;
use std::io::{self, Write};

use clap::{Args, Subcommand};
use quorate_client::parking::{ParkedTrigger, TriggerCause};
use quorate_client::{ProcessManagerRef, Selection};
use serde::Serialize;
use serde_json::value::RawValue;

use crate::cli::{Asking, Exit, Global, Shared, connect};
use crate::output::{count_of, remark, write_json, write_line};

/// List, replay and drop the triggers that a process manager parked.
///
/// A trigger is an event or a due time. A process manager that is set to park goes on where its reaction to a trigger
/// fails; the trigger stays in the stream `NAME$parked` with the reason. `quorate progress` shows how far process
/// managers are.
#[derive(Args, Debug)]
pub struct ProcessArgs {
    #[command(subcommand)]
    command: ProcessCommand,
}

#[derive(Debug, Subcommand)]
enum ProcessCommand {
    /// List the triggers that are parked, with the reasons.
    Parked(Asking<ParkedArgs>),
    /// Let the process manager decide on parked triggers again, now or when it runs next.
    ///
    /// What fails again stays parked, with the new reason: so does everything of an instance that has ended.
    Replay(Asking<SelectArgs>),
    /// Give parked triggers up for good.
    Drop(Asking<SelectArgs>),
}

#[derive(Args, Debug)]
struct ParkedArgs {
    /// The process manager.
    name: String,
}

#[derive(Args, Debug)]
struct SelectArgs {
    /// The process manager.
    name: String,
    /// The positions at which the triggers were parked, as `quorate process parked` lists them.
    #[arg(required_unless_present = "all", conflicts_with = "all", value_name = "POSITION")]
    positions: Vec<u64>,
    /// All that are parked.
    #[arg(long)]
    all: bool,
}

/// A parked trigger as a JSON line.
#[derive(Serialize)]
struct ParkedLine<'a> {
    position: u64,
    instance: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    event: Option<EventLine<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    due: Option<DueLine<'a>>,
    reason: &'a str,
    parked_at: String,
    /// The position of the request that is not answered yet.
    #[serde(skip_serializing_if = "Option::is_none")]
    requested: Option<u64>,
}

#[derive(Serialize)]
struct EventLine<'a> {
    position: u64,
    id: &'a str,
    stream: &'a str,
    r#type: &'a str,
}

#[derive(Serialize)]
struct DueLine<'a> {
    key: &'a str,
    at: String,
    payload: &'a RawValue,
}

/// The result of a command on parked triggers, as a JSON line.
#[derive(Serialize)]
struct DoneLine<'a> {
    process_manager: &'a str,
    count: u64,
    /// The positions at which no trigger is parked.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    not_parked: BTreeSet<u64>,
}

/// Runs the command.
pub async fn run(args: ProcessArgs) -> Result<(), Exit> {
    match args.command {
        ProcessCommand::Parked(args) => args.run(parked).await,
        ProcessCommand::Replay(args) => args.run(replay).await,
        ProcessCommand::Drop(args) => args.run(give_up).await,
    }
}

async fn parked(args: ParkedArgs, global: &Global) -> Result<(), Exit> {
    let parked = connect(global).await?.process_manager(args.name).parked().await?;
    let mut output = io::BufWriter::new(io::stdout().lock());
    for one in &parked {
        match global.json() {
            true => write_json(&mut output, &line(one))?,
            false => write_parked(&mut output, one)?,
        }
    }
    if !global.json() {
        writeln!(output, "{}", count_of(parked.len() as u64, "parked trigger"))?;
    }
    output.flush()?;
    Ok(())
}

fn line(parked: &ParkedTrigger) -> ParkedLine<'_> {
    let ParkedTrigger { position, instance, cause, reason, parked_at, requested, .. } = parked;
    let (event, due) = match cause {
        TriggerCause::Event { position, id, stream, kind } => {
            (Some(EventLine { position: *position, id, stream, r#type: kind }), None)
        }
        TriggerCause::Due { key, at, payload, .. } => {
            (None, Some(DueLine { key, at: at.to_string(), payload }))
        }
    };
    ParkedLine {
        position: position.0,
        instance,
        event,
        due,
        reason,
        parked_at: parked_at.to_string(),
        requested: requested.map(|position| position.0),
    }
}

fn write_parked(output: &mut impl Write, parked: &ParkedTrigger) -> io::Result<()> {
    let ParkedTrigger { position, instance, cause, reason, parked_at, requested, .. } = parked;
    write_line(output, format_args!("{position:>8}  instance `{instance}`, {cause}"))?;
    let indentation = format_args!("{:>8}", "");
    write_line(output, format_args!("{indentation}  {parked_at}: {reason}"))?;
    match requested {
        Some(at) => {
            write_line(output, format_args!("{indentation}  replay requested, position {at}"))
        }
        None => Ok(()),
    }
}

async fn replay(args: SelectArgs, global: &Global) -> Result<(), Exit> {
    let replayed = manager(&args, global).await?.replay(selection(&args)).await?;
    report(&args, global, &replayed, "to be replayed")
}

async fn give_up(args: SelectArgs, global: &Global) -> Result<(), Exit> {
    let dropped = manager(&args, global).await?.drop_parked(selection(&args)).await?;
    report(&args, global, &dropped, "given up")
}

async fn manager(args: &SelectArgs, global: &Global) -> Result<ProcessManagerRef, Exit> {
    Ok(connect(global).await?.process_manager(&args.name))
}

fn selection(args: &SelectArgs) -> Selection {
    match args.all {
        true => Selection::All,
        false => Selection::positions(args.positions.iter().copied()),
    }
}

fn report(
    args: &SelectArgs,
    global: &Global,
    done: &[ParkedTrigger],
    what: &str,
) -> Result<(), Exit> {
    let mut not_parked: BTreeSet<u64> = args.positions.iter().copied().collect();
    for one in done {
        not_parked.remove(&one.position.0);
    }
    for position in &not_parked {
        remark(format_args!("no trigger is parked at position {position}"));
    }
    let (process_manager, count) = (args.name.as_str(), done.len() as u64);
    let mut output = io::stdout().lock();
    let written = match global.json() {
        true => write_json(&mut output, &DoneLine { process_manager, count, not_parked }),
        false => {
            let triggers = count_of(count, "parked trigger");
            let sentence = format_args!("process manager `{process_manager}`: {triggers} {what}");
            write_line(&mut output, sentence)
        }
    };
    Exit::after_report(Ok(()), written)
}
