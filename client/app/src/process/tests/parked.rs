//! Tests of parked triggers: each is parked once, is listed with its reason, and is dropped for good.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use quorate_client::parking::{
    self, ParkedTrigger, ParkedTriggers, ParkingEvent, REPLAY_REQUESTED, TriggerCause,
};
use quorate_client::{Event, EventId, Expect, Query, RecordedEvent};
use serde::{Deserialize, Serialize};

use crate::context::Context;
use crate::process::error::ProcessError;
use crate::process::manager::{Cause, HandlerError, ProcessManager, Trigger};
use crate::process::reaction::Reaction;
use crate::process::settings::{OnFailure, Settings};
use crate::process::tests::fake::{Crash, Fake};
use crate::process::tests::shop::{DEADLINE, paid, placed, run_manager, settings};

/// The stream of what the carrier parks.
pub(crate) const STREAM: &str = "carrier$parked";

/// Ships what is paid, and reminds of it later; while it is broken, it does neither.
#[derive(Clone, Default)]
pub(crate) struct Carrier {
    is_broken: Arc<AtomicBool>,
    /// The log in which somebody drops the trigger while it is decided on, and the trigger.
    pub(crate) drops: Option<(Fake, EventId)>,
}

/// The number of events that an instance has handled.
#[derive(Debug, Default, Deserialize, Serialize)]
pub(crate) struct Handled(pub(crate) u64);

impl Carrier {
    pub(crate) fn broken() -> Carrier {
        let carrier = Carrier::default();
        carrier.is_broken.store(true, Ordering::SeqCst);
        carrier
    }
}

impl ProcessManager for Carrier {
    type State = Handled;

    fn name(&self) -> &str {
        "carrier"
    }

    fn query(&self) -> Query {
        Query::category("order")
    }

    fn instance(&self, event: &RecordedEvent) -> Option<String> {
        event.stream.as_str().strip_prefix("order-").map(str::to_owned)
    }

    fn react(
        &self,
        handled: &mut Handled,
        trigger: &Trigger<'_>,
    ) -> Result<Reaction, HandlerError> {
        if let Some((fake, dropped)) = &self.drops {
            fake.append(STREAM, ParkingEvent::TriggerDropped {}.about(*dropped));
        }
        handled.0 += 1;
        let kind = trigger.cause.event().map_or("Due", |event| event.kind.as_str());
        if self.is_broken.load(Ordering::SeqCst) && kind != "Placed" {
            return Err(format!("the carrier is broken at {kind}").into());
        }
        let shipping = format!("shipping-{}", trigger.instance);
        Ok(match &trigger.cause {
            Cause::Event(event) => match event.kind.as_str() {
                "Placed" => Reaction::new().schedule_after_with("remind", DEADLINE, &[1.5]),
                "Paid" => {
                    let asked = Event::json("Asked", &handled)?;
                    Reaction::new().append(shipping, Expect::Any, [asked])
                }
                "Closed" => Reaction::new().complete(),
                _ => Reaction::nothing(),
            },
            Cause::Due(due) => {
                let reminded = Event::json("Reminded", &due.payload::<[f64; 1]>()?)?;
                Reaction::new().append(shipping, Expect::Any, [reminded])
            }
        })
    }
}

/// Runs a carrier that parks until a condition holds, or until it dies at the step that is set in the log.
pub(crate) async fn carry(
    fake: &Fake,
    carrier: &Carrier,
    is_so: impl Fn(&Fake) -> bool,
) -> Result<(), ProcessError> {
    let settings = Settings { on_failure: OnFailure::Park, conflicts_max: 3, ..settings(fake) };
    run_manager(fake, carrier, settings, is_so).await
}

/// Returns what is parked.
pub(crate) fn parked(fake: &Fake) -> Vec<ParkedTrigger> {
    let mut parked = ParkedTriggers::default();
    for event in fake.events().iter().filter(|event| event.stream.as_str() == STREAM) {
        parked.take_in(event);
    }
    parked.into_list()
}

/// An order that is paid while the carrier is broken: its payment is parked, but nothing else.
pub(crate) async fn with_a_parked_payment(lanes: usize) -> Fake {
    let mut fake = Fake::new();
    fake.lanes = lanes;
    fake.append("order-1", placed(10));
    let context = Context::new().created_by("ann").tenant("acme");
    fake.append("order-1", context.stamp(paid().correlation("pay-1")).expect("an event"));
    let is_parked = |fake: &Fake| fake.count(STREAM, "TriggerParked") == 1;
    carry(&fake, &Carrier::broken(), is_parked).await.expect("it goes on");
    fake
}

/// Requests a replay of a parked trigger.
pub(crate) fn request(fake: &Fake, parked: &ParkedTrigger) {
    let instance = parked.instance.clone();
    fake.append(STREAM, ParkingEvent::ReplayRequested { instance }.about(parked.id));
}

