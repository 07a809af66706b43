//! A process manager and a sink on real processes, while they and the leader are killed: each reaction is
//! made once, and each event is delivered in the order of its stream.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use quorate_app::process::{Cause, HandlerError, ProcessManager, ProcessRunner, Reaction, Trigger};
use quorate_app::sink::{Sink, SinkError, SinkRunner};
use quorate_client::{Client, Event, Expect, Outcome, Query, RecordedEvent, Strategy};
use quorate_tests::cluster::{Cluster, PATIENCE, wait_for};
use tokio::runtime::Runtime;
use tokio::sync::oneshot;

/// The number of orders; every third is paid.
const ORDERS: u64 = 150;
/// The time in which an order must be paid.
const PAYMENT_TIME: Duration = Duration::from_secs(3);
/// The number of runners of the manager at once.
const RUNNERS: usize = 2;
/// The number of times that one of them is killed.
const KILLS: usize = 12;
/// The number of the order whose event the sink refuses.
const POISON: u64 = 7;

/// Ships paid orders, and cancels unpaid ones.
struct Shop;

impl ProcessManager for Shop {
    type State = u64;

    fn name(&self) -> &str {
        "shop"
    }

    fn query(&self) -> Query {
        Query::category("order").types(["Placed", "Paid"])
    }

    fn instance(&self, event: &RecordedEvent) -> Option<String> {
        event.stream.as_str().strip_prefix("order-").map(str::to_owned)
    }

    fn react(&self, total: &mut u64, trigger: &Trigger<'_>) -> Result<Reaction, HandlerError> {
        let outcome = |kind| Event::json(kind, &trigger.instance);
        let order = format!("order-{}", trigger.instance);
        Ok(match &trigger.cause {
            Cause::Event(event) if event.kind.as_str() == "Placed" => {
                *total = event.json()?;
                Reaction::new()
                    .append(order, Expect::Exists, [outcome("Accepted")?])
                    .schedule_after("payment", PAYMENT_TIME)
            }
            Cause::Event(_) => {
                Reaction::new().append(order, Expect::Exists, [outcome("Shipped")?]).complete()
            }
            Cause::Due(_) => {
                Reaction::new().append(order, Expect::Exists, [outcome("Cancelled")?]).complete()
            }
        })
    }
}

fn connect(runtime: &Runtime, cluster: &Cluster) -> Client {
    let addresses = cluster.nodes.iter().map(|node| node.address.clone());
    runtime.block_on(Client::connect(addresses)).expect("a cluster")
}

async fn place_and_pay(client: &Client, orders: impl Iterator<Item = u64>) {
    for number in orders {
        let order = format!("order-{number}");
        let placed = Event::json("Placed", &number).expect("JSON");
        client.append(&order, Expect::None, [placed]).await.expect("it is appended");
        if number.is_multiple_of(3) {
            let paid = Event::json("Paid", &number).expect("JSON");
            client.append(&order, Expect::Exists, [paid]).await.expect("it is appended");
        }
    }
}

async fn count(client: &Client, types: &[&str]) -> usize {
    let found = client.read(Query::category("order").types(types)).collect();
    found.await.expect("it is read").events.len()
}

