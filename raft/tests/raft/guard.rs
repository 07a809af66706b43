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
    cluster.node(leader).until("a refusal", refuses(lost, "vote of term")).await;
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
