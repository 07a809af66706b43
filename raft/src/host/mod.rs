//! The interface to the machine that a node runs on: clock, randomness, disk, network, threads.

use std::fmt;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures_util::future::BoxFuture;
use futures_util::stream::BoxStream;
use openraft::AsyncRuntime;
use quorate_proto::Timestamp;
use quorate_store::Fault;
use quorate_store::vfs::Vfs;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::log::LogWriter;

mod behind;
mod patient;
mod production;

pub use production::TokioHost;

/// The function that is called, once, when the log writer ended: because the log was closed, or by a fault.
pub type WriterStopped = Box<dyn FnOnce(Result<(), Fault>) + Send>;

/// Everything a node takes from the machine it runs on, so that the simulation runs the same code.
///
/// Tasks and timers are tokio's own (`tokio::spawn`, `tokio::time`), which a simulation drives too.
pub trait Host: Clone + fmt::Debug + Send + Sync + 'static {
    /// The runtime of openraft. It is a type parameter and never a feature: one build has both.
    type Runtime: AsyncRuntime;
    /// A connection between two nodes, or of a client.
    type Connection: AsyncRead + AsyncWrite + Unpin + Send + 'static;

    /// Returns the time of the wall clock.
    fn now(&self) -> Timestamp;

    /// Returns a random number; at least 120 of its bits are random.
    fn random(&self) -> u128;

    /// Returns the file system.
    fn vfs(&self) -> Arc<dyn Vfs>;

    /// Connects to `host:port`. Nothing is sent yet; there is no deadline: the caller sets one.
    fn connect(&self, address: &str) -> BoxFuture<'static, io::Result<Self::Connection>>;

    /// Listens on `host:port`; port 0 takes a free one.
    fn listen(&self, address: &str) -> BoxFuture<'static, io::Result<Listening<Self::Connection>>>;

    /// Returns how many files and connections the process may have open; `None` if there is no limit.
    fn descriptors(&self) -> Option<u64> {
        None
    }

    /// Drives the log writer until the log is closed or it fails, and then calls `stopped`.
    fn start_log_writer(&self, writer: LogWriter, stopped: WriterStopped);

    /// Runs work that blocks (reading chunks), away from the tasks that must not wait.
    fn run<T, W>(&self, work: W) -> BoxFuture<'static, T>
    where
        T: Send + 'static,
        W: FnOnce() -> T + Send + 'static;

    /// Runs work that blocks and that no client waits for (sealing, scrubbing, scavenging), at a lower priority than
    /// [`Host::run`]. Such work holds no lock for long that serving needs.
    fn run_behind<T, W>(&self, work: W) -> BoxFuture<'static, T>
    where
        T: Send + 'static,
        W: FnOnce() -> T + Send + 'static,
    {
        self.run(work)
    }

    /// Runs a future that calls openraft. A deterministic runtime keeps its seed in the task, and a task that
    /// a server spawned has no seed; in production this returns the future itself.
    fn scoped<F>(&self, future: F) -> impl Future<Output = F::Output> + Send
    where
        F: Future + Send;
}

/// An open listener.
pub struct Listening<C> {
    /// The address at which it listens, with the port that was taken.
    pub address: String,
    /// The connections; the stream ends when the listener is closed.
    pub incoming: BoxStream<'static, io::Result<Served<C>>>,
}

impl<C> fmt::Debug for Listening<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Listening").field("address", &self.address).finish_non_exhaustive()
    }
}

/// A connection in the form that tonic's server takes.
#[derive(Debug)]
pub struct Served<C>(pub C);

impl<C> tonic::transport::server::Connected for Served<C> {
    type ConnectInfo = ();

    fn connect_info(&self) -> Self::ConnectInfo {}
}

impl<C: AsyncRead + Unpin> AsyncRead for Served<C> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(context, buffer)
    }
}

impl<C: AsyncWrite + Unpin> AsyncWrite for Served<C> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.0.is_write_vectored()
    }
}
