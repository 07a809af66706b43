//! `quorate group`: consumer groups, which share what a query finds among many consumers.

mod command;
mod consume;
mod exec;
mod manage;
mod show;

use clap::{Args, Subcommand};

use crate::cli::{Asking, Exit, Nothing, Reading, Shared, Untimed};

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
    Create(Untimed<manage::CreateArgs>),
    /// List all groups.
    List(Reading<Nothing>),
    /// Show a group, how far it is, and its consumers.
    Show(Reading<show::ShowArgs>),
    /// Consume: print events and acknowledge them, or run a command for each.
    Consume(Asking<consume::ConsumeArgs>),
    /// List the events that were tried too often, or that a consumer parked, with the reasons.
    Parked(Reading<show::ParkedArgs>),
    /// Try parked events again, from the first attempt on.
    Replay(Asking<manage::SelectArgs>),
    /// Give parked events up for good.
    Drop(Asking<manage::SelectArgs>),
    /// Begin again after a position: what was settled, failed or parked is forgotten.
    Reset(Asking<manage::ResetArgs>),
    /// Remove a group with all that is known of its progress.
    Delete(Asking<manage::DeleteArgs>),
    /// Change how a group goes on. What is not told stays as it is.
    Configure(Untimed<manage::ConfigureArgs>),
}

/// Runs the command.
pub async fn run(args: GroupArgs) -> Result<(), Exit> {
    match args.command {
        GroupCommand::Create(args) => args.run(manage::create).await,
        GroupCommand::List(args) => args.run(show::list).await,
        GroupCommand::Show(args) => args.run(show::show).await,
        GroupCommand::Consume(args) => args.run(consume::run).await,
        GroupCommand::Parked(args) => args.run(show::parked).await,
        GroupCommand::Replay(args) => args.run(manage::replay).await,
        GroupCommand::Drop(args) => args.run(manage::give_up).await,
        GroupCommand::Reset(args) => args.run(manage::reset).await,
        GroupCommand::Delete(args) => args.run(manage::delete).await,
        GroupCommand::Configure(args) => args.run(manage::configure).await,
    }
}
