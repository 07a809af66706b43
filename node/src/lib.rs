//! The server and the commands of Quorate; the `quorate` binary is a thin shell around this crate.
//!
//! Only this crate reads configuration, environment and command lines.

// The macros panic when the output is gone.
#![deny(clippy::print_stdout, clippy::print_stderr)]

mod bench;
pub mod cli;
pub mod commands;
mod import;
mod local;
mod output;
mod program;
pub mod server;
mod values;

pub use cli::Exit;
pub use local::free_addresses;

/// Runs the whole program: reads the command line, runs its command, and returns the exit code.
pub fn main() -> std::process::ExitCode {
    output::screen::believe_the_terminal();
    match program::parse() {
        Ok(arguments) => arguments.run().report(),
        Err(error) => error.exit(),
    }
}
