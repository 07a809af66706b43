//! openraft's state machine over the store, and the seals and installs that go on beside it.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard};

use futures_util::future::BoxFuture;
use futures_util::{Stream, StreamExt};
use openraft::storage::{EntryResponder, RaftStateMachine};
use openraft::{OptionalSend, RaftSnapshotBuilder};
use quorate_proto::{LogId, Position};
use quorate_store::{Export, Fault, Install, Installed, Reader, Seal, Store, Verdict};
use tokio::sync::watch;

use crate::failure::Failure;
use crate::format::membership;
use crate::host::Host;
use crate::log::RaftLog;
use crate::storage::completion;
use crate::types::{
    self, Entry, Payload, RaftLogId, Snapshot, SnapshotMeta, StoredMembership, TypeConfig,
};

/// Most bytes of entries that are read at once when the log is replayed.
const REPLAY_BYTES: usize = 16 * 1024 * 1024;
/// Most bytes of a chunk that are read at once.
pub(crate) const CHUNK_PART_BYTES: usize = 1024 * 1024;

/// What the store must know of the log before it makes something durable: a checkpoint is never ahead of
/// the log that it is a checkpoint of.
pub(crate) trait Durability: Send + Sync {
    /// Waits until the log is durable up to an entry.
    fn wait_flushed(&self, log_id: LogId) -> BoxFuture<'static, Result<(), Fault>>;
    /// Waits until all that was queued is durable, and with it the word that a checkpoint from elsewhere
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
pub(crate) enum Checkpoint {
    /// The sender's, pinned.
    Export(Arc<Export>),
    /// The receiver's: complete beside its store.
    Installed(Installed),
    /// That of a store before its first boundary: there is nothing to take over.
    Empty,
}

/// How far the store is.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Progress {
    pub(crate) applied: Option<LogId>,
    pub(crate) position: Position,
    pub(crate) checkpointed: Option<LogId>,
    pub(crate) checkpointed_position: Position,
    pub(crate) pressure: f32,
}

/// The store and what goes on around it. Shared by openraft's worker, the seals, and the replica.
///
/// Invariants:
/// - the store is locked for one step at a time, never across an await;
/// - at most one seal is under way, and `sealing` says so;
/// - a seal runs only when the log is durable up to its entry.
pub(crate) struct Core<H> {
    host: H,
    durability: Arc<dyn Durability>,
    store: Mutex<Store>,
    progress: watch::Sender<Progress>,
    checkpointed: watch::Sender<Option<LogId>>,
    sealing: watch::Sender<bool>,
    failure: Failure,
}

impl<H: Host> Core<H> {
    pub(crate) fn new(
        host: H,
        durability: Arc<dyn Durability>,
        store: Store,
        failure: Failure,
    ) -> Result<Arc<Core<H>>, Fault> {
        let checkpointed_position = checkpointed_position(&store)?;
        let core = Arc::new(Core {
            host,
            durability,
            progress: watch::Sender::new(Progress { checkpointed_position, ..Progress::default() }),
            checkpointed: watch::Sender::new(store.checkpointed()),
            store: Mutex::new(store),
            sealing: watch::Sender::new(false),
            failure,
        });
        core.publish(&core.lock());
        Ok(core)
    }

    pub(crate) fn reader(&self) -> Reader {
        self.lock().reader()
    }

    pub(crate) fn progress(&self) -> watch::Receiver<Progress> {
        self.progress.subscribe()
    }

    /// The entry of the newest checkpoint, as checkpoints come about.
    pub(crate) fn checkpoints(&self) -> watch::Receiver<Option<LogId>> {
        self.checkpointed.subscribe()
    }

    /// Begins to take over another node's checkpoint.
    pub(crate) fn begin_install(&self, manifest: bytes::Bytes) -> Result<Install, Fault> {
        self.lock().begin_install(manifest)
    }

    /// Waits until no seal is under way.
    pub(crate) async fn sealed(&self) {
        let mut sealing = self.sealing.subscribe();
        let idle = sealing.wait_for(|sealing| !sealing).await;
        idle.expect("the sender lives as long as self");
    }

    fn lock(&self) -> MutexGuard<'_, Store> {
        self.store.lock().expect("a panic inside the store takes the node down")
    }

    fn publish(&self, store: &Store) {
        self.progress.send_modify(|progress| {
            progress.applied = store.applied();
            progress.position = store.position();
            progress.checkpointed = store.checkpointed();
            progress.pressure = store.fill();
        });
    }

    fn publish_checkpoint(&self, store: &Store) -> Result<(), Fault> {
        let position = checkpointed_position(store)?;
        self.progress.send_modify(|progress| progress.checkpointed_position = position);
        self.publish(store);
        self.checkpointed.send_replace(store.checkpointed());
        Ok(())
    }

    /// Waits until the store takes another entry. Error: the seal that it waited for failed.
    async fn room(&self) -> io::Result<()> {
        while self.lock().must_wait() {
            self.sealed().await;
            if let Some(why) = self.failure.get() {
                return Err(io::Error::other(why));
            }
        }
        Ok(())
    }

    fn apply(self: &Arc<Self>, entry: Entry) -> Result<Vec<Verdict>, Fault> {
        let mut store = self.lock();
        let verdicts = store.apply(store_entry(entry))?;
        self.publish(&store);
        if let Some(seal) = store.begin_seal() {
            self.sealing.send_replace(true);
            tokio::spawn(self.clone().run_seals(seal));
        }
        Ok(verdicts)
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

    /// Runs a seal and takes the next one, if it is due.
    async fn run_seal(&self, seal: Seal) -> Result<Option<Seal>, Fault> {
        self.durability.wait_flushed(seal.log_id()).await?;
        let sealed = self.host.run(move || seal.run()).await?;
        let mut store = self.lock();
        store.finish_seal(sealed)?;
        self.publish_checkpoint(&store)?;
        let next = store.begin_seal();
        // While the store is locked, so that apply cannot begin one in between.
        self.sealing.send_replace(next.is_some());
        Ok(next)
    }

    /// The newest checkpoint, pinned.
    fn snapshot(&self) -> io::Result<Option<Snapshot<Checkpoint>>> {
        let Some(export) = self.lock().export().map_err(io::Error::other)? else {
            return Ok(None);
        };
        let last_membership = stored(export.attachment())?;
        let meta =
            SnapshotMeta { last_log_id: Some(types::theirs(export.log_id())), last_membership };
        Ok(Some(Snapshot { meta, snapshot: Checkpoint::Export(Arc::new(export)) }))
    }

    async fn install(self: &Arc<Self>, checkpoint: Checkpoint) -> Result<(), Fault> {
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
                let mut store = core.lock();
                store.finish_install(installed)?;
                core.publish_checkpoint(&store)
            })
            .await
    }
}

