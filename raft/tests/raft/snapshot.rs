//! A node comes back after it was away longer than the log reaches back.

use quorate_proto::limits::CHUNK_BYTES_MIN;
use quorate_raft::Status;
use quorate_store::vfs::{MemVfs, Survival, Vfs};

use crate::cluster::{Cluster, PATIENCE, stopped_log};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_follower_that_was_away_too_long_takes_over_a_checkpoint() {
    let mut cluster = Cluster::found(CHUNK_BYTES_MIN).await;
    cluster.append_many(5, 1000).await;
    let follower = cluster.follower().await;
    let status = cluster.node(follower).until("five events", |status| status.position.0 == 5).await;
    let before = status.applied.expect("applied").0;
    cluster.stop(follower).await;
    // This makes about eight chunks, of which one is kept in the log.
    cluster.append_many(60, 9000).await;
    let leader = cluster.leader().await;
    let purged = |status: &Status| status.purged.is_some_and(|purged| purged.0 > before);
    cluster.node(leader).until("a purged log", purged).await;
    cluster.start_again(follower);
    cluster.append(10).await;
    cluster.agree(66).await;
    let taken = |status: &Status| status.checkpointed.is_some_and(|at| at.0 > before);
    cluster.node(follower).until("a checkpoint", taken).await;
    // The events came as a checkpoint: the follower's log does not hold what the follower missed.
    cluster.stop(follower).await;
    assert!(first_kept(&cluster, follower) > before + 1);
    // The checkpoint lasts: the follower reads it once more from the disk alone.
    cluster.start_again(follower);
    cluster.append(10).await;
    cluster.agree(67).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_with_checkpoints_start_again_with_everything() {
    let mut cluster = Cluster::found(CHUNK_BYTES_MIN).await;
    cluster.append_many(40, 9000).await;
    for place in 0..3 {
        cluster.stop(place).await;
    }
    for place in 0..3 {
        cluster.start_again(place);
    }
    cluster.append(10).await;
    cluster.agree(41).await;
}

/// Returns a cluster with a disk for each node, the place of a follower that was stopped so long ago that the others'
/// logs do not reach back to it, and the log index at which it was stopped.
async fn long_away(disks: &[MemVfs; 3]) -> (Cluster, usize, u64) {
    let mut cluster = Cluster::found_on_disks(disks, CHUNK_BYTES_MIN).await;
    cluster.append_many(5, 1000).await;
    let away = cluster.follower().await;
    let status = cluster.node(away).until("five events", |status| status.position.0 == 5).await;
    let before = status.applied.expect("applied").0;
    cluster.stop(away).await;
    cluster.append_many(60, 9000).await;
    let purged = |status: &Status| status.purged.is_some_and(|purged| purged.0 > before);
    for node in cluster.running() {
        node.until("a purged log", purged).await;
    }
    (cluster, away, before)
}

/// Returns the number of files of chunks, whole or not.
fn chunk_files(cluster: &Cluster, disk: &MemVfs, place: usize) -> usize {
    disk.list(&cluster.place(place).0.join("chunks")).expect("listed").len()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_checkpoint_gets_there_though_the_receiver_loses_power_in_the_middle_again_and_again() {
    let disks: [MemVfs; 3] = std::array::from_fn(|_| MemVfs::new());
    let (mut cluster, away, before) = long_away(&disks).await;
    let disk = &disks[away];
    let (mut in_the_middle, mut events) = (0, 65);
    for round in 0..6_u64 {
        cluster.start_again(away);
        disk.cut_after(25 + round * 10);
        // The other nodes go on meanwhile.
        events = cluster.append(1000).await.0;
        let replica = cluster.node(away).replica.clone();
        let stopping = async { tokio::time::timeout(PATIENCE, replica.stopped()).await };
        let appending = async {
            loop {
                cluster.try_append(1000).await;
            }
        };
        tokio::select! {
            stopped = stopping => stopped.expect("it stops in time"),
            () = appending => unreachable!("it never ends"),
        };
        cluster.stop(away).await;
        disk.restart(Survival::Seeded(round));
        in_the_middle += usize::from(chunk_files(&cluster, disk, away) > 0);
    }
    assert!(in_the_middle > 0, "no transfer was cut off in the middle");
    cluster.start_again(away);
    let last = cluster.append(10).await;
    assert!(last.0 > events);
    cluster.agree(last.0).await;
    let taken = |status: &Status| status.checkpointed.is_some_and(|at| at.0 > before);
    cluster.node(away).until("a checkpoint", taken).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_checkpoint_gets_there_though_its_sender_is_gone_in_the_middle() {
    let disks: [MemVfs; 3] = std::array::from_fn(|_| MemVfs::new());
    let (mut cluster, away, before) = long_away(&disks).await;
    let sender = cluster.leader().await;
    cluster.start_again(away);
    let begun = async {
        while chunk_files(&cluster, &disks[away], away) == 0 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, begun).await.expect("a transfer begins");
    cluster.stop(sender).await;
    // Without the receiver there is no majority.
    let last = cluster.append(10).await;
    cluster.agree(last.0).await;
    let taken = |status: &Status| status.checkpointed.is_some_and(|at| at.0 > before);
    cluster.node(away).until("a checkpoint", taken).await;
    cluster.start_again(sender);
    let last = cluster.append(10).await;
    cluster.agree(last.0).await;
}

/// Returns the index of the first entry in the log of a stopped node.
fn first_kept(cluster: &Cluster, place: usize) -> u64 {
    let (directory, _) = cluster.place(place);
    let log = stopped_log(directory);
    log.state().purged.map_or(0, |purged| purged.index.0 + 1)
}
