//! Clusters are founded, agree, fail over, and come back.

use quorate_proto::limits::CHUNK_BYTES_DEFAULT;
use quorate_proto::{EventId, Term};
use quorate_raft::{BootstrapError, ProposeError, Role, Status, Stopped};

use crate::cluster::{Cluster, command, deadline, propose, read_index};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_founded_cluster_agrees_on_what_is_proposed() {
    let mut cluster = Cluster::new().await;
    cluster.append_many(20, 100).await;
    cluster.agree(20).await;
    for node in cluster.running() {
        let index = read_index(node).await;
        node.replica.applied(index, deadline()).await.expect("applied");
        let complete = |status: &Status| status.leader.is_some() && status.position.0 == 20;
        assert_eq!(node.until("all of it in the status", complete).await.members.len(), 3);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_is_founded_once_and_a_founding_that_failed_can_be_repeated() {
    let mut cluster = Cluster::start(3);
    let peers: Vec<String> = (0..3).map(|place| cluster.place(place).1.clone()).collect();
    cluster.stop(2).await;
    let founder = cluster.node(0).replica.clone();
    let failed = founder.bootstrap(peers.clone(), CHUNK_BYTES_DEFAULT).await;
    assert!(matches!(failed, Err(BootstrapError::Peer { .. })), "{failed:?}");
    assert_eq!(founder.identity(), None, "nobody is changed before all were asked");
    cluster.start_again(2);
    let identity = founder.bootstrap(peers.clone(), CHUNK_BYTES_DEFAULT).await.expect("founded");
    cluster.append(10).await;
    let again = founder.bootstrap(peers.clone(), CHUNK_BYTES_DEFAULT).await;
    assert!(matches!(again, Err(BootstrapError::Founded(same)) if same == identity), "{again:?}");
    // A node that has no entry yet does not know that the founding ended; it learns so from those that it asks.
    cluster.node(1).has(1).await;
    let by_another = cluster.node(1).replica.bootstrap(peers, CHUNK_BYTES_DEFAULT).await;
    assert!(matches!(by_another, Err(BootstrapError::Founded(_))), "{by_another:?}");
    let alone = cluster.node(0).replica.bootstrap(vec!["elsewhere:1".to_owned()], 1).await;
    assert!(matches!(alone, Err(BootstrapError::Invalid(_))), "{alone:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_follower_that_was_away_catches_up() {
    let mut cluster = Cluster::new().await;
    cluster.append_many(5, 100).await;
    let follower = cluster.follower().await;
    cluster.stop(follower).await;
    cluster.append_many(30, 100).await;
    cluster.start_again(follower);
    cluster.agree(35).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_node_leads_when_the_leader_is_gone_and_nothing_is_lost() {
    let mut cluster = Cluster::new().await;
    cluster.append_many(10, 100).await;
    let first = cluster.leader().await;
    cluster.stop(first).await;
    cluster.append_many(10, 100).await;
    assert_ne!(cluster.leader().await, first);
    cluster.start_again(first);
    cluster.append_many(10, 100).await;
    cluster.agree(30).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_nodes_stop_and_start_again_with_everything() {
    let mut cluster = Cluster::new().await;
    cluster.append_many(25, 1000).await;
    for place in 0..3 {
        cluster.stop(place).await;
    }
    for place in 0..3 {
        cluster.start_again(place);
    }
    cluster.append(10).await;
    cluster.agree(26).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn leadership_is_handed_over_when_asked() {
    let mut cluster = Cluster::new().await;
    cluster.append(10).await;
    let (leader, heir) = (cluster.leader().await, cluster.follower().await);
    let id = cluster.node(heir).status().id.expect("an id");
    let replica = cluster.node(leader).replica.clone();
    replica.hand_over(Some(id)).await.expect("another leads");
    cluster.node(heir).until("the heir leads", |status| status.role == Role::Leader).await;
    cluster.append(10).await;
    cluster.agree(2).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_proposal_of_another_term_or_to_a_follower_is_refused() {
    let mut cluster = Cluster::new().await;
    cluster.append(10).await;
    let id = EventId::from_bytes([9; 16]).expect("an id");
    let leader = cluster.node(cluster.leader().await);
    let follower = cluster.node(cluster.follower().await);
    let term = leader.status().term;
    let older = propose(leader, Term(term.0 - 1), command(id, 10)).await;
    assert_eq!(older, Err(ProposeError::NotLeader));
    assert_eq!(propose(follower, term, command(id, 10)).await, Err(ProposeError::NotLeader));
    cluster.agree(1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_majority_a_read_index_is_not_given() {
    let mut cluster = Cluster::new().await;
    cluster.append(10).await;
    let leader = cluster.leader().await;
    for place in (0..3).filter(|place| *place != leader) {
        cluster.stop(place).await;
    }
    let soon = tokio::time::Instant::now() + std::time::Duration::from_secs(2);
    let refused = cluster.node(leader).replica.read_index(soon).await;
    assert_eq!(refused, Err(ProposeError::Unavailable));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_that_was_shut_down_says_so_and_frees_its_folder() {
    let mut cluster = Cluster::new().await;
    let replica = cluster.node(1).replica.clone();
    cluster.stop(1).await;
    assert_eq!(replica.stopped().await, Stopped::Shutdown);
    cluster.start_again(1);
    cluster.append(10).await;
    cluster.agree(1).await;
}
