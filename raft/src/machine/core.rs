//! The store as Raft applies entries to it, with the seals and installs that run beside it.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures_util::future::BoxFuture;
use quorate_proto::{LogId, Position};
use quorate_store::{
    Export, Fault, Install, Installed, Reader, Retired, Seal, Sealed, Store, Verdict,
};
use tokio::sync::watch;
use tokio::time::Instant;

use super::digests::Digests;
use super::gate::{Gate, Inside};
use super::health::Health;
use super::replay::Replayed;
use crate::adapter::entry::{self, stored};
use crate::adapter::membership::Ledger;
use crate::adapter::storage::completion;
use crate::adapter::types::{self, Entry, Payload, Snapshot, SnapshotMeta};
use crate::disk_space::{Room, Space};
use crate::failure::Failure;
use crate::histogram::Histogram;
use crate::host::Host;
use crate::log::RaftLog;
use crate::status::Damage;

/// Most bytes of a chunk that are read at once.
pub(crate) const CHUNK_PART_BYTES: usize = 1024 * 1024;

/// The durability of the log, which the store must know before it makes something durable: a checkpoint is never
/// ahead of the log that it is a checkpoint of.
pub(crate) trait Durability: Send + Sync {
    /// Waits until the log is durable up to an entry.
    fn wait_flushed(&self, log_id: LogId) -> BoxFuture<'static, Result<(), Fault>>;
    /// Waits until all that was queued is durable, and with it the mark that a checkpoint from another node
    /// is about to be put in place.
    fn announce_install(&self, log_id: LogId) -> BoxFuture<'static, Result<(), Fault>>;
}

impl Durability for RaftLog {
    fn wait_flushed(&self, log_id: LogId) -> BoxFuture<'static, Result<(), Fault>> {
        let log = self.clone();
        Box::pin(async move { log.wait_flushed(log_id.index.0).await })
    }

    fn announce_install(&self, log_id: LogId) -> BoxFuture<'static, Result<(), Fault>> {
        let (done, announced) = completion();
        RaftLog::announce_install(self, log_id, done);
        Box::pin(announced)
    }
}

/// A checkpoint on its way from one node to another.
#[allow(clippy::large_enum_variant, reason = "there is one at a time")]
pub(crate) enum Checkpoint {
    /// The sender's checkpoint, pinned.
    Export(Arc<Export>),
    /// The receiver's checkpoint: complete beside its store.
    Installed(Installed),
    /// The checkpoint of a store before its first boundary: there is nothing to take over.
    Empty,
}

/// The progress of the store.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Progress {
    pub(crate) applied: Option<LogId>,
    pub(crate) position: Position,
    pub(crate) checkpointed: Option<LogId>,
    pub(crate) checkpointed_position: Position,
    pub(crate) pressure: f32,
}

/// The store and the work around it. Shared by openraft's worker, the seals, and the replica.
///
/// Invariants:
/// - the store is locked for one step at a time, never across an await;
/// - at most one seal is under way, and `sealing` is true then, also while it waits for the repair of a chunk;
/// - a seal runs only when the log is durable up to its entry, and begins only when there is room for it;
/// - code that changes the folder is inside the gate.
pub(crate) struct Core<H> {
    host: H,
    durability: Arc<dyn Durability>,
    store: Mutex<Store>,
    progress: watch::Sender<Progress>,
    checkpointed: watch::Sender<Option<LogId>>,
    sealing: watch::Sender<bool>,
    ledger: watch::Sender<Arc<Ledger>>,
    pub(crate) space: Arc<Space>,
    pub(crate) gate: Gate,
    pub(crate) health: watch::Sender<Health>,
    digests: Mutex<Digests>,
    /// True if the replay of the log needed a damaged chunk: nothing is applied until all chunks are whole.
    waits_for_repairs: AtomicBool,
    pub(super) failure: Failure,
    /// The times that entries took to be applied.
    pub(crate) apply_times: Histogram,
}

