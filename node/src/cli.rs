//! The command line: what is global, the commands, and the runtime that each of them gets.

use std::future::Future;
use std::io::IsTerminal;

use clap::{Args, Parser, Subcommand, ValueEnum};
use quorate_proto::{Consistency, Position};

use crate::commands::{
    append, bench, cluster, demo, dev, export, group, import, read, scavenge, serve, snapshot,
    stream, verify,
};
use crate::exit::{Ending, Exit};

/// A replicated event store: one append-only log of events, agreed on by a cluster of nodes.
#[derive(Debug, Parser)]
#[command(name = "quorate", version, arg_required_else_help = true, max_term_width = 100)]
pub struct Arguments {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Command,
}

/// What every command that talks to a cluster takes.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Global options")]
pub struct Global {
    /// Addresses of some nodes of the cluster; the others are found through them.
    #[arg(
        long,
        global = true,
        value_name = "ADDR,…",
        value_delimiter = ',',
        env = "QUORATE_ENDPOINTS",
        hide_env_values = true,
        default_value = "127.0.0.1:7701,127.0.0.1:7702,127.0.0.1:7703"
    )]
    pub endpoints: Vec<String>,
    /// Ask this node and no other.
    #[arg(long, global = true, value_name = "ADDR")]
    pub node: Option<String>,
    /// How fresh a read must be: linearizable, at-least:POSITION or local.
    #[arg(
        long,
        global = true,
        value_name = "HOW",
        default_value = "linearizable",
        value_parser = parse_consistency
    )]
    pub consistency: Consistency,
    /// Plain text for people, or one JSON object a line for programs [default: text on a terminal, else
    /// json].
    #[arg(
        long,
        global = true,
        value_name = "FORM",
        env = "QUORATE_OUTPUT",
        hide_env_values = true
    )]
    output: Option<OutputForm>,
    /// The same as --output json, whatever the environment says.
    #[arg(long, global = true)]
    json: bool,
}

/// The form of what commands print.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum OutputForm {
    Text,
    Json,
}

impl Global {
    /// Whether output is for machines.
    pub fn json(&self) -> bool {
        match self.output {
            _ if self.json => true,
            Some(form) => form == OutputForm::Json,
            None => !std::io::stdout().is_terminal(),
        }
    }

    /// The addresses to connect to: the one asked for, or all that are known.
    pub fn addresses(&self) -> Vec<String> {
        match &self.node {
            Some(node) => vec![node.clone()],
            None => self.endpoints.clone(),
        }
    }
}

#[derive(Debug, Subcommand)]
enum Command {
    Demo(demo::DemoArgs),
    Dev(dev::DevArgs),
    Serve(serve::ServeArgs),
    Append(append::AppendArgs),
    Read(read::ReadArgs),
    Subscribe(read::SubscribeArgs),
    Import(import::ImportArgs),
    Export(export::ExportArgs),
    Stream(stream::StreamArgs),
    Snapshot(snapshot::SnapshotArgs),
    Scavenge(scavenge::ScavengeArgs),
    Group(group::GroupArgs),
    Cluster(cluster::ClusterArgs),
    Bench(bench::BenchArgs),
    Verify(verify::VerifyArgs),
}

impl Arguments {
    /// Runs the command to its end.
    pub fn run(self) -> Ending {
        let Arguments { global, command } = self;
        let ending = match command {
            Command::Demo(args) => block_on(demo::run(args)),
            Command::Dev(args) => block_on(dev::run(args)),
            Command::Serve(args) => serve::run(args),
            Command::Append(args) => block_on(append::run(args, &global)),
            Command::Read(args) => block_on(read::run(args, &global)),
            Command::Subscribe(args) => block_on(read::subscribe(args, &global)),
            Command::Import(args) => block_on(import::run(args, &global)),
            Command::Export(args) => block_on(export::run(args, &global)),
            Command::Stream(args) => block_on(stream::run(args, &global)),
            Command::Snapshot(args) => block_on(snapshot::run(args, &global)),
            Command::Scavenge(args) => block_on(scavenge::run(args, &global)),
            Command::Group(args) => block_on(group::run(args, &global)),
            Command::Cluster(args) => block_on(cluster::run(args, &global)),
            Command::Bench(args) => block_on(bench::run(args, &global)),
            Command::Verify(args) => verify::run(&args, &global),
        };
        Ending(ending)
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

fn parse_consistency(text: &str) -> Result<Consistency, String> {
    match text {
        "linearizable" => Ok(Consistency::Linearizable),
        "local" => Ok(Consistency::Local),
        _ => text
            .strip_prefix("at-least:")
            .and_then(|position| position.parse().ok())
            .map(|position| Consistency::AtLeast(Position(position)))
            .ok_or_else(|| "is not `linearizable`, `at-least:POSITION` or `local`".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        use clap::CommandFactory;
        Arguments::command().debug_assert();
    }

    #[test]
    fn consistency_is_read_as_the_manual_says() {
        assert_eq!(parse_consistency("linearizable"), Ok(Consistency::Linearizable));
        assert_eq!(parse_consistency("local"), Ok(Consistency::Local));
        assert_eq!(parse_consistency("at-least:7"), Ok(Consistency::AtLeast(Position(7))));
        for wrong in ["", "at-least", "at-least:", "at-least:-1", "Local"] {
            assert!(parse_consistency(wrong).is_err(), "{wrong}");
        }
    }
}
