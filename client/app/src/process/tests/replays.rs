//! Tests of replays: whatever crashes and however many runners there are, a request gets one answer, and a trigger has
//! its effect once.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use quorate_client::parking::{ParkingEvent, TriggerCause};
use quorate_client::{Event, EventId};

use crate::context::Context;
use crate::process::tests::fake::{Crash, Fake};
use crate::process::tests::parked::{
    Carrier, Handled, STREAM, carry, parked, request, with_a_parked_payment,
};
use crate::process::tests::shop::{paid, placed};

fn answers(fake: &Fake) -> (usize, usize) {
    (fake.count(STREAM, "TriggerReplayed"), fake.count(STREAM, "ReplayFailed"))
}

fn is_answered(fake: &Fake) -> bool {
    answers(fake) != (0, 0)
}

fn check_ids(fake: &Fake, story: &str) {
    let events = fake.events();
    let ids: BTreeSet<String> = events.iter().map(|event| event.id.to_string()).collect();
    assert_eq!(ids.len(), events.len(), "{story}: an id is there twice");
}

/// An order whose payment is parked, and is to be replayed.
async fn with_a_request(lanes: usize) -> Fake {
    let fake = with_a_parked_payment(lanes).await;
    request(&fake, &parked(&fake)[0]);
    fake.arm(None);
    fake
}

#[tokio::test(start_paused = true)]
async fn a_replay_has_the_effect_that_was_missing_for_the_same_user_and_tenant() {
    let fake = with_a_request(1).await;
    assert!(parked(&fake)[0].requested.is_some());
    let request = fake.events().last().expect("the request").id;
    carry(&fake, &Carrier::default(), is_answered).await.expect("it goes on");
    assert!(parked(&fake).is_empty());
    let events = fake.events();
    let find = |kind: &str| events.iter().find(|event| event.kind.as_str() == kind);
    let asked = find("Asked").expect("the effect");
    assert_eq!(Context::of(asked), Context::following(&events[1]));
    let replayed = Context::of(find("TriggerReplayed").expect("the answer"));
    assert_eq!(replayed, Context::following(&events[1]).causation_id(request.to_string()));
    // Another run knows that the request was answered.
    fake.append("order-2", paid());
    let over = |fake: &Fake| fake.count("shipping-2", "Asked") == 1;
    carry(&fake, &Carrier::default(), over).await.expect("it goes on");
    assert_eq!(fake.count("shipping-1", "Asked"), 1);
}

#[tokio::test(start_paused = true)]
async fn a_crash_at_any_step_neither_loses_nor_repeats_a_replay() {
    for (lanes, is_broken) in [(1, false), (3, false), (1, true)] {
        let carrier = if is_broken { Carrier::broken() } else { Carrier::default() };
        let fake = with_a_request(lanes).await;
        carry(&fake, &carrier, is_answered).await.expect("it goes on");
        let steps = fake.steps();
        assert!(steps > 5, "only {steps} steps: the crashes would be missed");
        for (step, done) in (0..steps).flat_map(|step| [(step, false), (step, true)]) {
            let story = format!("{lanes} lanes, step {step}, done: {done}, {is_broken}");
            let fake = with_a_request(lanes).await;
            fake.arm(Some(Crash { step, done }));
            carry(&fake, &carrier, is_answered).await.expect("it goes on until it dies");
            fake.arm(None);
            fake.append("order-2", placed(1));
            let over =
                |fake: &Fake| is_answered(fake) && fake.count("carrier-2", "ProcessReacted") == 1;
            carry(&fake, &carrier, over).await.expect("it goes on");
            let replayed = usize::from(!is_broken);
            assert_eq!(answers(&fake), (replayed, 1 - replayed), "{story}");
            assert_eq!(fake.count("shipping-1", "Asked"), replayed, "{story}");
            check_ids(&fake, &story);
        }
    }
}

/// One of the runners still has the handler that fails: either its answer counts or that of the others.
#[tokio::test(start_paused = true)]
async fn of_several_runners_one_answers_a_request() {
    let mut outcomes = BTreeSet::new();
    for seed in 0..100_u64 {
        let mut fake = with_a_request(1).await;
        fake.turns = Some(Arc::new(Mutex::new(seed)));
        fake.append("order-2", placed(1));
        let over =
            |fake: &Fake| is_answered(fake) && fake.count("carrier-2", "ProcessReacted") == 1;
        let carriers = [Carrier::default(), Carrier::broken(), Carrier::default()];
        let runners = carriers.iter().map(|carrier| carry(&fake, carrier, over));
        for ended in futures_util::future::join_all(runners).await {
            ended.expect("it goes on");
        }
        let (replayed, failed) = answers(&fake);
        assert_eq!(replayed + failed, 1, "seed {seed}");
        assert_eq!(fake.count("shipping-1", "Asked"), replayed, "seed {seed}");
        assert_eq!(parked(&fake).len(), failed, "seed {seed}");
        check_ids(&fake, &format!("seed {seed}"));
        outcomes.insert(replayed);
    }
    assert_eq!(outcomes.len(), 2, "each of them was first at least once");
}

