//! The handle to the log: hands work to the writer and reads entries back.
#![allow(clippy::unimplemented, unused_variables)]

use std::ops::RangeInclusive;
use std::path::Path;
use std::sync::Arc;

use quorate_proto::LogId;
use quorate_store::Fault;
use quorate_store::vfs::Vfs;
use tokio::sync::watch;

use super::{Done, LogEntry, LogOptions, LogState, LogWriter, PeerMemory, VoteRecord};

/// A handle to the log; clones share it. When the last is dropped, the writer ends.
#[derive(Clone, Debug)]
pub struct RaftLog {}

impl RaftLog {
    /// Opens the log in `directory`, or creates it there. On return all that it shows is durable.
    pub fn open(
        vfs: Arc<dyn Vfs>,
        directory: &Path,
        options: LogOptions,
    ) -> Result<(RaftLog, LogWriter), Fault> {
        unimplemented!()
    }

    /// What the log holds now, whether durable yet or not.
    pub fn state(&self) -> LogState {
        unimplemented!()
    }

    /// The id of the entry at `index`, also when it is the last purged; `None` when it is not there.
    pub fn log_id(&self, index: u64) -> Option<LogId> {
        unimplemented!()
    }

    /// Of the entries in `range`, the first of every term, and the last.
    ///
    /// # Errors
    /// When an entry of the range is not there (the last purged is, by name).
    pub fn key_log_ids(&self, range: RangeInclusive<u64>) -> Result<Vec<LogId>, Fault> {
        unimplemented!()
    }

    /// The entries from `from` to before `until`, as many as fit into `bytes_max`, at least one.
    ///
    /// # Errors
    /// When one of the range is not there, or is damaged: never a short answer for that.
    pub fn read(&self, from: u64, until: u64, bytes_max: usize) -> Result<Vec<LogEntry>, Fault> {
        unimplemented!()
    }

    /// Appends entries that continue the log; they can be read on return.
    pub fn append(&self, entries: Vec<LogEntry>, done: Done) {
        unimplemented!()
    }

    /// Saves a vote.
    pub fn save_vote(&self, vote: VoteRecord, done: Done) {
        unimplemented!()
    }

    /// Notes how far is committed; becomes durable with the next batch.
    pub fn save_committed(&self, committed: LogId) {
        unimplemented!()
    }

    /// Drops all entries after `end`.
    pub fn truncate_after(&self, end: Option<LogId>, done: Done) {
        unimplemented!()
    }

    /// Drops all entries up to `purged`, which may lie beyond the last; becomes durable with the next batch.
    pub fn purge(&self, purged: LogId) {
        unimplemented!()
    }

    /// Remembers a peer in place of what was remembered of it; becomes durable with the next batch.
    pub fn remember(&self, peer: PeerMemory) {
        unimplemented!()
    }

    /// Notes that the catalog may from now on stand at `installed` without this log reaching it: a snapshot
    /// is about to be put in place. To be awaited before `CURRENT` is renamed; without it, a crash
    /// between the rename and the purge that follows would look like a log that lost its end
    /// (see [`LogOptions::covered`]).
    pub fn announce_install(&self, installed: LogId, done: Done) {
        unimplemented!()
    }

    /// The last durable entry, as it moves.
    pub fn flushed(&self) -> watch::Receiver<Option<LogId>> {
        unimplemented!()
    }

    /// Waits until the entry at `index` is durable here.
    ///
    /// # Errors
    /// The fault that stopped the log.
    pub async fn wait_flushed(&self, index: u64) -> Result<(), Fault> {
        unimplemented!()
    }
}
