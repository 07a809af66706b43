//! Consumes a group: prints events and acknowledges them, or runs a command for each.

use std::io::{self, Write};
use std::pin::pin;
use std::time::Duration;

use clap::Args;
use futures_util::FutureExt;
use quorate_client::{Consumer, Delivery, EventJson};
use quorate_proto::GroupName;
use tokio::time::timeout;

use super::{command, exec};
use crate::cli::{Exit, Global, Stop, connect};
use crate::output::{BUFFER_BYTES, Reader, write_event, write_json};
use crate::values::span;

/// The window of a consumer that prints.
const PRINTED_WINDOW: u32 = 256;
/// The window into a pipe: so many events may be settled that the other program was sent and never looked at.
const PIPED_WINDOW: u32 = 16;
/// The time that a consumer which is to end waits for lines being written; another signal does not shorten it.
const WRITTEN_WITHIN: Duration = Duration::from_secs(1);
/// The time for which events are kept by extensions: in effect, until the consumer itself ends the work, or is gone.
const EXTENDED_UP_TO: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// Without --exec, print events, and acknowledge each when it is written. With it, run a command for each.
///
/// Ctrl-C, SIGTERM and the end of its terminal (SIGHUP, unless under `nohup`) end it in order: commands that run are
/// sent SIGTERM, and killed after --grace; what they did not handle, and what was not begun, is given to other
/// consumers and costs no attempt. A second Ctrl-C kills at once.
///
/// What was written to a pipe is acknowledged, although the next program may end before it has read it: up to a
/// window of events. With `--window 1` that is one event. When the reader goes, the consumer ends.
#[derive(Args, Debug)]
pub(super) struct ConsumeArgs {
    /// The group.
    group: GroupName,
    /// What this consumer is called in `group show`.
    #[arg(long, value_name = "NAME", default_value = "")]
    name: String,
    /// Most events that it holds unsettled at once [default: with --exec as many as --jobs; else 256, or 16 into
    /// a pipe].
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(1..))]
    window: Option<u32>,
    /// End after so many events.
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u64).range(1..))]
    limit: Option<u64>,
    /// Run this with `sh -c` for each event, with the event as a line of JSON on its standard input and QUORATE_GROUP,
    /// QUORATE_POSITION, QUORATE_STREAM, QUORATE_TYPE and QUORATE_ATTEMPT in its environment. Exit code 0: the event
    /// is handled. 126 or 127: the command cannot be run, which ends the consumer and costs the event nothing; so does
    /// a shell that cannot start a process before it begins the command. Anything else: it failed, and the last line
    /// of the command's standard error is the reason. That is also so where the command began, and the shell could
    /// start no further process for it: such an exit code is the command's own.
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
    /// How long a command may run, also beyond the group's timeout: the consumer asks for more time meanwhile. After
    /// that it is ended, and the event failed [default: the group's timeout].
    #[arg(long, value_name = "SPAN", requires = "exec", value_parser = span::parse)]
    run_time: Option<Duration>,
    /// How long a command that is sent SIGTERM may take to end before it is killed.
    #[arg(
        long,
        value_name = "SPAN",
        default_value = "5s",
        requires = "exec",
        value_parser = span::parse
    )]
    grace: Duration,
}

pub(super) async fn run(args: ConsumeArgs, global: &Global) -> Result<(), Exit> {
    let mut stop = Stop::listen()?;
    if let Some(command) = &args.exec {
        command::check(command).await?;
    }
    let client = tokio::select! {
        client = connect(global) => client?,
        () = stop.requested() => return Ok(()),
    };
    let group = client.group(args.group.as_str());
    let reader = Reader::of_output();
    let window = args.window.unwrap_or(match args.exec {
        Some(_) => args.jobs,
        None if reader.is_piped() => PIPED_WINDOW,
        None => PRINTED_WINDOW,
    });
    let consuming = group.consume().name(args.name).window(window);
    let consumer = consuming.extend_up_to(EXTENDED_UP_TO).start();
    let limit = args.limit.unwrap_or(u64::MAX);
    match args.exec {
        Some(command) => {
            let jobs = args.jobs as usize;
            let (group, run_time, grace) = (args.group, args.run_time, args.grace);
            let plan = command::Plan { command, group, jobs, limit, run_time, grace };
            exec::run(consumer, plan, stop).await
        }
        None => print(consumer, limit, (stop, reader), global.json()).await,
    }
}

/// Prints events, and leaves in order even after an error: events that were not written are given back.
async fn print(
    mut consumer: Consumer,
    limit: u64,
    (stop, reader): (Stop, Reader),
    json: bool,
) -> Result<(), Exit> {
    let ended = print_all(&mut consumer, limit, (stop, reader), json).await;
    let closed = consumer.close().await;
    ended?;
    Ok(closed?)
}

/// Prints until the limit is reached, a signal to end comes, or the reader is gone; each event is acknowledged after
/// it was written.
async fn print_all(
    consumer: &mut Consumer,
    limit: u64,
    (mut stop, reader): (Stop, Reader),
    json: bool,
) -> Result<(), Exit> {
    let mut lines = Vec::new();
    let mut printed: Vec<Delivery> = Vec::new();
    let mut left = limit;
    while left > 0 || !printed.is_empty() {
        let takes = left > 0 && lines.len() < BUFFER_BYTES;
        let ready = if takes { consumer.try_next().now_or_never() } else { None };
        let next = match ready {
            Some(next) => next,
            None if !printed.is_empty() => {
                let written = write_or_end(std::mem::take(&mut lines), &mut stop).await?;
                if written != Written::Not {
                    printed.drain(..).for_each(|delivery| consumer.ack(&delivery));
                }
                match written {
                    Written::All => continue,
                    Written::AllAndTold | Written::Not => return Ok(()),
                }
            }
            None => tokio::select! {
                next = consumer.try_next() => next,
                () = stop.requested() => return Ok(()),
                () = reader.gone() => return Ok(()),
            },
        };
        let Some(delivery) = next? else { break };
        if json {
            write_json(&mut lines, &EventJson::from(&delivery))?;
        } else {
            write_event(&mut lines, &delivery.event, false)?;
        }
        printed.push(delivery);
        left -= 1;
    }
    Ok(())
}

/// The outcome of writing lines.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Written {
    All,
    /// The lines are written, and a signal to end came meanwhile.
    AllAndTold,
    /// The reader does not take the lines, and a signal to end came.
    Not,
}

/// Writes lines. If a signal to end comes meanwhile, waits a little more: the reader may have the lines already.
async fn write_or_end(lines: Vec<u8>, stop: &mut Stop) -> io::Result<Written> {
    let mut writing = pin!(write(lines));
    tokio::select! {
        biased;
        written = &mut writing => return written.map(|()| Written::All),
        () = stop.requested() => {}
    }
    match timeout(WRITTEN_WITHIN, writing).await {
        Ok(written) => written.map(|()| Written::AllAndTold),
        Err(_) => Ok(Written::Not),
    }
}

/// Writes to standard output in a thread of its own: a reader may take its time, and the consumer keeps its events
/// meanwhile.
#[allow(clippy::disallowed_methods, reason = "a command has no host, and no simulation runs it")]
async fn write(lines: Vec<u8>) -> io::Result<()> {
    let writing = tokio::task::spawn_blocking(move || {
        let mut output = io::stdout().lock();
        output.write_all(&lines)?;
        output.flush()
    });
    writing.await.map_err(io::Error::other)?
}
