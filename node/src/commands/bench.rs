//! `quorate bench`: measures what a cluster does, as its clients see it.

use std::io::{self, Write};
use std::time::Duration;

use clap::{Args, Subcommand};
use quorate_proto::Strategy;
use quorate_proto::limits::APPEND_BYTES_MAX;
use serde::Serialize;

use crate::bench::{
    Load, Measured, append_load, catch_up_load, cpu_time, event_bytes, group_load, live_load,
    read_load,
};
use crate::cli::Global;
use crate::connect::connect;
use crate::exit::Exit;
use crate::output::write_json;

/// A connection carries about a thousand requests at once.
const FEEDS_PER_CLIENT: u64 = 500;

/// Measure appends, reads, subscriptions or consumer groups.
#[derive(Args, Debug)]
pub struct BenchArgs {
    #[command(subcommand)]
    operation: Operation,
}

#[derive(Subcommand, Debug)]
enum Operation {
    /// Append to many streams, each append checked against the version before it.
    Append {
        #[command(flatten)]
        load: LoadArgs,
        /// Events in one append.
        #[arg(
            long,
            value_name = "COUNT",
            default_value_t = 1,
            value_parser = clap::value_parser!(u64).range(1..=10_000)
        )]
        events_per_append: u64,
        /// Bytes of data of an event, random text as JSON.
        #[arg(
            long,
            value_name = "BYTES",
            default_value_t = 256,
            value_parser = clap::value_parser!(u64).range(2..=1_048_576)
        )]
        size: u64,
    },
    /// Follow the whole log from its beginning until all clients have caught up; with --live, follow what is
    /// appended meanwhile and measure how long it is on its way.
    Subscribe {
        #[command(flatten)]
        load: LoadArgs,
        /// Measure the way of events that are appended now, from the sending of the append to their arrival.
        #[arg(long)]
        live: bool,
        /// With --live: how many events are appended in a second, one after the other.
        #[arg(
            long,
            value_name = "COUNT",
            default_value_t = 100,
            value_parser = clap::value_parser!(u64).range(1..=100_000)
        )]
        rate: u64,
    },
    /// Let a group of so many consumers go through the whole log, each acknowledging at once.
    Group {
        #[command(flatten)]
        load: LoadArgs,
        /// How the events are shared: round-robin, by-stream or single.
        #[arg(long, value_name = "STRATEGY", default_value = "round-robin", value_parser = super::group::parse_strategy)]
        strategy: Strategy,
    },
    /// Read whole streams, again and again, of those that are in the store.
    Read {
        #[command(flatten)]
        load: LoadArgs,
    },
}

#[derive(Args, Debug)]
struct LoadArgs {
    /// How many clients work at the same time, each waiting for its answer before it goes on.
    #[arg(
        long,
        value_name = "COUNT",
        default_value_t = 64,
        value_parser = clap::value_parser!(u64).range(1..=100_000)
    )]
    clients: u64,
    /// How long; at most a year.
    #[arg(
        long,
        value_name = "SECONDS",
        default_value_t = 10,
        value_parser = clap::value_parser!(u64).range(1..=31_536_000)
    )]
    seconds: u64,
}

impl Operation {
    /// Refuses appends that every node would refuse, before anything of that size is made.
    fn check(&self) -> Result<(), Exit> {
        let Operation::Append { events_per_append, size, .. } = self else { return Ok(()) };
        let bytes = event_bytes(*size).saturating_mul(*events_per_append);
        if bytes > APPEND_BYTES_MAX as u64 {
            return Err(Exit::usage(format!(
                "an append would have {bytes} bytes; at most {APPEND_BYTES_MAX} are allowed"
            )));
        }
        Ok(())
    }
}

/// Runs the command.
pub async fn run(args: BenchArgs, global: &Global) -> Result<(), Exit> {
    args.operation.check()?;
    let client = connect(global).await?;
    let status = client.status().await?;
    let pids: Vec<u32> = status.nodes.iter().map(|node| node.pid).collect();
    let load =
        |args: &LoadArgs| Load { clients: args.clients, time: Duration::from_secs(args.seconds) };
    let before = cpu_time(&pids);
    let (operation, load, events_per_append, size, measured) = match args.operation {
        Operation::Append { load: args, events_per_append, size } => {
            let load = load(&args);
            let measured = append_load(&client, &load, events_per_append, size as usize).await;
            ("append", load, events_per_append, size, measured)
        }
        Operation::Subscribe { load: args, live, rate } => {
            let load = load(&args);
            let mut clients = vec![client.clone()];
            while (clients.len() as u64) * FEEDS_PER_CLIENT < load.clients {
                clients.push(connect(global).await?);
            }
            let measured = match live {
                true => live_load(&clients, &load, rate).await?,
                false => catch_up_load(&clients, &load).await,
            };
            ("subscribe", load, 0, 0, measured)
        }
        Operation::Group { load: args, strategy } => {
            let load = load(&args);
            let measured = group_load(&client, &load, strategy).await?;
            ("group", load, 0, 0, measured)
        }
        Operation::Read { load: args } => {
            let load = load(&args);
            let measured = read_load(&client, &load, global.consistency).await?;
            ("read", load, 0, 0, measured)
        }
    };
    let cpu = before.zip(cpu_time(&pids)).map(|(before, after)| after.saturating_sub(before));
    let result = Line::of(operation, &load, events_per_append, size, &measured, cpu);
    let mut output = io::stdout().lock();
    let written = match global.json() {
        true => write_json(&mut output, &result),
        false => write!(output, "{}", result.plain()),
    };
    let verdict = match measured.first_error {
        Some(error) if measured.latencies.is_empty() => Err(Exit::failed(error)),
        _ => Ok(()),
    };
    Exit::told(verdict, written)
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
    /// Of all nodes together; only where their processes can be seen.
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
        events_per_append: u64,
        size: u64,
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
            Some(cpu) => format!("  CPU of all nodes {cpu} µs each\n"),
            None => String::new(),
        };
        format!(
            "{operation}: {clients} clients, {seconds} s\n  {rate:.0} a second, {events_per_second:.0} \
             events a second\n  latency p50 {p50_us} µs, p99 {p99_us} µs, p99.9 {p999_us} µs\n{cpu}  \
             {} errors\n",
            self.errors
        )
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
    use crate::exit::Code;

    #[test]
    fn appends_that_no_node_takes_are_refused_as_usage() {
        for (events_per_append, size, fits) in [
            (1, 1_048_576, true),
            (3, 1_048_576, true),
            (4, 1_048_576, false),
            (10_000, 400, false),
        ] {
            let load = LoadArgs { clients: 1, seconds: 1 };
            let checked = Operation::Append { load, events_per_append, size }.check();
            let code = checked.map_err(|exit| exit.code);
            assert_eq!(code, if fits { Ok(()) } else { Err(Code::Usage) }, "{events_per_append}");
        }
    }
}