#[tokio::test(start_paused = true)]
async fn a_parked_trigger_is_listed_with_its_reason_and_belongs_to_the_same_user_and_tenant() {
    let fake = with_a_parked_payment(1).await;
    let list = parked(&fake);
    let [one] = &list[..] else { panic!("{list:?}") };
    assert_eq!((one.instance.as_str(), one.requested), ("1", None));
    assert_eq!(one.reason, "the handler failed: the carrier is broken at Paid");
    assert_eq!(one.cause.to_string(), "`Paid` in `order-1` at position 2");
    let events = fake.events();
    let event = events.iter().find(|event| event.id == one.id).expect("it is in the log");
    let (payment, record) = (&events[1], event.position.0 - 2);
    assert_eq!(Context::of(event), Context::following(payment));
    assert_eq!(events[record as usize].kind.as_str(), "ProcessParked", "in one transaction");
}

#[tokio::test(start_paused = true)]
async fn a_parked_due_time_is_listed_with_its_value() {
    let fake = Fake::new();
    fake.append("order-1", placed(10));
    let is_parked = |fake: &Fake| fake.count(STREAM, "TriggerParked") == 1;
    carry(&fake, &Carrier::broken(), is_parked).await.expect("it goes on");
    let list = parked(&fake);
    let TriggerCause::Due { key, payload, since, .. } = &list[0].cause else {
        panic!("{list:?}");
    };
    assert_eq!((key.as_str(), payload.get(), *since), ("remind", "[1.5]", 1));
}

#[tokio::test(start_paused = true)]
async fn a_crash_at_any_step_parks_a_trigger_once() {
    let orders = || {
        let fake = Fake::new();
        fake.append("order-1", paid());
        fake.append("order-2", paid());
        fake
    };
    let over = |fake: &Fake| fake.count(STREAM, "TriggerParked") == 2;
    let fake = orders();
    fake.arm(None);
    carry(&fake, &Carrier::broken(), over).await.expect("it goes on");
    for step in 0..fake.steps() {
        for done in [false, true] {
            let fake = orders();
            fake.arm(Some(Crash { step, done }));
            carry(&fake, &Carrier::broken(), over).await.expect("it goes on until it dies");
            fake.arm(None);
            carry(&fake, &Carrier::broken(), over).await.expect("it goes on");
            assert_eq!(parked(&fake).len(), 2, "step {step}, done: {done}");
            for order in ["carrier-1", "carrier-2"] {
                assert_eq!(fake.count(order, "ProcessParked"), 1, "step {step}, done: {done}");
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_trigger_that_was_dropped_is_neither_listed_nor_replayed() {
    let fake = with_a_parked_payment(1).await;
    let list = parked(&fake);
    fake.append(STREAM, ParkingEvent::TriggerDropped {}.about(list[0].id));
    fake.append(STREAM, ParkingEvent::TriggerDropped {}.about(list[0].id));
    assert!(parked(&fake).is_empty());
    request(&fake, &list[0]);
    fake.append("order-2", paid());
    let over = |fake: &Fake| fake.count("shipping-2", "Asked") == 1;
    carry(&fake, &Carrier::default(), over).await.expect("it goes on");
    assert_eq!(fake.count("shipping-1", "Asked"), 0);
    assert_eq!(fake.count(STREAM, "TriggerReplayed"), 0);
}

#[tokio::test(start_paused = true)]
async fn a_trigger_that_is_dropped_while_it_is_replayed_has_no_effect() {
    let fake = with_a_parked_payment(1).await;
    let list = parked(&fake);
    request(&fake, &list[0]);
    let carrier = Carrier { drops: Some((fake.clone(), list[0].id)), ..Carrier::default() };
    fake.append("order-1", Event::json("Closed", &1).expect("an event"));
    let over = |fake: &Fake| fake.count("carrier-1", "ProcessReacted") == 2;
    carry(&fake, &carrier, over).await.expect("it goes on");
    assert!(parked(&fake).is_empty());
    assert_eq!(fake.count("shipping-1", "Asked"), 0);
    assert_eq!(fake.count(STREAM, "TriggerReplayed"), 0);
}

#[tokio::test(start_paused = true)]
async fn a_request_that_nobody_could_mean_stops_nobody() {
    let fake = with_a_parked_payment(1).await;
    let list = parked(&fake);
    let requests = |instance: &str, trigger| {
        let instance = instance.to_owned();
        fake.append(STREAM, ParkingEvent::ReplayRequested { instance }.about(trigger));
    };
    let unknown = EventId::from_bytes([7; 16]).expect("an id");
    requests("1", unknown);
    requests("no\nname", list[0].id);
    requests("2", list[0].id);
    fake.append(STREAM, Event::new(REPLAY_REQUESTED, "{}").expect("an event"));
    fake.append("order-3", paid());
    let over = |fake: &Fake| fake.count("shipping-3", "Asked") == 1;
    carry(&fake, &Carrier::default(), over).await.expect("it goes on");
    assert_eq!(fake.count("shipping-1", "Asked"), 0);
    assert_eq!(parked(&fake).len(), 1);
    assert_eq!(parking::stream_of("carrier"), STREAM);
}
