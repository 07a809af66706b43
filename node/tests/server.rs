//! Three servers in one process, asked over the wire as a program in any language would.

use std::path::PathBuf;
use std::time::Duration;

use quorate_node::server::{Server, ServerOptions};
use quorate_proto::wire::v1::change::Change as WireChange;
use quorate_proto::wire::v1::cluster_client::ClusterClient;
use quorate_proto::wire::v1::events_client::EventsClient;
use quorate_proto::wire::v1::expectation::Demand;
use quorate_proto::wire::v1::read_response::Message;
use quorate_proto::wire::v1::scope::Scope as WireScope;
use quorate_proto::wire::{message_of, problem_of, v1};
use quorate_proto::{ErrorKind, Problem};
use quorate_raft::Timing;
use quorate_raft::host::TokioHost;
use tonic::transport::Channel;
use tonic::{Code, Status};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

#[path = "server/conditions.rs"]
mod conditions;
#[path = "server/follow.rs"]
mod follow;
#[path = "server/groups.rs"]
mod groups;
#[path = "server/health.rs"]
mod health;
#[path = "server/limits.rs"]
mod limits;
#[path = "server/metrics.rs"]
mod metrics;
#[path = "server/retries.rs"]
mod retries;
#[path = "server/runners.rs"]
mod runners;
#[path = "server/sessions.rs"]
mod sessions;
#[path = "server/space.rs"]
mod space;
#[path = "server/streams.rs"]
mod streams;

const PATIENCE: Duration = Duration::from_secs(60);

fn options(directory: PathBuf, listen: &str, peer_listen: &str) -> ServerOptions {
    ServerOptions {
        directory,
        listen: listen.to_owned(),
        peer_listen: peer_listen.to_owned(),
        metrics_listen: None,
        advertise: listen.to_owned(),
        peer_advertise: peer_listen.to_owned(),
        insecure: false,
        timing: Timing::default(),
        segment_bytes: 1024 * 1024,
        kept_log_bytes: None,
        reserve_bytes: None,
        scrub_bytes_per_second: 0,
        block_cache_bytes: 1024 * 1024,
        accept_clock: false,
        join_token: None,
    }
}

struct Cluster {
    servers: Vec<Option<Server<TokioHost>>>,
    addresses: Vec<String>,
    /// The address at which the first server serves its metrics.
    metrics: String,
    folder: tempfile::TempDir,
}

impl Cluster {
    async fn start() -> Cluster {
        Cluster::start_with(None).await
    }

    /// Starts a cluster with so many bytes of disk kept in reserve.
    async fn start_with(reserve_bytes: Option<u64>) -> Cluster {
        let folder = tempfile::tempdir().expect("a folder");
        let free = quorate_node::free_addresses(7).expect("free ports");
        let addresses: Vec<String> = free.iter().map(ToString::to_string).collect();
        let (metrics, addresses) = addresses.split_first().expect("seven");
        let (addresses, peers) = addresses.split_at(3);
        let mut servers = Vec::new();
        for (number, (listen, peer_listen)) in addresses.iter().zip(peers).enumerate() {
            let directory = folder.path().join(number.to_string());
            let metrics_listen = (number == 0).then(|| metrics.clone());
            let options = options(directory, listen, peer_listen);
            let options = ServerOptions { metrics_listen, reserve_bytes, ..options };
            let server = Server::start(TokioHost::new(), options).await.expect("it starts");
            servers.push(Some(server));
        }
        let (addresses, metrics) = (addresses.to_vec(), metrics.clone());
        let cluster = Cluster { servers, addresses, metrics, folder };
        let request = v1::InitRequest { peers: peers.to_vec(), chunk_bytes: 0 };
        let mut operator = ClusterClient::new(cluster.channel(0).await);
        let founded = operator.init(request).await.expect("it is founded").into_inner();
        assert_eq!(founded.members.len(), 3);
        cluster
    }

    async fn channel(&self, node: usize) -> Channel {
        let address = format!("http://{}", self.addresses[node]);
        Channel::from_shared(address).expect("an address").connect().await.expect("it listens")
    }

    async fn events(&self, node: usize) -> EventsClient<Channel> {
        EventsClient::new(self.channel(node).await)
    }

