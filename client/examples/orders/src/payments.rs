//! The payment process: a submitted order is to be paid in time, or it is cancelled.
//!
//! ```text
//! OrderSubmitted ─► PaymentRequested ─► PaymentReceived ─► OrderCompleted
//!                          │
//!                          └─ the time is over ─► OrderCancelled and PaymentWithdrawn
//! ```
//!
//! A customer may cancel while the money is on its way. Each reaction is therefore appended at the exact versions of
//! the order and of the payment that it rests on; when one of them has moved on, the process decides anew, and gives
//! the money back.

use std::time::Duration;

use quorate_app::evolution::EventSet;
use quorate_app::process::{Cause, HandlerError, ProcessManager, Reaction, Trigger};
use quorate_client::{Expect, Query, RecordedEvent, Version};
use serde::{Deserialize, Serialize};

use crate::domain::{OrderEvent, OrderKey, PaymentEvent};

/// The version of a payment's stream after the request, and after the receipt.
const REQUESTED: u64 = 1;
const RECEIVED: u64 = 2;
const NOT_PAID: &str = "not paid in time";
const CANCELLED: &str = "the order was cancelled";

/// Sees that submitted orders are paid or cancelled.
#[derive(Clone, Copy, Debug)]
pub struct PaymentProcess {
    /// The time that a customer has to pay.
    pub patience: Duration,
}

/// The state that the process keeps of a submitted order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Checkout {
    customer: String,
    total: u64,
    /// The version of the order's stream when it was submitted.
    order_version: u64,
}

impl ProcessManager for PaymentProcess {
    /// Nothing before the order is submitted.
    type State = Option<Checkout>;

    fn name(&self) -> &str {
        "payments"
    }

    fn query(&self) -> Query {
        let orders = Query::category("order").types(["OrderSubmitted", "OrderCancelled"]);
        orders.or(Query::category("payment").types(["PaymentReceived"]))
    }

    fn instance(&self, event: &RecordedEvent) -> Option<String> {
        OrderKey::of(&event.stream).map(|key| key.to_string())
    }

    fn react(
        &self,
        checkout: &mut Option<Checkout>,
        trigger: &Trigger<'_>,
    ) -> Result<Reaction, HandlerError> {
        let key = OrderKey::parse(trigger.instance).ok_or("the instance is no order")?;
        let has_moved_on = trigger.conflict.is_some();
        let event = match &trigger.cause {
            Cause::Event(event) => event,
            // The event that was faster is a trigger of its own, which is next.
            Cause::Due(_) if has_moved_on => return Ok(Reaction::nothing()),
            Cause::Due(_) => return checkout.as_ref().map_or_else(nothing, |it| it.give_up(&key)),
        };
        if let Some(OrderEvent::OrderSubmitted { customer, total }) = OrderEvent::decode(event)? {
            let Version(order_version) = event.version;
            let begun = checkout.insert(Checkout { customer, total, order_version });
            return Ok(begun.request(&key)?.schedule_after("payment", self.patience));
        }
        let Some(checkout) = checkout else { return nothing() };
        if has_moved_on {
            // The order was cancelled and paid at once.
            return checkout.refund(&key);
        }
        match event.kind.as_str() {
            "OrderCancelled" => checkout.withdraw(&key),
            "PaymentReceived" => checkout.complete(&key),
            _ => nothing(),
        }
    }
}

fn nothing() -> Result<Reaction, HandlerError> {
    Ok(Reaction::nothing())
}

impl Checkout {
    fn request(&self, key: &OrderKey) -> Result<Reaction, HandlerError> {
        let customer = self.customer.clone();
        let requested = PaymentEvent::PaymentRequested { customer, amount: self.total }.encode()?;
        Ok(Reaction::new().append(key.payment_stream(), Expect::None, [requested]))
    }

    fn complete(&self, key: &OrderKey) -> Result<Reaction, HandlerError> {
        let (customer, total) = (self.customer.clone(), self.total);
        let completed = OrderEvent::OrderCompleted { customer, total }.encode()?;
        let order = Expect::version(self.order_version);
        Ok(Reaction::new().append(key.order_stream(), order, [completed]).complete())
    }

