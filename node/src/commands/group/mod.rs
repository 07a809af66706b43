//! `quorate group`: consumer groups, which share what a query finds among many consumers.

mod command;
mod consume;
mod exec;
mod manage;
mod show;

use clap::{Args, Subcommand};

use crate::cli::{Asking, Exit, Nothing, Reading, Untimed};

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
        GroupCommand::Create(args) => {
            let (args, global) = args.parts()?;
            manage::create(args, &global).await
        }
        GroupCommand::List(args) => show::list(&args.parts()?.1).await,
        GroupCommand::Show(args) => {
            let (args, global) = args.parts()?;
            show::show(args, &global).await
        }
        GroupCommand::Consume(args) => {
            let (args, global) = args.parts()?;
            consume::run(args, &global).await
        }
        GroupCommand::Parked(args) => {
            let (args, global) = args.parts()?;
            show::parked(args, &global).await
        }
        GroupCommand::Replay(args) => {
            let (args, global) = args.parts()?;
            manage::replay(args, &global).await
        }
        GroupCommand::Drop(args) => {
            let (args, global) = args.parts()?;
            manage::give_up(args, &global).await
        }
        GroupCommand::Reset(args) => {
            let (args, global) = args.parts()?;
            manage::reset(args, &global).await
        }
        GroupCommand::Delete(args) => {
            let (args, global) = args.parts()?;
            manage::delete(args, &global).await
        }
        GroupCommand::Configure(args) => {
            let (args, global) = args.parts()?;
            manage::configure(args, &global).await
        }
    }
}
