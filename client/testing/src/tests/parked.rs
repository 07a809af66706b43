//! Parked triggers of a process manager on a real cluster: they are listed, replayed once, and dropped for good.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use quorate_app::process::{
    HandlerError, OnFailure, ProcessError, ProcessManager, ProcessRunner, Reaction, Trigger,
};
use quorate_client::{Client, Event, Expect, Message, Query, RecordedEvent, Selection, Settings};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::{HANGS_AFTER, event};
use crate::start;

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

/// A runner of the carrier, and the means to stop it.
struct Running {
    task: JoinHandle<Result<(), ProcessError>>,
    stop: oneshot::Sender<()>,
}

impl Running {
    fn start(client: &Client, carrier: &Carrier) -> Running {
        let (stop, stopped) = oneshot::channel::<()>();
        let runner = ProcessRunner::new(client.clone(), carrier.clone());
        let running = runner.on_failure(OnFailure::Park).run_until(async { drop(stopped.await) });
        Running { task: tokio::spawn(running), stop }
    }

    async fn stop(self) {
        self.stop.send(()).expect("it runs");
        self.task.await.expect("no panic").expect("as requested");
    }
}

/// Waits until there are so many events of a type in the stream of what is parked.
async fn until(client: &Client, kind: &str, count: u64) {
    let mut events = client.read("carrier$parked").types([kind]).follow();
    let mut seen = 0;
    let following = async {
        while seen < count {
            let message = events.try_next().await.expect("no problem").expect("no end");
            seen += u64::from(matches!(message, Message::Event(_)));
        }
    };
    timeout(HANGS_AFTER, following).await.expect("it happens");
}

async fn shipped(client: &Client) -> Vec<String> {
    let read = client.read(Query::category("order").types(["Shipped"])).collect().await;
    read.expect("read").events.iter().map(|event| event.stream.to_string()).collect()
}

#[tokio::test]
async fn what_is_parked_is_listed_and_replayed_once_or_dropped() {
    let cluster = start().await.expect("started");
    let client = cluster.client();
    let (carrier, manager) = (Carrier::default(), client.process_manager("carrier"));
    carrier.0.store(true, Ordering::SeqCst);
    for order in ["order-1", "order-2", "order-3"] {
        client.append(order, Expect::None, [event("Placed")]).await.expect("appended");
    }
    let runners = [(); 2].map(|()| Running::start(&client, &carrier));
    until(&client, "TriggerParked", 3).await;
    let mut parked = manager.parked().await.expect("the list");
    parked.sort_by(|one, other| one.instance.cmp(&other.instance));
    let instances: Vec<&str> = parked.iter().map(|one| one.instance.as_str()).collect();
    assert_eq!(instances, ["1", "2", "3"]);
    assert_eq!(parked[0].reason, "the handler failed: the carrier is broken");
    let position = |index: usize| parked[index].position.0;

    let dropped = manager.drop_parked(Selection::positions([position(0)])).await.expect("dropped");
    assert_eq!(dropped.len(), 1);
    let again = Selection::positions([position(0), 1]);
    assert!(manager.drop_parked(again.clone()).await.expect("nothing to do").is_empty());
    assert!(manager.replay(again).await.expect("nothing to do").is_empty());

    manager.replay(Selection::positions([position(1)])).await.expect("requested");
    until(&client, "ReplayFailed", 1).await;
    assert_eq!(manager.parked().await.expect("the list").len(), 2, "it fails again");
    carrier.0.store(false, Ordering::SeqCst);
    assert_eq!(manager.replay(Selection::All).await.expect("requested").len(), 2);
    until(&client, "TriggerReplayed", 2).await;
    assert!(manager.parked().await.expect("the list").is_empty());
    for running in runners {
        running.stop().await;
    }
    let mut shipped = shipped(&client).await;
    shipped.sort_unstable();
    assert_eq!(shipped, ["order-2", "order-3"]);
}

#[tokio::test]
async fn a_replay_that_was_requested_while_no_manager_ran_is_made_once_one_runs_after_a_power_cut()
{
    let mut cluster = start().await.expect("started");
    let client = cluster.client();
    let carrier = Carrier::default();
    carrier.0.store(true, Ordering::SeqCst);
    client.append("order-1", Expect::None, [event("Placed")]).await.expect("appended");
    let running = Running::start(&client, &carrier);
    until(&client, "TriggerParked", 1).await;
    running.stop().await;
    client.process_manager("carrier").replay(Selection::All).await.expect("requested");
    cluster.cut_power(1);
    cluster.start_again(1).await.expect("started again");
    let parked = client.process_manager("carrier").parked().await.expect("the list");
    assert!(parked[0].requested.is_some(), "{parked:?}");
    carrier.0.store(false, Ordering::SeqCst);
    let running = Running::start(&client, &carrier);
    until(&client, "TriggerReplayed", 1).await;
    running.stop().await;
    assert_eq!(shipped(&client).await, ["order-1"]);
}

#[tokio::test]
async fn what_a_setting_of_the_stream_removed_is_not_parked_any_more() {
    let cluster = start().await.expect("started");
    let client = cluster.client();
    let (carrier, manager) = (Carrier::default(), client.process_manager("carrier"));
    carrier.0.store(true, Ordering::SeqCst);
    let settings = Settings::new().max_count(2);
    client.stream("carrier$parked").set(settings).await.expect("set");
    for order in ["order-1", "order-2", "order-3"] {
        client.append(order, Expect::None, [event("Placed")]).await.expect("appended");
    }
    let running = Running::start(&client, &carrier);
    let mut all = client.read(Query::stream("carrier$parked")).follow();
    let third = async {
        loop {
            let message = all.try_next().await.expect("no problem").expect("no end");
            if matches!(message, Message::Event(event) if event.version.0 == 3) {
                return;
            }
        }
    };
    timeout(HANGS_AFTER, third).await.expect("it happens");
    running.stop().await;
    let parked = manager.parked().await.expect("the list");
    assert_eq!(parked.len(), 2, "{parked:?}");
    let dropped = manager.drop_parked(Selection::All).await.expect("dropped");
    assert_eq!(dropped.len(), 2);
    assert!(manager.parked().await.expect("the list").is_empty());
}