    fn give_up(&self, key: &OrderKey) -> Result<Reaction, HandlerError> {
        let (customer, reason) = (self.customer.clone(), NOT_PAID.to_owned());
        let cancelled = OrderEvent::OrderCancelled { customer, reason }.encode()?;
        let withdrawn = PaymentEvent::PaymentWithdrawn { reason: NOT_PAID.into() }.encode()?;
        let (order, payment) = (Expect::version(self.order_version), Expect::version(REQUESTED));
        let both = Reaction::new().append(key.order_stream(), order, [cancelled]);
        Ok(both.append(key.payment_stream(), payment, [withdrawn]).complete())
    }

    fn withdraw(&self, key: &OrderKey) -> Result<Reaction, HandlerError> {
        let withdrawn = PaymentEvent::PaymentWithdrawn { reason: CANCELLED.into() }.encode()?;
        let payment = Expect::version(REQUESTED);
        Ok(Reaction::new().append(key.payment_stream(), payment, [withdrawn]).complete())
    }

    fn refund(&self, key: &OrderKey) -> Result<Reaction, HandlerError> {
        let reason = CANCELLED.to_owned();
        let refunded = PaymentEvent::PaymentRefunded { amount: self.total, reason }.encode()?;
        let payment = Expect::version(RECEIVED);
        Ok(Reaction::new().append(key.payment_stream(), payment, [refunded]).complete())
    }
}

#[cfg(test)]
mod tests {
    use quorate_app::process::Scenario;
    use quorate_client::Event;

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(1_800);
    const PROCESS: PaymentProcess = PaymentProcess { patience: PATIENCE };
    const ORDER: &str = "acme/order-42";
    const PAYMENT: &str = "acme/payment-42";

    fn written(event: &impl EventSet) -> Event {
        event.encode().expect("an event")
    }

    fn submitted() -> Event {
        written(&OrderEvent::OrderSubmitted { customer: "ann".into(), total: 700 })
    }

    fn requested() -> Event {
        written(&PaymentEvent::PaymentRequested { customer: "ann".into(), amount: 700 })
    }

    fn received() -> Event {
        written(&PaymentEvent::PaymentReceived { amount: 700, reference: "b-1".into() })
    }

    fn cancelled(reason: &str) -> Event {
        written(&OrderEvent::OrderCancelled { customer: "ann".into(), reason: reason.into() })
    }

    fn withdrawn(reason: &str) -> Event {
        written(&PaymentEvent::PaymentWithdrawn { reason: reason.into() })
    }

    /// The order was submitted by the first event of its stream here, and its payment requested.
    fn waiting() -> Scenario<PaymentProcess> {
        Scenario::of(PROCESS).given(ORDER, submitted())
    }

    #[test]
    fn a_submitted_order_is_to_be_paid() {
        let request = Reaction::new().append(PAYMENT, Expect::None, [requested()]);
        Scenario::of(PROCESS)
            .when(ORDER, submitted())
            .then(request.schedule_after("payment", PATIENCE));
    }

    #[test]
    fn a_paid_order_is_completed() {
        let completed = OrderEvent::OrderCompleted { customer: "ann".into(), total: 700 };
        let completed = [written(&completed)];
        waiting()
            .when(PAYMENT, received())
            .then(Reaction::new().append(ORDER, Expect::version(1_u64), completed).complete())
            .when_passed(PATIENCE)
            .then_nothing();
    }

    #[test]
    fn an_order_that_is_not_paid_is_cancelled_in_time() {
        let both = Reaction::new()
            .append(ORDER, Expect::version(1_u64), [cancelled(NOT_PAID)])
            .append(PAYMENT, Expect::version(REQUESTED), [withdrawn(NOT_PAID)]);
        waiting()
            .when_passed(PATIENCE - Duration::from_secs(1))
            .then_nothing()
            .when_passed(Duration::from_secs(1))
            .then(both.complete());
    }

    #[test]
    fn the_payment_of_a_cancelled_order_is_withdrawn() {
        let withdraw =
            Reaction::new().append(PAYMENT, Expect::version(REQUESTED), [withdrawn(CANCELLED)]);
        waiting().when(ORDER, cancelled("changed my mind")).then(withdraw.complete());
    }

    #[test]
    fn an_order_that_was_never_submitted_has_no_payment() {
        Scenario::of(PROCESS).when(ORDER, cancelled("changed my mind")).then_nothing();
    }
}
