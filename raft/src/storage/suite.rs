//! openraft's own test suite over the real log and the real store, on a real disk.

use std::sync::Arc;

use futures_util::future::BoxFuture;
use openraft::StorageError;
use openraft::testing::log::{StoreBuilder, Suite};
use openraft_rt_tokio::TokioRuntime;
use quorate_proto::LogId;
use quorate_store::{Fault, Options, Store};
use tempfile::TempDir;

use super::Storage;
use crate::failure::Failure;
use crate::host::{Host, TokioHost};
use crate::log::{LogOptions, RaftLog};
use crate::machine::{Core, Durability, Machine};
use crate::types::TypeConfig;

/// The suite applies entries that are in no log.
struct NoLog;

impl Durability for NoLog {
    fn wait_flushed(&self, _: LogId) -> BoxFuture<'static, Result<(), Fault>> {
        Box::pin(async { Ok(()) })
    }

    fn announce_install(&self, _: LogId) -> BoxFuture<'static, Result<(), Fault>> {
        Box::pin(async { Ok(()) })
    }
}

struct Builder;

type Runtime = TokioRuntime;

impl StoreBuilder<TypeConfig<Runtime>, Storage<Runtime>, Machine<TokioHost>, TempDir> for Builder {
    async fn build(
        &self,
    ) -> Result<(TempDir, Storage<Runtime>, Machine<TokioHost>), StorageError<TypeConfig<Runtime>>>
    {
        let folder = tempfile::tempdir().expect("a folder");
        let host = TokioHost::new();
        let log_options = LogOptions {
            cluster: [1; 16],
            log: 0,
            node: 0,
            segment_bytes: LogOptions::SEGMENT_BYTES_MIN,
            cache_bytes: 0,
            covered: None,
        };
        let (log, writer) = RaftLog::open(host.vfs(), &folder.path().join("log"), log_options)
            .expect("an empty log");
        host.start_log_writer(writer, Box::new(|outcome| outcome.expect("a sound disk")));
        // Every entry crosses a boundary, so that what the suite asks for is always checkpointed.
        let options = Options { cluster: [1; 16], log: 0, chunk_bytes: 1, head_cache: 10 };
        let store = Store::open(host.vfs(), folder.path(), options).expect("an empty store");
        let core = Core::new(host, Arc::new(NoLog), store, Failure::new()).expect("a core");
        Ok((folder, Storage::new(log), Machine(core)))
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_storage_passes_the_suite_of_openraft() {
    Suite::test_all(Builder).await.expect("the suite passes");
}
