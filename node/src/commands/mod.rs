//! The commands of the `quorate` binary, one file each.

pub mod append;
pub mod bench;
pub mod cluster;
pub mod completions;
pub mod demo;
pub mod dev;
pub mod export;
pub mod group;
pub mod history;
pub mod import;
pub mod process;
pub mod progress;
pub mod read;
pub mod scavenge;
pub mod serve;
pub mod snapshot;
pub mod stream;
pub mod verify;
