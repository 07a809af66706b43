//! The code of the guide (`docs/guide.md`), compiled and run: each of its blocks stands here word for word.

#![allow(
    clippy::enum_variant_names,
    reason = "the types of events are names that stand alone in the log"
)]

use std::time::Duration;

use quorate_app::decider::{CommandError, Decider, Repository, given};
use quorate_app::decision::{Decision, Decisions, Writes};
use quorate_app::evolution::{EventSet, JsonEvents, Upcast};
use quorate_app::process::{Cause, HandlerError, ProcessManager, Reaction, Trigger};
use quorate_app::projection::{Handlers, Memory, MemoryModel, Projection};
use quorate_client::{AppendError, Event, Expect, Query, RecordedEvent};
use serde::{Deserialize, Serialize};

use crate::start;

const GUIDE: &str = include_str!("../../../../docs/guide.md");
const SOURCE: &str = include_str!("guide.rs");

type Tried = Result<(), Box<dyn std::error::Error>>;

/// Returns the lines of a text without their indentation and without the empty ones.
fn lines(text: &str) -> Vec<&str> {
    text.lines().map(str::trim).filter(|line| !line.is_empty()).collect()
}

#[test]
fn every_block_of_the_guide_is_compiled_and_run() {
    let source = lines(SOURCE);
    let blocks: Vec<&str> = GUIDE.split("```rust\n").skip(1).collect();
    assert!(blocks.len() > 8, "the guide has moved");
    for block in blocks {
        let block = block.split("```").next().expect("a block ends");
        let wanted = lines(block);
        let is_here = source.windows(wanted.len()).any(|window| window == wanted);
        assert!(is_here, "this block of the guide is not in this file:\n{block}");
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
enum OrderEvent {
    OrderPlaced { total: u64, currency: String },
    OrderPaid { amount: u64 },
    OrderCancelled {},
}

impl JsonEvents for OrderEvent {
    const UPCASTS: &'static [Upcast] = &[
        // Orders had no currency before schema 2.
        Upcast::data("OrderPlaced", 1, |mut json| {
            json["currency"] = "EUR".into();
            json
        }),
    ];
}

enum OrderCommand {
    Place { total: u64 },
    Pay { amount: u64 },
}

#[derive(Debug, PartialEq, thiserror::Error)]
enum Refusal {
    #[error("the order is placed already")]
    Placed,
    #[error("{0} is more than is due")]
    TooMuch(u64),
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Order {
    is_placed: bool,
    due: u64,
}

impl Decider for Order {
    const CATEGORY: &'static str = "order";
    type State = Order;
    type Command = OrderCommand;
    type Event = OrderEvent;
    type Error = Refusal;

    fn evolve(order: &mut Order, event: OrderEvent) {
        match event {
            OrderEvent::OrderPlaced { total, .. } => *order = Order { is_placed: true, due: total },
            OrderEvent::OrderPaid { amount } => order.due -= amount,
            OrderEvent::OrderCancelled {} => order.due = 0,
        }
    }

    fn decide(order: &Order, command: &OrderCommand) -> Result<Vec<OrderEvent>, Refusal> {
        match *command {
            OrderCommand::Place { .. } if order.is_placed => Err(Refusal::Placed),
            OrderCommand::Place { total } => {
                Ok(vec![OrderEvent::OrderPlaced { total, currency: "EUR".into() }])
            }
            OrderCommand::Pay { amount } if amount > order.due => Err(Refusal::TooMuch(amount)),
            OrderCommand::Pay { amount } => Ok(vec![OrderEvent::OrderPaid { amount }]),
        }
    }
}

#[tokio::test]
async fn first_events() -> Tried {
    let cluster = start().await?;
    let client = cluster.client();

    let placed = Event::json("OrderPlaced", &serde_json::json!({ "total": 50 }))?;
    let done = client.append("order-42", Expect::None, [placed]).await?;

    let order = client.read("order-42").collect().await?;
    assert_eq!(order.version, done.version);

    let paid = Event::json("OrderPaid", &serde_json::json!({ "amount": 50 }))?;
    match client.append("order-42", Expect::version(order.version), [paid]).await {
        Ok(done) => println!("paid, at position {}", done.position),
        Err(AppendError::Conflict(conflict)) => println!("{conflict}: read and decide again"),
        Err(AppendError::Unknown(append)) => println!("not known yet, send it again: {append}"),
        Err(other) => return Err(other.into()),
    }
    Ok(())
}

#[tokio::test]
async fn commands() -> Tried {
    let cluster = start().await?;
    let client = cluster.client();

    let orders = Repository::<Order>::new(client.clone()).snapshots(100, 1);
    orders.handle("42", &OrderCommand::Place { total: 50 }).await?;
    let pay = OrderCommand::Pay { amount: 20 };
    let done = orders.handle("42", &pay).command_id("cmd-91").created_by("ann").await?;
    assert_eq!((done.version.0, done.state.due), (2, 30));

    // A command that is repeated, because its answer was lost, gets the first answer again.
    let again = orders.handle("42", &pay).command_id("cmd-91").await?;
    assert!(again.is_repetition);
    assert_eq!(again.position, done.position);

    match orders.handle("42", &OrderCommand::Pay { amount: 99 }).await {
        Err(CommandError::Refused(why)) => println!("refused: {why}"),
        Err(CommandError::Conflict { attempts, .. }) => println!("lost {attempts} races"),
        Err(error) if error.is_transient() => println!("try again later: {error}"),
        other => println!("{other:?}"),
    }

    let then = orders.load("42").at_version(1).await?;
    let now = orders.load("42").at_least(done.position).await?;
    for change in then.changes_to(&now)? {
        println!("{change}"); // due: 50 → 30
    }
    for entry in orders.history("42").await? {
        println!("{entry}"); // 2  2026-…  OrderPaid {"amount":20}, by ann, command cmd-91
    }
    Ok(())
}

#[test]
fn a_decider_in_a_test() {
    given::<Order>([OrderEvent::OrderPlaced { total: 50, currency: "EUR".into() }])
        .when(&OrderCommand::Pay { amount: 30 })
        .then_events([OrderEvent::OrderPaid { amount: 30 }])
        .then_state(&Order { is_placed: true, due: 20 })
        .when(&OrderCommand::Pay { amount: 30 })
        .then_error(&Refusal::TooMuch(30));
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
enum SeatEvent {
    SeatTaken { seat: String, student: String },
}

impl JsonEvents for SeatEvent {
    fn tags(&self) -> Vec<String> {
        let SeatEvent::SeatTaken { seat, student } = self;
        vec![format!("seat:{seat}"), format!("student:{student}")]
    }
}

#[derive(Debug, thiserror::Error)]
#[error("the seat is taken, or the student has one")]
struct NoSeat;

struct TakeSeat {
    seat: String,
    student: String,
}

impl Decision for TakeSeat {
    const NAME: &'static str = "takeSeat";
    type State = u64;
    type Event = SeatEvent;
    type Error = NoSeat;

    /// Everything that the decision rests on: whoever took this seat, and whatever this student took.
    fn query(&self) -> Query {
        let seat = Query::tag(format!("seat:{}", self.seat));
        seat.or(Query::tag(format!("student:{}", self.student)))
    }

    fn evolve(&self, taken: &mut u64, _: SeatEvent, _: &RecordedEvent) {
        *taken += 1;
    }

    fn decide(&self, taken: &u64) -> Result<Writes<SeatEvent>, NoSeat> {
        if *taken > 0 {
            return Err(NoSeat);
        }
        let (seat, student) = (self.seat.clone(), self.student.clone());
        let stream = format!("seat-{seat}");
        Ok(Writes::to(stream, [SeatEvent::SeatTaken { seat, student }]))
    }
}

#[tokio::test]
async fn decisions() -> Tried {
    let cluster = start().await?;
    let client = cluster.client();

    let decisions = Decisions::new(client.clone());
    let take = TakeSeat { seat: "12".into(), student: "ada".into() };
    decisions.make(&take).await?;
    assert!(matches!(decisions.make(&take).await, Err(CommandError::Refused(NoSeat))));
    Ok(())
}

#[tokio::test]
async fn read_models() -> Tried {
    let cluster = start().await?;
    let client = cluster.client();
    let orders = Repository::<Order>::new(client.clone());
    let done = orders.handle("42", &OrderCommand::Place { total: 50 }).await?;

    let sums = Handlers::<MemoryModel<u64>>::new().on_set(|sum, _, event: OrderEvent| {
        Box::pin(async move {
            if let OrderEvent::OrderPlaced { total, .. } = event {
                **sum += total;
            }
            Ok(())
        })
    });
    let store = Memory::<u64>::new();
    let projection = Projection::new("sums", Query::category("order"), store.clone(), sums);
    let running = projection.start(client.clone());
    running.reached(done.position, Duration::from_secs(30)).await?;
    assert_eq!(store.state("sums").as_deref(), Some(&50));
    Ok(())
}

/// Cancels an order that is not paid within half an hour.
struct PaymentDeadline;

impl ProcessManager for PaymentDeadline {
    type State = ();

    fn name(&self) -> &str {
        "paymentDeadline"
    }

    fn query(&self) -> Query {
        Query::category("order").types(["OrderPlaced", "OrderPaid"])
    }

    fn instance(&self, event: &RecordedEvent) -> Option<String> {
        event.stream.as_str().strip_prefix("order-").map(str::to_owned)
    }

    fn react(&self, _: &mut (), trigger: &Trigger<'_>) -> Result<Reaction, HandlerError> {
        Ok(match &trigger.cause {
            Cause::Event(event) if event.kind.as_str() == "OrderPlaced" => {
                Reaction::new().schedule_after("payment", Duration::from_secs(30 * 60))
            }
            Cause::Event(_) => Reaction::new().complete(),
            Cause::Due(_) => {
                let order = format!("order-{}", trigger.instance);
                let cancelled = OrderEvent::OrderCancelled {}.encode()?;
                Reaction::new().append(order, Expect::Exists, [cancelled]).complete()
            }
        })
    }
}

#[test]
fn a_process_manager_in_a_test() -> Tried {
    let placed = OrderEvent::OrderPlaced { total: 50, currency: "EUR".into() };
    quorate_app::process::Scenario::of(PaymentDeadline)
        .given("order-42", placed.encode()?)
        .when_passed(Duration::from_secs(30 * 60))
        .then(
            Reaction::new()
                .append("order-42", Expect::Exists, [OrderEvent::OrderCancelled {}.encode()?])
                .complete(),
        );
    Ok(())
}

#[tokio::test]
async fn a_test_against_a_cluster() -> Tried {
    let mut cluster = crate::Cluster::start(3).await?;
    let orders = Repository::<Order>::new(cluster.client());
    orders.handle("42", &OrderCommand::Place { total: 50 }).await?;
    if let Some(leader) = cluster.leader().await? {
        cluster.cut_power(leader);
    }
    let done = orders.handle("42", &OrderCommand::Pay { amount: 50 }).command_id("cmd-7").await?;
    assert_eq!(done.state.due, 0);
    Ok(())
}
