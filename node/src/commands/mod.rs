//! The commands of the `quorate` binary, one file each.

pub mod append;
pub mod bench;
pub mod cluster;
pub mod completions;
pub mod demo;
pub mod dev;
pub mod export;
pub mod group;
pub mod import;
mod names;
pub mod read;
pub mod scavenge;
pub mod serve;
pub mod snapshot;
pub mod stream;
pub mod verify;

/// Signals so close together are one: `timeout` sends its own to the process and to its group.
const ONE_SIGNAL_WITHIN: std::time::Duration = std::time::Duration::from_millis(500);
