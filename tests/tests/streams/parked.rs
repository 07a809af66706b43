//! `quorate process` on real processes: what a process manager parked is listed, replayed once while its runners are
//! killed, and dropped.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use quorate_app::process::{
    HandlerError, OnFailure, ProcessManager, ProcessRunner, Reaction, Trigger,
};
use quorate_client::{Client, Event, Expect, Query, RecordedEvent};
use quorate_tests::cluster::{Cluster, PATIENCE, json_lines, wait_for};
use serde_json::{Value, json};
use tokio::runtime::Runtime;

/// The number of orders.
const ORDERS: usize = 20;

/// Ships each order, unless it is broken.
#[derive(Clone, Default)]
struct Carrier(Arc<AtomicBool>);

impl ProcessManager for Carrier {
    type State = ();

    fn name(&self) -> &str {
        "carrier"
    }

    fn query(&self) -> Query {
        Query::category("order").types(["Placed"])
    }

    fn instance(&self, event: &RecordedEvent) -> Option<String> {
        event.stream.as_str().strip_prefix("order-").map(str::to_owned)
    }

    fn react(&self, (): &mut (), trigger: &Trigger<'_>) -> Result<Reaction, HandlerError> {
        if self.0.load(Ordering::SeqCst) {
            return Err("the carrier is broken".into());
        }
        let order = format!("order-{}", trigger.instance);
        Ok(Reaction::new().append(order, Expect::Exists, [Event::json("Shipped", &())?]))
    }
}

fn parked(cluster: &Cluster) -> Vec<Value> {
    json_lines(&cluster.must(["process", "parked", "carrier", "--json"]))
}

/// Runs a command on the carrier; returns its JSON.
fn done(cluster: &Cluster, command: &str, what: &str) -> Value {
    json_lines(&cluster.must(["process", command, "carrier", what, "--json"])).remove(0)
}

fn until_parked(cluster: &Cluster, count: usize) -> Vec<Value> {
    wait_for(&format!("{count} parked triggers"), PATIENCE, || {
        Some(parked(cluster)).filter(|parked| parked.len() == count)
    })
}

#[test]
fn what_is_parked_is_replayed_once_by_command_while_runners_and_the_leader_are_killed() {
    let mut cluster = Cluster::start("4MiB");
    let leader = cluster.wait_for_leader();
    let runtime = Runtime::new().expect("a runtime");
    let addresses = cluster.nodes.iter().map(|node| node.address.clone());
    let client = runtime.block_on(Client::connect(addresses)).expect("a cluster");
    let carrier = Carrier::default();
    carrier.0.store(true, Ordering::SeqCst);
    let start = || {
        let runner = ProcessRunner::new(client.clone(), carrier.clone());
        runtime.spawn(runner.on_failure(OnFailure::Park).run())
    };
    let mut runners = [start(), start()];
    for order in 0..ORDERS {
        let (order, placed) = (format!("order-{order}"), Event::json("Placed", &()));
        let append = client.append(order, Expect::None, [placed.expect("an event")]);
        runtime.block_on(append).expect("it is appended");
    }
    let listed = until_parked(&cluster, ORDERS);
    assert_eq!(listed[0]["reason"], "the handler failed: the carrier is broken");
    assert_eq!(listed[0]["event"]["type"], "Placed");
    let stream = format!("order-{}", listed[0]["instance"].as_str().expect("an instance"));
    assert_eq!(listed[0]["event"]["stream"], stream);

    // One is given up; it can be neither given up nor replayed again.
    let position = listed[0]["position"].as_u64().expect("a position");
    let none = json!({ "process_manager": "carrier", "count": 0, "not_parked": [position] });
    assert_eq!(done(&cluster, "drop", &position.to_string())["count"], 1);
    assert_eq!(done(&cluster, "drop", &position.to_string()), none);
    assert_eq!(done(&cluster, "replay", &position.to_string()), none);

    carrier.0.store(false, Ordering::SeqCst);
    assert_eq!(done(&cluster, "replay", "--all")["count"], ORDERS - 1);
    for kill in 0..6 {
        // The runner stops wherever it is at the moment.
        runners[kill % 2].abort();
        runners[kill % 2] = start();
        if kill == 2 {
            cluster.nodes[leader].kill();
        }
    }
    until_parked(&cluster, 0);
    for runner in runners {
        assert!(!runner.is_finished(), "it goes on for ever: {:?}", runtime.block_on(runner));
        runner.abort();
    }
    let read = client.read(Query::category("order").types(["Shipped"])).collect();
    let events = runtime.block_on(read).expect("they are read").events;
    let mut shipped: Vec<String> = events.iter().map(|event| event.stream.to_string()).collect();
    shipped.sort_unstable();
    shipped.dedup();
    assert_eq!((shipped.len(), events.len()), (ORDERS - 1, ORDERS - 1));
    assert!(!shipped.contains(&stream), "{stream} was given up");
    cluster.check_logs();
}
