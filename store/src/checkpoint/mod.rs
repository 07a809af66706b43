//! Checkpoints: the durable state of the log up to an entry, in chunks and a catalog.
//!
//! A checkpoint is opened when the store is, made by a seal of the store's own tail, sent to another node as an
//! export, and taken over from another node by an install. The store swaps to a checkpoint when its seal or its
//! install is done, so nothing here knows the store; the room uses the files, chunks, catalog, groups and view.

mod export;
mod install;
mod open;
mod seal;

pub use export::Export;
pub(crate) use install::chunk_file_bytes_max;
pub use install::{Install, Installed, Installer};
pub(crate) use open::{Checkpoint, open_chunk, open_chunk_at, window};
pub use seal::{Seal, Sealed};
