//! Disks fail and power is cut, under all three nodes.

use std::sync::Arc;

use quorate_proto::limits::CHUNK_BYTES_MIN;
use quorate_raft::Stopped;
use quorate_raft::host::TokioHost;
use quorate_store::vfs::{MemVfs, Survival};

use crate::cluster::{Cluster, PATIENCE};

async fn cluster() -> (MemVfs, Cluster) {
    let disk = MemVfs::new();
    let host = TokioHost::with_vfs(Arc::new(disk.clone()));
    (disk, Cluster::found_on(host, CHUNK_BYTES_MIN).await)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_whose_disk_fails_once_stops_and_the_others_go_on() {
    let (disk, mut cluster) = cluster().await;
    cluster.append_many(5, 1000).await;
    // The next sync of the disk fails: any of the nodes may be the one to stop.
    disk.fail_sync_after(0);
    let replicas: Vec<_> = cluster.running().map(|node| node.replica.clone()).collect();
    let stopped = replicas.iter().map(|replica| Box::pin(replica.stopped()));
    let stopped = futures_util::future::select_all(stopped);
    let appending = async {
        loop {
            cluster.try_append(1000).await;
        }
    };
    let (stopped, place, _) = tokio::select! {
        stopped = tokio::time::timeout(PATIENCE, stopped) => stopped.expect("it stops in time"),
        () = appending => unreachable!("it never ends"),
    };
    assert!(matches!(stopped, Stopped::Failed(_)), "{stopped:?}");
    cluster.stop(place).await;
    cluster.append_many(5, 1000).await;
    cluster.start_again(place);
    let last = cluster.append(1000).await;
    cluster.agree(last.0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_power_cuts_everywhere_all_that_was_acknowledged_is_there_and_nobody_is_kept_out() {
    let (disk, mut cluster) = cluster().await;
    let mut acknowledged = 0;
    for round in 0..8_u64 {
        disk.cut_after(40 + round * 37);
        while let Some(position) = cluster.try_append(3000).await {
            acknowledged = position.0;
        }
        for place in 0..3 {
            cluster.stop(place).await;
        }
        disk.restart(Survival::Seeded(round));
        for place in 0..3 {
            cluster.start_again(place);
        }
        let position = cluster.append(10).await;
        assert!(position.0 > acknowledged, "{position} after {acknowledged}");
        cluster.agree(position.0).await;
        for node in cluster.running() {
            assert_eq!(node.status().refusals, [], "in round {round}");
        }
    }
    assert!(acknowledged > 0, "nothing was acknowledged");
}
