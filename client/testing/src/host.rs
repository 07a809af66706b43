//! The machine of a node in memory: files in memory, pipes for connections, the system's clock and randomness.

use std::future::{Future, ready};
use std::io;
use std::sync::Arc;

use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use quorate_proto::Timestamp;
use quorate_raft::host::{Host, Listening, Served, TokioHost, WriterStopped};
use quorate_raft::log::LogWriter;
use quorate_store::vfs::{MemVfs, Vfs};
use tokio::io::DuplexStream;
use tokio_stream::wrappers::UnboundedReceiverStream;

use crate::network::Network;

/// The machine of one node.
#[derive(Clone, Debug)]
pub(crate) struct MemoryHost {
    disk: MemVfs,
    network: Network,
    /// The real machine, for everything but files and connections.
    real: TokioHost,
}

impl MemoryHost {
    pub(crate) fn new(disk: MemVfs, network: Network) -> MemoryHost {
        let real = TokioHost::with_vfs(Arc::new(disk.clone()));
        MemoryHost { disk, network, real }
    }
}

impl Host for MemoryHost {
    type Runtime = <TokioHost as Host>::Runtime;
    type Connection = DuplexStream;

    fn now(&self) -> Timestamp {
        self.real.now()
    }

    fn random(&self) -> u128 {
        self.real.random()
    }

    fn vfs(&self) -> Arc<dyn Vfs> {
        Arc::new(self.disk.clone())
    }

    fn connect(&self, address: &str) -> BoxFuture<'static, io::Result<DuplexStream>> {
        Box::pin(ready(self.network.connect(address)))
    }

    fn listen(&self, address: &str) -> BoxFuture<'static, io::Result<Listening<DuplexStream>>> {
        let listening = self.network.listen(address).map(|connections| {
            let incoming = UnboundedReceiverStream::new(connections).map(|pipe| Ok(Served(pipe)));
            Listening { address: address.to_owned(), incoming: incoming.boxed() }
        });
        Box::pin(ready(listening))
    }

    /// Writes within the node's own tasks: a disk in memory does not block.
    fn start_log_writer(&self, mut writer: LogWriter, stopped: WriterStopped) {
        tokio::spawn(async move {
            let mut outcome = Ok(());
            while outcome.is_ok() && writer.ready().await {
                outcome = writer.write().and_then(|()| writer.sync());
            }
            stopped(outcome);
        });
    }

    fn run<T, W>(&self, work: W) -> BoxFuture<'static, T>
    where
        T: Send + 'static,
        W: FnOnce() -> T + Send + 'static,
    {
        self.real.run(work)
    }

    fn run_behind<T, W>(&self, work: W) -> BoxFuture<'static, T>
    where
        T: Send + 'static,
        W: FnOnce() -> T + Send + 'static,
    {
        self.real.run_behind(work)
    }

    fn scoped<F>(&self, future: F) -> impl Future<Output = F::Output> + Send
    where
        F: Future + Send,
    {
        self.real.scoped(future)
    }
}
