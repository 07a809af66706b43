//! `quorate export`: writes the log, or a part of it, as JSON lines.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path as FilePath, PathBuf};

use clap::Args;
use indicatif::ProgressBar;
use quorate_client::{EventStream, Query, ReadRequest};
use quorate_proto::{Category, Path, Timestamp};
use serde::Serialize;
use tempfile::NamedTempFile;

use crate::cli::{Exit, Global, Stop, connect};
use crate::commands::read::remark_if_after_the_end;
use crate::output::{BUFFER_BYTES, count_of, print_events, progress_bar, write_event, write_json};
use crate::values::time;

/// Write events as JSON lines, the same bytes from every node; `import` reads them.
///
/// All events up to one point of the log are written: to standard output, or to a file, which appears when it is
/// whole.
///
/// A copy that is made by `export` and `import` has the events with their ids, data, tags and times of occurrence,
/// and the order within each stream. It does not keep positions, versions of streams that were truncated or deleted
/// (they count from 1 again), the times at which events were recorded, settings, deletions, closed names, snapshots
/// or consumer groups. The events of the system are not in it. What --after leaves out is missing for `import`: it
/// expects each stream from its beginning.
#[derive(Args, Debug)]
pub struct ExportArgs {
    /// The file to write, in the place of one that may be there; `-`, or none, is standard output.
    file: Option<PathBuf>,
    /// All streams of this category: `order` finds `order-42` and `acme/order-7`.
    #[arg(long, value_name = "NAME")]
    category: Option<Category>,
    /// All streams in this path: `acme` finds `acme/order-7`.
    #[arg(long, value_name = "NAME", conflicts_with = "category")]
    path: Option<Path>,
    /// Only what comes after this position; 0 is the beginning.
    #[arg(long, value_name = "POSITION", default_value_t = 0, hide_default_value = true)]
    after: u64,
    /// Only what was recorded at this time or earlier: RFC 3339, or how long ago (`90s`, `10m`, `2h`, `7d`).
    #[arg(long, value_name = "TIME", value_parser = time::parse)]
    until: Option<Timestamp>,
}

/// Runs the command.
pub async fn run(args: ExportArgs, global: &Global) -> Result<(), Exit> {
    let client = connect(global).await?;
    let request = client.read(args.query()).consistency(global.consistency);
    let mut events = args.narrow(request).stream().await?;
    match &args.file {
        Some(file) if file != FilePath::new("-") => {
            to_file(file, &mut events, args.after, global).await
        }
        _ => print_events(&mut events, true).await.map(|_| ()),
    }?;
    remark_if_after_the_end(args.after, events.as_of().0);
    Ok(())
}

impl ExportArgs {
    fn query(&self) -> Query {
        match (&self.category, &self.path) {
            (Some(category), _) => Query::category(category.as_str()),
            (None, Some(path)) => Query::path(path.as_str()),
            (None, None) => Query::everything(),
        }
    }

    fn narrow(&self, request: ReadRequest) -> ReadRequest {
        let request = request.after(self.after);
        self.until.into_iter().fold(request, ReadRequest::until)
    }
}

/// The totals of the file.
#[derive(Serialize)]
struct Totals {
    events: u64,
    /// The position up to which everything was seen.
    as_of: u64,
}

async fn to_file(
    path: &FilePath,
    events: &mut EventStream,
    after: u64,
    global: &Global,
) -> Result<(), Exit> {
    let failed = |error: io::Error| Exit::failed(format!("{}: {error}", path.display()));
    let target = Target::open(path).map_err(failed)?;
    let mut stop = target.stop().map_err(failed)?;
    let mut output = BufWriter::with_capacity(BUFFER_BYTES, target.file());
    let template = "{msg:>22} {wide_bar} {percent:>3} % {human_pos}/{human_len}  {elapsed}";
    let bar = progress_bar(ProgressBar::new(0), template, "exporting");
    let mut count = 0;
    loop {
        let next = tokio::select! {
            biased;
            () = requested(&mut stop) => {
                let message = format!("{}: told to end before it was whole", path.display());
                return Err(Exit::failed(message));
            }
            next = events.try_next() => next,
        };
        let Some(event) = next? else { break };
        count += 1;
        bar.set_length(events.as_of().0.saturating_sub(after));
        bar.set_position(event.position.0.saturating_sub(after));
        write_event(&mut output, &event, true).map_err(failed)?;
    }
    output.flush().map_err(failed)?;
    drop(output);
    bar.finish_and_clear();
    target.finish().map_err(failed)?;
    Exit::after_report(Ok(()), report(global, &Totals { events: count, as_of: events.as_of().0 }))
}

async fn requested(stop: &mut Option<Stop>) {
    match stop {
        Some(stop) => stop.requested().await,
        None => std::future::pending().await,
    }
}

fn report(global: &Global, totals: &Totals) -> io::Result<()> {
    let mut output = io::stdout().lock();
    if global.json() {
        return write_json(&mut output, totals);
    }
    let Totals { events, as_of } = totals;
    writeln!(output, "{} as of position {as_of}", count_of(*events, "event"))
}

/// A file that is written.
enum Target {
    /// It appears under its name when it is whole.
    File { draft: NamedTempFile, path: PathBuf },
    /// A pipe or the like, to which events are written directly.
    Other(File),
}

impl Target {
    fn open(path: &FilePath) -> io::Result<Target> {
        match fs::metadata(path) {
            Ok(known) if !known.is_file() && !known.is_dir() => {
                return Ok(Target::Other(File::options().write(true).open(path)?));
            }
            Ok(known) if known.is_dir() => return Err(io::ErrorKind::IsADirectory.into()),
            _ => {}
        }
        // Through a link the file that it leads to is replaced, and not the link.
        let path = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
        let folder = folder.unwrap_or(FilePath::new("."));
        let draft = tempfile::Builder::new()
            .prefix(".quorate-export-")
            // The permissions of any new file: less those that the process masks.
            .permissions(fs::Permissions::from_mode(0o666))
            .tempfile_in(folder)
            .map_err(without_the_draft)?;
        Ok(Target::File { draft, path })
    }

    fn file(&self) -> &File {
        match self {
            Target::File { draft, .. } => draft.as_file(),
            Target::Other(file) => file,
        }
    }

    /// Listens for signals while a draft is written: it is removed when it is dropped, and stays when the process is
    /// killed. Of a pipe nothing stays, and a process that waits for the pipe's reader must end by a signal.
    fn stop(&self) -> io::Result<Option<Stop>> {
        match self {
            Target::File { .. } => Stop::listen().map(Some),
            Target::Other(_) => Ok(None),
        }
    }

    fn finish(self) -> io::Result<()> {
        let Target::File { draft, path } = self else { return Ok(()) };
        draft.as_file().sync_all()?;
        draft.persist(path)?;
        Ok(())
    }
}

/// Removes the draft's name from the reason why there is no draft: it means nothing to whoever named the file.
fn without_the_draft(error: io::Error) -> io::Error {
    match error.to_string().rsplit_once(" at path ") {
        Some((why, _)) => io::Error::new(error.kind(), why),
        None => error,
    }
}
