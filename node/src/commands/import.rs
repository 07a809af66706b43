//! `quorate import`: appends the events of a file, each checked against the version before it.

use std::borrow::Cow;
use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use clap::Args;
use indicatif::{HumanCount, ProgressBar};
use quorate_client::{AppendError, Client, Query};
use quorate_proto::{Invalid, Problem};
use serde::Serialize;
use tokio::time::{Instant, sleep};

use crate::cli::{Exit, Global, connect, stdin};
use crate::import::{Ahead, BadLine, Lines, PATIENCE, Pump, REST, Stop, count_present};
use crate::output::{
    append_error, append_not_begun, count_of, progress_bar, remark, write_append_error, write_json,
};

/// Append the events of a file or a pipe: JSON lines, plain or compressed with gzip or zstd.
///
/// Every event expects exactly the version before it in its stream. An import that was interrupted is
/// repeated with the same command: nothing is there twice, nothing is left out.
///
/// Lines may end as Windows ends them, and a byte order mark is passed over. `xz -dc FILE | quorate import -`
/// reads other archives.
#[derive(Args, Debug)]
pub struct ImportArgs {
    /// The file; `-` reads standard input. An event without an `id` gets one made from its stream, its place in
    /// it and its line.
    file: PathBuf,
    /// Look through the whole file first, and append nothing if a line is bad. A pipe can be read only once, so
    /// this needs a file.
    #[arg(long)]
    check: bool,
    /// At most so many events a second.
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(1..))]
    rate: Option<u32>,
}

/// Runs the command.
pub async fn run(args: ImportArgs, global: &Global) -> Result<(), Exit> {
    let source = Source::open(&args.file)?;
    if args.check {
        let (lines, bar) = source.again("checking").ok_or_else(|| args.cannot_check())??;
        check(lines).map_err(|bad| refuse(global, &args, &bad, "nothing was appended"))?;
        bar.finish_and_clear();
    }
    let not_begun = |problem| append_not_begun(global, problem);
    let client = connect(global).await.map_err(not_begun)?;
    let began_at = Instant::now();
    let began_after = last_position(&client).await.map_err(not_begun)?;
    let present = match source.again("looking what is there") {
        Some(opened) => {
            let (lines, bar) = opened?;
            let present = count_present(&client, lines).await;
            bar.finish_and_clear();
            present.map_err(not_begun)?
        }
        // From a pipe each line is sent, and the cluster recognizes repetitions.
        None => 0,
    };
    let (lines, bar) = source.last("importing")?;
    let waiting = bar.clone();
    let mut pump = Pump::new(client, args.rate, began_after, move |error| {
        waiting.suspend(|| remark_waiting(&error.problem()));
    });
    let mut streams = 0;
    let sent = send_all(&mut Ahead::start(lines)?, present, &mut pump, &mut streams).await;
    bar.finish_and_clear();
    let events = present + pump.confirmed();
    let already_there = present + pump.found();
    let totals = Totals {
        events,
        streams,
        already_there,
        appended: events - already_there,
        position: pump.position(),
        seconds: began_at.elapsed().as_millis() as f64 / 1000.0,
    };
    match sent {
        Ok(()) => Exit::after_report(Ok(()), report(global, &totals)),
        Err(Ended::Bad(bad)) => {
            let stored = match totals.events {
                0 => "nothing was appended".to_owned(),
                1 => "the event before it is in the store".to_owned(),
                events => format!("the {events} events before it are in the store"),
            };
            Err(refuse(global, &args, &bad, &stored))
        }
        Err(Ended::Stopped(Stop { number, error })) => {
            let mut exit = append_error(&error);
            exit.message = format!("{}:{number}: {}", args.shown(), exit.message);
            Err(exit.reported(write_append_error(global, &error, Some(number))))
        }
    }
}

impl ImportArgs {
    /// The file's name, for a person.
    fn shown(&self) -> Cow<'_, str> {
        stdin::name_of(&self.file)
    }

    fn cannot_check(&self) -> Exit {
        Exit::usage(format!(
            "{} is no regular file and can be read only once, but --check reads it twice: write it to a file first",
            self.shown()
        ))
    }
}

/// Returns the last position of the log. Waits while the cluster has no leader, as the import does between lines.
async fn last_position(client: &Client) -> Result<u64, Problem> {
    let began_at = Instant::now();
    loop {
        match client.read(Query::everything()).backwards().limit(1).collect().await {
            Ok(newest) => return Ok(newest.as_of.0),
            Err(problem) if problem.kind.is_transient() && began_at.elapsed() < PATIENCE => {
                remark_waiting(&problem);
                sleep(REST).await;
            }
            Err(problem) => return Err(problem),
        }
    }
}

fn remark_waiting(problem: &Problem) {
    remark(format_args!("waiting for the cluster: {problem}"));
}

