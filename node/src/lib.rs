//! The server and the commands of Quorate; the `quorate` binary is a thin shell around this crate.
//!
//! Only this crate reads configuration, environment and command lines.

pub mod cli;
pub mod commands;
pub mod config;
mod exit;
mod inspect;
mod local;
pub mod server;
mod size;

pub use exit::Exit;
