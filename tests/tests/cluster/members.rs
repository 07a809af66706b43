//! Members come, go and are replaced by commands, while a client appends.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use quorate_client::{Client, Event, Expect};
use quorate_tests::cluster::{Cluster, PATIENCE, json_lines, wait_for};
use tokio::runtime::Runtime;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::check;

/// A client that appends to one stream, each time at the version that it knows, until it is stopped.
struct Writer {
    runtime: Runtime,
    stop: Arc<AtomicBool>,
    task: JoinHandle<(u64, Duration)>,
}

impl Writer {
    fn start(cluster: &Cluster) -> Writer {
        let runtime = Runtime::new().expect("a runtime");
        let endpoints: Vec<String> =
            cluster.nodes.iter().map(|node| node.address.clone()).collect();
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let task = runtime.spawn(async move {
            let client = Client::connect(endpoints).await.expect("a cluster");
            let (mut version, mut longest) = (0, Duration::ZERO);
            while !stopped.load(Ordering::SeqCst) {
                let expected = match version {
                    0 => Expect::None,
                    version => Expect::version(version),
                };
                let begun = Instant::now();
                let event = Event::json("Written", &version).expect("JSON");
                let done = client.append("load-1", expected, [event]).await;
                version = done.expect("no append fails").version.0;
                longest = longest.max(begun.elapsed());
            }
            (version, longest)
        });
        Writer { runtime, stop, task }
    }

    /// Stops the client; returns the number of events that it appended, and the longest time of an append.
    fn stop(self) -> (u64, Duration) {
        self.stop.store(true, Ordering::SeqCst);
        self.runtime.block_on(self.task).expect("no append failed")
    }
}

/// Waits until a node that was removed has stopped by itself.
fn stops_by_itself(cluster: &mut Cluster, node: usize) {
    assert_eq!(cluster.nodes[node].wait(), Some(1));
    let log = cluster.nodes[node].log();
    assert!(log.contains("was removed from its cluster"), "{log}");
}

fn id_of(cluster: &mut Cluster, node: usize) -> u64 {
    let address = cluster.nodes[node].address.clone();
    let status = cluster.status();
    let own = status.iter().find(|line| line["address"] == address.as_str());
    own.and_then(|own| own["id"].as_u64()).expect("it is a member")
}

#[test]
fn a_cluster_grows_to_five_and_shrinks_to_three_while_no_append_fails() {
    let mut cluster = Cluster::start("64KiB");
    let writer = Writer::start(&cluster);
    for id in [4, 5] {
        let node = cluster.wait_outside();
        let peer_address = cluster.nodes[node].peer_address.clone();
        assert_eq!(cluster.change_members(&["add", &peer_address]), id);
        assert_eq!(cluster.change_members(&["add", &peer_address]), id, "it is one already");
    }
    // The leader is among those that go.
    for _ in 0..2 {
        let leader = cluster.wait_for_leader();
        let id = id_of(&mut cluster, leader).to_string();
        cluster.change_members(&["remove", &id]);
        stops_by_itself(&mut cluster, leader);
        cluster.change_members(&["remove", &id]);
    }
    let (events, longest) = writer.stop();
    println!("{events} appends, the longest took {longest:?}");
    let status = cluster.status();
    assert_eq!(status.len(), 3, "{status:?}");
    let left: Vec<usize> = (0..5).filter(|node| cluster.nodes[*node].is_running()).collect();
    for node in left {
        cluster.wait_for_position(node, events);
        assert_eq!(json_lines(&cluster.export(node)).len() as u64, events);
    }
    cluster.check_logs();
}

