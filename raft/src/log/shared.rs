//! The state that the handles and the writer share: the contents of the log, and the queue between them.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use quorate_proto::LogId;
use quorate_store::Fault;
use quorate_store::vfs::{File, Open, Vfs};
use tokio::sync::{Notify, watch};

use super::entries::Entries;
use super::format::{Identity, Record};
use super::image::Image;
use super::segments::segment_name;
use super::{Done, LogEntry, TruncationRecord, VoteRecord};
use crate::histogram::Histogram;

/// The state that the handles and the writer share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) vfs: Arc<dyn Vfs>,
    pub(super) directory: PathBuf,
    pub(super) identity: Identity,
    /// The greatest number of bytes in a batch, unless it holds a single larger entry.
    pub(super) batch_bytes: u64,
    inner: Mutex<Inner>,
    /// Wakes the writer, for [`LogWriter::wait`](super::LogWriter::wait).
    pub(super) work: Condvar,
    /// Wakes the writer, for [`LogWriter::ready`](super::LogWriter::ready).
    pub(super) woken: Notify,
    pub(super) flushed: watch::Sender<Option<LogId>>,
    /// Wakes the tasks that wait until fewer bytes are unflushed.
    pub(super) drained: Notify,
    /// The files that are open for reading, by number.
    files: Mutex<BTreeMap<u64, Arc<dyn File>>>,
    /// The times that batches took to become durable once they were written.
    pub(super) sync_times: Histogram,
}

impl Shared {
    pub(super) fn new(
        vfs: Arc<dyn Vfs>,
        directory: PathBuf,
        identity: Identity,
        batch_bytes: u64,
        inner: Inner,
    ) -> Shared {
        Shared {
            vfs,
            directory,
            identity,
            batch_bytes,
            flushed: watch::Sender::new(inner.flushed()),
            inner: Mutex::new(inner),
            work: Condvar::new(),
            woken: Notify::new(),
            drained: Notify::new(),
            files: Mutex::new(BTreeMap::new()),
            sync_times: Histogram::default(),
        }
    }

    /// Locks the state. No holder of the lock can panic halfway through a change that matters: the state is
    /// checked again when it is written.
    pub(super) fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Blocks until the writer is woken.
    pub(super) fn wait<'a>(&self, guard: MutexGuard<'a, Inner>) -> MutexGuard<'a, Inner> {
        self.work.wait(guard).unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn segment_path(&self, number: u64) -> PathBuf {
        self.directory.join(segment_name(number))
    }

    /// Returns a segment's file, to read from.
    pub(super) fn file(&self, number: u64) -> Result<Arc<dyn File>, Fault> {
        let mut files = self.files.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(file) = files.get(&number) {
            return Ok(Arc::clone(file));
        }
        let path = self.segment_path(number);
        let file = self.vfs.open(&path, Open::Read).map_err(Fault::io("open", &path))?;
        files.insert(number, Arc::clone(&file));
        Ok(file)
    }

    /// Closes the file of a segment that is no longer in use.
    pub(super) fn forget_file(&self, number: u64) {
        self.files.lock().unwrap_or_else(PoisonError::into_inner).remove(&number);
    }

    pub(super) fn wake(&self) {
        self.work.notify_one();
        self.woken.notify_one();
    }

    /// Publishes the last durable entry.
    pub(super) fn publish_flushed(&self, inner: &Inner) {
        let flushed = inner.flushed();
        self.flushed.send_if_modified(|shown| std::mem::replace(shown, flushed) != flushed);
    }

    /// Stops the log: `fault` (or the first fault, if there was one) is the answer to all waiting and all
    /// later calls.
    pub(super) fn fail(&self, fault: Fault, in_flight: Vec<Done>) -> Fault {
        let mut inner = self.lock();
        let fault = inner.failed.get_or_insert(fault).clone();
        let waiting = std::mem::take(&mut inner.queue);
        drop(inner);
        for done in in_flight.into_iter().chain(waiting.into_iter().filter_map(|work| work.done)) {
            done(Err(fault.clone()));
        }
        self.flushed.send_modify(|_| ());
        self.drained.notify_waiters();
        self.wake();
        fault
    }
}

/// A piece of work that was handed to the log, and the [`Done`] to call when it is durable.
pub(super) struct Work {
    pub(super) what: What,
    pub(super) done: Option<Done>,
}

/// The kinds of work that can be handed to the log.
#[derive(Debug)]
pub(super) enum What {
    /// Entries; `ticket` is the ticket of the first one.
    Append {
        entries: Vec<LogEntry>,
        ticket: u64,
    },
    Vote(VoteRecord),
    Truncate(TruncationRecord),
    Purge {
        to: LogId,
        needed: Needed,
    },
    Install(LogId),
    /// Writes nothing; its [`Done`] is called when all work before it is durable.
    Barrier,
}

/// The segments that hold the entries that a purge left.
#[derive(Clone, Copy, Debug)]
pub(super) enum Needed {
    /// Possibly the segment with this number and later ones.
    From(u64),
    /// No segment older than the one to which the purge is written.
    OnlyNew,
}

impl What {
    /// Returns true if somebody waits for it. Other work is written together with later work.
    fn is_urgent(&self) -> bool {
        !matches!(self, What::Purge { .. })
    }
}

