//! Disks fill up: appends stop, votes and reads do not, and all nodes go on when there is space.

use std::path::Path;

use quorate_proto::limits::CHUNK_BYTES_MIN;
use quorate_proto::{EventId, Term};
use quorate_raft::{ProposeError, Role, Status};
use quorate_store::vfs::{MemVfs, Vfs};

use crate::cluster::{Cluster, command, propose};

/// The capacity of a disk: far more than the tests use.
const PLENTY: u64 = 1 << 30;
/// The reserve of a node with that chunk size.
const RESERVE: u64 = 4 * CHUNK_BYTES_MIN;

fn disks() -> [MemVfs; 3] {
    std::array::from_fn(|_| {
        let disk = MemVfs::new();
        disk.set_capacity(Some(PLENTY));
        disk
    })
}

/// Leaves `free` bytes free.
fn leave(disk: &MemVfs, free: u64) {
    disk.set_capacity(Some(PLENTY));
    let used = PLENTY - disk.free_bytes(Path::new("/")).expect("measured");
    disk.set_capacity(Some(used + free));
}

fn is_low(status: &Status) -> bool {
    status.low_on_space
}

fn is_full(status: &Status) -> bool {
    status.low_on_space && status.free_bytes < RESERVE / 2
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_follower_takes_no_entries_follows_all_the_same_and_catches_up_when_there_is_room() {
    let disks = disks();
    let mut cluster = Cluster::found_on_disks(&disks, CHUNK_BYTES_MIN).await;
    cluster.append_many(5, 1000).await;
    let follower = cluster.follower().await;
    cluster.node(follower).has(5).await;
    leave(&disks[follower], RESERVE / 2 - 1);
    let full = cluster.node(follower).until("a full disk", is_full).await;
    assert_eq!(full.reserve_bytes, RESERVE);
    // These events are more than a chunk, so the node would have to seal.
    let last = cluster.append_many(30, 9000).await;
    let status = cluster.node(follower).status();
    assert_eq!((status.position.0, status.term), (5, full.term), "it takes nothing, and follows");
    assert!(cluster.node(cluster.leader().await).replica.has_room(), "two of three have");
    disks[follower].set_capacity(Some(PLENTY));
    cluster.agree(last.0).await;
    cluster.node(follower).until("room again", |status| !is_low(status)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_short_of_room_hands_over_to_a_node_that_has_some() {
    let disks = disks();
    let mut cluster = Cluster::found_on_disks(&disks, CHUNK_BYTES_MIN).await;
    cluster.append_many(5, 1000).await;
    let first = cluster.leader().await;
    let short = cluster.follower().await;
    leave(&disks[short], RESERVE - 1);
    cluster.node(short).until("little room", is_low).await;
    leave(&disks[first], RESERVE - 1);
    cluster.node(first).until("another leads", |status| status.role == Role::Follower).await;
    let heir = (0..3).find(|place| ![first, short].contains(place)).expect("a third node");
    cluster.node(heir).until("the heir leads", |status| status.role == Role::Leader).await;
    assert!(!cluster.node(first).replica.has_room());
    assert!(cluster.node(heir).replica.has_room());
    let last = cluster.append_many(5, 1000).await;
    cluster.agree(last.0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_without_room_says_so_proposes_nothing_and_recovers_by_itself() {
    let disks = disks();
    let mut cluster = Cluster::found_on_disks(&disks, CHUNK_BYTES_MIN).await;
    let before = cluster.append_many(5, 1000).await;
    for disk in &disks {
        leave(disk, RESERVE - 1);
    }
    for node in cluster.running() {
        node.until("little room", is_low).await;
        assert!(!node.replica.has_room());
    }
    // A command that is proposed all the same, for example a truncation, is taken.
    let last = cluster.append_many(5, 100).await;
    for disk in &disks {
        leave(disk, RESERVE / 4);
    }
    for node in cluster.running() {
        node.until("no room", is_full).await;
    }
    let leader = cluster.node(cluster.leader().await);
    let id = EventId::from_bytes([9; 16]).expect("an id");
    let Term(term) = leader.status().term;
    assert_eq!(propose(leader, Term(term), command(id, 10)).await, Err(ProposeError::NoRoom));
    for disk in &disks {
        disk.set_capacity(Some(PLENTY));
    }
    for node in cluster.running() {
        node.until("room again", |status| !is_low(status)).await;
    }
    let position = cluster.append(1000).await;
    assert_eq!(position.0, last.0 + 1);
    assert!(last > before);
    cluster.agree(position.0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_start_elect_and_serve_reads_on_disks_without_a_free_byte() {
    let disks = disks();
    let mut cluster = Cluster::found_on_disks(&disks, CHUNK_BYTES_MIN).await;
    // These events are enough for new checkpoints.
    let last = cluster.append_many(30, 9000).await;
    cluster.agree(last.0).await;
    for round in 0..2 {
        for place in 0..3 {
            cluster.stop(place).await;
        }
        for disk in &disks {
            leave(disk, 0);
        }
        for place in 0..3 {
            cluster.start_again(place);
        }
        let leader = cluster.leader().await;
        let node = cluster.node(leader);
        assert_eq!(node.events().len() as u64, last.0, "in round {round}");
        assert!(!node.replica.has_room());
    }
    for disk in &disks {
        disk.set_capacity(Some(PLENTY));
    }
    for node in cluster.running() {
        node.until("room again", |status| !is_low(status)).await;
    }
    let position = cluster.append(10).await;
    cluster.agree(position.0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_checkpoint_that_does_not_fit_is_not_begun_and_comes_when_there_is_room() {
    let disks = disks();
    let mut cluster = Cluster::found_on_disks(&disks, CHUNK_BYTES_MIN).await;
    cluster.append_many(5, 1000).await;
    let follower = cluster.follower().await;
    cluster.node(follower).has(5).await;
    cluster.stop(follower).await;
    // About thirty chunks, of which one is kept in the log: the follower needs a checkpoint.
    let last = cluster.append_many(220, 9000).await;
    let leader = cluster.leader().await;
    let purged = |status: &Status| status.purged.is_some_and(|purged| purged.0 > 100);
    cluster.node(leader).until("a purged log", purged).await;
    // There is room for entries, and not for all of the chunks.
    leave(&disks[follower], RESERVE);
    cluster.start_again(follower);
    cluster.node(follower).until("the leader is known", |status| status.leader.is_some()).await;
    cluster.append_many(5, 100).await;
    assert!(cluster.node(follower).status().position.0 < last.0, "it is not taken over");
    let chunks = cluster.place(follower).0.join("chunks");
    let begun = disks[follower].list(&chunks).unwrap_or_default();
    assert!(begun.is_empty(), "no part of a chunk is written: {begun:?}");
    disks[follower].set_capacity(Some(PLENTY));
    cluster.agree(last.0 + 5).await;
}