#[test]
fn a_lost_node_is_replaced_and_a_learner_reads_without_a_vote() {
    let mut cluster = Cluster::start("64KiB");
    let data = "x".repeat(20_000);
    for number in 0..20 {
        let data = format!("{{\"number\":{number},\"data\":\"{data}\"}}");
        cluster.must(["append", "a-1", "--type", "T", "--data", &data]);
    }
    cluster.nodes[2].kill();
    std::fs::remove_dir_all(&cluster.nodes[2].data).expect("the disk is lost");
    let learner = cluster.wait_outside();
    let peer_address = cluster.nodes[learner].peer_address.clone();
    assert_eq!(cluster.change_members(&["add", &peer_address, "--learner"]), 4);
    cluster.wait_for_position(learner, 20);
    let new = cluster.wait_outside();
    let peer_address = cluster.nodes[new].peer_address.clone();
    assert_eq!(cluster.change_members(&["replace", "3", &peer_address]), 5);
    assert_eq!(cluster.change_members(&["replace", "3", &peer_address]), 5, "it is done already");
    cluster.wait_for_position(new, 20);
    // The learner has no say: with one of three voters gone, two decide; with two gone, nobody does.
    let leader = cluster.wait_for_leader();
    cluster.nodes[leader].kill();
    cluster.wait_for_leader();
    cluster.must(["append", "a-1", "--type", "T"]);
    cluster.wait_for_position(learner, 21);
    let leader = cluster.wait_for_leader();
    cluster.nodes[leader].kill();
    let address = cluster.nodes[learner].address.clone();
    let append = ["append", "a-1", "--type", "T", "--node", &address, "--timeout", "2s"];
    assert!(!cluster.run(append).status.success(), "there is no majority of voters");
    let read = ["read", "a-1", "--node", &address, "--consistency", "local", "--json"];
    assert_eq!(json_lines(&cluster.must(read)).len(), 21, "it serves what it has");
    cluster.check_logs();
}

#[test]
fn no_append_fails_while_all_nodes_are_restarted_one_after_the_other() {
    let mut cluster = Cluster::start("64MiB");
    let writer = Writer::start(&cluster);
    for node in 0..3 {
        assert_eq!(cluster.nodes[node].stop(), Some(0));
        cluster.nodes[node].start();
        cluster.wait_for_leader();
        let newest = wait_for("a leader's position", PATIENCE, || {
            let leader = cluster.wait_for_leader();
            cluster.position(leader)
        });
        cluster.wait_for_position(node, newest);
    }
    let (events, longest) = writer.stop();
    println!("{events} appends, the longest took {longest:?}");
    assert!(events > 10, "the writer was at work");
    cluster.check_logs();
}

#[test]
fn changes_that_cannot_be_made_are_refused_with_the_reason() {
    let mut cluster = Cluster::start("64MiB");
    cluster.must(["append", "a-1", "--type", "T"]);
    check(&cluster.run(["cluster", "remove", "9"]), 2, "node 9 is no member");
    check(
        &cluster.run(["cluster", "transfer", "--to", "9"]),
        2,
        "node 9 is not one that can take over",
    );
    check(&cluster.run(["cluster", "add", "::1:7801"]), 2, "`[::1]:7801`");
    let own = cluster.nodes[1].peer_address.clone();
    check(&cluster.run(["cluster", "replace", "2", &own]), 2, "node 2 itself is at");
    // A node that was started without the token, and one with a token that is none.
    let mut stranger = quorate_tests::cluster::Node::new(cluster.folder(), 7);
    stranger.start();
    let add = ["cluster", "add", &stranger.peer_address, "--timeout", "5s"];
    let refused = wait_for("an answer of the stranger", PATIENCE, || {
        let output = cluster.run(add);
        let printed = String::from_utf8_lossy(&output.stderr).into_owned();
        printed.contains("without a join token").then_some(output)
    });
    check(&refused, 2, "quorate cluster token");
    let data = cluster.folder().join("other").display().to_string();
    let serve = ["serve", "--data", &data, "--join-token", "nonsense"];
    check(&cluster.run(serve), 2, "is no join token");
    // Two voters need each other.
    cluster.nodes[2].kill();
    let leader = cluster.wait_for_leader();
    let other = (0..2).find(|node| *node != leader).expect("another");
    let id = id_of(&mut cluster, other).to_string();
    check(&cluster.run(["cluster", "remove", &id]), 2, "2 must be in reach, and only 1 are");
    cluster.must(["append", "a-1", "--type", "T"]);
    cluster.check_logs();
}

#[test]
fn a_single_node_founds_itself_and_grows_to_three() {
    let mut cluster = Cluster::start_single();
    cluster.must(["append", "a-1", "--type", "T"]);
    for id in [2, 3] {
        let node = cluster.wait_outside();
        let peer_address = cluster.nodes[node].peer_address.clone();
        assert_eq!(cluster.change_members(&["add", &peer_address]), id);
        cluster.must(["append", "a-1", "--type", "T"]);
    }
    assert_eq!(cluster.nodes[0].stop(), Some(0));
    cluster.wait_for_leader();
    cluster.must(["append", "a-1", "--type", "T"]);
    // The flag means nothing to a node that has a cluster.
    cluster.nodes[0].start();
    cluster.wait_for_position(0, 4);
    cluster.check_logs();
}
