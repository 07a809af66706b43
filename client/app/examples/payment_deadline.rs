//! Cancels orders that are not paid within ten seconds, each once, even if the program is stopped and started
//! again at any point.
//!
//! Run it beside `quorate dev`: `cargo run -p quorate-app --example payment_deadline`, and then
//!
//! ```text
//! quorate append order-1 --type OrderPlaced --data '{"total":50}'
//! quorate append order-1 --type OrderPaid
//! quorate append order-2 --type OrderPlaced --data '{"total":70}'
//! quorate read --category order --follow
//! ```

use std::time::Duration;

use quorate_app::process::{
    Cause, HandlerError, OnFailure, ProcessManager, ProcessRunner, Reaction, Trigger,
};
use quorate_client::{Client, Event, Expect, Query, RecordedEvent};
use serde::{Deserialize, Serialize};

/// The time that an order may stay unpaid.
const PAYMENT_TIME: Duration = Duration::from_secs(10);

struct PaymentDeadline;

/// The state that the process manager keeps of an order.
#[derive(Default, Deserialize, Serialize)]
struct Order {
    total: u64,
}

#[derive(Deserialize)]
struct Placed {
    total: u64,
}

impl ProcessManager for PaymentDeadline {
    type State = Order;

    fn name(&self) -> &str {
        "paymentDeadline"
    }

    fn query(&self) -> Query {
        Query::category("order").types(["OrderPlaced", "OrderPaid"])
    }

    fn instance(&self, event: &RecordedEvent) -> Option<String> {
        event.stream.as_str().strip_prefix("order-").map(str::to_owned)
    }

    fn react(&self, order: &mut Order, trigger: &Trigger<'_>) -> Result<Reaction, HandlerError> {
        Ok(match &trigger.cause {
            Cause::Event(event) if event.kind.as_str() == "OrderPlaced" => {
                order.total = event.json::<Placed>()?.total;
                Reaction::new().schedule_after("payment", PAYMENT_TIME)
            }
            Cause::Event(_) => Reaction::new().complete(),
            Cause::Due(_) => {
                let lost =
                    serde_json::json!({ "reason": "not paid in time", "total": order.total });
                let cancelled = Event::json("OrderCancelled", &lost)?;
                let stream = format!("order-{}", trigger.instance);
                Reaction::new().append(stream, Expect::Exists, [cancelled]).complete()
            }
        })
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let client = Client::connect(["127.0.0.1:7701", "127.0.0.1:7702", "127.0.0.1:7703"]).await?;
    let stop = async {
        let _ = tokio::signal::ctrl_c().await;
    };
    println!("watching orders; Ctrl-C stops");
    ProcessRunner::new(client, PaymentDeadline).on_failure(OnFailure::Park).run_until(stop).await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use quorate_app::process::Scenario;

    use super::*;

    fn placed() -> Event {
        Event::json("OrderPlaced", &serde_json::json!({ "total": 50 })).expect("an event")
    }

    #[test]
    fn an_order_that_is_not_paid_is_cancelled_in_time() {
        let lost = serde_json::json!({ "reason": "not paid in time", "total": 50 });
        let cancelled = Event::json("OrderCancelled", &lost).expect("an event");
        Scenario::of(PaymentDeadline)
            .given("order-1", placed())
            .when_passed(PAYMENT_TIME)
            .then(Reaction::new().append("order-1", Expect::Exists, [cancelled]).complete())
            .when("order-1", Event::json("OrderPaid", &()).expect("an event"))
            .then_nothing();
    }

    #[test]
    fn an_order_that_is_paid_is_left_alone() {
        Scenario::of(PaymentDeadline)
            .given("order-1", placed())
            .given("order-1", Event::json("OrderPaid", &()).expect("an event"))
            .when_passed(PAYMENT_TIME * 2)
            .then_nothing();
    }
}
