//! The options that many commands share, in groups: each command offers the groups that apply to it.
//!
//! The comments above the groups are no doc comments, because those would become the help of the commands.

use std::io::IsTerminal;
use std::time::Duration;

use clap::{Args, ValueEnum};
use quorate_proto::{Address, Consistency, Position};
use tracing_subscriber::EnvFilter;

use crate::cli::Exit;
use crate::output::screen;
use crate::values::span;

/// The values of the options that commands share.
#[derive(Clone, Debug)]
pub struct Global {
    /// Addresses of some nodes of the cluster.
    pub endpoints: Vec<Addresses>,
    /// The one node to ask, if one was named.
    pub node: Option<Address>,
    /// The required freshness of a read.
    pub consistency: Consistency,
    /// The time to wait for the cluster, if one was given.
    pub timeout: Option<Duration>,
    json: bool,
}

impl Global {
    /// Returns true if output is for machines.
    pub fn json(&self) -> bool {
        self.json
    }

    /// Returns the addresses to connect to: the requested node's, or all that are known.
    pub fn addresses(&self) -> Vec<String> {
        match &self.node {
            Some(node) => vec![node.to_string()],
            None => shown(&self.endpoints),
        }
    }
}

// The options for the nodes to ask, and for the client's log.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Connection")]
pub(crate) struct Connection {
    /// Addresses of some nodes of the cluster; the others are found through them.
    #[arg(
        long,
        value_name = "ADDR,…",
        value_parser = addresses,
        env = "QUORATE_ENDPOINTS",
        hide_env_values = true,
        default_value = "127.0.0.1:7701,127.0.0.1:7702,127.0.0.1:7703"
    )]
    endpoints: Vec<Addresses>,
    /// Ask this node and no other.
    #[arg(long, value_name = "ADDR")]
    node: Option<Address>,
    /// Tell on standard error what the client does: error, warn, info, debug, trace, or a filter like
    /// `quorate_client=debug`.
    // QUORATE_LOG is the node's variable, and must not make the clients in the node's container log more.
    #[arg(
        long,
        value_name = "LEVEL",
        value_parser = parse_log,
        env = "QUORATE_CLIENT_LOG",
        hide_env_values = true
    )]
    log: Option<String>,
}

// The option for the time to wait for an answer.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Connection")]
pub(crate) struct Patience {
    /// How long to go on without an answer: `500ms`, `30s`, `2m` [default: 10s].
    #[arg(
        long,
        value_name = "SPAN",
        value_parser = parse_timeout,
        env = "QUORATE_TIMEOUT",
        hide_env_values = true
    )]
    timeout: Option<Duration>,
}

// The option for the freshness of answers.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Connection")]
pub(crate) struct Freshness {
    /// How fresh the answer must be: linearizable, at-least:POSITION or local.
    #[arg(
        long,
        value_name = "HOW",
        default_value = "linearizable",
        value_parser = parse_consistency
    )]
    consistency: Consistency,
}

// The options for the form of the output.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Output")]
pub(crate) struct Form {
    /// Plain text for people, or one JSON object a line for programs [default: text on a terminal, else
    /// json]. On a terminal, the lines of lists end where the terminal does.
    #[arg(long, value_name = "FORM", env = "QUORATE_OUTPUT", hide_env_values = true)]
    output: Option<OutputForm>,
    /// The same as --output json, whatever the environment says.
    #[arg(long)]
    json: bool,
}

/// The form of what commands print.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum OutputForm {
    Text,
    Json,
}

impl Form {
    /// Returns true if output is for machines.
    pub(crate) fn is_json(&self) -> bool {
        match self.output {
            _ if self.json => true,
            Some(form) => form == OutputForm::Json,
            None => !std::io::stdout().is_terminal(),
        }
    }
}

// The arguments of a command that talks to a cluster.
#[derive(Args, Debug)]
pub(crate) struct Asking<A: Args> {
    #[command(flatten)]
    untimed: Untimed<A>,
    #[command(flatten)]
    patience: Patience,
}

// The arguments of a command that reads from a cluster, and may be content with less than the newest.
#[derive(Args, Debug)]
pub(crate) struct Reading<A: Args> {
    #[command(flatten)]
    asking: Asking<A>,
    #[command(flatten)]
    freshness: Freshness,
}

// The arguments of a command whose `--timeout` is something else than the client's.
#[derive(Args, Debug)]
pub(crate) struct Untimed<A: Args> {
    #[command(flatten)]
    args: A,
    #[command(flatten)]
    connection: Connection,
    #[command(flatten)]
    form: Form,
}

// The arguments of a command that has none of its own.
#[derive(Args, Debug)]
pub(crate) struct Nothing {}

/// The arguments of a command, together with the options that it shares with others.
pub(crate) trait Shared: Sized {
    /// The command's own arguments.
    type Own;

    /// Returns the command's own arguments, and the shared ones; starts the log.
    fn parts(self) -> Result<(Self::Own, Global), Exit>;

