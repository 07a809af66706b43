//! `quorate import`: appends the events of a file.

use clap::Args;

use crate::cli::Global;
use crate::exit::Exit;

/// Append the events of an NDJSON file.
#[derive(Args, Debug)]
pub struct ImportArgs {}

/// Runs the command.
pub async fn run(_args: ImportArgs, _global: &Global) -> Result<(), Exit> {
    Err(Exit::failed("not built yet"))
}
