//! The `quorate` binary: reads the command line and leaves with the exit code of the command.

use std::process::ExitCode;

use clap::Parser;
use quorate_node::cli::Arguments;

fn main() -> ExitCode {
    Arguments::parse().run().report()
}
