//! The services on each of the two listeners, and the limits of the protocol underneath.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use futures_util::Stream;
use quorate_proto::limits::{ANSWER_BYTES_MAX, CLIENT_MESSAGE_BYTES_MAX, PEER_MESSAGE_BYTES_MAX};
use quorate_proto::wire;
use quorate_proto::wire::peer::v1::forward_server::ForwardServer;
use quorate_proto::wire::peer::v1::pass_groups_server::PassGroupsServer;
use quorate_proto::wire::v1::cluster_server::ClusterServer;
use quorate_proto::wire::v1::events_server::EventsServer;
use quorate_proto::wire::v1::groups_server::GroupsServer;
use quorate_proto::wire::v1::runners_server::RunnersServer;
use quorate_raft::host::{Host, Listening};
use quorate_raft::transport;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tonic::service::Routes;
use tonic::transport::Server;
use tonic_health::ServingStatus;
use tonic_health::server::HealthReporter;

use super::append::{Appends, ForwardService};
use super::cluster::{About, ClusterService};
use super::connections::{self, Connection, Greeting};
use super::events::EventsService;
use super::groups::{ForwardedConsumers, Groups, GroupsService};
use super::health::{Health, Verdict};
use super::read::Live;
use super::runners::{RunnerReports, RunnersService};

/// The most calls under way on one connection; a pipelined session is one.
const STREAMS_PER_CONNECTION_MAX: u32 = 1024;
/// The most bytes of metadata of one call.
const HEADER_BYTES_MAX: u32 = 16 * 1024;
/// The most calls kept that a client took back before they began; more close the connection (a client that
/// only opens and resets costs us work, see CVE-2023-44487).
const RESETS_PENDING_MAX: usize = 64;
const FRAME_BYTES_MAX: u32 = 256 * 1024;
/// Flow control: the bytes that a client may send before they are read, on a call and on a connection.
const STREAM_WINDOW_BYTES: u32 = 2 * 1024 * 1024;
const CONNECTION_WINDOW_BYTES: u32 = 8 * 1024 * 1024;
/// A client that answers nothing for the sum of both times is gone.
const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(10);
const KEEP_ALIVE_TIMEOUT: Duration = Duration::from_secs(10);

/// The parts that the services for clients are made of.
pub(crate) struct Served<H: Host> {
    pub(crate) appends: Arc<Appends<H>>,
    pub(crate) live: Arc<Live<H>>,
    pub(crate) groups: Arc<Groups<H>>,
    pub(crate) runner_reports: Arc<RunnerReports>,
    pub(crate) health: Health<H>,
    pub(crate) about: About,
}

/// Serves clients until `stopping` is cancelled, then until their calls have ended.
pub(crate) async fn serve_clients<H: Host>(
    listening: Listening<H::Connection>,
    served: Served<H>,
    stopping: CancellationToken,
) {
    let Served { appends, live, groups, runner_reports, health, about } = served;
    let (reporter, checks) = tonic_health::server::health_reporter();
    let replica = appends.replica.clone();
    let connections_max = connections::clients_max(replica.host().descriptors());
    // The node does not serve before a check has found that it does.
    set_health(&reporter, ServingStatus::NotServing).await;
    tokio::spawn(report_health(reporter, health.readiness()));
    let events = EventsServer::new(EventsService { appends, live, stopping: stopping.clone() })
        .max_decoding_message_size(CLIENT_MESSAGE_BYTES_MAX)
        .max_encoding_message_size(ANSWER_BYTES_MAX);
    let consumers = GroupsServer::new(GroupsService { groups: groups.clone() })
        .max_decoding_message_size(CLIENT_MESSAGE_BYTES_MAX)
        .max_encoding_message_size(ANSWER_BYTES_MAX);
    let runners = RunnersServer::new(RunnersService { replica: replica.clone(), runner_reports })
        .max_decoding_message_size(CLIENT_MESSAGE_BYTES_MAX)
        .max_encoding_message_size(ANSWER_BYTES_MAX);
    let cluster = ClusterServer::new(ClusterService { replica, groups, health, about })
        .max_decoding_message_size(CLIENT_MESSAGE_BYTES_MAX)
        .max_encoding_message_size(ANSWER_BYTES_MAX);
    let reflection = tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(wire::DESCRIPTORS)
        .build_v1()
        .expect("the descriptors were made by this build");
    let routes = Routes::new(events)
        .add_service(consumers)
        .add_service(cluster)
        .add_service(runners)
        .add_service(checks)
        .add_service(reflection);
    let server = Server::builder()
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .http2_keepalive_interval(Some(KEEP_ALIVE_INTERVAL))
        .http2_keepalive_timeout(Some(KEEP_ALIVE_TIMEOUT))
        .max_frame_size(FRAME_BYTES_MAX);
    let connections =
        connections::bounded("clients", listening, connections_max, Greeting::Preface);
    serve("clients", server, routes, connections, stopping).await;
}

/// Serves the other nodes until `stopping` is cancelled, then until their calls have ended.
pub(crate) async fn serve_peers<H: Host>(
    listening: Listening<H::Connection>,
    appends: Arc<Appends<H>>,
    groups: Arc<Groups<H>>,
    stopping: CancellationToken,
) {
    let raft = appends.replica.routes();
    let connections_max = connections::peers_max(appends.replica.host().descriptors());
    let forward = ForwardServer::new(ForwardService { appends, stopping: stopping.clone() })
        .max_decoding_message_size(PEER_MESSAGE_BYTES_MAX)
        .max_encoding_message_size(PEER_MESSAGE_BYTES_MAX);
    let pass = PassGroupsServer::new(ForwardedConsumers { groups })
        .max_decoding_message_size(PEER_MESSAGE_BYTES_MAX)
        .max_encoding_message_size(PEER_MESSAGE_BYTES_MAX);
    let routes = raft.add_service(forward).add_service(pass);
    let connections = connections::bounded("peers", listening, connections_max, Greeting::Preface);
    serve("peers", transport::server(), routes, connections, stopping).await;
}

async fn serve<C>(
    whom: &'static str,
    server: Server,
    routes: Routes,
    connections: impl Stream<Item = io::Result<Connection<C>>>,
    stopping: CancellationToken,
) where
    C: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
{
    let served = server
        .max_concurrent_streams(STREAMS_PER_CONNECTION_MAX)
        .http2_max_header_list_size(HEADER_BYTES_MAX)
        .http2_max_pending_accept_reset_streams(Some(RESETS_PENDING_MAX))
        .http2_max_local_error_reset_streams(Some(RESETS_PENDING_MAX))
        .accept_http1(false)
        .add_routes(routes.prepare())
        .serve_with_incoming_shutdown(connections, stopping.cancelled())
        .await;
    if let Err(error) = served {
        tracing::error!(%error, whom, "a listener ended");
    }
}

async fn set_health(reporter: &HealthReporter, serving: ServingStatus) {
    reporter.set_service_status("", serving).await;
    reporter.set_service_status("quorate.v1.Events", serving).await;
}

/// Reports to health checks that the node serves, while it is ready.
async fn report_health(reporter: HealthReporter, mut readiness: watch::Receiver<Verdict>) {
    loop {
        let serving = match *readiness.borrow_and_update() {
            Ok(()) => ServingStatus::Serving,
            Err(_) => ServingStatus::NotServing,
        };
        set_health(&reporter, serving).await;
        if readiness.changed().await.is_err() {
            return;
        }
    }
}
