//! The server and the commands of Quorate; the `quorate` binary is a thin shell around this crate.
//!
//! Only this crate reads configuration, environment and command lines.

// The macros panic when the output is gone.
#![deny(clippy::print_stdout, clippy::print_stderr)]

mod age;
mod bench;
mod causation;
pub mod cli;
pub mod commands;
pub mod config;
mod confirm;
mod connect;
mod exit;
mod follow;
mod import;
mod inspect;
mod local;
mod log;
mod ndjson;
mod output;
mod ports;
mod print;
mod query;
mod reader;
mod screen;
pub mod server;
mod size;
mod stop;
mod watch;

pub use exit::Exit;
pub use ports::free_addresses;

/// Runs the whole program: reads the command line, runs its command, and returns the exit code.
pub fn main() -> std::process::ExitCode {
    screen::believe_the_terminal();
    match cli::parse() {
        Ok(arguments) => arguments.run().report(),
        Err(error) => error.exit(),
    }
}
