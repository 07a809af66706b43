//! Consumes a group: prints events and acknowledges them, or runs a command for each.

use std::io::{self, BufWriter, Write};

use clap::Args;
use futures_util::FutureExt;
use quorate_client::{Consumer, Delivery};
use quorate_proto::GroupName;
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::exec;
use crate::cli::Global;
use crate::connect::connect;
use crate::exit::Exit;
use crate::output::{event_line, write_event_plain, write_json};

/// Bytes that are collected before they are written, as long as more is ready.
const BUFFER_BYTES: usize = 256 * 1024;
/// The window of a consumer that prints.
const PRINTED_WINDOW: u32 = 256;

/// Without --exec, print events, and acknowledge each when it is written. With it, run a command for each.
///
/// Ctrl-C and SIGTERM end it in order: what is under way is still settled, and what was not begun is given to other
/// consumers. A second Ctrl-C kills commands that run.
#[derive(Args, Debug)]
pub(super) struct ConsumeArgs {
    /// The group.
    group: GroupName,
    /// What this consumer is called in `group show`.
    #[arg(long, value_name = "NAME", default_value = "")]
    name: String,
    /// Most events that it holds unsettled at once [default: with --exec as many as --jobs, else 256].
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(1..))]
    window: Option<u32>,
    /// End after so many events.
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u64).range(1..))]
    limit: Option<u64>,
    /// Run this with `sh -c` for each event, with the event as a line of JSON on its standard input and QUORATE_GROUP,
    /// QUORATE_POSITION, QUORATE_STREAM, QUORATE_TYPE and QUORATE_ATTEMPT in its environment. Exit code 0: the event
    /// is handled. Anything else: it failed, and the last line of the command's standard error is the reason.
    #[arg(long, value_name = "CMD")]
    exec: Option<String>,
    /// How many commands run at once.
    #[arg(
        long,
        value_name = "COUNT",
        default_value_t = 1,
        requires = "exec",
        value_parser = clap::value_parser!(u32).range(1..=1024)
    )]
    jobs: u32,
}

/// What tells a consumer to end.
pub(super) struct Stop {
    interrupt: Signal,
    terminate: Signal,
}

impl Stop {
    fn new() -> io::Result<Stop> {
        let interrupt = signal(SignalKind::interrupt())?;
        Ok(Stop { interrupt, terminate: signal(SignalKind::terminate())? })
    }

    /// Completes when the process is told to end, each time.
    pub(super) async fn told(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}

pub(super) async fn run(args: ConsumeArgs, global: &Global) -> Result<(), Exit> {
    let stop = Stop::new()?;
    let client = connect(global).await?;
    let group = client.group(args.group.as_str());
    let window =
        args.window.unwrap_or(if args.exec.is_some() { args.jobs } else { PRINTED_WINDOW });
    let consumer = group.consume().name(args.name).window(window).start();
    let limit = args.limit.unwrap_or(u64::MAX);
    match args.exec {
        Some(command) => {
            let jobs = args.jobs as usize;
            let plan = exec::Plan { command, group: args.group, jobs, limit };
            exec::run(consumer, plan, stop).await
        }
        None => print(consumer, limit, stop, global.json()).await,
    }
}

/// Prints events; each is acknowledged after it was written.
async fn print(mut consumer: Consumer, limit: u64, mut stop: Stop, json: bool) -> Result<(), Exit> {
    let mut output = BufWriter::with_capacity(BUFFER_BYTES, io::stdout().lock());
    let mut written: Vec<Delivery> = Vec::new();
    for _ in 0..limit {
        let next = match consumer.try_next().now_or_never() {
            Some(next) => next,
            None => {
                acknowledge(&consumer, &mut written, &mut output)?;
                tokio::select! {
                    next = consumer.try_next() => next,
                    () = stop.told() => break,
                }
            }
        };
        let Some(delivery) = next? else { break };
        if json {
            write_json(&mut output, &event_line(&delivery.event, Some(delivery.attempt)))?;
        } else {
            write_event_plain(&mut output, &delivery.event)?;
        }
        written.push(delivery);
    }
    acknowledge(&consumer, &mut written, &mut output)?;
    Ok(consumer.close().await?)
}

fn acknowledge(
    consumer: &Consumer,
    written: &mut Vec<Delivery>,
    output: &mut impl Write,
) -> io::Result<()> {
    output.flush()?;
    written.drain(..).for_each(|delivery| consumer.ack(&delivery));
    Ok(())
}
