//! `quorate stream`: lists, the settings of streams, categories and paths, and the end of streams.

mod change;
mod list;
mod scope;
mod show;

use clap::{Args, Subcommand};

use self::change::{EndArgs, SetArgs, TombstoneArgs, TruncateArgs};
use self::list::ListArgs;
use self::show::ShowArgs;
use crate::cli::{Asking, Exit, Reading, Shared};

/// List streams, see and change their settings, and end them.
///
/// Every change is an event itself, in the stream `$$NAME` (or `$category/NAME`, `$path/NAME`): it has a position,
/// and can be read there. What is removed never comes back, and no version or position is ever used again.
#[derive(Args, Debug)]
pub struct StreamArgs {
    #[command(subcommand)]
    command: StreamCommand,
}

#[derive(Debug, Subcommand)]
enum StreamCommand {
    /// List streams, or categories, paths or types, with how many events each has.
    ///
    /// Of a stream those events are counted that can be read; of a category, a path or a type those that were
    /// recorded, whatever was removed since. Names come in the order of their bytes; go on with --after and the
    /// last one.
    List(Reading<ListArgs>),
    /// Show what is known of a stream, a category or a path beside its events.
    Show(Reading<ShowArgs>),
    /// Change settings: how many events are there, and how long.
    ///
    /// Of a stream, its own settings come first, then those of its category, then those of its longest path
    /// that has any. Ages are measured by the time of the newest entry of the log, alike on every node.
    Set(Asking<SetArgs>),
    /// Remove the events before one of them.
    Truncate(Asking<TruncateArgs>),
    /// Remove all events of a stream. It can be appended to again, and numbering goes on.
    Delete(Asking<EndArgs>),
    /// Remove all events of a stream and close its name for good.
    Tombstone(Asking<TombstoneArgs>),
}

/// Runs the command.
pub async fn run(args: StreamArgs) -> Result<(), Exit> {
    match args.command {
        StreamCommand::List(args) => args.run(list::list).await,
        StreamCommand::Show(args) => args.run(show::show).await,
        StreamCommand::Set(args) => args.run(change::set).await,
        StreamCommand::Truncate(args) => args.run(change::truncate).await,
        StreamCommand::Delete(args) => args.run(change::delete).await,
        StreamCommand::Tombstone(args) => args.run(change::tombstone).await,
    }
}
