//! The store: a folder with chunks and a catalog, the tail in memory, and the entries applied to them.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use quorate_proto::{LogId, Position};

use crate::export::Export;
use crate::fault::Fault;
use crate::install::{Install, Installed};
use crate::read::Reader;
use crate::seal::{Seal, Sealed};
use crate::verdict::Verdict;
use crate::vfs::Vfs;

/// What must be the same whenever a folder is opened, and how much memory may be spent.
#[derive(Clone, Debug)]
pub struct Options {
    /// The cluster's id; in every file.
    pub cluster: [u8; 16],
    /// The number of the log within the cluster; in every file.
    pub log: u32,
    /// Bytes of commands, as proposed, after which a chunk is sealed; the same on all replicas.
    pub chunk_bytes: u64,
    /// Versions of streams kept in memory beside those of the tail; at least 1. About 150 bytes each.
    pub head_cache: usize,
}

/// One entry of the log, in the order of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its name; indexes grow by one from entry to entry.
    pub log_id: LogId,
    /// What it holds.
    pub payload: Payload,
}

/// What an entry holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Payload {
    /// Nothing.
    Blank,
    /// State of the owner of the log (its membership) that the store keeps without looking inside; the
    /// newest is part of the checkpoint.
    Attachment(Bytes),
    /// A command, as [`crate::command::Builder`] makes it.
    Command(Bytes),
}

/// The event store in one folder.
#[derive(Debug)]
pub struct Store {
    vfs: Arc<dyn Vfs>,
    directory: PathBuf,
    options: Options,
}

impl Store {
    /// Opens the store in `directory`, or founds an empty one there; removes what an unfinished seal or
    /// install left behind. Reads the catalog's state, the chunks' footers, and the ids of the newest
    /// [`quorate_proto::limits::RETRY_WINDOW`] positions.
    ///
    /// What was applied after the newest checkpoint is not there: the owner of the log applies it again.
    pub fn open(vfs: Arc<dyn Vfs>, directory: &Path, options: Options) -> Result<Store, Fault> {
        unimplemented!()
    }

    /// The last entry applied.
    pub fn applied(&self) -> Option<LogId> {
        unimplemented!()
    }

    /// The newest attachment; empty before the first.
    pub fn attachment(&self) -> &Bytes {
        unimplemented!()
    }

    /// The position of the last event.
    pub fn position(&self) -> Position {
        unimplemented!()
    }

    /// The entry of the newest durable checkpoint: log entries up to here are not needed any more.
    pub fn checkpointed(&self) -> Option<LogId> {
        unimplemented!()
    }

    /// Applies the next entry, in memory: nothing is durable on return but by the log. Answers each
    /// append of a command, in order; nothing for other entries.
    ///
    /// Errors: [`Fault::Command`] for a command that this build does not know, a log id that does not
    /// follow the last one, and when [`Store::must_wait`]; a damaged or unreadable file. After an error
    /// nothing more may be applied: the node stops.
    pub fn apply(&mut self, entry: Entry) -> Result<Vec<Verdict>, Fault> {
        unimplemented!()
    }

    /// Whether a boundary was crossed and its seal has not begun.
    pub fn seal_due(&self) -> bool {
        unimplemented!()
    }

    /// Takes the seal that is due; `None` when none is, or one is under way.
    pub fn begin_seal(&mut self) -> Option<Seal> {
        unimplemented!()
    }

    /// Whether the next boundary was reached while a seal is due or under way: it must be finished
    /// before anything more is applied.
    pub fn must_wait(&self) -> bool {
        unimplemented!()
    }

    /// How near the next boundary is while a seal is due or under way: 0 to 1 (and above, by the last
    /// command); 0 without a seal. What admission should slow down by.
    pub fn fill(&self) -> f32 {
        unimplemented!()
    }

    /// Puts the sealed chunk in the place of its tail. A seal that an install has overtaken is dropped.
    pub fn finish_seal(&mut self, sealed: Sealed) -> Result<(), Fault> {
        unimplemented!()
    }

    /// A handle for reading, from any thread.
    pub fn reader(&self) -> Reader {
        unimplemented!()
    }

    /// The newest durable checkpoint, pinned, to be sent to another node; `None` before the first.
    pub fn export(&self) -> Result<Option<Export>, Fault> {
        unimplemented!()
    }

    /// Begins to take over another node's checkpoint, beside this store, which goes on as it is.
    ///
    /// Errors: [`Fault::Foreign`] for a manifest of another cluster, log or chunk size, or one that does
    /// not decode.
    pub fn begin_install(&self, manifest: Bytes) -> Result<Install, Fault> {
        unimplemented!()
    }

    /// Makes the installed checkpoint this store's, durably, and swaps to it. Open scans keep what they
    /// read. Error: [`Fault::Foreign`] if the store has applied more than the checkpoint holds.
    pub fn finish_install(&mut self, installed: Installed) -> Result<(), Fault> {
        unimplemented!()
    }
}
