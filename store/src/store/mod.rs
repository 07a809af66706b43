//! The store: a folder with chunks and a catalog, the tail in memory, and the entries applied to them.
//!
//! The room is the only one that changes the view; it uses every other but the maintenance, which uses it.

mod change;
mod command;
mod groups;

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use quorate_proto::limits::EMPTY_ENTRY_BYTES;
use quorate_proto::{LogId, Position};

use crate::catalog::{Catalog, CatalogExport};
use crate::checkpoint::{Checkpoint, Export, Installed, Installer, Seal, Sealed};
use crate::fault::Fault;
use crate::files::Folder;
use crate::format::catalog::CheckpointState;
use crate::format::chunk::ChunkSummary;
use crate::format::outcome;
use crate::group::Row;
use crate::options::Options;
use crate::point::Point;
use crate::read::Reader;
use crate::verdict::Verdict;
use crate::vfs::Vfs;
use crate::view::{ChunkSlot, Hasher, Heads, Shared, StreamHead, StreamSlot, Tail, View, Window};

/// One entry of the log, in the order of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The term and the index of the entry; the index grows by one from entry to entry.
    pub log_id: LogId,
    /// The content.
    pub payload: Payload,
}

/// The content of an entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Payload {
    /// An entry without content.
    Blank,
    /// State of the owner of the log (its membership), which the store keeps without looking inside; the
    /// newest one is part of the checkpoint.
    Attachment(Bytes),
    /// A command, encoded by [`crate::command::Builder`].
    Command(Bytes),
}

/// The end of a stretch of the log that becomes a checkpoint: a function of the log alone.
#[derive(Clone, Debug)]
struct Boundary {
    log_id: LogId,
    point: Point,
    attachment: Bytes,
    /// The changes of consumer groups since the boundary before.
    groups: Arc<[Row]>,
}

/// The seal that is due or under way.
#[derive(Debug)]
struct Sealing {
    boundary: Boundary,
    has_begun: bool,
}

/// The streams that an append names, in its order, as they were before it.
#[derive(Debug, Default)]
struct Named {
    slots: Vec<StreamSlot>,
    heads: Vec<StreamHead>,
}

/// The tail that a seal took out of a store, if no reader needs it. To drop it takes milliseconds, which whoever waits
/// for the store need not wait for.
#[derive(Debug)]
pub struct Retired {
    #[expect(dead_code, reason = "it is kept to be dropped later")]
    view: Arc<View>,
}

/// The event store in one folder.
///
/// Invariants:
/// - The state is a function of the entries alone, and so are the boundaries: one comes after an entry with
///   which the bytes since the last one exceed the chunk size, or that requests a boundary.
/// - There is a sealing tail exactly while a seal is due or under way, and at most one; when the active tail
///   is complete too (`complete`), nothing more is applied before the seal is finished.
/// - The tails have the newest head of each stream that they know, `heads` that of each other stream that it has.
/// - Readers see whole entries: the point moves at the end of each entry.
#[derive(Debug)]
pub struct Store {
    pub(crate) folder: Folder,
    pub(crate) options: Options,
    /// The number of the catalog in use.
    catalog_number: u64,
    pub(crate) catalog: Arc<Catalog>,
    pub(crate) view: Arc<View>,
    pub(crate) shared: Arc<Shared>,
    heads: Arc<Heads>,
    hasher: Hasher,
    /// The streams of the last append: its lists are used again.
    named: Named,
    pub(crate) point: Point,
    /// True if the retry window lacks ids that a damaged chunk holds.
    pub(crate) lacks_ids: bool,
    attachment: Bytes,
    /// Bytes of the entries, and of the keys of their events, since the last boundary.
    bytes: u64,
    sealing: Option<Sealing>,
    /// The end of the active tail, if it was reached before the last seal was finished.
    complete: Option<Boundary>,
    /// The number of installs so far: a seal that began before the newest install is dropped.
    epoch: u64,
}

