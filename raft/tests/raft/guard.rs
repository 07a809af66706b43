//! Nodes that have forgotten something, or belong elsewhere, are kept out.

use std::path::Path;

use quorate_proto::limits::{CHUNK_BYTES_DEFAULT, CHUNK_BYTES_MIN};
use quorate_proto::wire::peer::v1;
use quorate_proto::wire::peer::v1::raft_client::RaftClient;
use quorate_raft::host::TokioHost;
use quorate_raft::{Refusal, Role, Status};

use tokio::time::Instant;

use crate::cluster::{Cluster, Node, deadline, stopped_log};

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

/// Returns a test that is true if a peer is kept out for that reason.
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
    // Without the third node, every commit needs the acknowledgement of this one.
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

/// Returns the reason why the node at that place does not start.
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

/// Returns the last index that `other` acknowledged, as remembered by the log of a stopped node.
fn remembers(cluster: &Cluster, place: usize, other: usize) -> u64 {
    let log = stopped_log(cluster.place(place).0.as_path());
    let memories = log.state().peers;
    let memory = memories.iter().find(|memory| memory.node == other as u64 + 1);
    let acknowledged = memory.and_then(|memory| memory.acknowledged);
    acknowledged.map_or(0, |acknowledged| acknowledged.index.0)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_that_forgot_is_refused_by_one_that_only_heard_of_it() {
    let mut cluster = Cluster::new().await;
    cluster.append_many(5, 100).await;
    let leader = cluster.leader().await;
    let [forgetful, hearing] = [1, 2].map(|next| (leader + next) % 3);
    cluster.node(forgetful).has(5).await;
    cluster.stop(forgetful).await;
    let directory = cluster.place(forgetful).0.clone();
    let copied = cluster.folder.path().join("copy");
    copy(&directory, &copied);
    cluster.start_again(forgetful);
    cluster.append_many(10, 100).await;
    let acknowledged = cluster.node(forgetful).until("all", |status| status.position.0 == 15).await;
    let acknowledged = acknowledged.applied.expect("applied").0;
    // Only the leader hears what a follower acknowledges; here it passes that on to the third node.
    let end = deadline();
    loop {
        cluster.stop(hearing).await;
        if remembers(&cluster, hearing, forgetful) >= acknowledged {
            break;
        }
        assert!(Instant::now() < end, "nobody passed it on");
        cluster.start_again(hearing);
        cluster.append(100).await;
        let newest = cluster.running().map(Node::status).map(|status| status.position.0).max();
        cluster.node(hearing).has(newest.unwrap_or_default()).await;
    }
    let leads = cluster.leader().await;
    let events = cluster.node(leads).status().position.0;
    cluster.stop(forgetful).await;
    cluster.stop(leader).await;
    std::fs::remove_dir_all(&directory).expect("removed");
    std::fs::rename(&copied, &directory).expect("renamed");
    cluster.start_again(forgetful);
    cluster.start_again(hearing);
    let forgot = refuses(forgetful, "acknowledged the log up to");
    cluster.node(hearing).until("a refusal", forgot).await;
    assert_ne!(cluster.node(hearing).status().role, Role::Leader, "it has no majority");
    cluster.start_again(leader);
    cluster.append(100).await;
    cluster.node(hearing).has(events + 1).await;
    assert_eq!(cluster.node(forgetful).status().position.0, 5, "it takes part in nothing");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_asked_to_take_part_in_the_founding_of_its_own_founded_cluster_refuses() {
    let mut cluster = Cluster::new().await;
    cluster.append(100).await;
    let node = cluster.node(1);
    let identity = node.replica.identity().expect("it has one");
    let request = |check_only| v1::AdoptRequest {
        cluster: identity.cluster.to_vec().into(),
        log: identity.log,
        node: identity.node,
        chunk_bytes: identity.chunk_bytes,
        check_only,
        secret: vec![7; 16].into(),
        ..v1::AdoptRequest::default()
    };
    let channel = tonic::transport::Endpoint::from_shared(format!("http://{}", node.address));
    let channel = channel.expect("an address").connect().await.expect("it listens");
    let mut founder = RaftClient::new(channel);
    for check_only in [true, false] {
        let refused = founder.adopt(request(check_only)).await.expect_err("it has a log");
        assert_eq!(refused.code(), tonic::Code::AlreadyExists);
        assert!(refused.message().contains("founded already"), "{refused}");
    }
    let elsewhere = v1::AdoptRequest { cluster: vec![7; 16].into(), ..request(true) };
    let refused = founder.adopt(elsewhere).await.expect_err("it is another's");
    assert!(refused.message().contains("of the cluster"), "{refused}");
    cluster.append(100).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_start_names_what_of_the_store_is_gone_or_cut_and_the_way_out() {
    let mut cluster = Cluster::found(CHUNK_BYTES_MIN).await;
    cluster.append_many(20, 9000).await;
    let node = cluster.follower().await;
    let sealed = |status: &Status| status.checkpointed_position.0 > 0;
    cluster.node(node).until("a chunk", sealed).await;
    cluster.stop(node).await;
    let (directory, _) = cluster.place(node).clone();
    let names = std::fs::read_dir(&directory).expect("readable");
    let names = names.map(|entry| entry.expect("readable").file_name().into_string());
    let mut names: Vec<String> = names.map(|name| name.expect("a name")).collect();
    names.retain(|name| name == "CURRENT" || name.starts_with("catalog-"));
    assert_eq!(names.len(), 2, "{names:?}");
    for name in names {
        let length = std::fs::metadata(directory.join(&name)).expect("it is there").len();
        for left in [None, Some(0), Some(length / 2)] {
            let copied = cluster.folder.path().join(format!("{name}-{left:?}"));
            copy(&directory, &copied);
            let path = copied.join(&name);
            match left {
                None => std::fs::remove_file(&path).expect("removed"),
                Some(left) => {
                    let file = std::fs::File::options().write(true).open(&path).expect("opens");
                    file.set_len(left).expect("cut");
                }
            }
            let started = Node::try_start(TokioHost::new(), &copied, "127.0.0.1:0").map(drop);
            let refused = started.expect_err("it is damaged").to_string();
            assert!(refused.contains(&name), "{left:?}: {refused}");
            assert!(refused.contains("add a new node"), "{left:?}: {refused}");
        }
    }
    cluster.start_again(node);
    cluster.append(10).await;
    cluster.agree(21).await;
}

/// The simulation put an older catalog in place of a node's. The node did not start, which is right, but reported
/// only that an entry of the log is not there.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_start_names_a_catalog_that_is_older_than_the_log_and_the_way_out() {
    let mut cluster = Cluster::found(CHUNK_BYTES_MIN).await;
    let node = cluster.follower().await;
    let (directory, _) = cluster.place(node).clone();
    cluster.append_many(5, 1000).await;
    let five = |status: &Status| status.position.0 == 5;
    let before = cluster.node(node).until("five events", five).await.applied.expect("applied").0;
    cluster.stop(node).await;
    let older = cluster.folder.path().join("older");
    copy(&directory, &older);
    cluster.start_again(node);
    // About eight chunks, of which one is kept in the log.
    cluster.append_many(60, 9000).await;
    let purged = |status: &Status| status.purged.is_some_and(|purged| purged.0 > before);
    cluster.node(node).until("a purged log", purged).await;
    cluster.stop(node).await;
    let copied = cluster.folder.path().join("copied");
    copy(&directory, &copied);
    for entry in std::fs::read_dir(&older).expect("readable") {
        let name = entry.expect("readable").file_name();
        if name == "CURRENT" || name.to_string_lossy().starts_with("catalog-") {
            std::fs::copy(older.join(&name), copied.join(&name)).expect("put in its place");
        }
    }
    let started = Node::try_start(TokioHost::new(), &copied, "127.0.0.1:0").map(drop);
    let refused = started.expect_err("the log does not reach back so far").to_string();
    assert!(refused.contains("the catalog is an older copy"), "{refused}");
    assert!(refused.contains("CURRENT") && refused.contains("add a new node"), "{refused}");
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
        .bootstrap(vec![address.clone()], CHUNK_BYTES_DEFAULT)
        .await
        .expect("a cluster of one");
    let leader = cluster.leader().await;
    let elsewhere = refuses(place, "it belongs to another cluster");
    cluster.node(leader).until("a refusal", elsewhere).await;
    cluster.append(100).await;
    stranger.until("it leads itself", |status| status.role == Role::Leader).await;
    assert_eq!(stranger.status().position.0, 0);
}
