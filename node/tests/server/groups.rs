//! Consumer groups over the wire, on every node.

use quorate_proto::ErrorKind;
use quorate_proto::wire::v1::change_group_request::Change;
use quorate_proto::wire::v1::events_client::EventsClient;
use quorate_proto::wire::v1::expectation::Demand;
use quorate_proto::wire::v1::groups_client::GroupsClient;
use quorate_proto::wire::v1::settlement::{Failure, Fate};
use quorate_proto::wire::{SILENCE_MAX, v1};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Channel;
use tonic::{Code, Status, Streaming};

use super::{Cluster, PATIENCE, append, problem, request};

/// A consumer that was let in.
pub(super) struct Consumer {
    requests: mpsc::Sender<v1::ConsumeRequest>,
    messages: Streaming<v1::ConsumeResponse>,
    pub(super) deliveries: Vec<v1::Delivery>,
    settled: Vec<u64>,
    lapsed: Vec<u64>,
    timeout_ms: Option<u64>,
}

impl Consumer {
    pub(super) async fn join(
        groups: &mut GroupsClient<Channel>,
        window: u32,
    ) -> Result<Consumer, Status> {
        let (requests, queue) = mpsc::channel(4);
        let (group, consumer) = ("billing".to_owned(), "worker".to_owned());
        let join = Some(v1::JoinGroup { group, consumer, window, tells_begun: false });
        let first = v1::ConsumeRequest { join, ..v1::ConsumeRequest::default() };
        requests.send(first).await.expect("there is room");
        let mut messages = groups.consume(ReceiverStream::new(queue)).await?.into_inner();
        let first = messages.message().await?.expect("a message");
        assert!(first.joined.is_some(), "{first:?}");
        let (deliveries, settled, lapsed, timeout_ms) = Default::default();
        Ok(Consumer { requests, messages, deliveries, settled, lapsed, timeout_ms })
    }

    /// Joins as soon as the node knows of another leader: until then it looks for the one that is gone.
    async fn join_the_next(groups: &mut GroupsClient<Channel>, window: u32) -> Consumer {
        let joining = async {
            loop {
                match Consumer::join(groups, window).await {
                    Ok(consumer) => return consumer,
                    Err(refused) => assert_eq!(refused.code(), Code::Unavailable, "{refused:?}"),
                }
                tokio::task::yield_now().await;
            }
        };
        timeout(PATIENCE, joining).await.expect("there is another leader in time")
    }

    async fn settle(&self, number: u64, fate: Fate) {
        let settlements = vec![v1::Settlement { number, fate: Some(fate) }];
        let message = v1::ConsumeRequest { settlements, ..v1::ConsumeRequest::default() };
        self.requests.send(message).await.expect("there is room");
    }

    async fn acknowledge(&self, number: u64) {
        self.settle(number, Fate::Acknowledged(v1::Empty {})).await;
    }

    /// Takes the next message in; false at the end.
    async fn receive(&mut self) -> Result<bool, Status> {
        let next = timeout(PATIENCE, self.messages.message()).await.expect("a message in time");
        let Some(message) = next? else { return Ok(false) };
        self.deliveries.extend(message.deliveries);
        self.settled.extend(message.settled);
        self.lapsed.extend(message.lapsed);
        self.timeout_ms = message.timeout_ms.or(self.timeout_ms);
        Ok(true)
    }

    /// Hears until so many events were delivered, and so many settlements confirmed.
    pub(super) async fn until(&mut self, deliveries: usize, settled: usize) {
        while self.deliveries.len() < deliveries || self.settled.len() < settled {
            assert!(self.receive().await.expect("no error"), "the stream ended");
        }
    }

    /// The end of the stream, with its error.
    async fn end(&mut self) -> Result<(), Status> {
        while self.receive().await? {}
        Ok(())
    }

    fn positions(&self) -> Vec<(u64, u32)> {
        let position = |delivery: &v1::Delivery| {
            let event = delivery.event.as_ref().expect("an event");
            (event.position, delivery.attempt)
        };
        self.deliveries.iter().map(position).collect()
    }
}

pub(super) async fn groups(cluster: &Cluster, node: usize) -> GroupsClient<Channel> {
    GroupsClient::new(cluster.channel(node).await)
}

pub(super) async fn create(groups: &mut GroupsClient<Channel>, settings: v1::GroupSettings) {
    let definition = v1::GroupDefinition { settings: Some(settings), ..Default::default() };
    let created = groups.change_group(change(Change::Create(definition))).await;
    assert_eq!(created.expect("it is created").into_inner().count, 1);
}

