//! `quorate bench`: measures what a cluster does, as its clients see it.

use std::io::{self, Write};
use std::ops::RangeInclusive;
use std::time::Duration;

use clap::builder::RangedU64ValueParser;
use clap::{Args, Subcommand, ValueEnum};
use quorate_client::Client;
use quorate_proto::Strategy;
use quorate_proto::limits::APPEND_BYTES_MAX;
use serde::Serialize;

use crate::bench::{
    HotPath, Load, Measured, ROUNDS_MAX, Ran, append_load, catch_up_load, cpu_time, event_bytes,
    group_load, live_load, read_load,
};
use crate::cli::{Asking, Exit, Global, Reading, Shared, connect};
use crate::output::write_json;

/// The number of subscriptions per client: a connection carries about a thousand requests at once.
const SUBSCRIPTIONS_PER_CLIENT: u64 = 500;
/// The default number of appends per second while the time of events on their way to the clients is measured.
const RATE_DEFAULT: u64 = 100;

/// Measure appends, reads, subscriptions or consumer groups.
#[derive(Args, Debug)]
pub struct BenchArgs {
    #[command(subcommand)]
    operation: Operation,
}

#[derive(Subcommand, Debug)]
enum Operation {
    /// Append to many streams, each append checked against the version before it.
    Append(Asking<AppendArgs>),
    /// Follow the whole log from its beginning until all clients have caught up; with --live, follow what is
    /// appended meanwhile and measure how long it is on its way.
    Subscribe(Asking<SubscribeArgs>),
    /// Let a group of so many consumers go through the whole log, each acknowledging at once.
    Group(Asking<GroupArgs>),
    /// Read whole streams, again and again, of those that are in the store.
    Read(Reading<LoadArgs>),
    /// Go one path of a node or a client alone, on this machine and without a cluster: for profilers, and to count
    /// instructions.
    Path(PathArgs),
}

#[derive(Args, Debug)]
struct AppendArgs {
    #[command(flatten)]
    load: LoadArgs,
    /// Events in one append.
    #[arg(
        long,
        value_name = "COUNT",
        default_value_t = 1,
        value_parser = within(1..=10_000)
    )]
    events_per_append: u64,
    /// Bytes of data of an event, random text as JSON.
    #[arg(
        long,
        value_name = "BYTES",
        default_value_t = 256,
        value_parser = within(2..=1_048_576)
    )]
    size: u64,
}

#[derive(Args, Debug)]
struct SubscribeArgs {
    #[command(flatten)]
    load: LoadArgs,
    /// Measure the way of events that are appended now, from the sending of the append to their arrival.
    #[arg(long)]
    live: bool,
    /// With --live: how many events are appended in a second, one after the other [default: 100].
    #[arg(
        long,
        value_name = "COUNT",
        requires = "live",
        value_parser = within(1..=100_000)
    )]
    rate: Option<u64>,
}

#[derive(Args, Debug)]
struct GroupArgs {
    #[command(flatten)]
    load: LoadArgs,
    /// How the events are shared: round-robin, by-stream or single.
    #[arg(
        long,
        value_name = "STRATEGY",
        default_value = "round-robin",
        value_parser = super::group::parse_strategy
    )]
    strategy: Strategy,
}

#[derive(Args, Debug)]
struct PathArgs {
    /// The path.
    path: HotPath,
    /// The number of rounds of the same work.
    #[arg(long, value_name = "COUNT", default_value_t = ROUNDS_MAX as u64, value_parser = within(1..=ROUNDS_MAX as u64))]
    rounds: u64,
}

#[derive(Args, Debug)]
struct LoadArgs {
    /// How many clients work at the same time, each waiting for its answer before it goes on.
    #[arg(
        long,
        value_name = "COUNT",
        default_value_t = 64,
        value_parser = within(1..=100_000)
    )]
    clients: u64,
    /// How long; at most a year.
    #[arg(
        long,
        value_name = "SECONDS",
        default_value_t = 10,
        value_parser = within(1..=31_536_000)
    )]
    seconds: u64,
}

/// A whole number in a range.
fn within(range: RangeInclusive<u64>) -> RangedU64ValueParser {
    clap::value_parser!(u64).range(range)
}

impl LoadArgs {
    fn load(&self) -> Load {
        Load { clients: self.clients, time: Duration::from_secs(self.seconds) }
    }
}