impl<H: Host> Core<H> {
    pub(crate) fn new(
        host: H,
        durability: Arc<dyn Durability>,
        replayed: Replayed,
        space: Space,
        failure: Failure,
    ) -> Result<Arc<Core<H>>, Fault> {
        let Replayed { store, waits_for_repairs } = replayed;
        let checkpointed_position = checkpointed_position(&store)?;
        let ledger = Arc::new(ledger(&store)?);
        let core = Arc::new(Core {
            host,
            durability,
            progress: watch::Sender::new(Progress { checkpointed_position, ..Progress::default() }),
            checkpointed: watch::Sender::new(store.checkpointed()),
            store: Mutex::new(store),
            sealing: watch::Sender::new(false),
            ledger: watch::Sender::new(ledger),
            space: Arc::new(space),
            gate: Gate::new(),
            health: watch::Sender::default(),
            digests: Mutex::default(),
            waits_for_repairs: AtomicBool::new(waits_for_repairs),
            failure,
            apply_times: Histogram::default(),
        });
        core.publish_damage();
        {
            let mut store = core.lock();
            core.publish(&store);
            // A seal for which there was no room when the log was replayed.
            core.begin_seals(&mut store);
        }
        Ok(core)
    }

    pub(crate) fn host(&self) -> &H {
        &self.host
    }

    pub(crate) fn reader(&self) -> Reader {
        self.lock().reader()
    }

    pub(crate) fn progress(&self) -> watch::Receiver<Progress> {
        self.progress.subscribe()
    }

    /// Returns the entry of the newest checkpoint, as checkpoints are made.
    pub(crate) fn checkpoints(&self) -> watch::Receiver<Option<LogId>> {
        self.checkpointed.subscribe()
    }

    /// Returns a watch on the applied membership, and on the ids that were given.
    pub(crate) fn ledger(&self) -> watch::Receiver<Arc<Ledger>> {
        self.ledger.subscribe()
    }

    /// Begins to take over another node's checkpoint.
    pub(crate) fn begin_install(&self, manifest: bytes::Bytes) -> Result<Install, Fault> {
        // Chunks that are here already are verified without the lock.
        let installer = self.lock().installer();
        installer.begin(&manifest)
    }

    /// Waits until no seal is under way.
    pub(crate) async fn sealed(&self) {
        let mut sealing = self.sealing.subscribe();
        let idle = sealing.wait_for(|sealing| !sealing).await;
        idle.expect("the sender lives as long as self");
    }

    /// Returns the digests of the newest outcomes.
    pub(crate) fn digests(&self) -> MutexGuard<'_, Digests> {
        // The value is never left half changed, so a poisoned lock does no harm.
        self.digests.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes that a chunk is damaged; returns true if the fault is about a chunk.
    pub(crate) fn note_damage(&self, fault: &Fault) -> bool {
        let Some(chunk) = self.lock().note_damage(fault) else { return false };
        tracing::error!("chunk {chunk} is to be repaired from another node: {fault}");
        self.publish_damage();
        true
    }

    /// Notes the reason why no peer could help to repair a chunk.
    pub(crate) fn note_failed_repair(&self, chunk: u64, why: &str) {
        self.health.send_modify(|health| {
            let damaged = health.damaged.iter_mut().find(|damage| damage.chunk == chunk);
            if let Some(damage) = damaged {
                damage.failed = Some(why.to_owned());
            }
        });
    }

