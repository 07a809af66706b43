//! `quorate export`: writes all events out.

use clap::Args;

use crate::cli::Global;
use crate::exit::Exit;

/// Write all events out as NDJSON.
#[derive(Args, Debug)]
pub struct ExportArgs {}

/// Runs the command.
pub async fn run(_args: ExportArgs, _global: &Global) -> Result<(), Exit> {
    Err(Exit::failed("not built yet"))
}
