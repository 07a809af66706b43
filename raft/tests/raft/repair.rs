//! Damaged chunks are found and replaced with copies from other nodes.

use std::path::PathBuf;

use quorate_proto::limits::CHUNK_BYTES_MIN;
use quorate_raft::Status;
use quorate_store::vfs::{MemVfs, Vfs};

use crate::cluster::{Cluster, PATIENCE};

/// Returns a cluster with several chunks on every node, and the number of events on each.
async fn cluster() -> ([MemVfs; 3], Cluster, u64) {
    let disks = std::array::from_fn(|_| MemVfs::new());
    let mut cluster = Cluster::found_on_disks(&disks, CHUNK_BYTES_MIN).await;
    let last = cluster.append_many(30, 9000).await;
    // No event is read yet: blocks that were verified are kept in memory.
    for node in cluster.running() {
        node.has(last.0).await;
        node.until("three chunks", |status| status.checkpointed_position.0 > 20).await;
    }
    (disks, cluster, last.0)
}

/// Returns the path of a chunk on the disk of a node.
fn chunk(cluster: &Cluster, place: usize, number: u64) -> PathBuf {
    cluster.place(place).0.join(format!("chunks/chunk-{number:010}"))
}

fn is_whole(status: &Status) -> bool {
    status.damaged.is_empty()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_chunk_that_a_read_finds_damaged_is_fetched_from_another_node() {
    let (disks, cluster, events) = cluster().await;
    let place = cluster.follower().await;
    let node = cluster.node(place);
    disks[place].flip_bit(&chunk(&cluster, place, 2), 5000, 3).expect("flipped");
    let fault = node.try_events().expect_err("no damaged byte is served");
    assert!(fault.to_string().contains("chunk-0000000002"), "{fault}");
    assert!(node.replica.note_damage(&fault));
    let repaired = async {
        while node.try_events().is_err() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, repaired).await.expect("a whole chunk in time");
    node.until("a whole chunk", is_whole).await;
    assert_eq!(node.events().len() as u64, events);
    let (own, other) = (chunk(&cluster, place, 2), chunk(&cluster, (place + 1) % 3, 2));
    let theirs = disks[(place + 1) % 3].read(&other).expect("there");
    assert_eq!(disks[place].read(&own).expect("there").len(), theirs.len());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_scrubber_finds_damage_that_nobody_reads() {
    let (disks, mut cluster, events) = cluster().await;
    let place = cluster.follower().await;
    cluster.stop(place).await;
    // The damage is in the middle of a block: a start does not look there.
    let path = chunk(&cluster, place, 1);
    disks[place].flip_bit(&path, 5000, 3).expect("flipped");
    let damaged = disks[place].read(&path).expect("there");
    cluster.start_again(place);
    let node = cluster.node(place);
    let scrubbed = |status: &Status| status.scrub.last_full.is_some() && is_whole(status);
    let status = node.until("a round of the scrubber", scrubbed).await;
    assert!(status.scrub.verified_bytes > CHUNK_BYTES_MIN);
    assert_ne!(disks[place].read(&path).expect("there"), damaged);
    assert_eq!(node.events().len() as u64, events);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_starts_without_a_chunk_that_it_needs_and_gets_it_from_another() {
    let (disks, mut cluster, events) = cluster().await;
    let place = cluster.follower().await;
    cluster.stop(place).await;
    let missing = chunk(&cluster, place, 3);
    disks[place].remove(&missing).expect("removed");
    cluster.start_again(place);
    let last = cluster.append(10).await;
    assert_eq!(last.0, events + 1);
    cluster.agree(last.0).await;
    cluster.node(place).until("a whole chunk", is_whole).await;
    assert!(disks[place].exists(&missing).expect("an answer"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_damaged_everywhere_is_shown_and_never_served() {
    let (disks, cluster, _) = cluster().await;
    for (place, disk) in disks.iter().enumerate() {
        disk.flip_bit(&chunk(&cluster, place, 1), 5000, 3).expect("flipped");
    }
    for node in cluster.running() {
        let fault = node.try_events().expect_err("no damaged byte is served");
        assert!(node.replica.note_damage(&fault));
    }
    let in_vain = |status: &Status| {
        let [damage] = status.damaged.as_slice() else { return false };
        damage.chunk == 1 && damage.failed.is_some()
    };
    for node in cluster.running() {
        node.until("a repair in vain", in_vain).await;
        assert!(node.try_events().is_err());
    }
}