impl AppendArgs {
    /// Refuses appends that every node would refuse, before such large events are made.
    fn check(&self) -> Result<(), Exit> {
        let bytes = event_bytes(self.size).saturating_mul(self.events_per_append);
        if bytes > APPEND_BYTES_MAX as u64 {
            return Err(Exit::usage(format!(
                "an append would have {bytes} bytes; at most {APPEND_BYTES_MAX} are allowed"
            )));
        }
        Ok(())
    }
}

/// Runs the command.
pub async fn run(args: BenchArgs) -> Result<(), Exit> {
    match args.operation {
        Operation::Append(args) => args.run(append).await,
        Operation::Subscribe(args) => args.run(subscribe).await,
        Operation::Group(args) => args.run(group).await,
        Operation::Read(args) => args.run(read).await,
        Operation::Path(args) => path(&args),
    }
}

async fn append(args: AppendArgs, global: &Global) -> Result<(), Exit> {
    args.check()?;
    let AppendArgs { load, events_per_append, size } = args;
    let (load, bench) = (load.load(), Bench::begin(global).await?);
    let measured = append_load(&bench.client, &load, events_per_append, size as usize).await;
    bench.end("append", &load, (events_per_append, size), measured)
}

async fn subscribe(args: SubscribeArgs, global: &Global) -> Result<(), Exit> {
    let SubscribeArgs { load, live, rate } = args;
    let (load, bench) = (load.load(), Bench::begin(global).await?);
    let mut clients = vec![bench.client.clone()];
    while (clients.len() as u64) * SUBSCRIPTIONS_PER_CLIENT < load.clients {
        clients.push(connect(global).await?);
    }
    let measured = match live {
        true => live_load(&clients, &load, rate.unwrap_or(RATE_DEFAULT)).await?,
        false => catch_up_load(&clients, &load).await,
    };
    bench.end("subscribe", &load, (0, 0), measured)
}

async fn group(args: GroupArgs, global: &Global) -> Result<(), Exit> {
    let (load, bench) = (args.load.load(), Bench::begin(global).await?);
    let measured = group_load(&bench.client, &load, args.strategy).await?;
    bench.end("group", &load, (0, 0), measured)
}

async fn read(args: LoadArgs, global: &Global) -> Result<(), Exit> {
    let (load, bench) = (args.load(), Bench::begin(global).await?);
    let measured = read_load(&bench.client, &load, global.consistency).await?;
    bench.end("read", &load, (0, 0), measured)
}

/// Goes the path on this thread; nothing else runs meanwhile.
fn path(args: &PathArgs) -> Result<(), Exit> {
    let Ran { operations, time } = args.path.run(args.rounds as usize).map_err(Exit::failed)?;
    let name =
        args.path.to_possible_value().map_or_else(String::new, |value| value.get_name().to_owned());
    let each = time.as_secs_f64() * 1e6 / operations as f64;
    Ok(writeln!(io::stdout().lock(), "{name}: {operations} operations, {each:.2} µs each")?)
}

/// A measurement under way.
struct Bench<'a> {
    global: &'a Global,
    client: Client,
    /// The processes of the nodes, and their CPU time before the measurement.
    pids: Vec<u32>,
    before: Option<Duration>,
}

impl Bench<'_> {
    async fn begin(global: &Global) -> Result<Bench<'_>, Exit> {
        let client = connect(global).await?;
        let status = client.status().await?;
        let pids: Vec<u32> = status.nodes.iter().map(|node| node.pid).collect();
        let before = cpu_time(&pids);
        Ok(Bench { global, client, pids, before })
    }

    /// Prints the results; `append` is the number and the size of the events of one append.
    fn end(
        &self,
        operation: &'static str,
        load: &Load,
        append: (u64, u64),
        measured: Measured,
    ) -> Result<(), Exit> {
        let after = cpu_time(&self.pids);
        let cpu = self.before.zip(after).map(|(before, after)| after.saturating_sub(before));
        let result = Line::of(operation, load, append, &measured, cpu);
        let mut output = io::stdout().lock();
        let written = match self.global.json() {
            true => write_json(&mut output, &result),
            false => write!(output, "{}", result.plain()),
        };
        let verdict = match measured.first_error {
            Some(error) if measured.latencies.is_empty() => Err(Exit::failed(error)),
            _ => Ok(()),
        };
        Exit::after_report(verdict, written)
    }
}