/// Applies what the log holds after the store's newest checkpoint, up to the committed mark, before Raft
/// starts: openraft would do it 64 entries at a time. All of it is durable, for the log was just opened.
pub(crate) fn replay(store: &mut Store, log: &RaftLog) -> Result<(), Fault> {
    let Some(committed) = log.state().committed else {
        return Ok(());
    };
    let mut next = store.applied().map_or(0, |applied| applied.index.0 + 1);
    let end = committed.index.0 + 1;
    if next < end {
        tracing::info!("replaying the log from {next} to {committed}");
    }
    while next < end {
        for entry in log.read(next, end, REPLAY_BYTES)? {
            next = entry.id.index.0 + 1;
            let index = entry.id.index.0;
            let entry = types::from_log(entry)
                .map_err(|malformed| Fault::Command { index, why: malformed.to_string() })?;
            store.apply(store_entry(entry))?;
            while let Some(seal) = store.begin_seal() {
                let sealed = seal.run()?;
                store.finish_seal(sealed)?;
            }
        }
    }
    Ok(())
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

fn checkpointed_position(store: &Store) -> Result<Position, Fault> {
    Ok(store.export()?.map_or(Position::ZERO, |export| export.position()))
}

fn store_entry(entry: Entry) -> quorate_store::Entry {
    let payload = match entry.payload {
        Payload::Blank => quorate_store::Payload::Blank,
        Payload::Normal(command) => quorate_store::Payload::Command(command.bytes),
        Payload::Membership(members) => {
            let stored = StoredMembership::new(Some(entry.log_id), members);
            quorate_store::Payload::Attachment(membership::encode_stored(&stored))
        }
    };
    quorate_store::Entry { log_id: types::ours(entry.log_id), payload }
}

fn stored(attachment: &[u8]) -> io::Result<StoredMembership> {
    membership::decode_stored(attachment).map_err(io::Error::other)
}

/// The store as openraft's worker drives it.
pub(crate) struct Machine<H>(pub(crate) Arc<Core<H>>);

impl<H: Host> Machine<H> {
    /// Notes a fault for the whole node before openraft learns of it.
    fn fault(&self, fault: Fault) -> io::Error {
        self.0.failure.report(&fault);
        io::Error::other(fault)
    }
}

impl<H: Host> RaftStateMachine<TypeConfig<H::Runtime>> for Machine<H> {
    type SnapshotData = Checkpoint;
    type SnapshotBuilder = Machine<H>;

    async fn applied_state(&mut self) -> io::Result<(Option<RaftLogId>, StoredMembership)> {
        let store = self.0.lock();
        Ok((store.applied().map(types::theirs), stored(store.attachment())?))
    }

    async fn apply<S>(&mut self, mut entries: S) -> io::Result<()>
    where
        S: Stream<Item = io::Result<EntryResponder<TypeConfig<H::Runtime>>>> + Unpin + OptionalSend,
    {
        while let Some(next) = entries.next().await {
            let (entry, responder) = next?;
            self.0.room().await?;
            let verdicts = self.0.apply(entry).map_err(|fault| self.fault(fault))?;
            if let Some(responder) = responder {
                responder.send(verdicts);
            }
        }
        Ok(())
    }

    async fn get_snapshot_builder(&mut self) -> Machine<H> {
        Machine(self.0.clone())
    }

    async fn install_snapshot(
        &mut self,
        _: &SnapshotMeta,
        checkpoint: Checkpoint,
    ) -> io::Result<()> {
        self.0.install(checkpoint).await.map_err(|fault| self.fault(fault))
    }

    async fn get_current_snapshot(&mut self) -> io::Result<Option<Snapshot<Checkpoint>>> {
        self.0.snapshot()
    }
}

impl<H: Host> RaftSnapshotBuilder<TypeConfig<H::Runtime>> for Machine<H> {
    type SnapshotData = Checkpoint;

    /// Checkpoints come about at boundaries, whether openraft asks or not: this tells it of the newest.
    async fn build_snapshot(&mut self) -> io::Result<Snapshot<Checkpoint>> {
        self.0.sealed().await;
        let empty = || Snapshot { meta: SnapshotMeta::default(), snapshot: Checkpoint::Empty };
        Ok(self.0.snapshot()?.unwrap_or_else(empty))
    }
}
