//! `quorate progress` shows a projection and a process manager on real processes: their progress, that they stopped,
//! why they failed, and that they were started again.

use quorate_app::process::{
    Cause, HandlerError as ReactionError, ProcessManager, ProcessRunner, Reaction, Trigger,
};
use quorate_app::projection::{
    Backoff, Handler, HandlerError, Memory, MemoryModel, OnFailure, Projection, Running,
};
use quorate_client::{Client, Event, Expect, Query, RecordedEvent};
use quorate_tests::cluster::{Cluster, PATIENCE, json_lines, wait_for};
use serde_json::Value;
use tokio::runtime::Runtime;
use tokio::sync::oneshot;

/// Applies every event except those of one type.
struct Count;

impl Handler<MemoryModel<()>> for Count {
    async fn apply(
        &self,
        _: &mut MemoryModel<()>,
        event: &RecordedEvent,
    ) -> Result<(), HandlerError> {
        match event.kind.as_str() {
            "Poisoned" => Err("a poisoned event".into()),
            _ => Ok(()),
        }
    }
}

/// Starts an instance for each order, and fails at poisoned events.
struct Shop;

impl ProcessManager for Shop {
    type State = ();

    fn name(&self) -> &str {
        "shop"
    }

    fn query(&self) -> Query {
        Query::category("order")
    }

    fn instance(&self, event: &RecordedEvent) -> Option<String> {
        event.stream.as_str().strip_prefix("order-").map(str::to_owned)
    }

    fn react(&self, _: &mut (), trigger: &Trigger<'_>) -> Result<Reaction, ReactionError> {
        match &trigger.cause {
            Cause::Event(event) if event.kind.as_str() == "Poisoned" => {
                Err("a poisoned event".into())
            }
            _ => Ok(Reaction::new()),
        }
    }
}

/// Waits until the line of `quorate progress` for a name satisfies `is_so`, and returns it.
fn shown(cluster: &Cluster, name: &str, is_so: impl Fn(&Value) -> bool) -> Value {
    wait_for(&format!("`{name}`"), PATIENCE, || {
        let lines = json_lines(&cluster.must(["progress", "--json"]));
        lines.into_iter().find(|line| line["name"] == name && is_so(line))
    })
}

struct Setting {
    cluster: Cluster,
    runtime: Runtime,
    client: Client,
}

impl Setting {
    fn start() -> Setting {
        let cluster = Cluster::start("4MiB");
        let runtime = Runtime::new().expect("a runtime");
        let addresses = cluster.nodes.iter().map(|node| node.address.clone());
        let client = runtime.block_on(Client::connect(addresses)).expect("a cluster");
        Setting { cluster, runtime, client }
    }

    fn append(&self, stream: &str, kind: &str) -> u64 {
        let event = Event::json(kind, &()).expect("an event");
        let appended = self.runtime.block_on(self.client.append(stream, Expect::Any, [event]));
        appended.expect("it is appended").position.0
    }

    fn start_orders(&self, store: &Memory<()>, on_failure: OnFailure) -> Running {
        let query = Query::category("order");
        let projection = Projection::new("orders", query, store.clone(), Count)
            .attempts(1, Backoff::default())
            .on_failure(on_failure);
        self.runtime.block_on(async { projection.start(self.client.clone()) })
    }
}

#[test]
fn a_projection_is_shown_with_its_position_its_lag_its_error_and_its_end() {
    let setting = Setting::start();
    let (cluster, runtime) = (&setting.cluster, &setting.runtime);
    let store = Memory::new();
    let running = setting.start_orders(&store, OnFailure::Stop);
    setting.append("order-1", "Placed");
    // Events that do not match count as seen: nothing is left to do.
    let last = setting.append("bill-1", "Sent");
    runtime.block_on(running.reached(last, PATIENCE)).expect("it is looked at");
    let orders = shown(cluster, "orders", |line| line["position"] == last);
    assert_eq!(
        (&orders["state"], &orders["behind"], &orders["handled"]),
        (&"live".into(), &0.into(), &1.into())
    );
    assert_eq!((&orders["kind"], &orders["silent"]), (&"projection".into(), &false.into()));

    let poisoned = setting.append("order-1", "Poisoned");
    let last = setting.append("order-2", "Placed");
    let orders = shown(cluster, "orders", |line| line["state"] == "failed");
    let why = orders["error"].as_str().expect("an error");
    assert!(why.contains(&format!("stopped at position {poisoned}")), "{why}");
    assert!(why.contains("a poisoned event"), "{why}");
    assert_eq!((&orders["position"], &orders["behind"]), (&(poisoned - 1).into(), &2.into()));
    let table = cluster.must(["progress", "--output", "text"]);
    let table = String::from_utf8_lossy(&table).into_owned();
    assert!(table.contains("failed") && table.contains("a poisoned event"), "{table}");
    runtime.block_on(running.wait()).expect_err("it failed");

    // The failed projection is shown until it is started again.
    let running = setting.start_orders(&store, OnFailure::Park);
    let orders = shown(cluster, "orders", |line| line["state"] != "failed");
    assert_eq!(orders.get("error"), None, "{orders}");
    runtime.block_on(running.reached(last, PATIENCE)).expect("it goes on");
    runtime.block_on(running.stop()).expect("it stops");
    let lines = json_lines(&cluster.must(["progress", "--json"]));
    assert_eq!(lines.len(), 1, "{lines:?}");
    let progress = (&lines[0]["state"], &lines[0]["position"], &lines[0]["parked"]);
    assert_eq!(
        progress,
        (&"stopped".into(), &last.into(), &1.into()),
        "reported before the stop was over"
    );
    cluster.check_logs();
}

#[test]
fn a_process_manager_is_shown_with_its_position_its_error_and_its_end() {
    let setting = Setting::start();
    let (cluster, runtime, client) = (&setting.cluster, &setting.runtime, &setting.client);
    let first = setting.append("order-1", "Placed");
    let (stop, stop_requested) = oneshot::channel::<()>();
    let stop_requested = async { drop(stop_requested.await) };
    let running = ProcessRunner::new(client.clone(), Shop).run_until(stop_requested);
    let running = runtime.spawn(running);
    let shop = shown(cluster, "shop", |line| {
        line["state"] == "live" && line["position"].as_u64() >= Some(first)
    });
    assert_eq!((&shop["kind"], &shop["handled"]), (&"process-manager".into(), &1.into()));
    stop.send(()).expect("it runs");
    runtime.block_on(running).expect("it ends").expect("as requested");
    let shop = shown(cluster, "shop", |line| line["state"] == "stopped");
    assert_eq!(shop.get("error"), None);

    setting.append("order-1", "Poisoned");
    let failed = runtime.block_on(ProcessRunner::new(client.clone(), Shop).run());
    failed.expect_err("nothing can follow from it");
    let lines = json_lines(&cluster.must(["progress", "--json"]));
    assert_eq!((lines.len(), &lines[0]["state"]), (1, &"failed".into()), "{lines:?}");
    assert!(lines[0]["error"].as_str().is_some_and(|why| why.contains("poisoned")), "{lines:?}");
    cluster.check_logs();
}
