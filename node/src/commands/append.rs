//! `quorate append`: appends events.

use clap::Args;

use crate::cli::Global;
use crate::exit::Exit;

/// Append events to a stream, or several atomically.
#[derive(Args, Debug)]
pub struct AppendArgs {}

/// Runs the command.
pub async fn run(_args: AppendArgs, _global: &Global) -> Result<(), Exit> {
    Err(Exit::failed("not built yet"))
}