    /// Runs the command.
    async fn run(
        self,
        command: impl AsyncFnOnce(Self::Own, &Global) -> Result<(), Exit>,
    ) -> Result<(), Exit> {
        let (args, global) = self.parts()?;
        command(args, &global).await
    }
}

impl<A: Args> Shared for Untimed<A> {
    type Own = A;

    fn parts(self) -> Result<(A, Global), Exit> {
        let Untimed { args, connection, form } = self;
        let Connection { endpoints, node, log } = connection;
        if let Some(filter) = log {
            start_log(&filter)?;
        }
        let json = form.is_json();
        let consistency = Consistency::Linearizable;
        Ok((args, Global { endpoints, node, consistency, timeout: None, json }))
    }
}

impl<A: Args> Shared for Asking<A> {
    type Own = A;

    fn parts(self) -> Result<(A, Global), Exit> {
        let (args, global) = self.untimed.parts()?;
        Ok((args, Global { timeout: self.patience.timeout, ..global }))
    }
}

impl<A: Args> Shared for Reading<A> {
    type Own = A;

    fn parts(self) -> Result<(A, Global), Exit> {
        let (args, global) = self.asking.parts()?;
        Ok((args, Global { consistency: self.freshness.consistency, ..global }))
    }
}

fn start_log(filter: &str) -> Result<(), Exit> {
    let filter = EnvFilter::try_new(filter).map_err(Exit::usage)?;
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        // On a failed write the subscriber would use `eprintln!`, which panics.
        .log_internal_errors(false)
        .with_ansi(screen::errors_in_colour())
        .try_init()
        .map_err(Exit::failed)
}

fn parse_log(text: &str) -> Result<String, String> {
    match EnvFilter::try_new(text) {
        Ok(_) if !text.trim().is_empty() => Ok(text.to_owned()),
        Ok(_) => Err("is empty".to_owned()),
        Err(error) => Err(error.to_string()),
    }
}

fn parse_timeout(text: &str) -> Result<Duration, String> {
    match span::parse(text)? {
        Duration::ZERO => Err("is no time at all".to_owned()),
        span => Ok(span),
    }
}

/// The addresses of one flag, which may be a list.
#[derive(Clone, Debug)]
pub struct Addresses(Vec<Address>);

/// Reads the value of a flag that is a list of addresses.
pub(crate) fn addresses(text: &str) -> Result<Addresses, String> {
    match Address::list(text) {
        Ok(list) if list.is_empty() => Err("it names no address".to_owned()),
        Ok(list) => Ok(Addresses(list)),
        Err(why) => Err(why.to_string()),
    }
}

/// Returns the addresses of a flag that may be repeated, in the form in which they are connected to.
pub(crate) fn shown(lists: &[Addresses]) -> Vec<String> {
    lists.iter().flat_map(|Addresses(list)| list).map(Address::to_string).collect()
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
    use clap::Parser;

    use super::*;

    #[test]
    fn consistency_is_read_as_the_manual_says() {
        assert_eq!(parse_consistency("linearizable"), Ok(Consistency::Linearizable));
        assert_eq!(parse_consistency("local"), Ok(Consistency::Local));
        assert_eq!(parse_consistency("at-least:7"), Ok(Consistency::AtLeast(Position(7))));
        for wrong in ["", "at-least", "at-least:", "at-least:-1", "Local"] {
            assert!(parse_consistency(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_timeout_is_a_span_of_time() {
        assert_eq!(parse_timeout("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(parse_timeout("2m"), Ok(Duration::from_secs(120)));
        for wrong in ["", "0s", "10", "-1s"] {
            assert!(parse_timeout(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn addresses_are_read_as_people_write_them() {
        #[derive(Parser)]
        struct Line {
            #[command(flatten)]
            args: Untimed<Nothing>,
        }
        let read = |arguments: &[&str]| {
            let read = Line::try_parse_from(["quorate"].iter().chain(arguments));
            let read = read.map_err(|error| error.to_string())?;
            read.args.parts().map(|(_, global)| global.addresses()).map_err(|exit| exit.message)
        };
        let both = vec!["a:1".to_owned(), "[::1]:2".to_owned()];
        assert_eq!(read(&["--endpoints", "a:1, [::1]:2,"]), Ok(both.clone()));
        assert_eq!(read(&["--endpoints", "A:1", "--endpoints", "[0::1]:2"]), Ok(both));
        assert_eq!(read(&["--node", " a:1 "]), Ok(vec!["a:1".to_owned()]));
        for (flag, wrong, why) in [
            ("--endpoints", "http://a:1", "without http://: `a:1`"),
            ("--endpoints", "a:1,::1:2", "`[::1]:2`"),
            ("--endpoints", ",", "names no address"),
            ("--node", "a:1,b:2", "is not HOST:PORT"),
        ] {
            let refused = read(&[flag, wrong]).expect_err(wrong);
            assert!(refused.contains(why), "{refused}");
        }
    }
}
