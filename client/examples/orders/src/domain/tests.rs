//! Tests of the rules, in the words of the domain and without a store.

use quorate_app::decider::{Scenario, given};
use quorate_app::evolution::Golden;
use quorate_client::Event;

use super::*;

fn tea(quantity: u32) -> Item {
    Item { sku: "tea".into(), quantity, unit_price: 350 }
}

fn created() -> OrderEvent {
    OrderEvent::OrderCreated { customer: "ann".into() }
}

fn submitted(total: u64) -> OrderEvent {
    OrderEvent::OrderSubmitted { customer: "ann".into(), total }
}

fn completed() -> OrderEvent {
    OrderEvent::OrderCompleted { customer: "ann".into(), total: 350 }
}

fn cancelled(reason: &str) -> OrderEvent {
    OrderEvent::OrderCancelled { customer: "ann".into(), reason: reason.into() }
}

fn create() -> OrderCommand {
    OrderCommand::Create { customer: "ann".into() }
}

fn cancel() -> OrderCommand {
    OrderCommand::Cancel { reason: "changed my mind".into() }
}

#[test]
fn an_order_is_created_once() {
    given::<Order>([])
        .when(&create())
        .then_events([created()])
        .when(&create())
        .then_error(&Refusal::Exists);
    given::<Order>([]).when(&OrderCommand::Submit).then_error(&Refusal::Missing);
}

#[test]
fn items_are_added_and_removed() {
    let order: Scenario<Order> = given::<Order>([created()])
        .when(&OrderCommand::AddItem(tea(2)))
        .then_events([OrderEvent::ItemAdded(tea(2))])
        .when(&OrderCommand::AddItem(tea(1)))
        .then_events([OrderEvent::ItemAdded(tea(1))]);
    assert_eq!(order.state().total(), 3 * 350);
    order
        .when(&OrderCommand::RemoveItem { sku: "tea".into() })
        .then_events([OrderEvent::ItemRemoved(tea(3))])
        .when(&OrderCommand::RemoveItem { sku: "tea".into() })
        .then_error(&Refusal::NoSuchItem("tea".into()));
}

#[test]
fn an_item_keeps_its_price_and_its_limits() {
    let dearer = Item { unit_price: 400, ..tea(1) };
    let other = Refusal::OtherPrice { sku: "tea".into(), unit_price: 350 };
    given::<Order>([created(), OrderEvent::ItemAdded(tea(1))])
        .when(&OrderCommand::AddItem(dearer))
        .then_error(&other);
    for wrong in [tea(0), tea(10_001), Item { unit_price: 0, ..tea(1) }] {
        let order = given::<Order>([created()]).when(&OrderCommand::AddItem(wrong));
        assert!(matches!(order.refusal(), Refusal::Invalid(_)), "{}", order.refusal());
    }
}

#[test]
fn only_an_order_with_items_is_submitted() {
    given::<Order>([created()]).when(&OrderCommand::Submit).then_error(&Refusal::Empty);
    given::<Order>([created(), OrderEvent::ItemAdded(tea(2))])
        .when(&OrderCommand::Submit)
        .then_events([submitted(700)])
        .when(&OrderCommand::AddItem(tea(1)))
        .then_error(&Refusal::Stage(Status::Submitted));
}

#[test]
fn an_order_is_cancelled_until_it_is_completed() {
    let until_submitted = [created(), OrderEvent::ItemAdded(tea(1)), submitted(350)];
    given::<Order>(until_submitted.clone())
        .when(&cancel())
        .then_events([cancelled("changed my mind")])
        .when(&cancel())
        .then_error(&Refusal::Stage(Status::Cancelled));
    given::<Order>(until_submitted)
        .given([completed()])
        .when(&cancel())
        .then_error(&Refusal::Stage(Status::Completed));
}

#[test]
fn an_item_of_the_first_schema_is_one_piece() {
    let old = Event::new("ItemAdded", r#"{"sku":"tea","price":350}"#).expect("an event");
    given::<Order>([created()])
        .given_written([old])
        .when(&OrderCommand::Submit)
        .then_events([submitted(350)]);
}

#[test]
fn a_payment_is_received_once_and_in_full() {
    let receive = |amount| PaymentCommand::Receive { amount, reference: "b-1".into() };
    let requested = PaymentEvent::PaymentRequested { customer: "ann".into(), amount: 700 };
    let received = PaymentEvent::PaymentReceived { amount: 700, reference: "b-1".into() };
    given::<Payment>([]).when(&receive(700)).then_error(&PaymentRefusal::NotRequested);
    given::<Payment>([requested.clone()])
        .when(&receive(600))
        .then_error(&PaymentRefusal::OtherAmount(700))
        .when(&receive(700))
        .then_events([received])
        .when(&receive(700))
        .then_error(&PaymentRefusal::Paid);
    let withdrawn = PaymentEvent::PaymentWithdrawn { reason: "too late".into() };
    given::<Payment>([requested, withdrawn])
        .when(&receive(700))
        .then_error(&PaymentRefusal::Withdrawn);
}

#[test]
fn events_of_all_schemas_can_be_read() {
    let (customer, reason) = ("ann".to_owned(), "changed my mind".to_owned());
    Golden::<OrderEvent>::new("tests/events/order")
        .sample(created())
        .sample(OrderEvent::ItemAdded(tea(2)))
        .sample(OrderEvent::ItemRemoved(tea(2)))
        .sample(submitted(700))
        .sample(completed())
        .sample(cancelled(&reason))
        .check();
    Golden::<PaymentEvent>::new("tests/events/payment")
        .sample(PaymentEvent::PaymentRequested { customer, amount: 700 })
        .sample(PaymentEvent::PaymentReceived { amount: 700, reference: "b-1".into() })
        .sample(PaymentEvent::PaymentWithdrawn { reason: reason.clone() })
        .sample(PaymentEvent::PaymentRefunded { amount: 700, reason })
        .check();
}

#[test]
fn a_key_is_that_of_its_streams() {
    let key = OrderKey { tenant: "acme".into(), id: "2026-42".into() };
    for stream in [key.order_stream(), key.payment_stream()] {
        let stream = quorate_client::StreamName::new(stream).expect("a name");
        assert_eq!(OrderKey::of(&stream).as_ref(), Some(&key));
    }
    assert_eq!(OrderKey::parse(&key.to_string()), Some(key));
}