impl Store {
    /// Opens the store in `directory`, or founds an empty one there; removes the files that an unfinished
    /// seal or install left. Reads the catalog's state, the chunks' footers, and the ids of the newest
    /// [`quorate_proto::limits::RETRY_WINDOW`] positions.
    ///
    /// The entries after the newest checkpoint are missing: the owner of the log applies them again.
    ///
    /// Errors: [`Fault::Foreign`] if the folder was founded with other options; [`Fault::Damaged`] if it has
    /// chunks but no catalog.
    pub fn open(vfs: Arc<dyn Vfs>, directory: &Path, options: Options) -> Result<Store, Fault> {
        let folder = Folder::open(vfs, directory, options.block_cache_bytes)?;
        let checkpoint = Checkpoint::open(&folder, &options)?;
        let Checkpoint { number, catalog, pinned, chunks, window, groups } = checkpoint;
        let state = catalog.state();
        let point = state.point();
        let hasher = Hasher::new(&options.hash_seed);
        let view = first_view(&folder, pinned, chunks, Tail::after(point.position, hasher.clone()));
        let heads = Heads::new(hasher.clone(), options.head_cache_bytes, view.chunks.is_empty());
        let heads = Arc::new(heads);
        let lacks_ids = window.is_none();
        let window = window.unwrap_or_else(|| Window::new(hasher.clone(), point.position));
        let shared = Arc::new(Shared::new(view.clone(), point, window, groups));
        Ok(Store {
            folder,
            options,
            catalog_number: number,
            catalog,
            view,
            shared,
            heads,
            hasher,
            named: Named::default(),
            point,
            lacks_ids,
            attachment: state.attachment,
            bytes: 0,
            sealing: None,
            complete: None,
            epoch: 0,
        })
    }

    /// The last entry applied.
    pub fn applied(&self) -> Option<LogId> {
        self.point.log_id
    }

    /// The newest attachment; empty before the first.
    pub fn attachment(&self) -> &Bytes {
        &self.attachment
    }

    /// The position of the last event.
    pub fn position(&self) -> Position {
        self.point.position
    }

    /// The chained digest of the outcomes of all entries applied: alike on replicas that applied as much.
    pub fn digest(&self) -> u128 {
        self.point.digest
    }

    /// The last entry of the newest durable checkpoint: log entries up to it are not needed any more.
    pub fn checkpointed(&self) -> Option<LogId> {
        self.catalog.state().log_id
    }

    /// Applies the next entry, in memory: only the log makes it durable. Returns a verdict for each request
    /// of a command, in order; none for other entries.
    ///
    /// Errors: [`Fault::Command`] for a command that this build does not know, for a log id that does not
    /// follow the last one, and when [`Store::must_wait`] or [`Store::must_repair`]; the fault of a damaged
    /// or unreadable file. After an error nothing more may be applied: the node must stop.
    pub fn apply(&mut self, entry: Entry) -> Result<Vec<Verdict>, Fault> {
        self.check_order(entry.log_id)?;
        let (bytes, verdicts) = match entry.payload {
            Payload::Blank => (EMPTY_ENTRY_BYTES, Vec::new()),
            Payload::Attachment(attachment) => {
                self.attachment = attachment;
                (EMPTY_ENTRY_BYTES, Vec::new())
            }
            Payload::Command(command) => {
                (command.len() as u64, self.apply_command(entry.log_id, command)?)
            }
        };
        self.point.log_id = Some(entry.log_id);
        self.point.digest = outcome::digest(self.point.digest, entry.log_id.index, &verdicts);
        self.count(bytes);
        if self.bytes > self.options.chunk_bytes {
            self.bytes = 0;
            self.reach_boundary(entry.log_id);
        }
        self.shared.publish(&self.view, self.point);
        Ok(verdicts)
    }

    /// Returns true if a boundary was crossed and its seal has not begun.
    pub fn seal_due(&self) -> bool {
        self.sealing.as_ref().is_some_and(|sealing| !sealing.has_begun)
    }