/// The source of the lines.
enum Source {
    /// A regular file, which can be read from its beginning more than once.
    File(PathBuf),
    /// Standard input, a pipe or the like.
    Once(Box<dyn Read + Send>),
}

impl Source {
    fn open(path: &Path) -> Result<Source, Exit> {
        if stdin::is_stdin(path) {
            return Ok(Source::Once(Box::new(io::stdin())));
        }
        // A pipe is opened only once: its writer may be gone before a second time.
        let opened = File::open(path).and_then(|file| Ok((file.metadata()?.file_type(), file)));
        match opened {
            Ok((kind, _)) if kind.is_file() => Ok(Source::File(path.to_owned())),
            Ok((kind, _)) if kind.is_dir() => {
                Err(Exit::failed(format!("{}: is a folder", path.display())))
            }
            Ok((_, file)) => Ok(Source::Once(Box::new(file))),
            Err(error) => Err(Exit::failed(format!("{}: {error}", path.display()))),
        }
    }

    /// Returns the lines from the beginning, if the source can be read once more later.
    fn again(&self, task: &'static str) -> Option<Result<(Lines, ProgressBar), Exit>> {
        match self {
            Source::File(path) => Some(lines_of(path, task)),
            Source::Once(_) => None,
        }
    }

    /// Returns the lines from the beginning, for the last time.
    fn last(self, task: &'static str) -> Result<(Lines, ProgressBar), Exit> {
        match self {
            Source::File(path) => lines_of(&path, task),
            Source::Once(file) => {
                let bar = bar(task, None);
                Ok((Lines::of(bar.wrap_read(file)), bar))
            }
        }
    }
}

fn lines_of(path: &Path, task: &'static str) -> Result<(Lines, ProgressBar), Exit> {
    let opened = File::open(path).and_then(|file| Ok((file.metadata()?.len(), file)));
    let (length, file) =
        opened.map_err(|error| Exit::failed(format!("{}: {error}", path.display())))?;
    let bar = bar(task, Some(length));
    Ok((Lines::of(bar.wrap_read(file)), bar))
}

enum Ended {
    Bad(BadLine),
    Stopped(Stop),
}

/// Sends all events but the first `present`, and counts the streams; at a bad line, first settles those before it.
async fn send_all(
    lines: &mut Ahead,
    present: u64,
    pump: &mut Pump,
    streams: &mut u64,
) -> Result<(), Ended> {
    loop {
        let next = tokio::select! {
            biased;
            next = lines.next() => next,
            // A pipe may pause: meanwhile the verdicts on the lines that were sent are taken.
            verdict = pump.first_verdict() => {
                pump.settle(verdict).await.map_err(Ended::Stopped)?;
                continue;
            }
        };
        match next {
            Ok(Some(line)) => {
                *streams += u64::from(line.ordinal == 1);
                if line.index > present {
                    pump.send(line).await.map_err(Ended::Stopped)?;
                }
            }
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

fn refuse(global: &Global, args: &ImportArgs, bad: &BadLine, stored: &str) -> Exit {
    let BadLine { number, why } = bad;
    let message = format!("line {number}: {why}; {stored}");
    let problem = Problem { message, ..Problem::from(Invalid::new("line", why)) };
    let verdict = Exit::usage(format!("{}:{number}: {why}; {stored}", args.shown()));
    let written = write_append_error(global, &AppendError::Rejected(problem), Some(*number));
    verdict.reported(written)
}

#[derive(Serialize)]
struct Totals {
    /// The number of the file's events that are in the store now.
    events: u64,
    streams: u64,
    /// The number of these events that were there before, from an earlier import of the file.
    already_there: u64,
    /// The number of events that this import appended.
    appended: u64,
    /// The highest position of an event that was sent.
    position: u64,
    seconds: f64,
}

fn report(global: &Global, totals: &Totals) -> io::Result<()> {
    let mut output = io::stdout().lock();
    if global.json() {
        return write_json(&mut output, totals);
    }
    let Totals { events, streams, already_there, appended, position, seconds } = totals;
    let rate = (*appended as f64 / seconds.max(0.001)) as u64;
    write!(
        output,
        "the store has {} of {}, up to position {position}: {} found there already, ",
        count_of(*events, "event"),
        count_of(*streams, "stream"),
        HumanCount(*already_there),
    )?;
    let (appended, rate) = (HumanCount(*appended), HumanCount(rate));
    writeln!(output, "{appended} appended in {seconds:.1} s ({rate}/s)")
}

/// Returns a bar of this length, if it is known.
fn bar(task: &'static str, length: Option<u64>) -> ProgressBar {
    match length {
        Some(length) => {
            let template = "{msg:>22} {wide_bar} {percent:>3} % {bytes}/{total_bytes}  {elapsed}";
            progress_bar(ProgressBar::new(length), template, task)
        }
        None => {
            let template = "{msg:>22} {spinner} {bytes}  {elapsed}";
            progress_bar(ProgressBar::new_spinner(), template, task)
        }
    }
}
