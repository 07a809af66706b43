//! `quorate group`: consumer groups, which share what a query finds among many consumers.

mod command;
mod consume;
mod exec;
mod manage;
mod show;

use std::time::Duration;

use clap::{Args, Subcommand};

use crate::age;
use crate::cli::Global;
use crate::exit::Exit;

pub(in crate::commands) use manage::parse_strategy;

/// Share events among consumers: each goes to one of them, again until it is handled, or is parked.
///
/// What became of each event is kept in the log: it outlives consumers, leaders and restarts.
#[derive(Args, Debug)]
pub struct GroupArgs {
    #[command(subcommand)]
    command: GroupCommand,
}

#[derive(Debug, Subcommand)]
enum GroupCommand {
    /// Create a group. Safe to repeat.
    Create(manage::CreateArgs),
    /// List all groups.
    List,
    /// Show a group, how far it is, and its consumers.
    Show(show::ShowArgs),
    /// Consume: print events and acknowledge them, or run a command for each.
    Consume(consume::ConsumeArgs),
    /// List the events that were tried too often, or that a consumer parked, with the reasons.
    Parked(show::ParkedArgs),
    /// Try parked events again, from the first attempt on.
    Replay(manage::SelectArgs),
    /// Give parked events up for good.
    Drop(manage::SelectArgs),
    /// Begin again after a position: what was settled, failed or parked is forgotten.
    Reset(manage::ResetArgs),
    /// Remove a group with all that is known of its progress.
    Delete(manage::DeleteArgs),
    /// Change how a group goes on. What is not told stays as it is.
    Configure(manage::ConfigureArgs),
}

/// Runs the command.
pub async fn run(args: GroupArgs, global: &Global) -> Result<(), Exit> {
    match args.command {
        GroupCommand::Create(args) => manage::create(args, global).await,
        GroupCommand::List => show::list(global).await,
        GroupCommand::Show(args) => show::show(args, global).await,
        GroupCommand::Consume(args) => consume::run(args, global).await,
        GroupCommand::Parked(args) => show::parked(args, global).await,
        GroupCommand::Replay(args) => manage::replay(args, global).await,
        GroupCommand::Drop(args) => manage::give_up(args, global).await,
        GroupCommand::Reset(args) => manage::reset(args, global).await,
        GroupCommand::Delete(args) => manage::delete(args, global).await,
        GroupCommand::Configure(args) => manage::configure(args, global).await,
    }
}

/// A span of time: `500ms`, or as everywhere `90s`, `10m`, `2h`.
fn parse_span(text: &str) -> Result<Duration, String> {
    let milliseconds = text.strip_suffix("ms").and_then(|count| count.parse::<u32>().ok());
    let span = milliseconds.map(|count| Duration::from_millis(count.into()));
    span.or_else(|| age::parse(text))
        .ok_or_else(|| "is no time span like `500ms` or `30s`".to_owned())
}

/// A span for a person.
fn show_span(span: Duration) -> String {
    if span.as_micros().is_multiple_of(1_000_000) {
        age::show(span)
    } else {
        format!("{}ms", span.as_millis())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_may_be_shorter_than_a_second() {
        for (text, milliseconds) in [("500ms", 500), ("0ms", 0), ("30s", 30_000), ("2m", 120_000)] {
            let span = Duration::from_millis(milliseconds);
            assert_eq!(parse_span(text), Ok(span), "{text}");
            assert_eq!(parse_span(&show_span(span)), Ok(span), "{text}");
        }
        for wrong in ["", "ms", "-1ms", "1.5ms", "10"] {
            assert!(parse_span(wrong).is_err(), "{wrong}");
        }
    }
}
