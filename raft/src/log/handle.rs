//! The handle to the log: hands work to the writer and reads entries back.

use std::ops::RangeInclusive;
use std::path::Path;
use std::sync::{Arc, MutexGuard};

use quorate_proto::LogId;
use quorate_store::Fault;
use quorate_store::vfs::Vfs;
use tokio::sync::watch;

use super::image::{check_follows, earliest, latest};
use super::shared::{Inner, Shared, What, entry_bytes};
use super::{
    Done, LogEntry, LogOptions, LogState, LogWriter, PeerMemory, TruncationRecord, VoteRecord,
    open, read,
};
use crate::histogram::Observations;

/// A handle to the log; clones share it. When the last handle is dropped, the writer ends.
#[derive(Clone, Debug)]
pub struct RaftLog {
    shared: Arc<Shared>,
    _alive: Arc<Alive>,
}

/// Closes the log for the writer when the last handle is dropped.
#[derive(Debug)]
struct Alive {
    shared: Arc<Shared>,
}

impl Drop for Alive {
    fn drop(&mut self) {
        self.shared.lock().closed = true;
        self.shared.wake();
    }
}

impl RaftLog {
    /// Opens the log in `directory`, or creates it there. On return all that it shows is durable.
    ///
    /// Cost: reads every segment in use.
    ///
    /// # Errors
    /// [`Fault::Foreign`] when it is the log of another cluster or node, before anything is changed;
    /// [`Fault::Damaged`] when something is missing that was durable; [`Fault::Io`].
    pub fn open(
        vfs: Arc<dyn Vfs>,
        directory: &Path,
        options: LogOptions,
    ) -> Result<(RaftLog, LogWriter), Fault> {
        let (shared, writer) = open::open(vfs, directory, &options)?;
        let _alive = Arc::new(Alive { shared: Arc::clone(&shared) });
        Ok((RaftLog { shared, _alive }, writer))
    }

    /// Returns the state of the log now, whether durable yet or not.
    pub fn state(&self) -> LogState {
        let inner = self.shared.lock();
        let now = &inner.now;
        LogState {
            vote: now.vote,
            committed: earliest(now.committed, now.end),
            purged: now.purged,
            last: now.end,
            flushed: inner.flushed(),
            truncation: now.truncation,
            peers: now.peers.values().copied().collect(),
        }
    }

    /// Returns the id of the last entry, or of the last purged one when there is none after it.
    pub fn end(&self) -> Option<LogId> {
        self.shared.lock().now.end
    }

    /// Returns the last purged entry.
    pub fn purged(&self) -> Option<LogId> {
        self.shared.lock().now.purged
    }

    /// Returns the number of bytes of the entries after `index` up to `until`, as they stand in the log; entries that
    /// are gone count nothing.
    ///
    /// Cost: a look at each of these entries, so at most `at_most` bytes are counted.
    pub fn bytes_after(&self, index: u64, until: u64, at_most: u64) -> u64 {
        let inner = self.shared.lock();
        let mut bytes = 0;
        for index in index.saturating_add(1).max(inner.entries.first())..=until {
            bytes += inner.entries.get(index).map_or(0, |slot| slot.record_bytes());
            if bytes >= at_most || inner.entries.until() <= index {
                break;
            }
        }
        bytes.min(at_most)
    }

    /// Returns the indexes of the entries that are there: the first, and the one after the last.
    pub fn held(&self) -> (u64, u64) {
        let inner = self.shared.lock();
        (inner.entries.first(), inner.entries.until())
    }

    /// Returns the id of the entry at `index`, also for the last purged one; `None` when the entry is not there.
    pub fn log_id(&self, index: u64) -> Option<LogId> {
        log_id(&self.shared.lock(), index)
    }

    /// Returns the first entry of every term in `range`, and the last entry of `range`.
    ///
    /// # Errors
    /// An entry of the range is not there (the last purged one counts as there).
    pub fn key_log_ids(&self, range: RangeInclusive<u64>) -> Result<Vec<LogId>, Fault> {
        let inner = self.shared.lock();
        let mut ids: Vec<LogId> = Vec::new();
        let mut last = None;
        for index in range {
            let missing = || read::missing(&self.shared.directory, &inner, index);
            let id = log_id(&inner, index).ok_or_else(missing)?;
            if ids.last().is_none_or(|first| first.term != id.term) {
                ids.push(id);
            }
            last = Some(id);
        }
        if ids.last() != last.as_ref() {
            ids.extend(last);
        }
        Ok(ids)
    }

