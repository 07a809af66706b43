//! The event store on one disk: bytes, index, apply. Synchronous and deterministic, usable alone.
//!
//! It knows no Raft, no async runtime, no network, no clock and no randomness, and starts no thread:
//! time comes in with the command, and sealing is a step that somebody else drives.
#![allow(dead_code, clippy::unimplemented, unused_variables)]

mod apply;
mod catalog;
mod checkpoint;
mod chunk;
#[doc(hidden)]
pub mod defect;
mod event;
mod export;
mod fault;
mod folder;
mod format;
mod install;
mod key;
mod read;
mod seal;
mod store;
mod tail;
mod verdict;
pub mod vfs;
mod view;
mod window;

pub use chunk::ChunkSummary;
pub use event::StoredEvent;
pub use export::Export;
pub use fault::Fault;
pub use format::command;
pub use install::{Install, Installed};
pub use key::Key;
pub use read::{Point, Reader, Scan};
pub use seal::{Seal, Sealed};
pub use store::{Entry, Options, Payload, Store};
pub use verdict::{Rejection, Verdict};
