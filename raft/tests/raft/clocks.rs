//! Stamps come from clocks that were compared, and a lone node refuses to start with a clock far ahead.

use std::future::Future;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use futures_util::future::BoxFuture;
use quorate_proto::Timestamp;
use quorate_proto::limits::CHUNK_BYTES_DEFAULT;
use quorate_raft::host::{Host, Listening, TokioHost, WriterStopped};
use quorate_raft::log::LogWriter;
use quorate_raft::{Replica, ReplicaOptions, Role, StartError, Status, transport};
use quorate_store::vfs::Vfs;

use crate::cluster::{Cluster, PATIENCE, options};

const SECOND_US: i64 = 1_000_000;
const YEAR_US: i64 = 365 * 24 * 3600 * SECOND_US;

/// The real machine with a clock that can be set; clones share it.
#[derive(Clone, Debug, Default)]
struct Shifted {
    machine: TokioHost,
    ahead_us: Arc<AtomicI64>,
}

impl Shifted {
    fn set(&self, ahead_us: i64) {
        self.ahead_us.store(ahead_us, Ordering::Relaxed);
    }
}

impl Host for Shifted {
    type Runtime = <TokioHost as Host>::Runtime;
    type Connection = <TokioHost as Host>::Connection;

    fn now(&self) -> Timestamp {
        Timestamp(self.machine.now().0 + self.ahead_us.load(Ordering::Relaxed))
    }

    fn random(&self) -> u128 {
        self.machine.random()
    }

    fn vfs(&self) -> Arc<dyn Vfs> {
        self.machine.vfs()
    }

    fn connect(&self, address: &str) -> BoxFuture<'static, io::Result<Self::Connection>> {
        self.machine.connect(address)
    }

    fn listen(&self, address: &str) -> BoxFuture<'static, io::Result<Listening<Self::Connection>>> {
        self.machine.listen(address)
    }

    fn start_log_writer(&self, writer: LogWriter, stopped: WriterStopped) {
        self.machine.start_log_writer(writer, stopped);
    }

    fn run<T, W>(&self, work: W) -> BoxFuture<'static, T>
    where
        T: Send + 'static,
        W: FnOnce() -> T + Send + 'static,
    {
        self.machine.run(work)
    }

    fn scoped<F>(&self, future: F) -> impl Future<Output = F::Output> + Send
    where
        F: Future + Send,
    {
        self.machine.scoped(future)
    }
}

/// A node whose clock can be set, and its id.
struct Node {
    id: u64,
    host: Shifted,
    replica: Replica<Shifted>,
    address: String,
}

impl Node {
    async fn start(folder: &Path, id: u64) -> Node {
        let host = Shifted::default();
        let Listening { address, incoming } = host.listen("127.0.0.1:0").await.expect("a port");
        let options = options(&folder.join(id.to_string()), &address);
        let replica = Replica::start(host.clone(), options).await.expect("a replica");
        let server = transport::server().add_routes(replica.routes());
        tokio::spawn(server.serve_with_incoming(incoming));
        Node { id, host, replica, address }
    }

    async fn until(&self, what: &str, test: impl FnMut(&Status) -> bool) -> Status {
        let mut status = self.replica.status();
        match tokio::time::timeout(PATIENCE, status.wait_for(test)).await {
            Ok(Ok(status)) => status.clone(),
            _ => panic!("node {}: {what}: {:#?}", self.id, self.replica.status().borrow()),
        }
    }

    /// Waits until a majority of the clocks is known; returns the stamp that the node would give.
    async fn stamp(&self) -> Timestamp {
        let known = async {
            loop {
                if let Some(stamp) = self.replica.stamp() {
                    return stamp;
                }
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(PATIENCE, known).await.expect("a majority is known")
    }

    /// Waits until one of these nodes leads; returns its id.
    async fn until_led_by(&self, some: &[u64]) -> u64 {
        let leader = |status: &Status| status.leader.as_ref().map_or(0, |leader| leader.id);
        leader(&self.until("a leader", |status| some.contains(&leader(status))).await)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_whose_clock_is_ahead_hands_over_to_a_node_whose_clock_is_not() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut nodes = Vec::new();
    for id in 1..=5 {
        nodes.push(Node::start(folder.path(), id).await);
    }
    let addresses = nodes.iter().map(|node| node.address.clone()).collect();
    let founder = nodes.first().expect("five nodes");
    founder.replica.bootstrap(addresses, CHUNK_BYTES_DEFAULT).await.expect("founded");
    let first = founder.until_led_by(&[1, 2, 3, 4, 5]).await;
    // All nodes have the same log, so the one with the lowest id takes over, if its clock allows it.
    let next = if first == 1 { 2 } else { 1 };
    let (wrong, right): (Vec<Node>, Vec<Node>) =
        nodes.into_iter().partition(|node| [first, next].contains(&node.id));
    wrong.iter().for_each(|node| node.host.set(YEAR_US));
    for node in &wrong {
        let says = |status: &Status| {
            let wrong = status.clock.wrong.as_deref().unwrap_or_default();
            wrong.contains("days ahead of the others'")
        };
        node.until("a notice", says).await;
        let ahead_ms = node.replica.status().borrow().clock.ahead_ms.expect("it is known");
        assert!((ahead_ms - YEAR_US / 1_000).abs() < 5_000, "{ahead_ms}");
    }
    let heirs: Vec<u64> = right.iter().map(|node| node.id).collect();
    for node in wrong.iter().chain(&right) {
        node.until_led_by(&heirs).await;
        let stamp = node.stamp().await;
        let off = stamp.0 - TokioHost::new().now().0;
        assert!(off.abs() < 6 * SECOND_US, "node {} stamps {off} µs ahead", node.id);
    }
    for node in &right {
        assert_eq!(node.replica.status().borrow().clock.wrong, None, "node {}", node.id);
    }
    for node in &wrong {
        assert_ne!(node.replica.status().borrow().role, Role::Leader);
        node.host.set(0);
        node.until("no notice", |status| status.clock.wrong.is_none()).await;
    }
    for node in wrong.iter().chain(&right) {
        node.replica.shutdown().await;
    }
}

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
    founder.bootstrap(vec![address.clone()], CHUNK_BYTES_DEFAULT).await.expect("founded");
    // The stamps of these events are in 1970.
    cluster.append_many(2, 10).await;
    cluster.stop(0).await;
    let refused = Replica::start(TokioHost::new(), options(&directory, &address)).await;
    assert!(matches!(refused, Err(StartError::Clock(_))), "{refused:?}");
    let accepted = ReplicaOptions { accept_clock: true, ..options(&directory, &address) };
    let replica = Replica::start(TokioHost::new(), accepted).await.expect("it starts");
    replica.shutdown().await;
}