#[derive(Serialize)]
struct Line {
    operation: &'static str,
    clients: u64,
    #[serde(skip_serializing_if = "is_zero")]
    events_per_append: u64,
    #[serde(skip_serializing_if = "is_zero")]
    size: u64,
    seconds: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    appends_per_second: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reads_per_second: Option<f64>,
    events_per_second: f64,
    p50_us: u64,
    p99_us: u64,
    p999_us: u64,
    /// The CPU time of all nodes together; present only where their processes can be seen.
    #[serde(skip_serializing_if = "Option::is_none")]
    cpu_us_per_append: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cpu_us_per_read: Option<f64>,
    errors: u64,
}

impl Line {
    fn of(
        operation: &'static str,
        load: &Load,
        (events_per_append, size): (u64, u64),
        measured: &Measured,
        cpu: Option<Duration>,
    ) -> Line {
        let seconds = measured.time.as_secs_f64();
        let count = measured.latencies.len() as f64;
        let each_second = Some(rounded(count / seconds));
        let each_cpu =
            cpu.filter(|_| count > 0.0).map(|cpu| rounded(cpu.as_secs_f64() * 1e6 / count));
        let appends = operation == "append";
        Line {
            operation,
            clients: load.clients,
            events_per_append,
            size,
            seconds: rounded(seconds),
            appends_per_second: each_second.filter(|_| appends),
            reads_per_second: each_second.filter(|_| operation == "read"),
            events_per_second: rounded(measured.events as f64 / seconds),
            p50_us: measured.latencies.value_at_quantile(0.5),
            p99_us: measured.latencies.value_at_quantile(0.99),
            p999_us: measured.latencies.value_at_quantile(0.999),
            cpu_us_per_append: each_cpu.filter(|_| appends),
            cpu_us_per_read: each_cpu.filter(|_| operation == "read"),
            errors: measured.errors,
        }
    }

    fn plain(&self) -> String {
        let Line {
            operation, clients, seconds, events_per_second, p50_us, p99_us, p999_us, ..
        } = self;
        let rate = self.appends_per_second.or(self.reads_per_second).unwrap_or_default();
        let cpu = match self.cpu_us_per_append.or(self.cpu_us_per_read) {
            Some(cpu) => format!("  CPU of all nodes {} each\n", humane(cpu)),
            None => String::new(),
        };
        format!(
            "{operation}: {clients} clients, {seconds} s\n  {rate:.0} a second, {events_per_second:.0} \
             events a second\n  latency p50 {}, p99 {}, p99.9 {}\n{cpu}  {} errors\n",
            humane(*p50_us as f64),
            humane(*p99_us as f64),
            humane(*p999_us as f64),
            self.errors
        )
    }
}

/// Microseconds for a person, in the unit that fits: `740 µs`, `12.3 ms`, `10.02 s`.
fn humane(micros: f64) -> String {
    if micros < 1e3 {
        format!("{micros:.0} µs")
    } else if micros < 1e6 {
        format!("{:.1} ms", micros / 1e3)
    } else {
        format!("{:.2} s", micros / 1e6)
    }
}

fn rounded(number: f64) -> f64 {
    (number * 10.0).round() / 10.0
}

fn is_zero(number: &u64) -> bool {
    *number == 0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::Code;

    #[test]
    fn a_latency_is_shown_in_the_unit_that_fits() {
        let shown = [0.0, 740.4, 12_345.0, 10_018_815.0].map(humane);
        assert_eq!(shown, ["0 µs", "740 µs", "12.3 ms", "10.02 s"]);
    }

    #[test]
    fn appends_that_no_node_takes_are_refused_as_usage() {
        for (events_per_append, size, fits) in [
            (1, 1_048_576, true),
            (3, 1_048_576, true),
            (4, 1_048_576, false),
            (10_000, 400, false),
        ] {
            let load = LoadArgs { clients: 1, seconds: 1 };
            let checked = AppendArgs { load, events_per_append, size }.check();
            let code = checked.map_err(|exit| exit.code);
            assert_eq!(code, if fits { Ok(()) } else { Err(Code::Usage) }, "{events_per_append}");
        }
    }
}
