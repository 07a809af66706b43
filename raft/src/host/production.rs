//! The real machine.

use std::future::Future;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;
use std::time::SystemTime;

use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use openraft_rt_tokio::TokioRuntime;
use quorate_proto::Timestamp;
use quorate_store::vfs::{OsVfs, Vfs};
use rustix::process::{Resource, getrlimit};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio_stream::wrappers::TcpListenerStream;

use super::behind::Behind;
use super::patient::Patient;
use super::{Host, Listening, Served, WriterStopped};
use crate::log::LogWriter;

/// The operating system's clock, randomness, files and TCP; blocking work on tokio's blocking threads,
/// background work on threads of low priority, and the log writer on a thread of its own.
#[derive(Clone, Debug)]
pub struct TokioHost {
    vfs: Arc<dyn Vfs>,
    behind: Behind,
}

impl TokioHost {
    /// Returns the real machine.
    pub fn new() -> TokioHost {
        TokioHost::with_vfs(Arc::new(Patient(OsVfs)))
    }

    /// Returns the real machine with another file system, for example one that makes faults.
    pub fn with_vfs(vfs: Arc<dyn Vfs>) -> TokioHost {
        TokioHost { vfs, behind: Behind::default() }
    }
}

impl Default for TokioHost {
    fn default() -> TokioHost {
        TokioHost::new()
    }
}

impl Host for TokioHost {
    type Runtime = TokioRuntime;
    type Connection = TcpStream;

    fn now(&self) -> Timestamp {
        #[allow(clippy::disallowed_methods, reason = "the Host is where the wall clock is read")]
        let now = SystemTime::now();
        let since_epoch = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        Timestamp(i64::try_from(since_epoch.as_micros()).unwrap_or(i64::MAX))
    }

    fn random(&self) -> u128 {
        #[allow(clippy::disallowed_methods, reason = "the Host is where randomness comes from")]
        let drawn = uuid::Uuid::new_v4();
        drawn.as_u128()
    }

    fn vfs(&self) -> Arc<dyn Vfs> {
        self.vfs.clone()
    }

    fn connect(&self, address: &str) -> BoxFuture<'static, io::Result<TcpStream>> {
        let address = address.to_owned();
        Box::pin(async move {
            let stream = TcpStream::connect(address).await?;
            stream.set_nodelay(true)?;
            Ok(stream)
        })
    }

    fn listen(&self, address: &str) -> BoxFuture<'static, io::Result<Listening<TcpStream>>> {
        let address = address.to_owned();
        Box::pin(async move {
            let listener = TcpListener::bind(address).await?;
            let address = listener.local_addr()?.to_string();
            let incoming = TcpListenerStream::new(listener).map(|accepted| {
                let stream = accepted?;
                // This fails for a connection that is gone already, and so will the first read of it.
                let _ = stream.set_nodelay(true);
                Ok(Served(stream))
            });
            Ok(Listening { address, incoming: incoming.boxed() })
        })
    }

    fn descriptors(&self) -> Option<u64> {
        getrlimit(Resource::Nofile).current
    }

    fn start_log_writer(&self, mut writer: LogWriter, stopped: WriterStopped) {
        let work = move || {
            let mut outcome = Ok(());
            while outcome.is_ok() && writer.wait() {
                outcome = writer.write().and_then(|()| writer.sync());
            }
            stopped(outcome);
        };
        #[allow(clippy::disallowed_methods, reason = "the Host is what starts threads")]
        let _detached = std::thread::spawn(work);
    }

    fn run<T, W>(&self, work: W) -> BoxFuture<'static, T>
    where
        T: Send + 'static,
        W: FnOnce() -> T + Send + 'static,
    {
        #[allow(clippy::disallowed_methods, reason = "the Host is where blocking work goes")]
        let running = tokio::task::spawn_blocking(work);
        Box::pin(async move {
            match running.await {
                Ok(answer) => answer,
                Err(ended) if ended.is_panic() => resume_unwind(ended.into_panic()),
                // The runtime is going down, and the waiting task with it.
                Err(_) => std::future::pending().await,
            }
        })
    }

    fn run_behind<T, W>(&self, work: W) -> BoxFuture<'static, T>
    where
        T: Send + 'static,
        W: FnOnce() -> T + Send + 'static,
    {
        let (sender, done) = oneshot::channel();
        self.behind.run(Box::new(move || {
            let _nobody_waits = sender.send(catch_unwind(AssertUnwindSafe(work)));
        }));
        Box::pin(async move {
            match done.await {
                Ok(Ok(answer)) => answer,
                Ok(Err(panic)) => resume_unwind(panic),
                // The process is going down, and the waiting task with it.
                Err(_) => std::future::pending().await,
            }
        })
    }

    fn scoped<F>(&self, future: F) -> impl Future<Output = F::Output> + Send
    where
        F: Future + Send,
    {
        future
    }
}
