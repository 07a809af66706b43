//! One node of a cluster in memory: a server on a thread of its own, and the disk that outlives it.

use std::path::PathBuf;
use std::thread;

use quorate_node::server::{Server, ServerOptions};
use quorate_raft::{ReplicaOptions, Timing};
use quorate_store::vfs::{MemVfs, Survival};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::oneshot;

use crate::error::StartError;
use crate::host::MemoryHost;
use crate::network::Network;

/// The size of a file of the Raft log: small, so that a new node has little memory to fill.
const SEGMENT_BYTES: u64 = 1024 * 1024;
/// The memory for blocks of chunks that were read last. The chunks are in memory too.
const BLOCK_CACHE_BYTES: usize = 1024 * 1024;

/// A node. Its thread ends when this is dropped.
#[derive(Debug)]
pub(crate) struct Node {
    number: usize,
    network: Network,
    disk: MemVfs,
    running: Option<Running>,
}

/// The thread of a server.
#[derive(Debug)]
struct Running {
    stop: oneshot::Sender<()>,
    thread: thread::JoinHandle<()>,
}

/// Returns the address for clients of the node with this number, counted from 1.
pub(crate) fn client_address(number: usize) -> String {
    format!("node-{number}:7701")
}

/// Returns the address for other nodes.
pub(crate) fn peer_address(number: usize) -> String {
    format!("node-{number}:7801")
}

impl Node {
    /// Makes a node with an empty disk, which does not run yet.
    pub(crate) fn new(number: usize, network: Network) -> Node {
        Node { number, network, disk: MemVfs::new(), running: None }
    }

    /// Starts the server on what the disk holds, if it does not run, and returns when it listens.
    pub(crate) async fn start(&mut self, timing: Timing) -> Result<(), StartError> {
        if self.running.is_some() {
            return Ok(());
        }
        let host = MemoryHost::new(self.disk.clone(), self.network.clone());
        let options = options(self.number, timing);
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let (stop, stopped) = oneshot::channel();
        let (started, listens) = oneshot::channel();
        let thread = thread::Builder::new()
            .name(format!("quorate-{}", self.number))
            .spawn(move || serve(runtime, host, options, started, stopped))?;
        self.running = Some(Running { stop, thread });
        listens.await.unwrap_or(Err(StartError::Ended))
    }

    /// Stops the server between two steps, and loses every change of the disk that was not synced.
    pub(crate) fn cut_power(&mut self) {
        let Some(Running { stop, thread }) = self.running.take() else { return };
        self.disk.cut_after(0);
        // The server may have ended by itself.
        let _ = stop.send(());
        let _ = thread.join();
        self.disk.restart(Survival::Nothing);
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        // The thread ends soon; nobody needs to wait for it, because everything that it holds is its own.
        if let Some(Running { stop, .. }) = self.running.take() {
            let _ = stop.send(());
        }
    }
}

/// Serves until told to stop, and then drops the server with all its tasks at once.
fn serve(
    runtime: Runtime,
    host: MemoryHost,
    options: ServerOptions,
    started: oneshot::Sender<Result<(), StartError>>,
    stopped: oneshot::Receiver<()>,
) {
    runtime.block_on(async {
        match Server::start(host, options).await {
            Err(error) => drop(started.send(Err(error.into()))),
            Ok(server) => {
                let _nobody_waits = started.send(Ok(()));
                tokio::select! {
                    _ = stopped => {}
                    why = server.stopped() => tracing::error!("the node stops: {why:?}"),
                }
            }
        }
    });
    // Work on other threads (a seal, say) ends by itself: its disk is gone, or nobody reads it any more.
    runtime.shutdown_background();
}

fn options(number: usize, timing: Timing) -> ServerOptions {
    let (listen, peer_listen) = (client_address(number), peer_address(number));
    ServerOptions {
        directory: PathBuf::from("/node"),
        metrics_listen: None,
        advertise: listen.clone(),
        peer_advertise: peer_listen.clone(),
        listen,
        peer_listen,
        insecure: false,
        timing,
        segment_bytes: SEGMENT_BYTES,
        kept_log_bytes: None,
        reserve_bytes: None,
        scrub_bytes_per_second: ReplicaOptions::SCRUB_BYTES_PER_SECOND_DEFAULT,
        block_cache_bytes: BLOCK_CACHE_BYTES,
        accept_clock: false,
        join_token: None,
    }
}
