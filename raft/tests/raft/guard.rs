//! Nodes that have forgotten something, or belong elsewhere, are kept out.

use std::path::Path;

use quorate_proto::limits::CHUNK_BYTES_DEFAULT;
use quorate_raft::{Role, Status};

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

fn refuses(peer: usize) -> impl Fn(&Status) -> bool {
    move |status| status.refusals.iter().any(|refusal| refusal.peer == peer as u64 + 1)
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
    cluster.append_many(10, 100).await;
    cluster.node(follower).has(15).await;
    cluster.stop(follower).await;
    std::fs::remove_dir_all(&directory).expect("removed");
    std::fs::rename(&copied, &directory).expect("renamed");
    cluster.start_again(follower);
    let leader = cluster.leader().await;
    let status = cluster.node(leader).until("a refusal", refuses(follower)).await;
    assert!(status.refusals[0].why.contains("acknowledged the log up to"), "{status:#?}");
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
    leader.until("a refusal", refuses(lost)).await;
    assert_eq!(cluster.node(lost).status().role, Role::Waiting);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_lost_its_log_and_kept_its_identity_is_kept_out() {
    let mut cluster = Cluster::new().await;
    cluster.append_many(5, 100).await;
    let lost = cluster.leader().await;
    cluster.stop(lost).await;
    let directory = cluster.place(lost).0.clone();
    std::fs::remove_dir_all(directory.join("log")).expect("removed");
    cluster.start_again(lost);
    cluster.append_many(5, 100).await;
    let leader = cluster.leader().await;
    assert_ne!(leader, lost);
    cluster.node(leader).until("a refusal", refuses(lost)).await;
    assert_eq!(cluster.node(lost).status().position.0, 0, "it takes part in nothing");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_of_another_cluster_is_kept_out() {
    let mut cluster = Cluster::new().await;
    cluster.append(100).await;
    let place = cluster.follower().await;
    cluster.stop(place).await;
    let (_, address) = cluster.place(place).clone();
    let elsewhere = cluster.folder.path().join("elsewhere");
    let stranger = Node::start(&elsewhere, &address);
    stranger
        .replica
        .found(vec![address.clone()], CHUNK_BYTES_DEFAULT)
        .await
        .expect("a cluster of one");
    let leader = cluster.leader().await;
    let status = cluster.node(leader).until("a refusal", refuses(place)).await;
    assert!(status.refusals[0].why.contains("another cluster"), "{status:#?}");
    cluster.append(100).await;
    stranger.until("it leads itself", |status| status.role == Role::Leader).await;
    assert_eq!(stranger.status().position.0, 0);
}
