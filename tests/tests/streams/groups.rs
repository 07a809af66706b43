//! Consumer groups under fire: four consumers on different nodes while the leader is killed, and a poisoned event.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use quorate_client::{Client, Event, Expect, Outcome, Query, Strategy};
use quorate_tests::cluster::{Cluster, PATIENCE, json_lines, wait_for};
use serde_json::Value;
use tokio::sync::watch;

const STREAMS: u64 = 30;
const VERSIONS: u64 = 20;
const CONSUMERS: usize = 4;
const WINDOW: u32 = 8;
/// The number of handled events after which the leader is killed.
const KILLED_AFTER: usize = 150;

/// The events that all consumers handled, in order, each as its stream and version.
#[derive(Clone, Default)]
struct Handled(Arc<Mutex<Vec<(String, u64)>>>);

impl Handled {
    fn add(&self, stream: &str, version: u64) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.push((stream.to_owned(), version));
    }

    fn all(&self) -> Vec<(String, u64)> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Returns the number of different events.
    fn distinct(&self) -> usize {
        let mut all = self.all();
        all.sort_unstable();
        all.dedup();
        all.len()
    }
}

/// Handles events until `ended` is true, and then closes the consumer.
async fn handle(client: Client, name: String, handled: Handled, mut ended: watch::Receiver<bool>) {
    let mut consumer = client.group("billing").consume().name(name).window(WINDOW).start();
    loop {
        let delivery = tokio::select! {
            delivery = consumer.try_next() => delivery.expect("the group is there"),
            _ = ended.wait_for(|ended| *ended) => break,
        };
        let delivery = delivery.expect("it goes on for ever");
        handled.add(delivery.event.stream.as_str(), delivery.event.version.0);
        consumer.ack(&delivery);
    }
    // Events settled while the leader died may have gone to another consumer: their outcome is unknown here.
    if let Err(problem) = consumer.close().await {
        assert_eq!(problem.outcome, Outcome::Unknown, "{problem:?}");
    }
}

async fn append_all(client: &Client, versions: std::ops::RangeInclusive<u64>) {
    for version in versions {
        for number in 0..STREAMS {
            let event = Event::json("Counted", &version).expect("JSON");
            let expect = Expect::version(version - 1);
            let stream = format!("counter-{number}");
            client.append(stream, expect, [event]).await.expect("it is appended");
        }
    }
}

#[test]
fn every_event_is_handled_in_the_order_of_its_stream_while_the_leader_is_killed() {
    let mut cluster = Cluster::start("64KiB");
    let addresses: Vec<String> = cluster.nodes.iter().map(|node| node.address.clone()).collect();
    let leader = cluster.wait_for_leader();
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let connect = |addresses: Vec<String>, pinned| {
        let client = Client::builder().endpoints(addresses).pinned(pinned).connect();
        runtime.block_on(client).expect("a cluster")
    };
    let writer = connect(addresses.clone(), false);
    let group = writer.group("billing");
    let creating = group.create(Query::category("counter")).strategy(Strategy::ByStream);
    assert!(runtime.block_on(creating.send()).expect("it is created"));
    runtime.block_on(append_all(&writer, 1..=VERSIONS / 2));

    // Two consumers are pinned to one follower each; the others may go to any node.
    let (handled, (end, ended)) = (Handled::default(), watch::channel(false));
    let followers = (0..3).filter(|node| *node != leader);
    let pinned = followers.map(|node| connect(vec![addresses[node].clone()], true));
    let free = (0..CONSUMERS - 2).map(|_| connect(addresses.clone(), false));
    let consumers: Vec<_> = pinned
        .chain(free)
        .enumerate()
        .map(|(number, client)| {
            let name = format!("worker-{number}");
            runtime.spawn(handle(client, name, handled.clone(), ended.clone()))
        })
        .collect();
    wait_for("some handled events", PATIENCE, || {
        (handled.distinct() >= KILLED_AFTER).then_some(())
    });
    cluster.nodes[leader].kill();
    let before = handled.distinct();
    runtime.block_on(append_all(&writer, VERSIONS / 2 + 1..=VERSIONS));
    cluster.nodes[leader].start();
    let count = usize::try_from(STREAMS * VERSIONS).expect("few");
    wait_for("all events handled", 2 * PATIENCE, || (handled.distinct() == count).then_some(()));
    end.send_replace(true);
    for consumer in consumers {
        runtime.block_on(consumer).expect("no consumer panics");
    }

    let all = handled.all();
    let mut last: BTreeMap<&str, u64> = BTreeMap::new();
    for (stream, version) in &all {
        let newest = last.entry(stream).or_default();
        assert!(*version <= *newest + 1, "{stream}: {version} came after {newest}");
        *newest = (*newest).max(*version);
    }
    let again = all.len() - count;
    println!("{count} events, {again} of them twice");
    // On a busy machine, few of the outcomes that the leader was sent are in the log when it is killed.
    let held = CONSUMERS * WINDOW as usize;
    assert!(again <= before + held, "{again} events came again, but {before} could");
    let shown = runtime.block_on(group.show()).expect("it is there");
    assert_eq!((shown.failed, shown.parked, shown.in_flight), (0, 0, 0), "{shown:?}");
    assert_eq!(shown.lag, 0, "{shown:?}");
    cluster.check_logs();
}

