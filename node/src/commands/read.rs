//! `quorate read`: reads events.

use clap::Args;

use crate::cli::Global;
use crate::exit::Exit;

/// Read events of a stream or of a query.
#[derive(Args, Debug)]
pub struct ReadArgs {}

/// Runs the command.
pub async fn run(_args: ReadArgs, _global: &Global) -> Result<(), Exit> {
    Err(Exit::failed("not built yet"))
}
