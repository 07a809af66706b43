//! Replicas that come to different outcomes are detected.

use quorate_raft::{Status, Stopped};
use quorate_store::defect::Defect;

use crate::cluster::{Cluster, PATIENCE};

async fn stops_as_the_odd_one(cluster: &Cluster, place: usize) {
    let stopped = cluster.node(place).replica.stopped();
    let stopped = tokio::time::timeout(PATIENCE, stopped).await.expect("it stops in time");
    let Stopped::Failed(why) = stopped else { panic!("{stopped:?}") };
    assert!(why.contains("something else on this node than on a majority"), "{why}");
    assert!(why.contains("put a new node in its place"), "{why}");
}

fn disagrees(status: &Status) -> bool {
    status.disagreement.is_some()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_with_another_outcome_stops_and_the_others_go_on() {
    let mut cluster = Cluster::new().await;
    cluster.append_many(5, 100).await;
    let follower = cluster.follower().await;
    cluster.node(follower).has(5).await;
    cluster.node(follower).put_back(Defect::FlippedOutcome).await;
    cluster.append(100).await;
    stops_as_the_odd_one(&cluster, follower).await;
    cluster.stop(follower).await;
    cluster.append_many(5, 100).await;
    cluster.agree(11).await;
    for node in cluster.running() {
        assert_eq!(node.status().disagreement, None);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_with_another_outcome_stops_too() {
    let mut cluster = Cluster::new().await;
    cluster.append_many(5, 100).await;
    let leader = cluster.leader().await;
    cluster.node(leader).put_back(Defect::FlippedOutcome).await;
    // The leader's answer is as wrong as its state.
    let _flipped = cluster.try_append(100).await;
    stops_as_the_odd_one(&cluster, leader).await;
    cluster.stop(leader).await;
    let last = cluster.append_many(5, 100).await;
    cluster.agree(last.0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_that_differ_say_so_and_go_on_until_a_third_decides() {
    let mut cluster = Cluster::new().await;
    cluster.append_many(5, 100).await;
    let follower = cluster.follower().await;
    let third = cluster.running().count() - cluster.leader().await - follower;
    cluster.stop(third).await;
    cluster.append(100).await;
    cluster.node(follower).has(6).await;
    cluster.node(follower).put_back(Defect::FlippedOutcome).await;
    cluster.append(100).await;
    for node in cluster.running() {
        node.until("a disagreement", disagrees).await;
    }
    cluster.append(100).await;
    cluster.start_again(third);
    stops_as_the_odd_one(&cluster, follower).await;
    cluster.stop(follower).await;
    for node in cluster.running() {
        node.until("no disagreement", |status| !disagrees(status)).await;
    }
    let last = cluster.append(100).await;
    cluster.agree(last.0).await;
}
