//! The answers of a node to health checks: they show if it can answer reads, not what it believes.

use quorate_node::server::Server;
use quorate_proto::wire::v1;
use quorate_proto::wire::v1::expectation::Demand;
use quorate_raft::host::TokioHost;
use tonic_health::pb::health_check_response::ServingStatus;

use super::{Cluster, append, options, read, request, whole_stream};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_waits_for_a_cluster_or_lost_its_majority_does_not_serve() {
    let mut cluster = Cluster::start().await;
    let free = quorate_node::free_addresses(2).expect("free ports");
    let [listen, peer_listen] = [0, 1].map(|at| free[at].to_string());
    let waiting = options(cluster.folder.path().join("waiting"), &listen, &peer_listen);
    let waiting = Server::start(TokioHost::new(), waiting).await.expect("it starts");
    cluster.addresses.push(listen);
    cluster.servers.push(Some(waiting));
    for node in 0..3 {
        cluster.until_health(node, ServingStatus::Serving).await;
    }
    assert_eq!(cluster.health(3).await, [ServingStatus::NotServing; 2]);
    cluster.stop(3).await;
    // A follower that lost its leader between two checks once went on as serving.
    let leader = cluster.leader().await;
    cluster.stop((leader + 1) % 3).await;
    cluster.stop(leader).await;
    cluster.until_health((leader + 2) % 3, ServingStatus::NotServing).await;
    cluster.stop_all().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_was_started_elsewhere_serves_as_soon_as_its_cluster_knows_where_it_is() {
    let mut cluster = Cluster::start().await;
    let moved = (cluster.leader().await + 1) % 3;
    cluster.until_health(moved, ServingStatus::Serving).await;
    cluster.stop(moved).await;
    let free = quorate_node::free_addresses(2).expect("free ports");
    let [listen, peer_listen] = [0, 1].map(|at| free[at].to_string());
    let directory = cluster.folder.path().join(moved.to_string());
    let options = options(directory, &listen, &peer_listen);
    let server = Server::start(TokioHost::new(), options).await.expect("it starts");
    cluster.addresses[moved] = listen;
    cluster.servers[moved] = Some(server);
    let mut writer = cluster.events(cluster.leader().await).await;
    let written = append("order-1", Demand::Any(v1::Empty {}), 1);
    writer.append(request(written)).await.expect("appended");
    let read = read(&mut cluster.events(moved).await, whole_stream("order-1")).await;
    read.expect("it hears of appends again");
    cluster.until_health(moved, ServingStatus::Serving).await;
    cluster.stop_all().await;
}
