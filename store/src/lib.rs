//! The event store on one disk: bytes, index, apply. Synchronous and deterministic, usable alone.
//!
//! It knows no Raft, no async runtime, no network, no clock and no randomness, and starts no thread:
//! time comes in with the command, and sealing is a step that somebody else drives.

mod event;
mod fault;
mod format;
mod key;
pub mod vfs;

pub use event::StoredEvent;
pub use fault::Fault;
pub use key::Key;
