//! Three servers in one process, asked over the wire as a program in any language would.

use std::time::Duration;

use quorate_node::server::{Server, ServerOptions};
use quorate_proto::wire::problem_of;
use quorate_proto::wire::v1;
use quorate_proto::wire::v1::change::Change as WireChange;
use quorate_proto::wire::v1::cluster_client::ClusterClient;
use quorate_proto::wire::v1::events_client::EventsClient;
use quorate_proto::wire::v1::expectation::Demand;
use quorate_proto::wire::v1::read_response::Message;
use quorate_proto::wire::v1::scope::Scope as WireScope;
use quorate_proto::wire::v1::session_answer::Outcome;
use quorate_proto::wire::v1::session_append::Request as WireRequest;
use quorate_proto::{ErrorKind, Problem};
use quorate_raft::Timing;
use quorate_raft::host::TokioHost;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Channel;
use tonic::{Code, Status};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

#[path = "server/follow.rs"]
mod follow;
#[path = "server/groups.rs"]
mod groups;
#[path = "server/limits.rs"]
mod limits;
#[path = "server/retries.rs"]
mod retries;

const PATIENCE: Duration = Duration::from_secs(60);

struct Cluster {
    servers: Vec<Option<Server<TokioHost>>>,
    addresses: Vec<String>,
    /// Where the first of them serves its metrics.
    metrics: String,
    _folder: tempfile::TempDir,
}

impl Cluster {
    async fn start() -> Cluster {
        Cluster::start_with(None).await
    }