#[tokio::test(start_paused = true)]
async fn a_replay_that_fails_again_stays_parked_and_may_be_requested_again() {
    let fake = with_a_parked_payment(1).await;
    let [one] = &parked(&fake)[..] else { panic!("one") };
    // Two requests at once get one answer.
    request(&fake, one);
    request(&fake, one);
    carry(&fake, &Carrier::broken(), is_answered).await.expect("it goes on");
    let [still] = &parked(&fake)[..] else { panic!("one") };
    assert_eq!((still.id, still.position, still.requested), (one.id, one.position, None));
    assert_eq!(still.reason, "the handler failed: the carrier is broken at Paid");
    request(&fake, still);
    let over = |fake: &Fake| answers(fake).0 == 1;
    carry(&fake, &Carrier::default(), over).await.expect("it goes on");
    assert_eq!(answers(&fake), (1, 1));
    assert_eq!(fake.count("shipping-1", "Asked"), 1);
    assert!(parked(&fake).is_empty());
}

#[tokio::test(start_paused = true)]
async fn an_instance_that_went_on_reacts_on_its_present_state() {
    let fake = with_a_parked_payment(1).await;
    fake.append("order-1", paid());
    fake.append("order-1", paid());
    let went_on = |fake: &Fake| fake.count("shipping-1", "Asked") == 2;
    carry(&fake, &Carrier::default(), went_on).await.expect("it goes on");
    request(&fake, &parked(&fake)[0]);
    let over = |fake: &Fake| fake.count("shipping-1", "Reminded") == 1;
    carry(&fake, &Carrier::default(), over).await.expect("it goes on");
    let events = fake.events();
    let asked = events.iter().filter(|event| event.kind.as_str() == "Asked");
    let numbers: Vec<u64> =
        asked.map(|event| event.json::<Handled>().expect("a number").0).collect();
    assert_eq!(numbers, [2, 3, 4], "the due time fired after the replay");
}

#[tokio::test(start_paused = true)]
async fn an_instance_that_has_ended_reacts_to_no_replay_and_the_trigger_stays_parked() {
    for is_closed in [false, true] {
        let fake = with_a_parked_payment(1).await;
        if is_closed {
            fake.close("carrier-1");
        } else {
            fake.append("order-1", Event::json("Closed", &1).expect("an event"));
        }
        request(&fake, &parked(&fake)[0]);
        carry(&fake, &Carrier::default(), is_answered).await.expect("it goes on");
        let [still] = &parked(&fake)[..] else { panic!("one") };
        assert_eq!(still.reason, "the instance has ended: it reacts to nothing any more");
        assert_eq!(fake.count("shipping-1", "Asked"), 0);
        fake.append("order-1", paid());
        fake.append("order-2", paid());
        let over = |fake: &Fake| fake.count("shipping-2", "Asked") == 1;
        carry(&fake, &Carrier::default(), over).await.expect("it goes on");
        assert_eq!(fake.count("shipping-1", "Asked"), 0, "it has ended for good");
    }
}

#[tokio::test(start_paused = true)]
async fn a_due_time_is_replayed_and_one_of_its_name_that_was_scheduled_since_fires_too() {
    let fake = Fake::new();
    fake.append("order-1", placed(10));
    let is_parked = |fake: &Fake| !parked(fake).is_empty();
    carry(&fake, &Carrier::broken(), is_parked).await.expect("it goes on");
    fake.append("order-1", placed(10));
    request(&fake, &parked(&fake)[0]);
    carry(&fake, &Carrier::default(), is_answered).await.expect("it goes on");
    assert_eq!((answers(&fake), fake.count("shipping-1", "Reminded")), ((1, 0), 1));
    let over = |fake: &Fake| fake.count("shipping-1", "Reminded") == 2;
    carry(&fake, &Carrier::default(), over).await.expect("it goes on");
}

#[tokio::test(start_paused = true)]
async fn a_trigger_whose_event_was_removed_stays_parked() {
    let fake = Fake::new();
    fake.append("order-1", paid());
    let (position, stream, kind) = (1, "order-1".to_owned(), "Paid".to_owned());
    let cause = TriggerCause::Event { position, id: "another".to_owned(), stream, kind };
    let (instance, reason) = ("1".to_owned(), "no".to_owned());
    let trigger = EventId::from_bytes([7; 16]).expect("an id");
    let event = ParkingEvent::TriggerParked { instance, cause, reason }.about(trigger);
    fake.append(STREAM, event.id(trigger));
    request(&fake, &parked(&fake)[0]);
    carry(&fake, &Carrier::default(), is_answered).await.expect("it goes on");
    assert_eq!(parked(&fake)[0].reason, "the event is not in the log any more");
}
