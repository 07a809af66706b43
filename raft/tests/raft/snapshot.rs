//! A node that was away longer than the log reaches back.

use quorate_proto::limits::CHUNK_BYTES_MIN;
use quorate_raft::Status;
use quorate_raft::host::{Host, TokioHost};
use quorate_raft::log::{LogOptions, RaftLog};

use crate::cluster::Cluster;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_follower_that_was_away_too_long_takes_over_a_checkpoint() {
    let mut cluster = Cluster::found(CHUNK_BYTES_MIN).await;
    cluster.append_many(5, 1000).await;
    let follower = cluster.follower().await;
    let status = cluster.node(follower).until("five events", |status| status.position.0 == 5).await;
    let before = status.applied.expect("applied").0;
    cluster.stop(follower).await;
    // About eight chunks, of which one is kept in the log.
    cluster.append_many(60, 9000).await;
    let leader = cluster.leader().await;
    let purged = |status: &Status| status.purged.is_some_and(|purged| purged.0 > before);
    cluster.node(leader).until("a purged log", purged).await;
    cluster.start_again(follower);
    cluster.append(10).await;
    cluster.agree(66).await;
    let taken = |status: &Status| status.checkpointed.is_some_and(|at| at.0 > before);
    cluster.node(follower).until("a checkpoint", taken).await;
    // It came as a checkpoint: its log does not hold what it missed.
    cluster.stop(follower).await;
    assert!(first_kept(&cluster, follower) > before + 1);
    // And it holds: once more from the disk alone.
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

/// The first entry in the log of a stopped node.
fn first_kept(cluster: &Cluster, place: usize) -> u64 {
    let (directory, _) = cluster.place(place);
    let vfs = TokioHost::new().vfs();
    let identity = quorate_raft::Identity::read(&*vfs, directory).expect("readable");
    let identity = identity.expect("an identity");
    let options = LogOptions {
        cluster: identity.cluster,
        log: identity.log,
        node: identity.node,
        segment_bytes: 256 * 1024,
        cache_bytes: 0,
        covered: None,
    };
    let (log, _writer) = RaftLog::open(vfs, &directory.join("log"), options).expect("a log");
    log.state().purged.map_or(0, |purged| purged.index.0 + 1)
}