/// Returns a request to the group of these tests.
fn change(change: Change) -> v1::ChangeGroupRequest {
    v1::ChangeGroupRequest { group: named(), change: Some(change), ..Default::default() }
}

async fn append_events(events: &mut EventsClient<Channel>, ids: std::ops::RangeInclusive<u128>) {
    for id in ids {
        let event = append(&format!("order-{id}"), Demand::Any(v1::Empty {}), id);
        events.append(request(event)).await.expect("it is appended");
    }
}

/// Returns those of these that are settled, and those that are parked.
async fn find_settled(
    groups: &mut GroupsClient<Channel>,
    positions: &[u64],
) -> (Vec<u64>, Vec<u64>) {
    let positions = positions.to_vec();
    let find = v1::FindSettledRequest { group: named(), positions, ..Default::default() };
    let found = groups.find_settled(find).await.expect("it is there").into_inner();
    (found.settled, found.parked)
}

fn named() -> String {
    "billing".to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_node_lets_consumers_in_and_confirms_what_they_settle() {
    let cluster = Cluster::start().await;
    let leader = cluster.leader().await;
    let mut any = groups(&cluster, (leader + 1) % 3).await;
    let refused = Consumer::join(&mut any, 1).await.map(|_| ()).expect_err("no group yet");
    assert_eq!((refused.code(), problem(&refused).kind), (Code::NotFound, ErrorKind::NotFound));
    create(&mut any, v1::GroupSettings::default()).await;
    append_events(&mut cluster.events(0).await, 1..=6).await;

    for node in 0..3_u64 {
        let mut groups = groups(&cluster, node as usize).await;
        let mut consumer = Consumer::join(&mut groups, 2).await.expect("let in");
        consumer.until(2, 0).await;
        let show = v1::ShowGroupRequest { group: named(), ..Default::default() };
        let shown = groups.show_group(show).await.expect("it is there").into_inner();
        assert_eq!((shown.in_flight, shown.consumers.len()), (2, 1), "{shown:?}");
        assert_eq!((shown.floor, shown.lag), (2 * node, 6 - 2 * node), "{shown:?}");
        consumer.acknowledge(1).await;
        consumer.acknowledge(2).await;
        consumer.until(2, 2).await;
        drop(consumer.requests);
        let mut messages = consumer.messages;
        // It left: whatever it was given beyond that is for the next one, as a first attempt.
        while messages.message().await.expect("no error").is_some() {}
        assert_eq!(consumer.deliveries.iter().map(|one| one.attempt).max(), Some(1));
    }
    let settled: Vec<u64> = (1..=6).collect();
    assert_eq!(find_settled(&mut any, &[1, 2, 3, 4, 5, 6, 7]).await, (settled, vec![]));
    let mut consumer = Consumer::join(&mut any, 2).await.expect("let in");
    append_events(&mut cluster.events(0).await, 7..=7).await;
    consumer.until(1, 0).await;
    assert_eq!(consumer.positions(), [(7, 1)], "the others are settled, and it came live");
    cluster.stop_all().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_fails_is_tried_again_and_parked_and_what_is_not_held_cannot_be_settled() {
    let cluster = Cluster::start().await;
    let follower = (cluster.leader().await + 1) % 3;
    let mut groups = groups(&cluster, follower).await;
    let settings = v1::GroupSettings {
        attempts_max: 2,
        retry_delay_ms: Some(1),
        ..v1::GroupSettings::default()
    };
    create(&mut groups, settings).await;
    append_events(&mut cluster.events(0).await, 1..=2).await;
    let mut consumer = Consumer::join(&mut groups, 8).await.expect("let in");
    consumer.until(2, 0).await;
    let failed = |reason: &str| Fate::Failed(Failure { reason: reason.to_owned(), delay_ms: None });
    consumer.settle(1, failed("once")).await;
    consumer.until(3, 1).await;
    assert_eq!(consumer.positions(), [(1, 1), (2, 1), (1, 2)]);
    consumer.settle(3, failed("twice")).await;
    consumer.settle(2, Fate::Parked("not for us".to_owned())).await;
    consumer.until(3, 3).await;
    let list = v1::ListParkedRequest { group: named(), ..Default::default() };
    let mut messages = groups.list_parked(list).await.expect("it is there").into_inner();
    let mut parked = Vec::new();
    while let Some(message) = messages.message().await.expect("no error") {
        parked.extend(message.parked);
    }
    let listed: Vec<(u64, u32, &str)> = parked
        .iter()
        .map(|parked| (parked.position, parked.attempts, parked.reason.as_str()))
        .collect();
    assert_eq!(listed, [(1, 2, "twice"), (2, 1, "not for us")]);
    assert!(parked.iter().all(|parked| parked.event.is_some() && parked.parked_at > 0));

    assert_eq!(find_settled(&mut groups, &[1, 2, 3]).await, (vec![], vec![1, 2]));

    let replay = change(Change::Replay(v1::SelectedParked { positions: vec![1], all: false }));
    assert_eq!(groups.change_group(replay).await.expect("done").into_inner().count, 1);
    consumer.until(4, 3).await;
    assert_eq!(consumer.positions().last(), Some(&(1, 1)), "from the first attempt on");
    let rest = change(Change::Drop(v1::SelectedParked { positions: Vec::new(), all: true }));
    let rest = v1::ChangeGroupRequest { request_id: vec![7; 16].into(), ..rest };
    for node in 0..3 {
        let mut groups = self::groups(&cluster, node).await;
        let dropped = groups.change_group(rest.clone()).await.expect("done").into_inner();
        assert_eq!(dropped.count, 1, "the first answer, at any node");
    }
    // Settled once already, and never given.
    consumer.acknowledge(3).await;
    while consumer.lapsed.is_empty() {
        assert!(consumer.receive().await.expect("no error"));
    }
    assert_eq!(consumer.lapsed, [3]);
    consumer.acknowledge(99).await;
    let refused = consumer.end().await.expect_err("it never had that");
    assert_eq!(refused.code(), Code::InvalidArgument, "{refused:?}");
    assert_eq!(problem(&refused).field, "number");
    cluster.stop_all().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reset_ends_the_streams_and_begins_again_and_a_deletion_ends_the_group() {
    let cluster = Cluster::start().await;
    let leader = cluster.leader().await;
    let mut groups = groups(&cluster, leader).await;
    create(&mut groups, v1::GroupSettings::default()).await;
    append_events(&mut cluster.events(0).await, 1..=2).await;
    let mut consumer = Consumer::join(&mut groups, 8).await.expect("let in");
    consumer.until(2, 0).await;
    consumer.acknowledge(1).await;
    consumer.acknowledge(2).await;
    consumer.until(2, 2).await;
    groups.change_group(change(Change::Reset(1))).await.expect("it is there");
    let ended = consumer.end().await.expect_err("another life of the group");
    assert_eq!((ended.code(), problem(&ended).kind), (Code::Unavailable, ErrorKind::Unavailable));
    let mut consumer = Consumer::join(&mut groups, 8).await.expect("let in");
    consumer.until(1, 0).await;
    assert_eq!(consumer.positions(), [(2, 1)]);
    let delete = change(Change::Delete(v1::Empty {}));
    let odd = v1::ChangeGroupRequest { request_id: b"short".to_vec().into(), ..delete.clone() };
    let refused = problem(&groups.change_group(odd).await.expect_err("no id has five bytes"));
    assert_eq!((refused.kind, refused.field.as_str()), (ErrorKind::Invalid, "request_id"));
    assert_eq!(groups.change_group(delete.clone()).await.expect("done").into_inner().count, 1);
    let ended = consumer.end().await.expect_err("no group any more");
    assert_eq!(problem(&ended).kind, ErrorKind::NotFound);
    assert_eq!(groups.change_group(delete).await.expect("done").into_inner().count, 0);
    cluster.stop_all().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn consumers_of_a_leader_that_stops_go_on_with_the_next_one() {
    let mut cluster = Cluster::start().await;
    let leader = cluster.leader().await;
    let other = (leader + 1) % 3;
    let mut there = groups(&cluster, leader).await;
    let mut here = groups(&cluster, other).await;
    create(&mut there, v1::GroupSettings::default()).await;
    append_events(&mut cluster.events(other).await, 1..=3).await;
    let mut direct = Consumer::join(&mut there, 1).await.expect("let in");
    let mut passed = Consumer::join(&mut here, 8).await.expect("let in");
    direct.until(1, 0).await;
    passed.until(2, 0).await;
    passed.acknowledge(1).await;
    passed.until(2, 1).await;
    let acknowledged = passed.positions()[0].0;
    cluster.stop(leader).await;
    assert_eq!(direct.end().await.expect_err("it stopped").code(), Code::Unavailable);
    assert_eq!(passed.end().await.expect_err("it stopped").code(), Code::Unavailable);
    let mut next = Consumer::join_the_next(&mut here, 8).await;
    next.until(2, 0).await;
    let mut positions = next.positions();
    positions.sort_unstable();
    let rest: Vec<(u64, u32)> =
        (1..=3).filter(|one| *one != acknowledged).map(|one| (one, 1)).collect();
    assert_eq!(positions, rest, "what was in flight comes again, and no attempt is counted");
    cluster.stop_all().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn metrics_show_how_far_behind_a_group_is() {
    let cluster = Cluster::start().await;
    create(&mut groups(&cluster, 0).await, v1::GroupSettings::default()).await;
    append_events(&mut cluster.events(0).await, 1..=3).await;
    let applied = async {
        loop {
            let scraped = scrape(&cluster.metrics, "/metrics").await;
            if scraped.contains("quorate_position 3\n") {
                return scraped;
            }
            tokio::task::yield_now().await;
        }
    };
    let scraped = timeout(PATIENCE, applied).await.expect("all is applied in time");
    assert!(scraped.starts_with("HTTP/1.1 200 OK\r\n"), "{scraped}");
    for line in [
        "# TYPE quorate_group_lag gauge",
        "quorate_group_lag{group=\"billing\"} 3",
        "quorate_group_parked{group=\"billing\"} 0",
    ] {
        assert!(scraped.lines().any(|shown| shown == line), "{line}: {scraped}");
    }
    let refused = scrape(&cluster.metrics, "/").await;
    assert!(refused.starts_with("HTTP/1.1 404 "), "{refused}");
    cluster.stop_all().await;
}

pub(crate) async fn scrape(address: &str, path: &str) -> String {
    let mut stream = TcpStream::connect(address).await.expect("it listens");
    let request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\n\r\n");
    stream.write_all(request.as_bytes()).await.expect("it reads");
    let mut answer = String::new();
    let reading = stream.read_to_string(&mut answer);
    timeout(PATIENCE, reading).await.expect("an answer in time").expect("text");
    answer
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_consumer_hears_from_any_node_though_there_is_nothing_to_hand_out() {
    let cluster = Cluster::start().await;
    let leader = cluster.leader().await;
    create(&mut groups(&cluster, leader).await, v1::GroupSettings::default()).await;
    for node in [leader, (leader + 1) % 3] {
        let mut consumer = Consumer::join(&mut groups(&cluster, node).await, 1).await.expect("in");
        let sign = timeout(SILENCE_MAX, consumer.messages.message()).await.expect("a sign of life");
        assert_eq!(sign.expect("no error"), Some(v1::ConsumeResponse::default()));
    }
    cluster.stop_all().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn consumers_are_told_of_another_timeout_and_keep_the_time_that_they_have() {
    let cluster = Cluster::start().await;
    let leader = cluster.leader().await;
    let mut directly = groups(&cluster, leader).await;
    let settings = v1::GroupSettings { timeout_ms: 600_000, ..v1::GroupSettings::default() };
    create(&mut directly, settings.clone()).await;
    append_events(&mut EventsClient::new(cluster.channel(leader).await), 1..=1).await;
    let mut holder = Consumer::join(&mut directly, 1).await.expect("it is let in");
    holder.until(1, 0).await;
    let mut through = groups(&cluster, (leader + 1) % 3).await;
    let mut other = Consumer::join(&mut through, 1).await.expect("it is let in");

    let timeout_ms = 50;
    let configure = change(Change::Configure(v1::GroupSettings { timeout_ms, ..settings }));
    directly.change_group(configure).await.expect("it is configured");
    for consumer in [&mut holder, &mut other] {
        while consumer.timeout_ms.is_none() {
            assert!(consumer.receive().await.expect("no error"), "the stream ended");
        }
        assert_eq!(consumer.timeout_ms, Some(timeout_ms));
    }
    // Another event is handed out and lapses under the new timeout; the first is still held.
    append_events(&mut EventsClient::new(cluster.channel(leader).await), 2..=2).await;
    while other.lapsed.is_empty() {
        assert!(other.receive().await.expect("no error"), "the stream ended");
    }
    assert_eq!(other.positions()[0].0, 2);
    assert_eq!(other.deliveries[0].timeout_ms, timeout_ms);
    holder.acknowledge(1).await;
    holder.until(1, 1).await;
    assert!(holder.lapsed.is_empty(), "{:?}", holder.lapsed);
    cluster.stop_all().await;
}