    /// Takes the seal that is due; `None` when none is, or one is under way.
    pub fn begin_seal(&mut self) -> Option<Seal> {
        let sealing = self.sealing.as_mut().filter(|sealing| !sealing.has_begun)?;
        let tail = self.view.sealing.clone()?;
        sealing.has_begun = true;
        let Boundary { log_id, point, attachment, groups } = sealing.boundary.clone();
        let Point { position, recorded_at, digest, .. } = point;
        let number = self.catalog.state().next_chunk;
        let state = CheckpointState {
            cluster: self.options.cluster,
            log: self.options.log,
            chunk_bytes: self.options.chunk_bytes,
            log_id: Some(log_id),
            attachment,
            position,
            recorded_at,
            digest,
            next_chunk: if tail.is_empty() { number } else { number + 1 },
        };
        Some(Seal {
            epoch: self.epoch,
            folder: self.folder.clone(),
            options: self.options.clone(),
            catalog: self.catalog.clone(),
            view: self.view.clone(),
            tail,
            heads: self.heads.clone(),
            number,
            log_id,
            state,
            groups,
        })
    }

    /// Takes the seal that is under way once more: it met a damaged chunk, which was repaired since. Nothing of it is
    /// durable yet. `None` when no seal is under way.
    pub fn begin_seal_again(&mut self) -> Option<Seal> {
        self.sealing.as_mut()?.has_begun = false;
        self.begin_seal()
    }

    /// Returns true if the next boundary was reached while a seal is due or under way: that seal must be
    /// finished before anything more is applied.
    pub fn must_wait(&self) -> bool {
        self.complete.is_some()
    }

    /// The chunks that cannot be used, with their damage. Reads that need them return that fault.
    pub fn damaged(&self) -> Vec<(ChunkSummary, Fault)> {
        let slots = self.view.chunks.iter();
        slots.filter_map(|slot| Some((slot.summary().clone(), slot.fault()?.clone()))).collect()
    }

    /// Returns true if apply needs ids or keys of a damaged chunk, which must be repaired first.
    pub fn must_repair(&self) -> bool {
        let through = usize::try_from(self.view.catalog.contents().indexed.through);
        let unindexed = self.view.chunks.get(through.unwrap_or(usize::MAX)..).unwrap_or_default();
        self.lacks_ids || unindexed.iter().any(|slot| slot.fault().is_some())
    }

    /// Returns how near the next boundary is while a seal is due or under way, from 0 to 1; 0 without a seal.
    /// Admission should slow down by it.
    pub fn fill(&self) -> f32 {
        match (&self.sealing, &self.complete) {
            (None, _) => 0.0,
            (_, Some(_)) => 1.0,
            (Some(_), None) => self.bytes as f32 / self.options.chunk_bytes as f32,
        }
    }

    /// Puts the sealed chunk in the place of its tail, and returns what is no longer needed. A seal that an install has
    /// overtaken has no effect.
    pub fn finish_seal(&mut self, sealed: Sealed) -> Result<Retired, Fault> {
        let retired = Retired { view: self.view.clone() };
        if sealed.epoch != self.epoch {
            return Ok(retired);
        }
        let mut chunks = self.view.chunks.clone();
        if let Some(chunk) = sealed.chunk {
            Arc::make_mut(&mut chunks).push(ChunkSlot::Whole(chunk));
        }
        self.sealing = None;
        self.view = Arc::new(View {
            directory: self.folder.chunks.clone(),
            chunks,
            catalog: sealed.pinned,
            sealing: None,
            active: self.view.active.clone(),
        });
        if let Some(boundary) = self.complete.take() {
            self.rotate(boundary);
        }
        self.shared.publish(&self.view, self.point);
        Ok(retired)
    }

    /// A handle for reading, from any thread.
    pub fn reader(&self) -> Reader {
        Reader::new(self.shared.clone())
    }

    /// The newest durable checkpoint, pinned, to be sent to another node; `None` before the first.
    pub fn export(&self) -> Result<Option<Export>, Fault> {
        Ok(Export::of(&self.view))
    }

    /// Begins to take over another node's checkpoint: see [`Installer::begin`].
    pub fn installer(&self) -> Installer {
        Installer::new(&self.folder, &self.options, &self.view, self.catalog_number + 1)
    }