#[test]
fn each_reaction_takes_place_once_while_managers_and_the_leader_are_killed() {
    let mut cluster = Cluster::start("256KiB");
    let leader = cluster.wait_for_leader();
    let runtime = Runtime::new().expect("a runtime");
    let client = connect(&runtime, &cluster);
    let start = || runtime.spawn(ProcessRunner::new(client.clone(), Shop).bookmark_every(20).run());
    let mut runners: Vec<_> = (0..RUNNERS).map(|_| start()).collect();

    let mut numbers = 0..ORDERS;
    for kill in 0..KILLS {
        let some = numbers.by_ref().take(usize::try_from(ORDERS).expect("small") / KILLS + 1);
        runtime.block_on(place_and_pay(&client, some));
        // The runner stops wherever it is at the moment.
        let place = kill % RUNNERS;
        runners[place].abort();
        runners[place] = start();
        if kill == KILLS / 2 {
            cluster.nodes[leader].kill();
        }
    }
    runtime.block_on(place_and_pay(&client, numbers));

    let outcomes = ["Shipped", "Cancelled"];
    let orders = usize::try_from(ORDERS).expect("small");
    wait_for("an end of every order", PATIENCE, || {
        runtime.block_on(count(&client, &outcomes)).ge(&orders).then_some(())
    });
    for runner in runners {
        assert!(!runner.is_finished(), "it goes on for ever: {:?}", runtime.block_on(runner));
        runner.abort();
    }
    let events = runtime.block_on(client.read(Query::category("order")).collect());
    let mut by_stream: BTreeMap<String, Vec<RecordedEvent>> = BTreeMap::new();
    for event in events.expect("they are read").events {
        by_stream.entry(event.stream.to_string()).or_default().push(event);
    }
    assert_eq!(by_stream.len(), orders);
    for number in 0..ORDERS {
        check(number, &by_stream[&format!("order-{number}")]);
    }
}

/// Checks that an order has exactly one acceptance and one end, and the right end.
fn check(number: u64, events: &[RecordedEvent]) {
    let of =
        |kind: &str| events.iter().filter(|event| event.kind.as_str() == kind).collect::<Vec<_>>();
    let (shipped, cancelled) = (of("Shipped").len(), of("Cancelled").len());
    assert_eq!((of("Accepted").len(), shipped + cancelled), (1, 1), "order {number}: {events:?}");
    // A payment that took long, because the leader was killed meanwhile, may have come too late.
    let waited = |paid: &RecordedEvent| paid.recorded_at.0 - of("Placed")[0].recorded_at.0;
    match of("Paid").first() {
        None => assert_eq!(cancelled, 1, "order {number} is not paid: {events:?}"),
        Some(paid) if waited(paid) < 2_000_000 => {
            assert_eq!(shipped, 1, "order {number} is paid: {events:?}");
        }
        Some(_) => {}
    }
}

/// Notes the events that it gets.
#[derive(Clone, Default)]
struct Notes(Arc<Mutex<BTreeMap<String, Vec<u64>>>>);