    /// Returns the number of a node that reports that it leads.
    async fn leader(&self) -> usize {
        let asking = async {
            loop {
                for node in (0..3).filter(|node| self.servers[*node].is_some()) {
                    let mut operator = ClusterClient::new(self.channel(node).await);
                    let request = v1::StatusRequest { only_self: true };
                    let answer = operator.status(request).await.expect("a status").into_inner();
                    if answer.nodes.iter().any(|status| status.role == "leader") {
                        return node;
                    }
                }
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(PATIENCE, asking).await.expect("a leader")
    }

    /// Returns the results of health checks of a node and of its service; the two change one after the other.
    async fn health(&self, node: usize) -> [ServingStatus; 2] {
        let mut health = HealthClient::new(self.channel(node).await);
        let mut statuses = [ServingStatus::Unknown; 2];
        for (status, service) in statuses.iter_mut().zip(["", "quorate.v1.Events"]) {
            let asked = HealthCheckRequest { service: service.to_owned() };
            *status = health.check(asked).await.expect("health").into_inner().status();
        }
        statuses
    }

    async fn until_health(&self, node: usize, expected: ServingStatus) {
        let asking = async {
            while self.health(node).await != [expected; 2] {
                tokio::task::yield_now().await;
            }
        };
        let reached = tokio::time::timeout(PATIENCE, asking).await;
        reached.unwrap_or_else(|_| panic!("node {node} is not {expected:?}"));
    }

    async fn stop(&mut self, node: usize) {
        let server = self.servers[node].take().expect("it runs");
        tokio::time::timeout(PATIENCE, server.shutdown()).await.expect("it stops");
    }

    async fn stop_all(mut self) {
        for node in 0..3 {
            if self.servers[node].is_some() {
                self.stop(node).await;
            }
        }
    }
}

fn append(stream: &str, demand: Demand, id: u128) -> v1::Append {
    let event = v1::NewEvent {
        id: id.to_be_bytes().to_vec().into(),
        r#type: "Paid".to_owned(),
        data: "{}".into(),
        ..v1::NewEvent::default()
    };
    let write = v1::Write {
        stream: stream.to_owned(),
        expectation: Some(v1::Expectation { demand: Some(demand) }),
        events: vec![event],
    };
    v1::Append { writes: vec![write], ..Default::default() }
}

fn request(append: v1::Append) -> v1::AppendRequest {
    v1::AppendRequest { append: Some(append), time_left_ms: 20_000 }
}

fn whole_stream(stream: &str) -> v1::ReadRequest {
    let source = v1::StreamSource { stream: stream.to_owned(), ..v1::StreamSource::default() };
    let source = Some(v1::read_request::Source::Stream(source));
    v1::ReadRequest { source, ..v1::ReadRequest::default() }
}

/// Returns the events of a batch as a client in another language sees them.
fn events_of(batch: &[u8]) -> Vec<v1::RecordedEvent> {
    message_of::<v1::EventBatch>(batch).expect("a batch").events
}

/// Returns the point, the events, and true if there was a message of the end.
async fn read(
    events: &mut EventsClient<Channel>,
    request: v1::ReadRequest,
) -> Result<(v1::ReadPoint, Vec<v1::RecordedEvent>, bool), Status> {
    let mut answer = events.read(request).await?.into_inner();
    let (mut point, mut found, mut ended) = (None, Vec::new(), false);
    while let Some(message) = answer.message().await? {
        match message.message.expect("a message") {
            Message::Point(first) => point = Some(first),
            Message::Events(batch) => found.extend(events_of(&batch)),
            Message::End(_) => ended = true,
            other => panic!("no part of a read that ends by itself: {other:?}"),
        }
    }
    Ok((point.expect("a point"), found, ended))
}

fn problem(status: &Status) -> Problem {
    problem_of(status).unwrap_or_else(|| panic!("no typed detail: {status:?}"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_node_takes_appends_and_reads_and_refuses_with_a_typed_reason() {
    let cluster = Cluster::start().await;
    let leader = cluster.addresses[cluster.leader().await].clone();
    for node in 0..3_usize {
        let mut events = cluster.events(node).await;
        let id = node as u128 + 1;
        let first = append("order-1", Demand::Exactly(node as u64), id);
        let done = events.append(request(first.clone())).await.expect("appended").into_inner();
        assert_eq!((done.versions.as_slice(), done.leader.as_str()), (&[id as u64][..], &*leader));
        let again = events.append(request(first)).await.expect("the first answer").into_inner();
        assert_eq!((again.versions, again.first_position), (done.versions, done.first_position));

        let late = append("order-1", Demand::Exactly(node as u64), 100 + id);
        let refused = events.append(request(late)).await.expect_err("a conflict");
        assert_eq!(refused.code(), Code::Aborted);
        let conflict = problem(&refused);
        assert_eq!(conflict.kind, ErrorKind::Conflict);
        assert_eq!(conflict.failures[0].actual.0, id as u64);

        let system = append("$order", Demand::Any(v1::Empty {}), 200);
        let refused = events.append(request(system)).await.expect_err("not for users");
        assert_eq!(
            (refused.code(), problem(&refused).field.as_str()),
            (Code::InvalidArgument, "stream")
        );
    }
    for node in 0..3 {
        let mut events = cluster.events(node).await;
        let (point, found, ended) = read(&mut events, whole_stream("order-1")).await.expect("read");
        let versions: Vec<u64> = found.iter().map(|event| event.version).collect();
        assert_eq!((versions, point.version, ended), (vec![1, 2, 3], Some(3), true));
        let (point, found, ended) = read(&mut events, whole_stream("order-2")).await.expect("read");
        assert_eq!((found.len(), point.version, ended), (0, Some(0), true));

        let level = v1::consistency::Level::AtLeast(1_000);
        let consistency = Some(v1::Consistency { level: Some(level) });
        let far = v1::ReadRequest { consistency, time_left_ms: 50, ..whole_stream("order-1") };
        let refused = read(&mut events, far).await.expect_err("it is not there yet");
        assert!(problem(&refused).kind.is_transient(), "{refused:?}");

        cluster.until_health(node, ServingStatus::Serving).await;
    }
    cluster.stop_all().await;
}

fn change(stream: &str, demand: Demand, id: u128, change: WireChange) -> v1::ChangeStreamRequest {
    let scope = Some(v1::Scope { scope: Some(WireScope::Stream(stream.to_owned())) });
    let expectation = Some(v1::Expectation { demand: Some(demand) });
    let id = id.to_be_bytes().to_vec().into();
    let change = v1::Change { scope, expectation, id, change: Some(change) };
    v1::ChangeStreamRequest { change: Some(change), time_left_ms: 20_000 }
}
