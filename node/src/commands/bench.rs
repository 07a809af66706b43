//! `quorate bench`: measures.

use clap::Args;

use crate::cli::Global;
use crate::exit::Exit;

/// Measure how fast the cluster is.
#[derive(Args, Debug)]
pub struct BenchArgs {}

/// Runs the command.
pub async fn run(_args: BenchArgs, _global: &Global) -> Result<(), Exit> {
    Err(Exit::failed("not built yet"))
}
