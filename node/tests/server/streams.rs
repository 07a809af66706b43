//! Changes of streams, and their snapshots, on every node.

use quorate_proto::ErrorKind;
use quorate_proto::wire::v1;
use quorate_proto::wire::v1::change::Change as WireChange;
use quorate_proto::wire::v1::cluster_client::ClusterClient;
use quorate_proto::wire::v1::events_client::EventsClient;
use quorate_proto::wire::v1::expectation::Demand;
use quorate_proto::wire::v1::scope::Scope as WireScope;
use tonic::transport::Channel;

use super::{Cluster, append, change, problem, read, request, whole_stream};

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
            let stored = events.put_snapshot(put.clone()).await.expect("stored").into_inner();
            assert_eq!(stored.version, 3);
        }
        let mut ahead = put.clone();
        ahead.snapshot.as_mut().expect("a snapshot").version = 6;
        let refused = problem(&events.put_snapshot(ahead).await.expect_err("there is no 6"));
        assert_eq!(refused.kind, ErrorKind::Conflict);
        let with_snapshot = v1::ReadRequest { with_snapshot: true, ..whole_stream(&stream) };
        let (point, found, _) = read(&mut events, with_snapshot.clone()).await.expect("read");
        let versions: Vec<u64> = found.iter().map(|event| event.version).collect();
        assert_eq!((point.snapshot.map(|stored| stored.version), versions), (Some(3), vec![4, 5]));

        let old = v1::ReadRequest { snapshot_schema_max: Some(1), ..with_snapshot.clone() };
        let (point, ..) = read(&mut events, old.clone()).await.expect("read");
        assert_eq!(
            (point.snapshot.map(|stored| stored.schema), point.snapshot_schema_passed_over),
            (Some(1), 0)
        );
        let mut newer = put.clone();
        newer.snapshot.as_mut().expect("a snapshot").schema = 2;
        events.put_snapshot(newer).await.expect("stored");
        let (point, found, _) = read(&mut events, old.clone()).await.expect("read");
        assert_eq!((point.snapshot, point.snapshot_schema_passed_over), (None, 2));
        assert_eq!((point.version, found.len()), (Some(5), 5));
        let followed = v1::ReadRequest { follow: true, limit: Some(1), ..old };
        let (point, found, _) = read(&mut events, followed).await.expect("read");
        assert_eq!((point.snapshot, point.snapshot_schema_passed_over), (None, 2));
        assert_eq!(found[0].version, 1);

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
