//! Nodes that have forgotten something, or belong elsewhere, are kept out.

use std::path::Path;

use quorate_proto::limits::CHUNK_BYTES_DEFAULT;
use quorate_raft::host::TokioHost;
use quorate_raft::{Refusal, Role, Status};

use crate::cluster::{Cluster, Node};

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("a folder");
    for entry in std::fs::read_dir(from).expect("readable") {
        let entry = entry.expect("readable");
        let target = to.join(entry.file_name());
        if entry.file_type().expect("a type").is_dir() {
            copy(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).expect("copied");
        }
    }
}

/// Whether a peer is kept out for that reason.
fn refuses(peer: usize, why: &'static str) -> impl Fn(&Status) -> bool {
    let is_it =
        move |refusal: &Refusal| refusal.peer == peer as u64 + 1 && refusal.why.contains(why);
    move |status| status.refusals.iter().any(&is_it)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_folder_restored_from_an_old_copy_is_kept_out_and_the_others_go_on() {
    let mut cluster = Cluster::new().await;
    cluster.append_many(5, 100).await;
    let follower = cluster.follower().await;
    cluster.node(follower).has(5).await;
    cluster.stop(follower).await;
    let directory = cluster.place(follower).0.clone();
    let copied = cluster.folder.path().join("copy");
    copy(&directory, &copied);
    cluster.start_again(follower);
    // Without the third node nothing is committed that this one did not acknowledge.
    let leader = cluster.leader().await;
    let third = (0..3).find(|place| ![leader, follower].contains(place)).expect("a third node");
    cluster.stop(third).await;
    cluster.append_many(10, 100).await;
    cluster.node(follower).has(15).await;
    cluster.start_again(third);
    cluster.node(third).has(15).await;
    cluster.stop(follower).await;
    std::fs::remove_dir_all(&directory).expect("removed");
    std::fs::rename(&copied, &directory).expect("renamed");
    cluster.start_again(follower);
    let leader = cluster.leader().await;
    let forgot = refuses(follower, "acknowledged the log up to");
    cluster.node(leader).until("a refusal", forgot).await;
    cluster.append_many(5, 100).await;
    assert_eq!(cluster.node(follower).status().position.0, 5, "it takes part in nothing");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_lost_its_folder_is_kept_out() {
    let mut cluster = Cluster::new().await;
    cluster.append_many(5, 100).await;
    let lost = cluster.leader().await;
    cluster.stop(lost).await;
    std::fs::remove_dir_all(&cluster.place(lost).0).expect("removed");
    cluster.start_again(lost);
    cluster.append_many(5, 100).await;
    let leader = cluster
        .running()
        .find(|node| node.status().role == Role::Leader)
        .expect("one of the others leads");
    leader.until("a refusal", refuses(lost, "it belongs to no cluster")).await;
    assert_eq!(cluster.node(lost).status().role, Role::Waiting);
}

/// Why the node at that place does not start.
fn start_refused(cluster: &Cluster, place: usize) -> String {
    let (directory, address) = cluster.place(place);
    let started = Node::try_start(TokioHost::new(), directory, address);
    started.map(drop).expect_err("it has forgotten").to_string()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_lost_its_log_and_kept_its_identity_does_not_start_whoever_it_would_meet() {
    let mut cluster = Cluster::new().await;
    cluster.append_many(5, 100).await;
    let leader = cluster.leader().await;
    let [lost, away] = [1, 2].map(|next| (leader + next) % 3);
    // The events that follow are on the leader and on the node that is to lose its log.
    cluster.stop(away).await;
    cluster.append_many(5, 100).await;
    cluster.stop(lost).await;
    cluster.stop(leader).await;
    let directory = cluster.place(lost).0.clone();
    std::fs::remove_dir_all(directory.join("log")).expect("removed");
    cluster.start_again(away);
    let refused = start_refused(&cluster, lost);
    assert!(refused.contains("the log is empty"), "{refused}");
    assert!(refused.contains("add a new node"), "{refused}");
    cluster.start_again(leader);
    cluster.append(100).await;
    cluster.node(away).has(11).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_whose_logs_are_all_gone_is_not_founded_anew() {
    let mut cluster = Cluster::new().await;
    cluster.append_many(5, 100).await;
    for place in 0..3 {
        cluster.stop(place).await;
        let directory = cluster.place(place).0.clone();
        std::fs::remove_dir_all(directory.join("log")).expect("removed");
    }
    for place in 0..3 {
        let refused = start_refused(&cluster, place);
        assert!(refused.contains("the log is empty"), "{refused}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_of_another_cluster_is_kept_out() {
    let mut cluster = Cluster::new().await;
    cluster.append(100).await;
    let place = cluster.follower().await;
    cluster.stop(place).await;
    let (_, address) = cluster.place(place).clone();
    let elsewhere = cluster.folder.path().join("elsewhere");
    let stranger = Node::start(TokioHost::new(), &elsewhere, &address);
    stranger
        .replica
        .found(vec![address.clone()], CHUNK_BYTES_DEFAULT)
        .await
        .expect("a cluster of one");
    let leader = cluster.leader().await;
    let elsewhere = refuses(place, "it belongs to another cluster");
    cluster.node(leader).until("a refusal", elsewhere).await;
    cluster.append(100).await;
    stranger.until("it leads itself", |status| status.role == Role::Leader).await;
    assert_eq!(stranger.status().position.0, 0);
}