/// The contents of the log, durable or not, and the work that is yet to be written.
///
/// Invariants:
/// - `now` and `entries` are the durable state, plus the batch in flight, plus `queue` in its order;
/// - `entries` after the last with `durable_ticket` are in the batch in flight or in `queue`.
pub(super) struct Inner {
    pub(super) now: Image,
    pub(super) entries: Entries,
    queue: VecDeque<Work>,
    urgent: usize,
    /// The number of bytes of `queue` and of the batch in flight.
    pub(super) unflushed_bytes: u64,
    /// The number of bytes of the batch in flight.
    batch_bytes: Option<u64>,
    /// The number of batches that are flushed.
    batches: u64,
    /// True if the committed mark of `now` is to be written with the next batch.
    committed_waits: bool,
    /// The peers of `now` that are to be written with the next batch.
    peers_wait: BTreeSet<u64>,
    pub(super) next_ticket: u64,
    pub(super) durable_ticket: u64,
    pub(super) failed: Option<Fault>,
    /// True if the next segment may be filled before it is needed.
    pub(super) fills_ahead: bool,
    /// True if no more work is handed over: all handles are dropped, or one of them closed the log.
    pub(super) closed: bool,
}

impl std::fmt::Debug for Inner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Inner").field("now", &self.now).field("failed", &self.failed).finish()
    }
}

impl Inner {
    /// Returns the state of a log that was read back and is durable; `ticket` is that of the last entry.
    pub(super) fn new(now: Image, entries: Entries, ticket: u64) -> Inner {
        Inner {
            now,
            entries,
            queue: VecDeque::new(),
            urgent: 0,
            unflushed_bytes: 0,
            batch_bytes: None,
            batches: 0,
            committed_waits: false,
            peers_wait: BTreeSet::new(),
            next_ticket: ticket + 1,
            durable_ticket: ticket,
            failed: None,
            fills_ahead: true,
            closed: false,
        }
    }

    /// Returns the last entry that is durable and was not truncated since.
    pub(super) fn flushed(&self) -> Option<LogId> {
        self.entries.last_appended_by(self.durable_ticket).or(self.now.purged)
    }

    pub(super) fn push(&mut self, what: What, done: Option<Done>) {
        self.urgent += usize::from(what.is_urgent());
        self.unflushed_bytes += what.size();
        self.queue.push_back(Work { what, done });
    }

    pub(super) fn note_committed(&mut self, committed: LogId) {
        self.now.committed = Some(committed);
        self.committed_waits = true;
    }

    /// Clamps the committed mark to the end of the log and returns the new mark, if it changed. A mark may
    /// reach the disk without its entries; it must not apply to other entries that take their places later.
    pub(super) fn clamp_committed(&mut self) -> Option<LogId> {
        let (committed, end) = (self.now.committed?, self.now.end);
        if end.is_some_and(|end| end.index >= committed.index) {
            return None;
        }
        self.now.committed = end;
        end
    }

    pub(super) fn note_peer(&mut self, peer: super::PeerMemory) {
        self.now.note_peer(peer);
        self.peers_wait.insert(peer.node);
    }

    /// Returns true if there is something to write now. Marks alone wait for other work, until the end.
    pub(super) fn has_work(&self) -> bool {
        let marks = !self.queue.is_empty() || self.committed_waits || !self.peers_wait.is_empty();
        self.failed.is_none() && (self.urgent > 0 || self.closed && marks)
    }

    /// Takes the next batch from the queue: whole pieces of work up to `bytes_max` bytes, at least one piece.
    pub(super) fn take_batch(&mut self, bytes_max: u64) -> Vec<Work> {
        let (mut taken, mut bytes) = (Vec::new(), 0);
        while let Some(next) = self.queue.front() {
            let size = next.what.size();
            if !taken.is_empty() && bytes + size > bytes_max {
                break;
            }
            bytes += size;
            self.urgent -= usize::from(next.what.is_urgent());
            taken.extend(self.queue.pop_front());
        }
        self.batch_bytes = Some(bytes);
        taken
    }

    /// Notes that the batch that was taken is flushed.
    pub(super) fn batch_flushed(&mut self) {
        self.unflushed_bytes -= self.batch_bytes.take().unwrap_or_default();
        self.batches += 1;
    }

    /// Returns the number of the batch that is to be flushed next, if somebody waits for one.
    pub(super) fn awaited_batch(&self) -> Option<u64> {
        (self.urgent > 0 || self.batch_bytes.is_some()).then_some(self.batches)
    }

    /// Returns the segments that hold the remaining entries.
    pub(super) fn needed(&self) -> Needed {
        match self.entries.first_place() {
            Some(place) => Needed::From(place.number),
            None if self.entries.len() == 0 => Needed::OnlyNew,
            // The first entry is not written yet, and its segment is not known; the next purge will know it.
            None => Needed::From(0),
        }
    }

    /// Takes the marks that are written together with the next batch.
    pub(super) fn take_marks(&mut self) -> Vec<Record> {
        let mut marks = Vec::new();
        if std::mem::take(&mut self.committed_waits) {
            marks.extend(self.now.committed.map(Record::Committed));
        }
        for node in std::mem::take(&mut self.peers_wait) {
            let memory = self.now.peers.get(&node).copied();
            marks.push(Record::Peer(memory.unwrap_or(super::PeerMemory::nothing(node))));
        }
        marks
    }
}

impl What {
    fn size(&self) -> u64 {
        match self {
            What::Append { entries, .. } => entries.iter().map(entry_bytes).sum(),
            _ => 64,
        }
    }
}

/// Returns the number of bytes that an entry takes in a batch.
pub(super) fn entry_bytes(entry: &LogEntry) -> u64 {
    (entry.payload.len() + super::format::ENTRY_OVERHEAD_BYTES) as u64
}
