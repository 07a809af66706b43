//! Answers to any request stay within the default limits of clients' libraries.

use quorate_proto::ErrorKind;
use quorate_proto::limits::{
    APPEND_STREAMS_MAX, EVENT_PAYLOAD_BYTES_MAX, IDENTIFIER_BYTES_MAX, NAME_BYTES_MAX,
    SNAPSHOT_BYTES_MAX, TAG_BYTES_MAX, TAGS_MAX,
};
use quorate_proto::wire::v1;
use quorate_proto::wire::v1::events_client::EventsClient;
use quorate_proto::wire::v1::expectation::Demand;
use quorate_proto::wire::v1::groups_client::GroupsClient;
use tonic::Code;
use tonic::transport::Endpoint;

use super::groups::{Consumer, create as create_group, groups};
use super::{Cluster, append, problem, read, request, whole_stream};

/// The bytes of headers and trailers that several libraries take by default.
const METADATA_BYTES_MAX: u32 = 8192;

/// An append to as many streams as there may be, with long names that are not ASCII.
fn to_many(demand: Demand, ids: u128) -> v1::AppendRequest {
    let names = (0..APPEND_STREAMS_MAX).map(|number| format!("{}{number:03}", "ж".repeat(126)));
    let writes = names.zip(ids..).flat_map(|(name, id)| append(&name, demand, id).writes);
    let mut appended = append("unused", demand, ids);
    appended.writes = writes.collect();
    request(appended)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_conflict_over_many_long_names_reaches_a_client_that_takes_little_metadata() {
    let cluster = Cluster::start().await;
    cluster.leader().await;
    for address in &cluster.addresses {
        let endpoint = Endpoint::from_shared(format!("http://{address}")).expect("an address");
        let endpoint = endpoint.http2_max_header_list_size(METADATA_BYTES_MAX);
        let mut events = EventsClient::new(endpoint.connect().await.expect("connected"));
        events.append(to_many(Demand::Any(v1::Empty {}), 1)).await.expect("appended");
        let refused = events.append(to_many(Demand::None(v1::Empty {}), 1001)).await;
        let refused = refused.expect_err("they are there");
        assert_eq!(refused.code(), Code::Aborted, "{refused:?}");
        let conflict = problem(&refused);
        let (listed, left_out) = (conflict.failures.len(), conflict.left_out as usize);
        assert_eq!(listed + left_out, APPEND_STREAMS_MAX, "{conflict:?}");
        assert!(listed >= 5, "{listed}");
    }
    cluster.stop_all().await;
}

fn create(number: usize, items: usize) -> v1::ChangeGroupRequest {
    let kind = |at: usize| format!("{number}_{at:02}_{}", "x".repeat(230));
    let types: Vec<String> = (0..100).map(kind).collect();
    let item = v1::QueryItem { types, ..v1::QueryItem::default() };
    let query = Some(v1::Query { items: vec![item; items] });
    let group = format!("big-{number:03}");
    let create = v1::GroupDefinition { query, ..v1::GroupDefinition::default() };
    let change = Some(v1::change_group_request::Change::Create(create));
    v1::ChangeGroupRequest { group, change, ..v1::ChangeGroupRequest::default() }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_groups_are_listed_however_large_their_queries_are() {
    let cluster = Cluster::start().await;
    let mut groups = GroupsClient::new(cluster.channel(cluster.leader().await).await);
    let refused = groups.change_group(create(0, 3)).await.expect_err("it is too large");
    assert_eq!(problem(&refused).kind, ErrorKind::TooLarge);
    let names: Vec<String> = (0..120).map(|number| format!("big-{number:03}")).collect();
    for number in 0..names.len() {
        groups.change_group(create(number, 2)).await.expect("created");
    }
    let asked = v1::ListGroupsRequest::default();
    let mut messages = groups.list_groups(asked).await.expect("a list").into_inner();
    let mut listed = Vec::new();
    // The limit of a client that sets none is 4 MiB.
    while let Some(message) = messages.message().await.expect("a message") {
        listed.extend(message.groups.into_iter().map(|group| group.name));
    }
    assert_eq!(listed, names);
    cluster.stop_all().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_largest_snapshot_is_read_by_a_client_with_the_limit_of_its_library() {
    let cluster = Cluster::start().await;
    let channel = cluster.channel(cluster.leader().await).await;
    let mut events = EventsClient::new(channel);
    let stream = format!("s-{}", "x".repeat(253));
    let written = append(&stream, Demand::Any(v1::Empty {}), 1);
    events.append(request(written)).await.expect("appended");
    let put = |bytes: usize| {
        let (version, schema, data) = (1, u32::MAX, vec![7; bytes].into());
        let snapshot = v1::Snapshot { version, schema, data, ..v1::Snapshot::default() };
        let snapshot = Some(v1::Snapshot { stream: stream.clone(), ..snapshot });
        v1::PutSnapshotRequest { snapshot, time_left_ms: 0 }
    };
    let refused = events.put_snapshot(put(SNAPSHOT_BYTES_MAX + 1)).await.expect_err("too large");
    assert_eq!(problem(&refused).kind, ErrorKind::TooLarge);
    events.put_snapshot(put(SNAPSHOT_BYTES_MAX)).await.expect("stored");
    let asked = v1::ReadRequest { with_snapshot: true, ..whole_stream(&stream) };
    let (point, ..) = read(&mut events, asked).await.expect("no message is too large");
    assert_eq!(point.snapshot.expect("a snapshot").data.len(), SNAPSHOT_BYTES_MAX);
    cluster.stop_all().await;
}

/// An append of an event in which all is as long as it may be: `data` bytes of data, and the rest metadata.
fn largest(stream: &str, id: u128, data: usize) -> v1::AppendRequest {
    let mut largest = append(stream, Demand::Any(v1::Empty {}), id);
    let identifier = || "i".repeat(IDENTIFIER_BYTES_MAX);
    for event in largest.writes.iter_mut().flat_map(|write| &mut write.events) {
        event.r#type = "T".repeat(NAME_BYTES_MAX);
        event.data = vec![b'1'; data].into();
        event.metadata = vec![b'2'; EVENT_PAYLOAD_BYTES_MAX - data].into();
        let tag = |number| format!("{number:02}:{}", "t".repeat(TAG_BYTES_MAX - 3));
        event.tags = (0..TAGS_MAX).map(tag).collect();
        event.content_type = identifier();
        event.correlation_id = identifier();
        event.causation_id = identifier();
        event.occurred_at = Some(i64::from(u32::MAX));
    }
    request(largest)
}

/// Returns the bytes of data and of metadata of an event.
fn lengths(event: &v1::RecordedEvent) -> (usize, usize) {
    event.event.as_ref().map_or((0, 0), |event| (event.data.len(), event.metadata.len()))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_largest_events_are_read_by_a_client_with_the_limit_of_its_library() {
    let cluster = Cluster::start().await;
    let leader = cluster.leader().await;
    // The limit of a client that sets none is 4 MiB; so is the one of this.
    let mut events = cluster.events((leader + 1) % 3).await;
    let stream = "s".repeat(NAME_BYTES_MAX);
    let most = EVENT_PAYLOAD_BYTES_MAX;
    let parts = [most, 0, most / 2, most - 1, 1];
    let all: Vec<_> = parts.iter().map(|data| (*data, most - data)).collect();
    for (id, data) in (1..).zip(parts) {
        events.append(largest(&stream, id, data)).await.expect("appended");
    }
    let mut over = largest(&stream, 100, most);
    let writes = over.append.iter_mut().flat_map(|append| &mut append.writes);
    writes.flat_map(|write| &mut write.events).for_each(|event| event.metadata = "2".into());
    let refused = problem(&events.append(over).await.expect_err("one byte too much"));
    assert_eq!(refused.kind, ErrorKind::TooLarge);

    let backwards = v1::Direction::Backwards.into();
    let followed = v1::ReadRequest { follow: true, limit: Some(5), ..whole_stream(&stream) };
    let (_, found, _) = read(&mut events, followed).await.expect("no message is too large");
    assert_eq!(found.iter().map(lengths).collect::<Vec<_>>(), all);
    let backwards = v1::ReadRequest { direction: backwards, ..whole_stream(&stream) };
    let (_, found, _) = read(&mut events, backwards).await.expect("no message is too large");
    assert_eq!(found.iter().rev().map(lengths).collect::<Vec<_>>(), all);

    let snapshot = v1::Snapshot {
        stream: stream.clone(),
        version: 2,
        data: vec![7; SNAPSHOT_BYTES_MAX].into(),
        ..v1::Snapshot::default()
    };
    let put = v1::PutSnapshotRequest { snapshot: Some(snapshot), time_left_ms: 20_000 };
    events.put_snapshot(put).await.expect("stored");
    let with_snapshot = v1::ReadRequest { with_snapshot: true, ..whole_stream(&stream) };
    let (point, found, _) = read(&mut events, with_snapshot).await.expect("none is too large");
    assert_eq!(point.snapshot.map(|stored| stored.data.len()), Some(SNAPSHOT_BYTES_MAX));
    assert_eq!(found.iter().map(lengths).collect::<Vec<_>>(), all[2..]);

    let mut consumers = groups(&cluster, (leader + 2) % 3).await;
    create_group(&mut consumers, v1::GroupSettings::default()).await;
    let mut consumer = Consumer::join(&mut consumers, 16).await.expect("it is let in");
    consumer.until(all.len(), 0).await;
    let delivered = consumer.deliveries.iter().filter_map(|delivery| delivery.event.as_ref());
    assert_eq!(delivered.map(lengths).collect::<Vec<_>>(), all);
    cluster.stop_all().await;
}