    /// With so many bytes of disk kept in reserve.
    async fn start_with(reserve_bytes: Option<u64>) -> Cluster {
        let folder = tempfile::tempdir().expect("a folder");
        let free = quorate_node::free_addresses(7).expect("free ports");
        let addresses: Vec<String> = free.iter().map(ToString::to_string).collect();
        let (metrics, addresses) = addresses.split_first().expect("seven");
        let (addresses, peers) = addresses.split_at(3);
        let mut servers = Vec::new();
        for (number, (listen, peer_listen)) in addresses.iter().zip(peers).enumerate() {
            let options = ServerOptions {
                directory: folder.path().join(number.to_string()),
                listen: listen.clone(),
                peer_listen: peer_listen.clone(),
                metrics_listen: (number == 0).then(|| metrics.clone()),
                advertise: listen.clone(),
                peer_advertise: peer_listen.clone(),
                insecure: false,
                timing: Timing::default(),
                segment_bytes: 1024 * 1024,
                kept_log_bytes: None,
                reserve_bytes,
                scrub_bytes_per_second: 0,
                block_cache_bytes: 1024 * 1024,
                accept_clock: false,
            };
            let server = Server::start(TokioHost::new(), options).await.expect("it starts");
            servers.push(Some(server));
        }
        let (addresses, metrics) = (addresses.to_vec(), metrics.clone());
        let cluster = Cluster { servers, addresses, metrics, _folder: folder };
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

    /// The number of the node that leads, as a node says that lives.
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

/// Point, events and whether the end was told.
async fn read(
    events: &mut EventsClient<Channel>,
    request: v1::ReadRequest,
) -> Result<(v1::ReadPoint, Vec<v1::RecordedEvent>, bool), Status> {
    let mut answer = events.read(request).await?.into_inner();
    let (mut point, mut found, mut ended) = (None, Vec::new(), false);
    while let Some(message) = answer.message().await? {
        match message.message.expect("a message") {
            Message::Point(first) => point = Some(first),
            Message::Events(batch) => found.extend(batch.events),
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

        let mut health = HealthClient::new(cluster.channel(node).await);
        let asked = HealthCheckRequest { service: "quorate.v1.Events".to_owned() };
        let health = health.check(asked).await.expect("health").into_inner();
        assert_eq!(health.status(), ServingStatus::Serving);
    }
    cluster.stop_all().await;
}

/// An append to that stream unless there is an event with the tag after that position; its event has the tag.
fn unless(stream: &str, tag: &str, after: u64, id: u128) -> v1::Append {
    let mut append = append(stream, Demand::Any(v1::Empty {}), id);
    append.writes[0].events[0].tags = vec![tag.to_owned()];
    let item = v1::QueryItem { tags: vec![tag.to_owned()], ..v1::QueryItem::default() };
    let query = Some(v1::Query { items: vec![item] });
    append.conditions = vec![v1::Condition { query, after }];
    append
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn conditions_hold_on_every_node_and_a_repetition_comes_first() {
    let cluster = Cluster::start().await;
    cluster.leader().await;
    for node in 0..3_usize {
        let mut events = cluster.events(node).await;
        let tag = format!("course:{node}");
        let id = node as u128 * 10 + 1;
        let first = unless("enrolment-1", &tag, 0, id);
        let done = events.append(request(first.clone())).await.expect("appended").into_inner();
        // Its own event would violate the condition now.
        let again = events.append(request(first)).await.expect("the first answer").into_inner();
        assert_eq!(again.first_position, done.first_position);

        let late = unless("enrolment-2", &tag, 0, id + 1);
        let refused = problem(&events.append(request(late)).await.expect_err("a conflict"));
        assert_eq!((refused.kind, refused.failures.len()), (ErrorKind::Conflict, 0));
        assert_eq!(refused.violations.len(), 1);
        assert_eq!(refused.violations[0].position.0, done.first_position);

        let mut both = unless("enrolment-1", &tag, 0, id + 2);
        both.writes[0].expectation =
            Some(v1::Expectation { demand: Some(Demand::None(v1::Empty {})) });
        let refused = problem(&events.append(request(both)).await.expect_err("a conflict"));
        assert_eq!((refused.failures.len(), refused.violations.len()), (1, 1), "{refused:?}");

        let knowing = unless("enrolment-2", &tag, done.last_position, id + 3);
        events.append(request(knowing)).await.expect("appended");
    }
    cluster.stop_all().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn in_a_session_conditions_hold_back_what_names_their_streams() {
    let cluster = Cluster::start().await;
    cluster.leader().await;
    for node in 0..3_u64 {
        let mut events = cluster.events(node as usize).await;
        let stream = format!("order-{node}");
        let id = u128::from(node) << 64;
        let mut appends = Vec::new();
        for number in 1..=100_u64 {
            let id = id | u128::from(number);
            appends.push(match number % 2 {
                1 => unless(&stream, &format!("never:{node}-{number}"), 0, id),
                _ => append(&stream, Demand::Exactly(number - 1), id),
            });
        }
        let appends = appends.into_iter().zip(1..).map(|(append, number)| v1::SessionAppend {
            number,
            request: Some(WireRequest::Append(append)),
            deadline_ms: 20_000,
            expires_alone: false,
        });
        let appends = appends.collect();
        let (sender, requests) = tokio::sync::mpsc::channel(8);
        let mut answers = events
            .append_session(ReceiverStream::new(requests))
            .await
            .expect("a session")
            .into_inner();
        answers.message().await.expect("a message").expect("the leader's address");
        sender.send(v1::AppendSessionRequest { appends }).await.expect("the session lives");
        drop(sender);
        let mut versions = vec![0; 101];
        while let Some(message) = answers.message().await.expect("answers") {
            for answer in message.answers {
                match answer.outcome.expect("an outcome") {
                    Outcome::Appended(done) => versions[answer.number as usize] = done.versions[0],
                    other => panic!("{other:?}"),
                }
            }
        }
        assert!(versions.into_iter().eq(0..=100), "an append overtook another");
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

async fn show(events: &mut EventsClient<Channel>, stream: &str) -> v1::ShowStreamResponse {
    let scope = Some(v1::Scope { scope: Some(WireScope::Stream(stream.to_owned())) });
    let request = v1::ShowStreamRequest { scope, ..v1::ShowStreamRequest::default() };
    events.show_stream(request).await.expect("a stream").into_inner()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_node_changes_and_shows_streams_and_keeps_their_snapshots() {
    let cluster = Cluster::start().await;
    cluster.leader().await;
    let any = || Demand::Any(v1::Empty {});
    for node in 0..3_usize {
        let mut events = cluster.events(node).await;
        let stream = format!("order-{node}");
        let id = (node as u128 + 1) << 64;
        for number in 0..5 {
            let append = append(&stream, Demand::Exactly(number), id | u128::from(number));
            events.append(request(append)).await.expect("appended");
        }
        let snapshot = v1::Snapshot {
            stream: stream.clone(),
            version: 3,
            data: "{\"total\":7}".into(),
            ..v1::Snapshot::default()
        };
        let put = v1::PutSnapshotRequest { snapshot: Some(snapshot), time_left_ms: 20_000 };
        for _ in 0..2 {
            let kept = events.put_snapshot(put.clone()).await.expect("kept").into_inner();
            assert_eq!(kept.version, 3);
        }
        let mut ahead = put.clone();
        ahead.snapshot.as_mut().expect("a snapshot").version = 6;
        let refused = problem(&events.put_snapshot(ahead).await.expect_err("there is no 6"));
        assert_eq!(refused.kind, ErrorKind::Conflict);
        let with_snapshot = v1::ReadRequest { with_snapshot: true, ..whole_stream(&stream) };
        let (point, found, _) = read(&mut events, with_snapshot).await.expect("read");
        let versions: Vec<u64> = found.iter().map(|event| event.version).collect();
        assert_eq!((point.snapshot.map(|kept| kept.version), versions), (Some(3), vec![4, 5]));

        let settings = v1::SettingsChange { max_count: Some(2), ..v1::SettingsChange::default() };
        let set = change(&stream, any(), id | 100, WireChange::Settings(settings));
        let done = events.change_stream(set.clone()).await.expect("set").into_inner();
        let again = events.change_stream(set).await.expect("the first answer").into_inner();
        assert_eq!(again.first_position, done.first_position);
        let shown = show(&mut events, &stream).await;
        assert_eq!((shown.version, shown.first_version, shown.snapshot_version), (5, 4, 3));
        assert_eq!(shown.effective.and_then(|settings| settings.max_count), Some(2));

        let late = change(&stream, Demand::Exactly(4), id | 101, WireChange::Delete(v1::Empty {}));
        let refused = problem(&events.change_stream(late).await.expect_err("it is at 5"));
        assert_eq!((refused.kind, refused.failures[0].actual.0), (ErrorKind::Conflict, 5));
        let delete =
            change(&stream, Demand::Exactly(5), id | 102, WireChange::Delete(v1::Empty {}));
        events.change_stream(delete).await.expect("deleted");
        let (point, found, _) = read(&mut events, whole_stream(&stream)).await.expect("read");
        assert_eq!((point.version, found.len()), (Some(5), 0));

        let end = change(&stream, any(), id | 103, WireChange::Tombstone(v1::Empty {}));
        events.change_stream(end).await.expect("closed");
        let append = append(&stream, any(), id | 104);
        let refused = problem(&events.append(request(append)).await.expect_err("it is closed"));
        assert_eq!(refused.kind, ErrorKind::StreamClosed);
        let shown = show(&mut events, &stream).await;
        assert!(shown.closed && shown.deleted_at == 5 && shown.snapshot_version == 0, "{shown:?}");
    }
    let mut operator = ClusterClient::new(cluster.channel(0).await);
    let mut progress =
        operator.scavenge(v1::ScavengeRequest {}).await.expect("it begins").into_inner();
    while progress.message().await.expect("progress").is_some() {}
    cluster.stop_all().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn below_the_reserve_events_are_refused_and_changes_are_taken() {
    let status = v1::StatusRequest { only_self: true };
    let cluster = Cluster::start().await;
    let mut operator = ClusterClient::new(cluster.channel(0).await);
    let nodes = operator.status(status).await.expect("a status").into_inner().nodes;
    let free = nodes[0].free_bytes;
    assert!(free > 0 && !nodes[0].low_on_space, "{nodes:?}");
    cluster.stop_all().await;

    // Below the reserve, and far above the half of it.
    let cluster = Cluster::start_with(Some(free / 3 * 4)).await;
    cluster.leader().await;
    for node in 0..3_usize {
        let mut events = cluster.events(node).await;
        let append = append("order-1", Demand::Any(v1::Empty {}), node as u128 + 1);
        let refused = problem(&events.append(request(append)).await.expect_err("no room"));
        assert_eq!(refused.kind, ErrorKind::NoSpace, "{refused:?}");
        assert_eq!(refused.outcome, quorate_proto::Outcome::NotAppended, "{refused:?}");
        let settings = v1::SettingsChange { max_count: Some(2), ..v1::SettingsChange::default() };
        let set = WireChange::Settings(settings);
        let set = change("order-1", Demand::Any(v1::Empty {}), node as u128 + 10, set);
        events.change_stream(set).await.expect("a change is taken");
        changes_pass_appends_without_room(&mut events, node as u128 + 1).await;
        let mut operator = ClusterClient::new(cluster.channel(node).await);
        let nodes = operator.status(status).await.expect("a status").into_inner().nodes;
        assert!(nodes[0].low_on_space, "{nodes:?}");
    }
    cluster.stop_all().await;
}

/// One session of many appends with a deletion among them, while the disks are full.
async fn changes_pass_appends_without_room(events: &mut EventsClient<Channel>, node: u128) {
    let any = || Demand::Any(v1::Empty {});
    let mut requests: Vec<WireRequest> = (1..=200)
        .map(|number| WireRequest::Append(append("order-2", any(), node << 64 | number)))
        .collect();
    let delete = WireChange::Delete(v1::Empty {});
    let delete = change("order-3", any(), node << 64, delete).change.expect("a change");
    requests.insert(100, WireRequest::Change(delete));
    let appends = requests.into_iter().zip(0..).map(|(request, number)| v1::SessionAppend {
        number,
        request: Some(request),
        deadline_ms: 20_000,
        expires_alone: false,
    });
    let appends = appends.collect();
    let (sender, requests) = tokio::sync::mpsc::channel(1);
    let answers = events.append_session(ReceiverStream::new(requests)).await.expect("a session");
    let mut answers = answers.into_inner();
    answers.message().await.expect("a message").expect("the leader's address");
    sender.send(v1::AppendSessionRequest { appends }).await.expect("the session lives");
    let (mut refused, mut appended) = (0, Vec::new());
    while refused < 200 || appended.is_empty() {
        let message = answers.message().await.expect("the session goes on").expect("answers");
        for answer in message.answers {
            match answer.outcome.expect("an outcome") {
                Outcome::Appended(_) => appended.push(answer.number),
                Outcome::Problem(problem) => {
                    assert_eq!(problem.kind, "no_space", "{problem:?}");
                    refused += 1;
                }
                other => panic!("{other:?}"),
            }
        }
    }
    assert_eq!((refused, appended), (200, vec![100]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_keeps_the_order_on_every_node() {
    let cluster = Cluster::start().await;
    cluster.leader().await;
    for node in 0..3_u64 {
        let mut events = cluster.events(node as usize).await;
        let (sender, requests) = tokio::sync::mpsc::channel(8);
        let stream = format!("order-{node}");
        let mut answers = events
            .append_session(ReceiverStream::new(requests))
            .await
            .expect("a session")
            .into_inner();
        // Deadlines are counted from the first message.
        answers.message().await.expect("a message").expect("the leader's address");
        let sending = tokio::spawn(async move {
            for number in 1..=500_u64 {
                let id = u128::from(node) << 64 | u128::from(number);
                let append = append(&stream, Demand::Any(v1::Empty {}), id);
                let request = Some(WireRequest::Append(append));
                let append = v1::SessionAppend {
                    number,
                    request,
                    deadline_ms: 20_000,
                    ..Default::default()
                };
                let request = v1::AppendSessionRequest { appends: vec![append] };
                sender.send(request).await.expect("the session lives");
            }
        });
        let mut versions = vec![0; 501];
        while let Some(message) = answers.message().await.expect("answers") {
            for answer in message.answers {
                match answer.outcome.expect("an outcome") {
                    Outcome::Appended(done) => versions[answer.number as usize] = done.versions[0],
                    other => panic!("{other:?}"),
                }
            }
        }
        sending.await.expect("all were sent");
        assert!(versions.into_iter().eq(0..=500), "an append overtook another");
    }
    cluster.stop_all().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_reaches_any_node_after_its_deadline_is_not_appended_and_ends_its_session() {
    let cluster = Cluster::start().await;
    cluster.leader().await;
    for node in 0..3 {
        let mut events = cluster.events(node).await;
        let (sender, requests) = tokio::sync::mpsc::channel(8);
        let answers = events.append_session(ReceiverStream::new(requests)).await;
        let mut answers = answers.expect("a session").into_inner();
        answers.message().await.expect("a message").expect("the leader's address");
        let append = append("order-1", Demand::Any(v1::Empty {}), node as u128 + 1);
        let request = Some(WireRequest::Append(append));
        let append = v1::SessionAppend { number: 1, request, ..Default::default() };
        let request = v1::AppendSessionRequest { appends: vec![append] };
        sender.send(request).await.expect("the session lives");
        let end = loop {
            match answers.message().await {
                Ok(answered) => {
                    let answers = answered.expect("an end that tells why").answers;
                    let refused = |answer: &v1::SessionAnswer| {
                        matches!(&answer.outcome, Some(Outcome::Problem(problem))
                            if problem.kind == "deadline" && problem.outcome == "not appended")
                    };
                    assert!(answers.iter().all(refused), "{answers:?}");
                }
                Err(end) => break end,
            }
        };
        let problem = problem_of(&end).expect("a typed detail");
        assert_eq!(problem.kind, ErrorKind::Deadline, "{problem:?}");
        assert_eq!(problem.outcome, quorate_proto::Outcome::NotAppended, "{problem:?}");
    }
    let mut events = cluster.events(0).await;
    let id = u128::MAX;
    let append = append("order-1", Demand::None(v1::Empty {}), id);
    events.append(request(append)).await.expect("nothing was appended before");
    cluster.stop_all().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_expires_alone_on_any_node_leaves_its_session_to_the_appends_behind_it() {
    let cluster = Cluster::start().await;
    cluster.leader().await;
    for node in 0..3 {
        let mut events = cluster.events(node).await;
        let (sender, requests) = tokio::sync::mpsc::channel(8);
        let answers = events.append_session(ReceiverStream::new(requests)).await;
        let mut answers = answers.expect("a session").into_inner();
        answers.message().await.expect("a message").expect("the leader's address");
        let appends = (1..=3).map(|number| {
            let id = node as u128 * 3 + u128::from(number);
            let request = append("order-1", Demand::Any(v1::Empty {}), id);
            let expires_alone = number == 1;
            let deadline_ms = if expires_alone { 0 } else { 20_000 };
            let request = Some(WireRequest::Append(request));
            v1::SessionAppend { number, request, deadline_ms, expires_alone }
        });
        let request = v1::AppendSessionRequest { appends: appends.collect() };
        sender.send(request).await.expect("the session lives");
        let mut outcomes = std::collections::BTreeMap::new();
        while outcomes.len() < 3 {
            let message = answers.message().await.expect("it goes on").expect("answers");
            outcomes.extend(message.answers.into_iter().map(|one| (one.number, one.outcome)));
        }
        assert!(matches!(&outcomes[&1], Some(Outcome::Problem(problem))
            if problem.kind == "deadline" && problem.outcome == "not appended"));
        let version = |number| match &outcomes[&number] {
            Some(Outcome::Appended(appended)) => appended.versions[0],
            other => panic!("{number}: {other:?}"),
        };
        assert_eq!(version(3), version(2) + 1);
    }
    cluster.stop_all().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stopping_leader_ends_its_sessions_and_hands_over() {
    let mut cluster = Cluster::start().await;
    let leader = cluster.leader().await;
    let mut events = cluster.events(leader).await;
    let (sender, requests) = tokio::sync::mpsc::channel(8);
    let answers = events.append_session(ReceiverStream::new(requests)).await;
    let mut answers = answers.expect("a session").into_inner();
    let first = answers.message().await.expect("a message").expect("the leader's address");
    assert_eq!(first.leader, cluster.addresses[leader]);
    cluster.stop(leader).await;
    let end = answers.message().await.expect_err("the session ended");
    assert_eq!(end.code(), Code::Unavailable, "{end:?}");
    drop(sender);
    let next = cluster.leader().await;
    assert_ne!(next, leader);
    for node in (0..3).filter(|node| *node != leader) {
        let mut events = cluster.events(node).await;
        let id = node as u128 + 1;
        let append = append(&format!("order-{node}"), Demand::None(v1::Empty {}), id);
        let done = events.append(request(append)).await.expect("appended").into_inner();
        assert_eq!(done.leader, cluster.addresses[next]);
    }
    cluster.stop_all().await;
}
