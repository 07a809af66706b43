//! `quorate snapshot`: the snapshot of a stream's state that its application put.

use std::io::{self, Write};

use clap::{Args, Subcommand};
use quorate_client::{AppendError, Snapshot};
use quorate_proto::limits::SNAPSHOT_BYTES_MAX;
use quorate_proto::{Outcome, Problem, StreamName};
use serde::Serialize;

use crate::cli::{Asking, Code, Exit, Global, Reading, Shared, connect, stdin};
use crate::output::{append_not_begun, write_append_error, write_json, write_snapshot};
use crate::values::json;

/// Put or get the snapshot of a stream's state. The newest is kept; `read --with-snapshot` begins with it.
#[derive(Args, Debug)]
pub struct SnapshotArgs {
    #[command(subcommand)]
    command: SnapshotCommand,
}

#[derive(Debug, Subcommand)]
enum SnapshotCommand {
    /// Keep a snapshot, if it is not older than the one that is kept: of a lower version, or of the same version
    /// and a lower schema. Safe to repeat.
    Put(Asking<PutArgs>),
    /// Print the snapshot that is kept.
    Get(Reading<GetArgs>),
}

#[derive(Args, Debug)]
struct PutArgs {
    /// The stream.
    stream: StreamName,
    /// The version of the stream that the state was made at.
    #[arg(long, value_name = "NUMBER")]
    version: u64,
    /// The version of the shape of the data. An old program finds a newer one there than it knows, and reads the
    /// events instead; a new program knows both.
    #[arg(long, value_name = "NUMBER", default_value_t = 1)]
    schema: u32,
    /// The state as JSON; `-` reads any bytes from standard input.
    #[arg(long, value_name = "JSON|-", value_parser = json::parse_argument, allow_hyphen_values = true)]
    data: String,
}

#[derive(Args, Debug)]
struct GetArgs {
    /// The stream.
    stream: StreamName,
}

/// Runs the command.
pub async fn run(args: SnapshotArgs) -> Result<(), Exit> {
    match args.command {
        SnapshotCommand::Put(args) => args.run(put).await,
        SnapshotCommand::Get(args) => args.run(get).await,
    }
}

#[derive(Serialize)]
struct StoredLine<'a> {
    stream: &'a str,
    version: u64,
}

async fn put(args: PutArgs, global: &Global) -> Result<(), Exit> {
    let PutArgs { stream, version, schema, data } = args;
    let data = match data.as_str() {
        "-" => stdin::read_data(SNAPSHOT_BYTES_MAX)?,
        text => match json::parse(text) {
            Ok(json) => json.into(),
            Err(why) => {
                return Err(Exit::usage(format!("--data {why}; for other bytes use `--data -`")));
            }
        },
    };
    let not_begun = |problem| append_not_begun(global, problem);
    let client = connect(global).await.map_err(not_begun)?;
    let snapshot = Snapshot::new(version, data).schema(schema);
    let stored = client.stream(stream.as_str()).put_snapshot(snapshot).await;
    let stored = stored.map_err(|problem| refused(global, problem))?;
    Exit::after_report(Ok(()), report(global, &stream, version, stored.0))
}

fn report(global: &Global, stream: &StreamName, version: u64, stored: u64) -> io::Result<()> {
    let mut output = io::stdout().lock();
    if global.json() {
        let stream = stream.as_str();
        return write_json(&mut output, &StoredLine { stream, version: stored });
    }
    write!(output, "the snapshot of `{stream}` is of version {stored}")?;
    writeln!(output, "{}", if stored > version { ": a newer one was kept already" } else { "" })
}

fn refused(global: &Global, problem: Problem) -> Exit {
    let code = match problem.outcome {
        Outcome::Unknown => Code::Unknown,
        Outcome::NotAppended if problem.is_verdict() => Code::Rejected,
        Outcome::NotAppended => Code::Failed,
    };
    let message = match code {
        Code::Unknown => format!("{problem}; repeat the same command"),
        _ => problem.to_string(),
    };
    let written = write_append_error(global, &AppendError::Rejected(problem), None);
    Exit::new(code, message).reported(written)
}

async fn get(args: GetArgs, global: &Global) -> Result<(), Exit> {
    let stream = &args.stream;
    let client = connect(global).await?;
    let stored = client.stream(stream.as_str()).snapshot_as(global.consistency).await?;
    match stored {
        Some(snapshot) => {
            Ok(write_snapshot(&mut io::stdout().lock(), stream, &snapshot, global.json())?)
        }
        None => Err(Exit::failed(format!("no snapshot of `{stream}` is kept"))),
    }
}
