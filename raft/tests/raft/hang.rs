//! Disks hang: heartbeats do not use the disk, and a leader whose disk hangs must not go on leading.

use quorate_proto::EventId;
use quorate_proto::limits::CHUNK_BYTES_MIN;
use quorate_raft::{ProposeError, Role};
use quorate_store::vfs::MemVfs;

use crate::cluster::{Cluster, PATIENCE, command, propose};

fn disks() -> [MemVfs; 3] {
    std::array::from_fn(|_| MemVfs::new())
}

fn id(number: u128) -> EventId {
    EventId::from_bytes((u128::MAX - number).to_be_bytes()).expect("an id")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_whose_disk_hangs_hands_over_and_follows_when_it_is_well() {
    let disks = disks();
    let mut cluster = Cluster::found_on_disks(&disks, CHUNK_BYTES_MIN).await;
    cluster.append_many(5, 1000).await;
    let first = cluster.leader().await;
    let other = cluster.follower().await;
    let term = cluster.node(first).status().term;
    disks[first].hang(true);
    // The leader gets something to write; the others acknowledge it.
    cluster
        .node(first)
        .replica
        .propose(term, command(id(0), 1000), Box::new(|_| ()))
        .await
        .expect("taken");
    let node = cluster.node(other);
    let led = node.until("another leads", |status| status.term > term && status.leader.is_some());
    let heir = led.await.leader.expect("a leader").id;
    let heirs = cluster.running().find(|node| node.status().id == Some(heir)).expect("a node");
    heirs.until("the heir leads", |status| status.role == Role::Leader).await;
    let proposed = async {
        loop {
            match propose(heirs, heirs.status().term, command(id(1), 1000)).await {
                // The new leader has yet to hear from a majority.
                Err(ProposeError::NotNow) => tokio::task::yield_now().await,
                verdicts => break verdicts,
            }
        }
    };
    let verdicts = tokio::time::timeout(PATIENCE, proposed).await.expect("an answer in time");
    assert!(verdicts.is_ok(), "{verdicts:?}");
    disks[first].hang(false);
    cluster.agree(7).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_more_than_two_chunk_sizes_of_log_wait_for_a_disk_that_hangs() {
    const BYTES: usize = 9000;
    let disks = disks();
    let mut cluster = Cluster::found_on_disks(&disks, CHUNK_BYTES_MIN).await;
    cluster.append_many(5, 1000).await;
    let first = cluster.leader().await;
    let (node, term) = (cluster.node(first), cluster.node(first).status().term);
    disks[first].hang(true);
    let mut taken = 0;
    let refused = loop {
        let proposed = node.replica.propose(term, command(id(taken), BYTES), Box::new(|_| ()));
        match proposed.await {
            Ok(()) => taken += 1,
            Err(refused) => break refused,
        }
        assert!(taken as u64 * (BYTES as u64) < 2 * CHUNK_BYTES_MIN, "{taken} were taken");
    };
    assert_eq!(refused, ProposeError::NotNow);
    assert!(refused.is_refused());
    disks[first].hang(false);
    cluster.append_many(1, 1000).await;
    cluster.agree(5 + taken as u64 + 1).await;
}