    /// Returns the entries from `from` to before `until`, as many as fit into `bytes_max`, at least one.
    ///
    /// # Errors
    /// An entry of the range is not there, or is damaged: the answer is never just shorter for that. The fault that
    /// stopped the log.
    pub fn read(&self, from: u64, until: u64, bytes_max: usize) -> Result<Vec<LogEntry>, Fault> {
        read::read(&self.shared, from, until, bytes_max)
    }

    /// Returns true if the entry at `index`, and so all after it, is in memory: [`read`](Self::read) does not wait.
    pub fn is_cached(&self, index: u64) -> bool {
        self.shared.lock().entries.cached(index).is_some()
    }

    /// Appends entries that continue the log; they can be read on return.
    ///
    /// Entries that do not continue the log are answered with an error, and none is appended.
    pub fn append(&self, entries: Vec<LogEntry>, done: Done) {
        let Some((mut inner, done)) = self.begin(done) else { return };
        if let Err(why) = check_continues(&inner, &entries) {
            drop(inner);
            let error = std::io::Error::new(std::io::ErrorKind::InvalidInput, why);
            return done(Err(Fault::io("append to", &self.shared.directory)(error)));
        }
        let mut done = Some(done);
        let mut entries = entries.into_iter().peekable();
        while entries.peek().is_some() {
            let (mut part, mut bytes) = (Vec::new(), 0);
            while let Some(entry) = entries.next_if(|next| {
                part.is_empty() || bytes + entry_bytes(next) <= self.shared.batch_bytes
            }) {
                bytes += entry_bytes(&entry);
                part.push(entry);
            }
            let whole = entries.peek().is_none();
            push_part(&mut inner, part, if whole { done.take() } else { None });
        }
        if let Some(done) = done {
            inner.push(What::Barrier, Some(done));
        }
        drop(inner);
        self.shared.wake();
    }

    /// Saves a vote.
    pub fn save_vote(&self, vote: VoteRecord, done: Done) {
        let Some((mut inner, done)) = self.begin(done) else { return };
        inner.now.vote = Some(vote);
        inner.push(What::Vote(vote), Some(done));
        drop(inner);
        self.shared.wake();
    }

    /// Saves the committed mark; it becomes durable with the next batch.
    pub fn save_committed(&self, committed: LogId) {
        self.shared.lock().note_committed(committed);
    }

    /// Drops all entries after `end`.
    pub fn truncate_after(&self, end: Option<LogId>, done: Done) {
        let Some((mut inner, done)) = self.begin(done) else { return };
        let last = inner.now.end;
        // Purged entries cannot be dropped once more.
        let end = latest(end, inner.now.purged);
        if last.map(|last| last.index) > end.map(|end| end.index) {
            let vote = inner.now.vote.unwrap_or_default();
            let truncation = TruncationRecord { end, vote };
            inner.now.end = end;
            inner.now.truncation = Some(truncation);
            inner.entries.truncate_after(end);
            inner.push(What::Truncate(truncation), Some(done));
            self.shared.publish_flushed(&inner);
        } else {
            inner.push(What::Barrier, Some(done));
        }
        drop(inner);
        self.shared.wake();
    }

    /// Drops all entries up to `purged`, which may lie beyond the last one; becomes durable with the next batch.
    pub fn purge(&self, purged: LogId) {
        let mut inner = self.shared.lock();
        if inner.now.purged.is_some_and(|before| before.index >= purged.index) {
            return;
        }
        inner.now.purge(purged);
        inner.entries.purge(purged.index.0);
        let needed = inner.needed();
        inner.push(What::Purge { to: purged, needed }, None);
        self.shared.publish_flushed(&inner);
    }

    /// Replaces the memory of a peer, or forgets it ([`PeerMemory::nothing`]); becomes durable with the next batch.
    pub fn remember(&self, peer: PeerMemory) {
        self.shared.lock().note_peer(peer);
    }

    /// Makes the memories of peers durable soon, even if no other work comes with which they could be written.
    pub fn write_marks(&self) {
        let Some((mut inner, done)) = self.begin(Box::new(|_| {})) else { return };
        inner.push(What::Barrier, Some(done));
        drop(inner);
        self.shared.wake();
    }

