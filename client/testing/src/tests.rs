//! Tests of a cluster in memory: it is a real one, and lives through what real ones live through.

use std::time::Duration;

use quorate_client::{AppendError, Client, Event, Expect, Message, Query, Snapshot};
use tokio::time::timeout;

mod guide;
mod parked;

use crate::{Cluster, start};

/// The time after which a test counts as hanging.
const HANGS_AFTER: Duration = Duration::from_secs(60);

fn event(name: &str) -> Event {
    Event::json(name, &()).expect("an event")
}

async fn versions(client: &Client, stream: &str) -> Vec<u64> {
    let read = client.read(stream).collect().await.expect("read");
    read.events.iter().map(|event| event.version.0).collect()
}

#[tokio::test]
async fn a_cluster_checks_versions_and_conditions() {
    let cluster = start().await.expect("started");
    let client = cluster.client();
    let done = client.append("order-1", Expect::None, [event("Placed")]).await.expect("appended");
    assert_eq!((done.version.0, done.position.0), (1, 1));
    let late = client.append("order-1", Expect::None, [event("Placed")]).await;
    assert!(matches!(late, Err(AppendError::Conflict(_))), "{late:?}");
    let blind = client.transaction().write("order-2", Expect::None, [event("Placed")]);
    let refused = blind.unless(Query::category("order"), 0).commit().await;
    assert!(matches!(refused, Err(AppendError::Conflict(_))), "{refused:?}");
}

#[tokio::test]
async fn a_subscription_goes_from_old_events_to_new_ones() {
    let cluster = start().await.expect("started");
    let client = cluster.client();
    client.append("order-1", Expect::Any, [event("Placed")]).await.expect("appended");
    let mut subscription = client.read(Query::category("order")).follow();
    let mut seen = Vec::new();
    let following = async {
        while seen.len() < 2 {
            match subscription.try_next().await.expect("no problem").expect("no end") {
                Message::Event(event) => seen.push(event.position.0),
                Message::CaughtUp { .. } => {
                    client.append("order-2", Expect::Any, [event("Placed")]).await.expect("live");
                }
                _ => {}
            }
        }
    };
    timeout(HANGS_AFTER, following).await.expect("both events");
    assert_eq!(seen, [1, 2]);
}

#[tokio::test]
async fn a_group_delivers_and_a_snapshot_is_kept() {
    let cluster = start().await.expect("started");
    let client = cluster.client();
    client.append("order-1", Expect::Any, [event("Placed")]).await.expect("appended");
    let group = client.group("shipping");
    group.create(Query::category("order")).send().await.expect("created");
    let mut consumer = group.consume().start();
    let delivery = timeout(HANGS_AFTER, consumer.try_next()).await.expect("delivered");
    let delivery = delivery.expect("no problem").expect("no end");
    consumer.ack(&delivery);
    consumer.close().await.expect("settled");
    let snapshot = Snapshot::json(1, &"state").expect("a snapshot");
    client.stream("order-1").put_snapshot(snapshot).await.expect("put");
    let read = client.read("order-1").with_snapshot().collect().await.expect("read");
    assert_eq!(read.snapshot.map(|snapshot| snapshot.version.0), Some(1));
}

#[tokio::test]
async fn each_cluster_has_a_log_of_its_own() {
    let (one, other) = (start().await.expect("started"), start().await.expect("started"));
    one.client().append("order-1", Expect::Any, [event("Placed")]).await.expect("appended");
    assert_eq!(versions(&other.client(), "order-1").await, [0_u64; 0]);
}

#[tokio::test]
async fn an_acknowledged_event_survives_a_power_cut_of_the_only_node() {
    let mut cluster = start().await.expect("started");
    let client = cluster.client();
    for _ in 0..3 {
        client.append("order-1", Expect::Any, [event("Placed")]).await.expect("appended");
        cluster.cut_power(1);
        cluster.start_again(1).await.expect("started again");
    }
    assert_eq!(versions(&client, "order-1").await, [1, 2, 3]);
}

#[tokio::test]
async fn three_nodes_go_on_without_their_leader() {
    let mut cluster = Cluster::start(3).await.expect("started");
    let client = cluster.client();
    client.append("order-1", Expect::None, [event("Placed")]).await.expect("appended");
    let leader = cluster.leader().await.expect("asked").expect("a leader");
    cluster.cut_power(leader);
    client.append("order-1", Expect::version(1), [event("Paid")]).await.expect("appended");
    assert_ne!(cluster.leader().await.expect("asked"), Some(leader));
    cluster.start_again(leader).await.expect("started again");
    assert_eq!(versions(&client, "order-1").await, [1, 2]);
}

#[tokio::test]
async fn chunks_are_sealed_and_read_again_after_a_power_cut() {
    let mut cluster = start().await.expect("started");
    let client = cluster.client();
    for _ in 0..20 {
        let large = Event::json("Placed", &"x".repeat(10_000)).expect("an event");
        client.append("order-1", Expect::Any, [large]).await.expect("appended");
    }
    let sealed = async {
        while client.status().await.expect("asked").nodes.iter().all(|node| node.checkpointed == 0)
        {
            tokio::task::yield_now().await;
        }
    };
    timeout(HANGS_AFTER, sealed).await.expect("a chunk");
    cluster.cut_power(1);
    cluster.start_again(1).await.expect("started again");
    assert_eq!(versions(&client, "order-1").await.len(), 20);
}

#[tokio::test]
#[should_panic(expected = "there is no node 2: the nodes are counted from 1 to 1")]
async fn a_node_that_is_not_there_is_named() {
    start().await.expect("started").cut_power(2);
}
