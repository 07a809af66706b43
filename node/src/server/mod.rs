//! The server of a node: its listeners, the services on them, and its orderly end.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use quorate_raft::host::{Host, Listening};
use quorate_raft::{JoinToken, Replica, ReplicaOptions, StartError, Stopped, Timing};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

mod append;
mod cluster;
mod connections;
mod events;
mod groups;
mod health;
mod listener;
mod members;
mod metrics;
mod problem;
mod read;
mod runners;
mod scrape;
pub(crate) mod steps;

use append::Appends;
use groups::Groups;
use health::Health;
use metrics::Metrics;
pub use metrics::{METRICS, Metric, MetricKind};
use read::Live;
use runners::RunnerReports;

/// The time that a stopping leader waits for another node to take over.
const HANDED_OVER_WITHIN: Duration = Duration::from_secs(3);
/// The time that open calls may take to end; then their connections are closed.
const DRAINED_WITHIN: Duration = Duration::from_secs(3);

/// The options of a server.
#[derive(Clone, Debug)]
pub struct ServerOptions {
    /// The node's folder.
    pub directory: PathBuf,
    /// The address to listen on for clients, `host:port`.
    pub listen: String,
    /// The address to listen on for the other nodes.
    pub peer_listen: String,
    /// The address to listen on for scrapers of metrics; none if not given.
    pub metrics_listen: Option<String>,
    /// The address at which clients reach this node.
    pub advertise: String,
    /// The address at which the other nodes reach this node.
    pub peer_advertise: String,
    /// True if a listener is open beyond loopback without encryption; shown in the status.
    pub insecure: bool,
    /// The times after which the loss of a leader is noticed.
    pub timing: Timing,
    /// The size of a file of the Raft log.
    pub segment_bytes: u64,
    /// The bytes of log that are kept behind the newest checkpoint; the cluster's chunk size if not given.
    pub kept_log_bytes: Option<u64>,
    /// The free bytes on the disk below which the node takes no appends; four chunk sizes if not given, and
    /// never less.
    pub reserve_bytes: Option<u64>,
    /// The speed at which the scrubber reads; 0 turns it off.
    pub scrub_bytes_per_second: u64,
    /// The bytes of memory for what was read last from chunks.
    pub block_cache_bytes: usize,
    /// True if the only node of a cluster starts although its clock is far ahead of its newest stamp.
    pub accept_clock: bool,
    /// On an empty folder: the token of the cluster that may take the node in.
    pub join_token: Option<JoinToken>,
}

/// The reason why a server could not start.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// A listener could not be opened: its port is taken, say.
    #[error("cannot listen on {address}: {source}")]
    Listen {
        /// The address.
        address: String,
        /// The error of the operating system.
        source: io::Error,
    },
    /// The replica could not start.
    #[error(transparent)]
    Start(#[from] StartError),
}

/// A running node.
#[derive(Debug)]
pub struct Server<H: Host> {
    replica: Replica<H>,
    stopping: CancellationToken,
    listeners: Vec<JoinHandle<()>>,
}

impl<H: Host> Server<H> {
    /// Opens the listeners, then the node's folder, and serves. Nothing on the disk is touched when a
    /// port is taken.
    pub async fn start(host: H, options: ServerOptions) -> Result<Server<H>, ServerError> {
        let clients = listen(&host, &options.listen).await?;
        let peers = listen(&host, &options.peer_listen).await?;
        let scrapers = match &options.metrics_listen {
            Some(address) => Some(listen(&host, address).await?),
            None => None,
        };
        let replica = Replica::start(
            host,
            ReplicaOptions {
                directory: options.directory.clone(),
                client_address: options.advertise.clone(),
                peer_address: options.peer_advertise.clone(),
                timing: options.timing,
                segment_bytes: options.segment_bytes,
                kept_log_bytes: options.kept_log_bytes,
                reserve_bytes: options.reserve_bytes,
                scrub_bytes_per_second: options.scrub_bytes_per_second,
                block_cache_bytes: options.block_cache_bytes,
                accept_clock: options.accept_clock,
                join_token: options.join_token,
            },
        )
        .await?;
        let about = cluster::About {
            client_address: options.advertise,
            peer_address: options.peer_advertise,
            directory: options.directory,
            insecure: options.insecure,
        };
        let stopping = CancellationToken::new();
        let appends = Appends::start(replica.clone());
        let live = Live::start(replica.clone());
        let groups = Groups::start(appends.clone(), live.clone(), stopping.clone());
        let runner_reports = Arc::new(RunnerReports::default());
        let health = Health::start(replica.clone(), stopping.clone());
        let append_times = appends.times.clone();
        let served = listener::Served {
            appends: appends.clone(),
            live: live.clone(),
            groups: groups.clone(),
            runner_reports: runner_reports.clone(),
            health: health.clone(),
            about,
        };
        let mut listeners = vec![
            tokio::spawn(health.listener(listener::serve_clients(
                clients,
                served,
                stopping.clone(),
            ))),
            tokio::spawn(health.listener(listener::serve_peers(
                peers,
                appends,
                groups.clone(),
                stopping.clone(),
            ))),
        ];
        if let Some(scrapers) = scrapers {
            let metrics = Metrics { live, groups, runner_reports, health, append_times };
            listeners.push(tokio::spawn(scrape::serve(scrapers, metrics, stopping.clone())));
        }
        Ok(Server { replica, stopping, listeners })
    }

    /// The replica that this server serves.
    pub fn replica(&self) -> &Replica<H> {
        &self.replica
    }

    /// Waits until the node cannot go on.
    pub async fn stopped(&self) -> Stopped {
        self.replica.stopped().await
    }

    /// Hands over what this node leads, ends the streams, closes the listeners and then the folder.
    pub async fn shutdown(self) {
        // Quicker than waiting until the node is missed. A node that nobody can replace stops all the same.
        let handed_over = timeout(HANDED_OVER_WITHIN, self.replica.hand_over(None)).await;
        if !matches!(handed_over, Ok(Ok(()))) {
            tracing::info!("this node stops while it leads");
        }
        self.stopping.cancel();
        for mut listener in self.listeners {
            if timeout(DRAINED_WITHIN, &mut listener).await.is_err() {
                listener.abort();
            }
        }
        self.replica.shutdown().await;
    }
}

async fn listen<H: Host>(host: &H, address: &str) -> Result<Listening<H::Connection>, ServerError> {
    let opened = host.listen(address).await;
    opened.map_err(|source| ServerError::Listen { address: address.to_owned(), source })
}
