//! Answers that clients with the limits of their libraries take, whatever is asked for.

use quorate_proto::ErrorKind;
use quorate_proto::limits::{APPEND_STREAMS_MAX, SNAPSHOT_BYTES_MAX};
use quorate_proto::wire::v1;
use quorate_proto::wire::v1::events_client::EventsClient;
use quorate_proto::wire::v1::expectation::Demand;
use quorate_proto::wire::v1::groups_client::GroupsClient;
use tonic::Code;
use tonic::transport::Endpoint;

use super::{Cluster, append, problem, read, request, whole_stream};

/// What several libraries take of headers and trailers, unless they are told otherwise.
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
        let (told, left_out) = (conflict.failures.len(), conflict.left_out as usize);
        assert_eq!(told + left_out, APPEND_STREAMS_MAX, "{conflict:?}");
        assert!(told >= 5, "{told}");
    }
    cluster.stop_all().await;
}

fn create(number: usize, items: usize) -> v1::CreateGroupRequest {
    let kind = |at: usize| format!("{number}_{at:02}_{}", "x".repeat(230));
    let types: Vec<String> = (0..100).map(kind).collect();
    let item = v1::QueryItem { types, ..v1::QueryItem::default() };
    let query = Some(v1::Query { items: vec![item; items] });
    let group = format!("big-{number:03}");
    v1::CreateGroupRequest { group, query, ..v1::CreateGroupRequest::default() }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_groups_are_listed_however_large_their_queries_are() {
    let cluster = Cluster::start().await;
    let mut groups = GroupsClient::new(cluster.channel(cluster.leader().await).await);
    let refused = groups.create_group(create(0, 3)).await.expect_err("it is too large");
    assert_eq!(problem(&refused).kind, ErrorKind::TooLarge);
    let names: Vec<String> = (0..120).map(|number| format!("big-{number:03}")).collect();
    for number in 0..names.len() {
        groups.create_group(create(number, 2)).await.expect("created");
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
    events.put_snapshot(put(SNAPSHOT_BYTES_MAX)).await.expect("kept");
    let asked = v1::ReadRequest { with_snapshot: true, ..whole_stream(&stream) };
    let (point, ..) = read(&mut events, asked).await.expect("no message is too large");
    assert_eq!(point.snapshot.expect("a snapshot").data.len(), SNAPSHOT_BYTES_MAX);
    cluster.stop_all().await;
}
