//! `quorate import`: appends the events of a file, each checked against the version before it.

use std::io::{self, IsTerminal, Write};
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use indicatif::{HumanCount, ProgressBar, ProgressStyle};
use quorate_client::AppendError;
use quorate_proto::{Invalid, Problem};
use serde::Serialize;
use tokio::time::Instant;

use crate::cli::Global;
use crate::commands::append::{exit, not_begun};
use crate::connect::connect;
use crate::exit::Exit;
use crate::import::{BadLine, Lines, Pump, Stop, count_present};
use crate::output::{count_of, remark, write_failure_json, write_json};

/// Append the events of a file: JSON lines, plain or compressed with gzip or zstd.
///
/// Every event expects exactly the version before it in its stream. An import that was interrupted is
/// repeated with the same command: nothing is there twice, nothing is left out.
#[derive(Args, Debug)]
pub struct ImportArgs {
    /// The file. An event without an `id` gets one made from its stream, its place in it and its line.
    file: PathBuf,
    /// Look through the whole file first, and append nothing if a line is bad.
    #[arg(long)]
    check: bool,
    /// At most so many events a second.
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(1..))]
    rate: Option<u32>,
}

/// Runs the command.
pub async fn run(args: ImportArgs, global: &Global) -> Result<(), Exit> {
    let open = |task: &'static str| {
        let bar = progress_bar(task);
        let lines = Lines::open(&args.file, &bar)
            .map_err(|error| Exit::failed(format!("{}: {error}", args.file.display())))?;
        Ok::<_, Exit>((lines, bar))
    };
    if args.check {
        let (lines, bar) = open("checking")?;
        check(lines).or_else(|bad| refuse(global, &args, &bad, "nothing was appended"))?;
        bar.finish_and_clear();
    }
    let not_begun = |problem| not_begun(global, problem);
    let client = connect(global).await.map_err(not_begun)?;
    let began_at = Instant::now();
    let (lines, bar) = open("looking what is there")?;
    let present = count_present(&client, lines).await.map_err(not_begun)?;
    bar.finish_and_clear();

    let (mut lines, bar) = open("importing")?;
    let waiting = bar.clone();
    let mut pump = Pump::new(client, args.rate, move |error| {
        let problem = error.problem();
        waiting.suspend(|| remark(format_args!("waiting for the cluster: {problem}")));
    });
    let sent = send_all(&mut lines, present, &mut pump).await;
    bar.finish_and_clear();
    let totals = Totals {
        events: present + pump.confirmed(),
        streams: lines.streams(),
        already_there: present,
        position: pump.position(),
        seconds: began_at.elapsed().as_millis() as f64 / 1000.0,
    };
    match sent {
        Ok(()) => Ok(report(global, &totals)?),
        Err(Ended::Bad(bad)) => {
            let kept = match totals.events {
                1 => "the event before it is in the store".to_owned(),
                events => format!("the {events} events before it are in the store"),
            };
            refuse(global, &args, &bad, &kept)
        }
        Err(Ended::Stopped(Stop { number, error })) => {
            if global.json() {
                write_failure_json(&mut io::stdout(), &error, Some(number))?;
            }
            let mut exit = exit(&error);
            exit.message = format!("{}:{number}: {}", args.file.display(), exit.message);
            Err(exit)
        }
    }
}

enum Ended {
    Bad(BadLine),
    Stopped(Stop),
}

/// Sends all events but the first `present`; at a bad line, first sees to those before it.
async fn send_all(lines: &mut Lines, present: u64, pump: &mut Pump) -> Result<(), Ended> {
    loop {
        match lines.next() {
            Ok(Some(line)) if line.index <= present => {}
            Ok(Some(line)) => pump.send(line).await.map_err(Ended::Stopped)?,
            Ok(None) => return pump.finish().await.map_err(Ended::Stopped),
            Err(bad) => {
                pump.finish().await.map_err(Ended::Stopped)?;
                return Err(Ended::Bad(bad));
            }
        }
    }
}

fn check(mut lines: Lines) -> Result<(), BadLine> {
    while lines.next()?.is_some() {}
    Ok(())
}

fn refuse(global: &Global, args: &ImportArgs, bad: &BadLine, kept: &str) -> Result<(), Exit> {
    let BadLine { number, why } = bad;
    if global.json() {
        let message = format!("line {number}: {why}; {kept}");
        let problem = Problem { message, ..Problem::from(Invalid::new("line", why)) };
        write_failure_json(&mut io::stdout(), &AppendError::Rejected(problem), Some(*number))?;
    }
    Err(Exit::usage(format!("{}:{number}: {why}; {kept}", args.file.display())))
}

#[derive(Serialize)]
struct Totals {
    /// Those of the file that are in the store now.
    events: u64,
    streams: u64,
    /// Those that were found there, and not sent again.
    already_there: u64,
    /// The highest one of those that were sent.
    position: u64,
    seconds: f64,
}

fn report(global: &Global, totals: &Totals) -> io::Result<()> {
    let mut output = io::stdout().lock();
    if global.json() {
        return write_json(&mut output, totals);
    }
    let Totals { events, streams, already_there, position, seconds } = totals;
    let rate = ((events - already_there) as f64 / seconds.max(0.001)) as u64;
    writeln!(
        output,
        "the store has {} of {}, up to position {position}: {} found there already, \
         the others took {seconds:.1} s ({}/s)",
        count_of(*events, "event"),
        count_of(*streams, "stream"),
        HumanCount(*already_there),
        HumanCount(rate),
    )
}

/// A bar on standard error; hidden when nobody looks.
fn progress_bar(task: &'static str) -> ProgressBar {
    if !io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template(
        "{msg:>22} {wide_bar} {percent:>3} % {bytes}/{total_bytes}  {elapsed}",
    )
    .expect("the template is well formed");
    let bar = ProgressBar::new(0).with_style(style).with_message(task);
    bar.enable_steady_tick(Duration::from_millis(200));
    bar
}