    /// Notes that the catalog may from now on stand at `installed` without this log reaching it: a snapshot
    /// is about to be put in place. The caller awaits `done` before `CURRENT` is renamed; otherwise a crash
    /// between the rename and the purge that follows would look like a log that lost its end
    /// (see [`LogOptions::covered`]).
    pub fn announce_install(&self, installed: LogId, done: Done) {
        let Some((mut inner, done)) = self.begin(done) else { return };
        inner.now.install = Some(installed);
        inner.push(What::Install(installed), Some(done));
        drop(inner);
        self.shared.wake();
    }

    /// Returns a watch on the last durable entry.
    pub fn flushed(&self) -> watch::Receiver<Option<LogId>> {
        self.shared.flushed.subscribe()
    }

    /// Waits until the entry at `index` is durable here.
    ///
    /// # Errors
    /// The fault that stopped the log.
    pub async fn wait_flushed(&self, index: u64) -> Result<(), Fault> {
        let mut flushed = self.shared.flushed.subscribe();
        loop {
            {
                let inner = self.shared.lock();
                if inner.flushed().is_some_and(|id| id.index.0 >= index) {
                    return Ok(());
                }
                if let Some(fault) = &inner.failed {
                    return Err(fault.clone());
                }
            }
            // The sender lives as long as this handle.
            if flushed.changed().await.is_err() {
                return Ok(());
            }
        }
    }

    /// Returns the number of bytes that were handed over and are not durable yet.
    pub fn unflushed_bytes(&self) -> u64 {
        self.shared.lock().unflushed_bytes
    }

    /// Returns how long batches took to become durable (fdatasync) once they were written, since the log was opened.
    pub fn sync_times(&self) -> Observations {
        self.shared.sync_times.observations()
    }

    /// Returns the number of the batch that is to become durable next, if somebody waits for one: while the number
    /// stays the same, the disk hangs.
    pub fn awaited_batch(&self) -> Option<u64> {
        self.shared.lock().awaited_batch()
    }

    /// Waits until fewer than `bytes` bytes are unflushed, or the log has stopped.
    pub async fn wait_drained(&self, bytes: u64) {
        loop {
            let drained = self.shared.drained.notified();
            {
                let inner = self.shared.lock();
                if inner.unflushed_bytes < bytes || inner.failed.is_some() {
                    return;
                }
            }
            drained.await;
        }
    }

    /// Sets if the next segment may be filled ahead of need. Without room it may not: the rest of the existing
    /// segments holds thousands of votes and truncations, and no entries come.
    pub fn fill_ahead(&self, may: bool) {
        self.shared.lock().fills_ahead = may;
        self.shared.wake();
    }

    /// Ends the log although handles of it are held: work that was handed over before is still written, marks
    /// included, then the writer ends. Later work is answered with an error.
    pub fn close(&self) {
        self.shared.lock().closed = true;
        self.shared.wake();
    }

    /// Locks the state, or answers `done` if the log has stopped.
    fn begin(&self, done: Done) -> Option<(MutexGuard<'_, Inner>, Done)> {
        let inner = self.shared.lock();
        let fault = match &inner.failed {
            Some(fault) => fault.clone(),
            None if inner.closed => {
                let closed = std::io::Error::new(std::io::ErrorKind::NotConnected, "it is closed");
                Fault::io("append to", &self.shared.directory)(closed)
            }
            None => return Some((inner, done)),
        };
        drop(inner);
        done(Err(fault));
        None
    }
}

fn log_id(inner: &Inner, index: u64) -> Option<LogId> {
    inner.entries.id(index).or(inner.now.purged.filter(|purged| purged.index.0 == index))
}

fn check_continues(inner: &Inner, entries: &[LogEntry]) -> Result<(), String> {
    let Some(first) = entries.first() else { return Ok(()) };
    inner.now.check_next(first.id)?;
    let mut pairs = entries.iter().zip(entries.iter().skip(1));
    pairs.try_for_each(|(one, next)| check_follows(one.id, next.id))
}

fn push_part(inner: &mut Inner, entries: Vec<LogEntry>, done: Option<Done>) {
    let ticket = inner.next_ticket;
    for (nth, entry) in entries.iter().enumerate() {
        inner.entries.push(entry, ticket + nth as u64);
        inner.now.end = Some(entry.id);
    }
    inner.next_ticket += entries.len() as u64;
    inner.push(What::Append { entries, ticket }, done);
}
