//! Stamps come from clocks that were compared, and a node alone says when its clock cannot be right.

use quorate_proto::limits::CHUNK_BYTES_DEFAULT;
use quorate_raft::host::TokioHost;
use quorate_raft::{Replica, ReplicaOptions, StartError};

use crate::cluster::{Cluster, options};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_node_learns_from_the_others_what_may_be_stamped() {
    let cluster = Cluster::new().await;
    for node in cluster.running() {
        let known =
            node.until("the clocks of the others", |status| status.clock.ahead_ms.is_some());
        assert_eq!(known.await.clock.wrong, None);
        assert!(node.replica.stamp().is_some());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_alone_starts_far_ahead_of_its_newest_stamp_only_if_its_clock_is_accepted() {
    let mut cluster = Cluster::start(1);
    let (directory, address) = cluster.place(0).clone();
    let founder = cluster.node(0).replica.clone();
    founder.found(vec![address.clone()], CHUNK_BYTES_DEFAULT).await.expect("founded");
    // These are stamped with 1970.
    cluster.append_many(2, 10).await;
    cluster.stop(0).await;
    let refused = Replica::start(TokioHost::new(), options(&directory, &address)).await;
    assert!(matches!(refused, Err(StartError::Clock(_))), "{refused:?}");
    let accepted = ReplicaOptions { accept_clock: true, ..options(&directory, &address) };
    let replica = Replica::start(TokioHost::new(), accepted).await.expect("it starts");
    replica.shutdown().await;
}
