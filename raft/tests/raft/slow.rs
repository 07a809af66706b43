//! A follower that is connected and slow: it answers greetings and heartbeats, and reads its stream no faster than its
//! disk takes it.

use quorate_proto::limits::CHUNK_BYTES_MIN;
use quorate_raft::Status;
use quorate_store::vfs::MemVfs;

use crate::cluster::Cluster;

/// The slow follower pinned all of the leader's log, until the leader's disk was full.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_follower_that_reads_its_stream_slowly_does_not_keep_the_leaders_log_and_gets_a_checkpoint()
 {
    const BYTES: usize = 9000;
    let disks: [MemVfs; 3] = std::array::from_fn(|_| MemVfs::new());
    let mut cluster = Cluster::found_on_disks(&disks, CHUNK_BYTES_MIN).await;
    cluster.append_many(5, 1000).await;
    let (leader, slow) = (cluster.leader().await, cluster.follower().await);
    let status = cluster.node(slow).until("five events", |status| status.position.0 == 5).await;
    let before = status.applied.expect("applied").0;
    disks[slow].hang(true);
    let mut waiting = 0;
    // This makes about twelve chunks: many more than the log keeps.
    for _ in 0..90 {
        cluster.append(BYTES).await;
        waiting = waiting.max(cluster.node(slow).replica.unflushed_bytes());
    }
    assert!(waiting > 0, "its disk hangs");
    assert!(waiting < 2 * CHUNK_BYTES_MIN, "{waiting} bytes wait in its memory");
    let behind = cluster.node(slow).status();
    let applied = behind.applied.expect("applied").0;
    assert!(behind.leader.is_some(), "it is connected");
    let purged = |status: &Status| status.purged.is_some_and(|purged| purged.0 > applied + 1);
    cluster.node(leader).until("a log that begins behind the slow follower", purged).await;

    disks[slow].hang(false);
    cluster.append(10).await;
    cluster.agree(96).await;
    let taken = |status: &Status| status.checkpointed.is_some_and(|at| at.0 > before);
    cluster.node(slow).until("a checkpoint", taken).await;
}
