//! The cost of an unreachable peer.

use std::time::Duration;

use tokio::net::TcpListener;
use tokio::time::Instant;

use crate::cluster::Cluster;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dead_peer_is_tried_less_than_twenty_times_a_second() {
    let mut cluster = Cluster::new().await;
    cluster.append(100).await;
    let dead = cluster.follower().await;
    cluster.stop(dead).await;
    // The listener takes connections in the peer's place and drops them at once: the fastest way to fail.
    let listener = TcpListener::bind(&cluster.place(dead).1).await.expect("the port is free");
    cluster.append_many(10, 100).await;
    let span = Duration::from_secs(3);
    let end = Instant::now() + span;
    let mut attempts = 0_u64;
    while let Ok(accepted) = tokio::time::timeout_at(end, listener.accept()).await {
        drop(accepted.expect("a connection"));
        attempts += 1;
    }
    assert!(attempts > 0, "it is tried at all");
    assert!(attempts < 20 * span.as_secs(), "{attempts} attempts in {span:?}");
    cluster.append(100).await;
}
