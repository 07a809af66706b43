//! The server and the commands of Quorate; the `quorate` binary is a thin shell around this crate.
//!
//! Only this crate reads configuration, environment and command lines.

mod age;
mod bench;
mod causation;
pub mod cli;
pub mod commands;
pub mod config;
mod connect;
mod exit;
mod follow;
mod import;
mod inspect;
mod local;
mod ndjson;
mod output;
mod ports;
mod print;
mod query;
mod reader;
pub mod server;
mod size;

pub use exit::Exit;
pub use ports::free_addresses;

use clap::Parser;

/// The whole program: reads the command line, runs its command, and tells the exit code.
pub fn main() -> std::process::ExitCode {
    cli::Arguments::parse().run().report()
}