/// Runs a command that must succeed; returns the first line that it prints.
fn line(cluster: &Cluster, arguments: &[&str]) -> Value {
    let output = cluster.must(arguments.iter().chain(&["--json"]).copied());
    json_lines(&output).into_iter().next().unwrap_or(Value::Null)
}

#[test]
fn a_poisoned_event_is_parked_with_its_reason_and_replayed_after_the_fix() {
    let cluster = Cluster::start("64MiB");
    for number in 1..=5 {
        let (stream, data) = (format!("order-{number}"), format!("{{\"n\":{number}}}"));
        line(&cluster, &["append", &stream, "--type", "Paid", "--data", &data]);
    }
    let create = [
        "group",
        "create",
        "billing",
        "--query",
        "category:order",
        "--attempts",
        "2",
        "--retry-delay",
        "20ms",
        "--timeout",
        "30s",
    ];
    assert_eq!(line(&cluster, &create)["created"], true);
    assert_eq!(line(&cluster, &create)["created"], false, "it is safe to repeat");
    let differs = cluster.run(["group", "create", "billing", "--json"]);
    assert_eq!(differs.status.code(), Some(1), "{}", String::from_utf8_lossy(&differs.stderr));

    let fix = cluster.folder().join("fixed");
    let done = cluster.folder().join("done");
    let command = format!(
        "if [ $QUORATE_POSITION = 3 ] && [ ! -e {fix} ]; then echo \"no price for $QUORATE_STREAM\" >&2; exit 7; fi
         cat >> {done}",
        fix = fix.display(),
        done = done.display()
    );
    // There are five events, and one of them is delivered twice.
    let consume = ["group", "consume", "billing", "--exec", &command, "--limit", "6"];
    cluster.must(consume);
    let parked = line(&cluster, &["group", "parked", "billing"]);
    assert_eq!((&parked["position"], &parked["attempts"]), (&3.into(), &2.into()), "{parked}");
    assert_eq!(parked["reason"], "no price for order-3");
    assert_eq!(parked["event"]["data"]["n"], 3);
    let shown = line(&cluster, &["group", "show", "billing"]);
    assert_eq!((&shown["parked"], &shown["lag"]), (&1.into(), &0.into()), "{shown}");
    let status = line(&cluster, &["cluster", "status"]);
    assert_eq!(status["groups"][0]["parked"], 1, "{status}");

    std::fs::write(&fix, "").expect("a file");
    assert_eq!(line(&cluster, &["group", "replay", "billing", "--all"])["count"], 1);
    cluster.must(["group", "consume", "billing", "--exec", &command, "--limit", "1"]);
    assert_eq!(line(&cluster, &["group", "parked", "billing"]), Value::Null);
    let handled = json_lines(&std::fs::read(&done).expect("what was handled"));
    let positions: Vec<u64> =
        handled.iter().filter_map(|event| event["position"].as_u64()).collect();
    assert_eq!(positions, [1, 2, 4, 5, 3]);
    assert_eq!(handled[4]["attempt"], 1, "a replayed event begins anew");

    assert_eq!(line(&cluster, &["group", "reset", "billing", "--after", "3"])["after"], 3);
    let again = cluster.must(["group", "consume", "billing", "--limit", "2", "--json"]);
    let positions: Vec<u64> =
        json_lines(&again).iter().filter_map(|event| event["position"].as_u64()).collect();
    assert_eq!(positions, [4, 5]);
    assert_eq!(line(&cluster, &["group", "delete", "billing", "--yes"])["deleted"], true);
    let gone = cluster.run(["group", "consume", "billing", "--json"]);
    let errors = String::from_utf8_lossy(&gone.stderr).into_owned();
    assert_eq!(gone.status.code(), Some(1), "{errors}");
    assert!(errors.contains("there is no consumer group `billing`"), "{errors}");
    cluster.check_logs();
}