    /// Makes the installed checkpoint this store's, durably, and swaps to it. Open scans keep what they
    /// read. Error: [`Fault::Foreign`] if the store has applied as much as the checkpoint holds, or more.
    pub fn finish_install(&mut self, installed: Installed) -> Result<(), Fault> {
        let Checkpoint { number, catalog, pinned, chunks, window, groups } = installed.checkpoint;
        let state = catalog.state();
        let path = self.folder.catalog(number);
        let window = window.ok_or_else(|| Fault::damaged(&path, 0, "its ids cannot be read"))?;
        if state.log_id.map(|id| id.index) <= self.point.log_id.map(|id| id.index) {
            let why = "the store has applied as much already";
            return Err(Fault::foreign(&path, why));
        }
        let chunks = self.as_known_now(chunks, &installed.fetched);
        for number in &installed.fetched {
            if let Some(ChunkSlot::Whole(replaced)) = self.view.slot(*number) {
                replaced.hold()?;
            }
        }
        self.epoch = self.folder.install(number, &installed.fetched)?;
        let old = std::mem::replace(&mut self.catalog_number, number);
        self.point = state.point();
        let tail = Tail::after(self.point.position, self.hasher.clone());
        self.view = first_view(&self.folder, pinned, chunks, tail);
        self.catalog = catalog;
        self.attachment = state.attachment;
        let (hasher, bytes) = (self.hasher.clone(), self.options.head_cache_bytes);
        self.heads = Arc::new(Heads::new(hasher, bytes, self.view.chunks.is_empty()));
        (self.bytes, self.sealing, self.complete) = (0, None, None);
        self.lacks_ids = false;
        *self.shared.groups_mut() = groups;
        self.shared.replace(&self.view, self.point, window);
        self.folder.remove_catalog(old)
    }

    /// Returns the chunks as they are in use now, as one may have been scavenged, repaired or found damaged
    /// since the install began; those in `fetched` are returned as given.
    fn as_known_now(&self, chunks: Arc<Vec<ChunkSlot>>, fetched: &[u64]) -> Arc<Vec<ChunkSlot>> {
        let now = |slot: &ChunkSlot| {
            let own = self.view.slot(slot.number()).filter(|_| !fetched.contains(&slot.number()));
            own.unwrap_or(slot).clone()
        };
        Arc::new(chunks.iter().map(now).collect())
    }

    /// Makes the entry that is being applied the last one before a boundary.
    pub(crate) fn fill_stretch(&mut self) {
        self.bytes = self.options.chunk_bytes;
    }

    /// Adds to the bytes since the last boundary.
    pub(crate) fn count(&mut self, bytes: u64) {
        self.bytes += bytes;
    }

    fn check_order(&self, log_id: LogId) -> Result<(), Fault> {
        let refuse = |why: String| Err(Fault::Command { index: log_id.index.0, why });
        if self.must_repair() {
            return refuse("a damaged chunk that it needs must be repaired first".into());
        }
        if self.must_wait() {
            return refuse("the seal before it is not finished".into());
        }
        match self.point.log_id {
            Some(last) if last.index.next() != log_id.index || last.term > log_id.term => {
                refuse(format!("the entry {log_id} does not follow {last}"))
            }
            _ => Ok(()),
        }
    }

    /// Ends the active tail at this entry: it becomes the sealing tail, now or after the last seal.
    fn reach_boundary(&mut self, log_id: LogId) {
        let (point, attachment) = (self.point, self.attachment.clone());
        let groups = self.shared.groups_mut().take_changed().into();
        let boundary = Boundary { log_id, point, attachment, groups };
        if self.sealing.is_some() {
            self.complete = Some(boundary);
        } else {
            self.rotate(boundary);
        }
    }

    fn rotate(&mut self, boundary: Boundary) {
        self.view = Arc::new(View {
            directory: self.folder.chunks.clone(),
            chunks: self.view.chunks.clone(),
            catalog: self.view.catalog.clone(),
            sealing: Some(self.view.active.clone()),
            active: Arc::new(Tail::after(boundary.point.position, self.hasher.clone())),
        });
        self.sealing = Some(Sealing { boundary, has_begun: false });
    }
}

/// Returns the view of a store that has a checkpoint and nothing after it.
fn first_view(
    folder: &Folder,
    catalog: Arc<CatalogExport>,
    chunks: Arc<Vec<ChunkSlot>>,
    tail: Tail,
) -> Arc<View> {
    let (directory, active) = (folder.chunks.clone(), Arc::new(tail));
    Arc::new(View { directory, chunks, catalog, sealing: None, active })
}
