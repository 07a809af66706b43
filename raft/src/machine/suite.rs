//! openraft's own test suite over the real log and the real store, on a real disk.

use std::io;
use std::sync::Arc;

use futures_util::future::BoxFuture;
use futures_util::{Stream, StreamExt, stream};
use openraft::storage::{EntryResponder, RaftStateMachine};
use openraft::testing::log::{StoreBuilder, Suite};
use openraft::{OptionalSend, StorageError};
use openraft_rt_tokio::TokioRuntime;
use quorate_proto::LogId;
use quorate_store::{Fault, Options, Store};
use tempfile::TempDir;

use super::core::Durability;
use super::{Checkpoint, Core, Machine, Replayed};
use crate::adapter::storage::Storage;
use crate::adapter::types::{
    Entry, Payload, RaftLogId, Snapshot, SnapshotMeta, StoredMembership, TypeConfig, log_id,
};
use crate::disk_space::Space;
use crate::failure::Failure;
use crate::host::{Host, TokioHost};
use crate::log::{LogOptions, RaftLog, Reach};

/// A log that is always durable: the suite applies entries that are in no log.
struct NoLog;

impl Durability for NoLog {
    fn wait_flushed(&self, _: LogId) -> BoxFuture<'static, Result<(), Fault>> {
        Box::pin(async { Ok(()) })
    }

    fn announce_install(&self, _: LogId) -> BoxFuture<'static, Result<(), Fault>> {
        Box::pin(async { Ok(()) })
    }
}

/// A machine that puts in blanks for the entries that the suite leaves out between two that it applies: the
/// store would take such a gap for damage.
struct Gapless(Machine<TokioHost>);

type Runtime = TokioRuntime;
type Item = EntryResponder<TypeConfig<Runtime>>;

impl RaftStateMachine<TypeConfig<Runtime>> for Gapless {
    type SnapshotData = Checkpoint;
    type SnapshotBuilder = Machine<TokioHost>;

    async fn applied_state(&mut self) -> io::Result<(Option<RaftLogId>, StoredMembership)> {
        self.0.applied_state().await
    }

    async fn apply<S>(&mut self, entries: S) -> io::Result<()>
    where
        S: Stream<Item = io::Result<Item>> + Unpin + OptionalSend,
    {
        let (mut last, _) = self.0.applied_state().await?;
        let filled = entries.flat_map(move |item| {
            let id = item.as_ref().map(|(entry, _)| entry.log_id).expect("the suite reads no log");
            let missing = last.map_or(id.index, |last| last.index + 1)..id.index;
            last = Some(id);
            let blank = move |index| -> io::Result<Item> {
                let log_id = log_id(id.leader_id.term, index);
                Ok((Entry { log_id, payload: Payload::Blank }, None))
            };
            stream::iter(missing.map(blank).chain([item]).collect::<Vec<_>>())
        });
        self.0.apply(filled).await
    }

    async fn get_snapshot_builder(&mut self) -> Machine<TokioHost> {
        self.0.get_snapshot_builder().await
    }

    async fn install_snapshot(&mut self, meta: &SnapshotMeta, data: Checkpoint) -> io::Result<()> {
        self.0.install_snapshot(meta, data).await
    }

    async fn get_current_snapshot(&mut self) -> io::Result<Option<Snapshot<Checkpoint>>> {
        self.0.get_current_snapshot().await
    }
}

struct Builder;

impl StoreBuilder<TypeConfig<Runtime>, Storage<TokioHost>, Gapless, TempDir> for Builder {
    async fn build(
        &self,
    ) -> Result<(TempDir, Storage<TokioHost>, Gapless), StorageError<TypeConfig<Runtime>>> {
        let folder = tempfile::tempdir().expect("a folder");
        let host = TokioHost::new();
        let log_options = LogOptions {
            cluster: [1; 16],
            log: 0,
            node: 0,
            segment_bytes: LogOptions::SEGMENT_BYTES_MIN,
            cache_bytes: 0,
            covered: None,
            reach: Reach::default(),
            boot: 0,
        };
        let (log, writer) = RaftLog::open(host.vfs(), &folder.path().join("log"), log_options)
            .expect("an empty log");
        host.start_log_writer(writer, Box::new(|outcome| outcome.expect("a sound disk")));
        // Every entry crosses a boundary, so that every entry the suite asks for is in a checkpoint.
        let options = Options {
            cluster: [1; 16],
            log: 0,
            chunk_bytes: 1,
            hash_seed: [5; 16],
            head_cache_bytes: 400,
            block_cache_bytes: 0,
            catalog_cache_bytes: 1 << 20,
            filter_bytes: 1 << 20,
        };
        let store = Store::open(host.vfs(), folder.path(), options).expect("an empty store");
        let space = Space::new(host.vfs(), folder.path().to_owned(), None, 1).expect("measured");
        let failure = Failure::new();
        let replayed = Replayed { store, waits_for_repairs: false };
        let core =
            Core::new(host.clone(), Arc::new(NoLog), replayed, space, failure).expect("a core");
        let everything = Some(LogId::new(u64::MAX, u64::MAX));
        Ok((folder, Storage::new(host, log, everything), Gapless(Machine(core))))
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_storage_passes_the_suite_of_openraft() {
    Suite::test_all(Builder).await.expect("the suite passes");
}
