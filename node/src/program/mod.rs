//! The program: the list of its commands, and the runtime that each of them gets.

mod environment;
mod order;

use std::future::Future;

use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};

use crate::cli::{self, Asking, Ending, Exit, Reading, Shared};
use crate::commands::{
    append, bench, cluster, completions, demo, dev, export, group, history, import, process,
    progress, read, scavenge, serve, snapshot, stream, verify,
};

/// A replicated event store: one append-only log of events, agreed on by a cluster of nodes.
#[derive(Debug, Parser)]
#[command(name = "quorate", version, arg_required_else_help = true, max_term_width = 100)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Demo(demo::DemoArgs),
    Dev(dev::DevArgs),
    Serve(serve::ServeArgs),
    Append(Asking<append::AppendArgs>),
    Read(Reading<read::ReadArgs>),
    Subscribe(Reading<read::SubscribeArgs>),
    History(Reading<history::HistoryArgs>),
    Import(Asking<import::ImportArgs>),
    Export(Reading<export::ExportArgs>),
    Stream(stream::StreamArgs),
    Snapshot(snapshot::SnapshotArgs),
    Scavenge(Asking<scavenge::ScavengeArgs>),
    Group(group::GroupArgs),
    Progress(Asking<progress::ProgressArgs>),
    Process(process::ProcessArgs),
    Cluster(cluster::ClusterArgs),
    Bench(bench::BenchArgs),
    Verify(verify::VerifyArgs),
    Completions(completions::CompletionsArgs),
    Manual(completions::ManualArgs),
}

/// Reads the command line; help and version are an error that says so.
pub(crate) fn parse() -> Result<Arguments, clap::Error> {
    let line = order::options_behind_the_command(std::env::args_os(), &command());
    let matches = environment::matches(command(), line)?;
    Arguments::from_arg_matches(&matches).map_err(|error| error.format(&mut command()))
}

/// Returns the command line with the examples in its helps.
fn command() -> clap::Command {
    cli::with_examples(Arguments::command(), "")
}

impl Arguments {
    /// Runs the command to its end.
    pub(crate) fn run(self) -> Ending {
        Ending(self.command.run())
    }
}

impl Command {
    fn run(self) -> Result<(), Exit> {
        match self {
            Command::Demo(args) => block_on(demo::run(args)),
            Command::Dev(args) => block_on(dev::run(args)),
            Command::Serve(args) => serve::run(args),
            Command::Append(args) => block_on(args.run(append::run)),
            Command::Read(args) => block_on(args.run(read::run)),
            Command::Subscribe(args) => block_on(args.run(read::subscribe)),
            Command::History(args) => block_on(args.run(history::run)),
            Command::Import(args) => block_on(args.run(import::run)),
            Command::Export(args) => block_on(args.run(export::run)),
            Command::Scavenge(args) => block_on(args.run(scavenge::run)),
            Command::Progress(args) => block_on(args.run(progress::run)),
            Command::Stream(args) => block_on(stream::run(args)),
            Command::Snapshot(args) => block_on(snapshot::run(args)),
            Command::Group(args) => block_on(group::run(args)),
            Command::Process(args) => block_on(process::run(args)),
            Command::Cluster(args) => block_on(cluster::run(args)),
            Command::Bench(args) => block_on(bench::run(args)),
            Command::Verify(args) => verify::run(&args),
            Command::Completions(args) => completions::run(&args, command()),
            Command::Manual(args) => completions::manual(&args, Arguments::command()),
        }
    }
}

/// A command that talks to a cluster needs one thread: what takes its time happens on the nodes.
fn block_on(command: impl Future<Output = Result<(), Exit>>) -> Result<(), Exit> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let ended = runtime.block_on(command);
    // A write that its reader does not take holds nobody.
    runtime.shutdown_background();
    ended
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn leaves(command: &clap::Command, path: &str, found: &mut BTreeSet<String>) {
        if !command.has_subcommands() {
            found.insert(path.trim_start().to_owned());
        }
        for below in command.get_subcommands() {
            leaves(below, &format!("{path} {}", below.get_name()), found);
        }
    }

    #[test]
    fn every_command_has_an_example_at_the_end_of_its_help() {
        let mut commands = BTreeSet::new();
        leaves(&Arguments::command(), "", &mut commands);
        let shown: BTreeSet<String> = cli::paths().into_iter().map(str::to_owned).collect();
        assert_eq!(commands, shown);
    }

    #[test]
    fn every_command_says_what_it_does() {
        fn check(command: &clap::Command) {
            assert!(command.get_about().is_some(), "{}", command.get_name());
            command.get_subcommands().for_each(check);
        }
        check(&command());
    }

    #[test]
    fn the_command_line_is_well_formed() {
        command().debug_assert();
    }

    #[test]
    fn an_option_that_does_nothing_for_a_command_is_not_offered_by_it() {
        let takes = |arguments: &[&str]| {
            let line = [&["quorate"], arguments].concat();
            command().try_get_matches_from(line).map_err(|error| error.kind()).map(|_| ())
        };
        let unknown = Err(clap::error::ErrorKind::UnknownArgument);
        for arguments in [
            &["append", "s", "--type", "T", "--consistency", "local"][..],
            &["import", "f", "--consistency", "local"],
            &["bench", "append", "--consistency", "local"],
            &["stream", "delete", "s", "--consistency", "local"],
            &["group", "create", "g", "--consistency", "local"],
            &["scavenge", "--consistency", "local"],
            &["cluster", "status", "--consistency", "local"],
            &["progress", "--consistency", "local"],
            &["demo", "--json"],
            &["dev", "--json"],
            &["serve", "--json"],
            &["demo", "--node", "a:1"],
            &["dev", "--endpoints", "a:1"],
            &["serve", "--node", "a:1"],
            &["verify", "d", "--node", "a:1"],
            &["subscribe", "--until", "1d"],
            &["subscribe", "--follow"],
        ] {
            assert_eq!(takes(arguments), unknown, "{arguments:?}");
        }
        for arguments in [
            &["read", "s", "--consistency", "local", "--json", "--node", "a:1"][..],
            &["bench", "read", "--consistency", "local"],
            &["stream", "list", "--consistency", "at-least:7"],
            &["group", "create", "g", "--timeout", "30s"],
            &["group", "show", "g", "--timeout", "30s", "--consistency", "local"],
            &["verify", "d", "--json"],
        ] {
            assert_eq!(takes(arguments), Ok(()), "{arguments:?}");
        }
    }

    #[test]
    fn every_command_has_a_page() {
        let folder = tempfile::tempdir().expect("a folder");
        let directory = folder.path().as_os_str().to_owned();
        let arguments = Arguments::parse_from(["quorate".into(), "manual".into(), directory]);
        assert!(arguments.command.run().is_ok());
        for page in ["quorate", "quorate-append", "quorate-stream-list"] {
            let text =
                std::fs::read_to_string(folder.path().join(format!("{page}.1"))).expect(page);
            assert!(text.contains(".SH NAME"), "{page}");
            assert_eq!(text.contains(".SH EXAMPLE"), page != "quorate", "{page}");
        }
    }
}