impl Notes {
    fn all(&self) -> BTreeMap<String, Vec<u64>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Sink for Notes {
    async fn deliver(&self, event: &RecordedEvent) -> Result<(), SinkError> {
        tokio::time::sleep(Duration::from_millis(2)).await;
        if event.kind.as_str() == "Placed" && event.json::<u64>().ok() == Some(POISON) {
            return Err(SinkError::poison("of no use"));
        }
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.entry(event.stream.to_string()).or_default().push(event.version.0);
        Ok(())
    }
}

#[test]
fn a_sink_gets_every_event_in_the_order_of_its_stream_while_the_leader_is_killed() {
    let mut cluster = Cluster::start("256KiB");
    let leader = cluster.wait_for_leader();
    let runtime = Runtime::new().expect("a runtime");
    let client = connect(&runtime, &cluster);
    let group = client.group("notes");
    let creating = group.create(Query::category("order")).strategy(Strategy::ByStream);
    runtime.block_on(creating.send()).expect("it is created");
    let notes = Notes::default();
    let start = |notes: &Notes| {
        let (stop, stopped) = oneshot::channel::<()>();
        let runner = SinkRunner::new(client.group("notes"), notes.clone()).window(8);
        let stopped = async { drop(stopped.await) };
        (runtime.spawn(runner.run_until(stopped)), stop)
    };
    let (killed, _stop) = start(&notes);
    let (surviving, stop) = start(&notes);
    runtime.block_on(place_and_pay(&client, 0..ORDERS / 2));
    killed.abort();
    cluster.nodes[leader].kill();
    runtime.block_on(place_and_pay(&client, ORDERS / 2..ORDERS));

    let expected = |number: u64| match number {
        POISON => 0,
        paid if paid.is_multiple_of(3) => 2,
        _ => 1,
    };
    let all: u64 = (0..ORDERS).map(expected).sum();
    let distinct = |versions: &Vec<u64>| {
        let mut versions = versions.clone();
        versions.sort_unstable();
        versions.dedup();
        versions.len() as u64
    };
    wait_for("a delivery of every event", PATIENCE, || {
        let delivered: u64 = notes.all().values().map(distinct).sum();
        (delivered == all).then_some(())
    });
    stop.send(()).expect("it runs");
    // It may not know the outcome of its settlements while the leader died.
    if let Err(problem) = runtime.block_on(surviving).expect("no panic") {
        assert_eq!(problem.outcome, Outcome::Unknown, "{problem:?}");
    }
    for (stream, versions) in notes.all() {
        // The events under way at a kill come again: then the whole rest of the stream does, in order.
        let goes_on = |pair: &[u64]| pair[1] <= pair[0] + 1;
        assert!(versions.windows(2).all(goes_on) && versions[0] == 1, "{stream}: {versions:?}");
    }
    let parked = runtime.block_on(group.parked()).expect("the list");
    assert_eq!(parked.len(), 1, "{parked:?}");
    assert_eq!(parked[0].reason, "of no use");
    let shown = runtime.block_on(group.show()).expect("the group");
    assert_eq!(shown.lag, 0, "{shown:?}");
}

/// Takes much longer for each event than the group's timeout, and hangs on one.
#[derive(Clone, Default)]
struct Slow(Arc<Mutex<Vec<u64>>>);

const SLOW_TIMEOUT: Duration = Duration::from_millis(400);
const HANGS_ON: u64 = 3;

impl Sink for Slow {
    async fn deliver(&self, event: &RecordedEvent) -> Result<(), SinkError> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(event.position.0);
        if event.position.0 == HANGS_ON {
            std::future::pending::<()>().await;
        }
        tokio::time::sleep(SLOW_TIMEOUT * 4).await;
        Ok(())
    }
}

#[test]
fn a_sink_keeps_an_event_for_longer_than_the_timeout_of_its_group_and_delivers_it_once() {
    let cluster = Cluster::start("64MiB");
    let runtime = Runtime::new().expect("a runtime");
    let client = connect(&runtime, &cluster);
    for stream in ["order-1", "order-1", "order-2"] {
        cluster.must(["append", stream, "--type", "Placed"]);
    }
    let group = client.group("slow");
    let creating = group.create(Query::category("order")).timeout(SLOW_TIMEOUT).attempts(1);
    runtime.block_on(creating.send()).expect("it is created");
    let slow = Slow::default();
    // The first consumer gets the events; the second of a stream waits for the other while its time runs.
    let runners: Vec<_> = (0..2)
        .map(|number| {
            let (stop, stopped) = oneshot::channel::<()>();
            let stopped = async { drop(stopped.await) };
            let runner = SinkRunner::new(client.group("slow"), slow.clone());
            let running = runtime.spawn(runner.deliver_within(SLOW_TIMEOUT * 6).run_until(stopped));
            wait_for("a consumer", PATIENCE, || {
                let shown = runtime.block_on(group.show()).ok()?;
                (shown.consumers.len() > number).then_some(())
            });
            (running, stop)
        })
        .collect();
    wait_for("the end of all work", PATIENCE, || {
        let shown = runtime.block_on(group.show()).ok()?;
        (shown.lag == 0).then_some(())
    });
    for (running, stop) in runners {
        stop.send(()).expect("it runs");
        runtime.block_on(running).expect("no panic").expect("everything was kept");
    }
    let mut delivered = slow.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
    delivered.sort_unstable();
    assert_eq!(delivered, [1, 2, HANGS_ON], "each once");
    let parked = runtime.block_on(group.parked()).expect("the list");
    assert_eq!(parked.len(), 1, "{parked:?}");
    assert_eq!((parked[0].position.0, parked[0].attempts), (HANGS_ON, 1));
    assert_eq!(parked[0].reason, "the delivery took longer than 2.4s");
    cluster.check_logs();
}