    /// Publishes the list of damaged chunks.
    pub(crate) fn publish_damage(&self) {
        // Locked until the list is published, so that no older list replaces a newer one.
        let store = self.lock();
        let damaged = store.damaged();
        self.health.send_if_modified(|health| {
            let before = std::mem::take(&mut health.damaged);
            let failed = |chunk| {
                let damage = before.iter().find(|damage: &&Damage| damage.chunk == chunk);
                damage.and_then(|damage| damage.failed.clone())
            };
            let now = damaged.into_iter().map(|(summary, fault)| {
                let chunk = summary.number;
                Damage { chunk, why: fault.to_string(), failed: failed(chunk) }
            });
            health.damaged = now.collect();
            health.damaged != before
        });
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, Store> {
        self.store.lock().expect("a panic inside the store takes the node down")
    }

    fn publish(&self, store: &Store) {
        if let Some(applied) = store.applied() {
            self.digests().note(applied.index.0, store.digest());
        }
        self.progress.send_modify(|progress| {
            progress.applied = store.applied();
            progress.position = store.position();
            progress.checkpointed = store.checkpointed();
            progress.pressure = store.fill();
        });
    }

    fn publish_ledger(&self, store: &Store) -> Result<(), Fault> {
        let ledger = Arc::new(ledger(store)?);
        self.ledger.send_replace(ledger);
        Ok(())
    }

    fn publish_checkpoint(&self, store: &Store) -> Result<(), Fault> {
        let position = checkpointed_position(store)?;
        self.progress.send_modify(|progress| progress.checkpointed_position = position);
        self.publish(store);
        self.checkpointed.send_replace(store.checkpointed());
        Ok(())
    }

    /// Waits until the store takes another entry: a seal may have to be finished first, or a chunk repaired.
    /// Error: the seal failed, or the node is stopping.
    pub(super) async fn for_its_turn(&self) -> io::Result<Inside> {
        let mut health = self.health.subscribe();
        loop {
            health.mark_unchanged();
            let (must_wait, must_repair) = {
                let store = self.lock();
                (store.must_wait(), self.must_repair(&store))
            };
            if must_wait {
                self.sealed().await;
            } else if must_repair {
                tokio::select! {
                    _ = health.changed() => {}
                    () = self.gate.closing() => {}
                }
            } else {
                return self.enter();
            }
            if let Some(why) = self.failure.get() {
                return Err(io::Error::other(why));
            }
            if self.gate.is_closed() {
                return self.enter();
            }
        }
    }

    /// Returns true if nothing is applied before a chunk is repaired.
    pub(crate) fn applies_after_a_repair(&self) -> bool {
        self.must_repair(&self.lock())
    }

    fn must_repair(&self, store: &Store) -> bool {
        store.must_repair() || self.waits_for_repairs(store)
    }

    /// Returns true if chunks that the replay of the log found damaged are still damaged.
    fn waits_for_repairs(&self, store: &Store) -> bool {
        let waits = &self.waits_for_repairs;
        if waits.load(Ordering::Relaxed) && store.damaged().is_empty() {
            waits.store(false, Ordering::Relaxed);
        }
        waits.load(Ordering::Relaxed)
    }

    /// Runs work that changes the folder, away from the tasks; `None` when the node is stopping. It goes on to
    /// its end when nobody waits for it any more, and a shutdown waits for it all the same.
    pub(crate) async fn work<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Option<T> {
        let work = self.inside(work)?;
        Some(self.host.run(work).await)
    }

    /// Does the same for work that no client waits for, at a lower priority. It does not lock the store.
    pub(crate) async fn work_behind<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Option<T> {
        let work = self.inside(work)?;
        Some(self.host.run_behind(work).await)
    }

    /// Returns work that is inside the gate from now on until it is done; `None` when the node is stopping.
    fn inside<T, W: FnOnce() -> T>(&self, work: W) -> Option<impl FnOnce() -> T + use<T, W, H>> {
        let inside = self.gate.enter()?;
        Some(move || {
            let done = work();
            drop(inside);
            done
        })
    }

    /// Passes the gate; the error means that the node is stopping.
    pub(super) fn enter(&self) -> io::Result<Inside> {
        self.gate.enter().ok_or_else(|| io::Error::other("the node is stopping"))
    }

    pub(super) fn apply(self: &Arc<Self>, entry: Entry) -> Result<Vec<Verdict>, Fault> {
        let began_at = Instant::now();
        let mut store = self.lock();
        let is_membership = matches!(entry.payload, Payload::Membership(_));
        let index = entry.log_id.index;
        let entry = entry::to_store(entry, store.attachment())
            .map_err(|malformed| Fault::Command { index, why: malformed.to_string() })?;
        let verdicts = store.apply(entry)?;
        self.publish(&store);
        if is_membership {
            self.publish_ledger(&store)?;
        }
        self.begin_seals(&mut store);
        self.apply_times.observe(began_at.elapsed());
        Ok(verdicts)
    }

    /// Begins the seal that is due, if one is.
    fn begin_seals(self: &Arc<Self>, store: &mut Store) {
        if let Some(seal) = store.begin_seal() {
            self.sealing.send_replace(true);
            tokio::spawn(self.clone().run_seals(seal));
        }
    }

    /// Runs a seal, and those that become due meanwhile.
    async fn run_seals(self: Arc<Self>, first: Seal) {
        let mut next = Some(first);
        while let Some(seal) = next.take() {
            match self.run_seal(seal).await {
                Ok(due) => next = due,
                Err(fault) => {
                    self.failure.report(fault);
                    self.sealing.send_replace(false);
                }
            }
        }
    }

    /// Runs a seal and returns the next one, if it is due; none when the node is stopping.
    async fn run_seal(&self, seal: Seal) -> Result<Option<Seal>, Fault> {
        self.durability.wait_flushed(seal.log_id()).await?;
        if self.space.room() == Room::Full {
            tracing::warn!("the chunk that ends at {} waits for space", seal.log_id());
        }
        tokio::select! {
            () = self.space.for_a_seal() => {}
            () = self.gate.closing() => {}
        }
        let Some(inside) = self.gate.enter() else {
            self.sealing.send_replace(false);
            return Ok(None);
        };
        let sealed = match self.host.run_behind(move || seal.run()).await {
            Err(fault) if self.note_damage(&fault) => {
                drop(inside);
                return Ok(self.seal_after_a_repair().await);
            }
            sealed => sealed?,
        };
        let (retired, next) = self.finish_seal(sealed)?;
        self.host.run_behind(move || drop(retired)).await;
        Ok(next)
    }

    /// Returns the seal that is under way once more, as soon as no chunk is damaged; none when the node is stopping.
    async fn seal_after_a_repair(&self) -> Option<Seal> {
        let mut health = self.health.subscribe();
        tokio::select! {
            _ = health.wait_for(|health| health.damaged.is_empty()) => {}
            () = self.gate.closing() => {}
        }
        let mut store = self.lock();
        let seal = if self.gate.is_closed() { None } else { store.begin_seal_again() };
        self.sealing.send_replace(seal.is_some());
        seal
    }

    fn finish_seal(&self, sealed: Sealed) -> Result<(Retired, Option<Seal>), Fault> {
        let mut store = self.lock();
        let retired = store.finish_seal(sealed)?;
        self.publish_checkpoint(&store)?;
        let next = store.begin_seal();
        // Set while the store is locked, so that apply cannot begin a seal in between.
        self.sealing.send_replace(next.is_some());
        Ok((retired, next))
    }

    /// Returns the newest checkpoint, pinned.
    pub(super) fn snapshot(&self) -> io::Result<Option<Snapshot<Checkpoint>>> {
        let Some(export) = self.lock().export().map_err(io::Error::other)? else {
            return Ok(None);
        };
        let last_membership = stored(export.attachment())?;
        let meta =
            SnapshotMeta { last_log_id: Some(types::theirs(export.log_id())), last_membership };
        Ok(Some(Snapshot { meta, snapshot: Checkpoint::Export(Arc::new(export)) }))
    }

    pub(super) async fn install(self: &Arc<Self>, checkpoint: Checkpoint) -> Result<(), Fault> {
        let installed = match checkpoint {
            Checkpoint::Installed(installed) => installed,
            Checkpoint::Export(export) => {
                let install = self.begin_install(export.manifest())?;
                self.host.run(move || copy(&export, install)).await?
            }
            Checkpoint::Empty => return Ok(()),
        };
        self.sealed().await;
        self.durability.announce_install(installed.log_id()).await?;
        let core = self.clone();
        self.host
            .run(move || {
                {
                    let mut store = core.lock();
                    store.finish_install(installed)?;
                    core.publish_checkpoint(&store)?;
                    core.publish_ledger(&store)?;
                }
                core.publish_damage();
                Ok(())
            })
            .await
    }
}

/// Copies a checkpoint within one process.
fn copy(export: &Export, mut install: Install) -> Result<Installed, Fault> {
    for chunk in install.missing() {
        let mut offset = 0;
        loop {
            let part = export.read_chunk(chunk.number, offset, CHUNK_PART_BYTES)?;
            if part.is_empty() {
                break;
            }
            install.put_chunk(chunk.number, offset, &part)?;
            offset += part.len() as u64;
        }
        install.finish_chunk(chunk.number)?;
    }
    for page in export.catalog_pages() {
        install.put_catalog(&page?)?;
    }
    install.finish()
}

/// Decodes the ledger that the store keeps.
fn ledger(store: &Store) -> Result<Ledger, Fault> {
    let index = store.applied().map_or(0, |applied| applied.index.0);
    Ledger::decode(store.attachment())
        .map_err(|malformed| Fault::Command { index, why: malformed.to_string() })
}

fn checkpointed_position(store: &Store) -> Result<Position, Fault> {
    Ok(store.export()?.map_or(Position::ZERO, |export| export.position()))
}
