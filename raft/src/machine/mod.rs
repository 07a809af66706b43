//! The store as Raft applies entries to it.
//!
//! It may use the adapter, the log and the disk space; it knows no peers and does not call Raft.

mod core;
mod digests;
mod gate;
mod health;
mod replay;
#[cfg(test)]
mod suite;
mod worker;

pub(crate) use core::{CHUNK_PART_BYTES, Checkpoint, Core, Progress};
pub(crate) use health::Health;
pub(crate) use replay::{Replayed, bring_up_to_date};
pub(crate) use worker::Machine;
