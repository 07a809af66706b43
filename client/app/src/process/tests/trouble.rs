//! Tests of process managers in trouble.

use std::time::Duration;

use quorate_client::{Client, Event, Expect, Query, RecordedEvent};

use crate::context::Context;
use crate::process::decide::{instance_of, stream_of};
use crate::process::error::ProcessError;
use crate::process::manager::{HandlerError, ProcessManager, Trigger};
use crate::process::reaction::Reaction;
use crate::process::runner::ProcessRunner;
use crate::process::running::{Running, check_name};
use crate::process::settings::{OnFailure, Settings};
use crate::process::tests::fake::Fake;
use crate::process::tests::shop::{DEADLINE, Shop, paid, placed, run, run_with, settings};

fn parking(fake: &Fake) -> Settings {
    Settings { on_failure: OnFailure::Park, conflicts_max: 3, ..settings(fake) }
}

/// Instances are handled side by side: neither of the two waits for the other.
fn one_is_parked_and_two_goes_on(fake: &Fake) -> bool {
    fake.count("shop-1", "ProcessParked") > 0 && fake.count("log-2", "Noted") > 0
}

#[tokio::test(start_paused = true)]
async fn what_was_acknowledged_before_a_deadline_is_handled_before_it_fires() {
    // The subscription hands nothing out: it is so slow that the payment has not arrived when the deadline comes.
    let mut fake = Fake::new();
    fake.append("order-1", placed(10));
    run(&fake, |fake| fake.count("log-1", "Noted") > 0).await.expect("it goes on");
    fake.append("order-1", paid());
    fake.is_mute = true;
    let settled =
        |fake: &Fake| fake.count("order-1", "Cancelled") + fake.count("shipping-1", "Asked") > 0;
    run(&fake, settled).await.expect("it goes on");
    assert_eq!(fake.count("shipping-1", "Asked"), 1);
    assert_eq!(fake.count("order-1", "Cancelled"), 0);
}

#[tokio::test(start_paused = true)]
async fn what_follows_from_an_event_or_much_later_is_for_the_same_user_and_tenant() {
    let fake = Fake::new();
    let context = Context::new().created_by("ann").tenant("acme");
    fake.append("order-1", context.stamp(placed(10)).expect("an event"));
    let cancelled = |fake: &Fake| fake.count("order-1", "Cancelled") > 0;
    run(&fake, cancelled).await.expect("it goes on");
    let events = fake.events();
    let events: Vec<_> =
        events.iter().filter(|event| event.kind.as_str() != "ProcessBookmarked").collect();
    assert!(events.len() > 4, "{events:?}");
    for event in events {
        let Context { correlation_id, created_by, tenant, .. } = Context::of(event);
        let known = (&*correlation_id, &*created_by, &*tenant);
        assert_eq!(known, ("command-10", "ann", "acme"), "{event:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_clock_that_was_set_is_noticed_within_a_second() {
    let fake = Fake::new();
    fake.append("order-1", placed(10));
    let began = tokio::time::Instant::now();
    let cancelled = |fake: &Fake| fake.count("order-1", "Cancelled") > 0;
    let jump = async {
        tokio::time::sleep(Duration::from_secs(60)).await;
        let ahead = i64::try_from(DEADLINE.as_micros()).expect("half an hour");
        *fake.clock().ahead_us.lock().expect("no panic") = ahead;
    };
    let (ended, ()) = tokio::join!(run(&fake, cancelled), jump);
    ended.expect("it goes on");
    assert!(began.elapsed() <= Duration::from_secs(61), "after {:?}", began.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_conflict_on_another_stream_is_tried_again_and_then_parked() {
    let fake = Fake::new();
    fake.append("shipping-1", paid());
    fake.append("order-1", placed(10));
    fake.append("order-1", paid());
    fake.append("order-2", placed(10));
    run_with(&fake, parking(&fake), one_is_parked_and_two_goes_on).await.expect("it goes on");
    let events = fake.events();
    let parked: Vec<_> =
        events.iter().filter(|event| event.kind.as_str() == "ProcessParked").collect();
    assert_eq!(parked.len(), 1);
    let record: serde_json::Value = parked[0].json().expect("a record");
    let reason = record["reason"].as_str().expect("a reason");
    assert!(reason.contains("`shipping-1` is at version 1, expected none"), "{reason}");
    assert_eq!(record["state"], serde_json::json!({ "total": 10, "touched": 1 }));
    assert!(record["due"].get("payment").is_some(), "the deadline stands");
    assert_eq!(fake.count("shipping-1", "Asked"), 0);

    // A second run knows the parked trigger.
    run_with(&fake, parking(&fake), |fake| fake.count("order-1", "Cancelled") > 0)
        .await
        .expect("it goes on");
    assert_eq!(fake.count("shop-1", "ProcessParked"), 1);
}

#[tokio::test(start_paused = true)]
async fn a_manager_that_cannot_go_on_stops_and_says_where() {
    let fake = Fake::new();
    fake.append("order-1", placed(10));
    fake.append("shipping-1", paid());
    fake.append("order-1", paid());
    let stopped = run(&fake, |_| false).await.expect_err("it stops by default");
    let ProcessError::Stuck { instance, trigger, reason } = stopped else {
        panic!("{stopped}");
    };
    assert_eq!(instance, "1");
    assert!(trigger.contains("`Paid` in `order-1` at position 3"), "{trigger}");
    assert!(reason.contains("shipping-1"), "{reason}");
    assert_eq!(fake.count("shop-1", "ProcessReacted"), 1, "the payment is not handled");
}

/// Copies each event of an order to a stream whose version it must guess, and guesses better after a
/// conflict.
struct Copier;

impl ProcessManager for Copier {
    type State = ();

    fn name(&self) -> &str {
        "copier"
    }

    fn query(&self) -> Query {
        Query::category("order")
    }

    fn instance(&self, event: &RecordedEvent) -> Option<String> {
        let is_none = event.stream.as_str() == "order-none";
        Some(if is_none { "no\nname" } else { "only" }.to_owned())
    }

    fn react(&self, (): &mut (), trigger: &Trigger<'_>) -> Result<Reaction, HandlerError> {
        let guess =
            trigger.conflict.as_ref().and_then(|conflict| conflict.actual).unwrap_or_default();
        Ok(Reaction::new().append("copy", Expect::version(guess), [Event::json("Copied", &1)?]))
    }
}

#[tokio::test(start_paused = true)]
async fn a_handler_learns_of_a_conflict_and_may_decide_otherwise() {
    let fake = Fake::new();
    for total in 0..3 {
        fake.append("order-1", placed(total));
    }
    let settings = settings(&fake);
    let copying = async {
        let mut running = Running::begin(&fake, &Copier, settings).await.expect("it begins");
        running.go().await
    };
    tokio::select! {
        error = copying => panic!("{error}"),
        () = fake.until(|fake| fake.count("copy", "Copied") == 3) => {}
    }
}

/// Pays an invoice unless it was cancelled, and notes what it may not pay.
struct Payer;

impl ProcessManager for Payer {
    type State = ();

    fn name(&self) -> &str {
        "payer"
    }

    fn query(&self) -> Query {
        Query::category("order")
    }

    fn instance(&self, event: &RecordedEvent) -> Option<String> {
        event.stream.as_str().strip_prefix("order-").map(str::to_owned)
    }

    fn react(&self, (): &mut (), trigger: &Trigger<'_>) -> Result<Reaction, HandlerError> {
        let invoice = format!("invoice-{}", trigger.instance);
        if let Some(conflict) = &trigger.conflict {
            let violations: Vec<u64> =
                conflict.violations.iter().map(|violation| violation.position.0).collect();
            let noted = Event::json("Noted", &violations)?;
            return Ok(Reaction::new().append(invoice, Expect::Exists, [noted]));
        }
        let cancelled = Query::stream(&invoice).types(["Cancelled"]);
        let paid = Event::json("Paid", &1)?;
        Ok(Reaction::new().append(invoice, Expect::Exists, [paid]).unless(cancelled, 0))
    }
}

#[tokio::test(start_paused = true)]
async fn a_reaction_does_not_happen_if_its_condition_is_violated() {
    let fake = Fake::new();
    for (invoice, kind) in
        [("invoice-1", "Sent"), ("invoice-2", "Sent"), ("invoice-1", "Cancelled")]
    {
        fake.append(invoice, Event::json(kind, &1).expect("an event"));
    }
    fake.append("order-1", placed(1));
    fake.append("order-2", placed(1));
    let paying = async {
        let mut running = Running::begin(&fake, &Payer, settings(&fake)).await.expect("it begins");
        running.go().await
    };
    tokio::select! {
        error = paying => panic!("{error}"),
        () = fake.until(|fake| {
            fake.count("invoice-1", "Noted") == 1 && fake.count("invoice-2", "Paid") == 1
        }) => {}
    }
    assert_eq!(fake.count("invoice-1", "Paid"), 0);
    let noted = fake.events().into_iter().find(|event| event.kind.as_str() == "Noted");
    assert_eq!(noted.expect("it is there").json::<Vec<u64>>().expect("numbers"), [3]);
}

/// An instance whose reaction meets conflicts again and again waits before each attempt; nobody else does.
#[tokio::test(start_paused = true)]
async fn an_instance_in_trouble_keeps_no_other_instance_waiting() {
    for (lanes, waits) in [(1, true), (2, false)] {
        let mut fake = Fake::new();
        fake.lanes = lanes;
        fake.append("shipping-1", paid());
        fake.append("order-1", placed(10));
        fake.append("order-1", paid());
        for order in ["order-2", "order-3"] {
            fake.append(order, placed(10));
            fake.append(order, paid());
        }
        let began = tokio::time::Instant::now();
        let over = |fake: &Fake| fake.count("shipping-3", "Asked") == 1;
        let parking = Settings { conflicts_max: 6, ..parking(&fake) };
        run_with(&fake, parking, over).await.expect("it goes on");
        assert_eq!(began.elapsed() > Duration::from_millis(300), waits, "{lanes} lanes");
        // The bookmark must not pass by the one that is not settled.
        run_with(&fake, self::parking(&fake), |fake| fake.count("shop-1", "ProcessParked") == 1)
            .await
            .expect("it goes on");
    }
}

#[tokio::test(start_paused = true)]
async fn a_handler_that_fails_is_parked_with_its_reason() {
    let fake = Fake::new();
    let no_number = Event::json("Placed", "ten").expect("an event");
    fake.append("order-1", no_number);
    fake.append("order-2", placed(10));
    run_with(&fake, parking(&fake), one_is_parked_and_two_goes_on).await.expect("it goes on");
    assert_eq!(fake.count("shop-1", "ProcessParked"), 1);
    assert_eq!(fake.count("shop-1", "ProcessReacted"), 0);
}

#[tokio::test(start_paused = true)]
async fn an_instance_whose_stream_is_closed_is_over_and_stops_nobody() {
    let fake = Fake::new();
    fake.close("shop-1");
    fake.append("order-1", placed(10));
    fake.append("order-2", placed(10));
    let over = |fake: &Fake| fake.count("order-2", "Cancelled") > 0;
    run(&fake, over).await.expect("it goes on");
    assert_eq!(fake.count("order-1", "Cancelled"), 0);
}

#[tokio::test(start_paused = true)]
async fn a_stray_event_in_an_instances_stream_stops_nobody() {
    let fake = Fake::new();
    fake.append("order-1", placed(10));
    run(&fake, |fake| fake.count("log-1", "Noted") > 0).await.expect("it goes on");
    fake.append("shop-1", Event::json("Stray", &1).expect("an event"));
    let cancelled = |fake: &Fake| fake.count("order-1", "Cancelled") > 0;
    let stray = async {
        tokio::time::sleep(Duration::from_secs(60)).await;
        fake.append("shop-1", Event::json("Stray", &2).expect("an event"));
    };
    let (ended, ()) = tokio::join!(run(&fake, cancelled), stray);
    ended.expect("it goes on");
    assert_eq!(fake.count("order-1", "Cancelled"), 1);
}

#[test]
fn a_name_that_is_no_category_is_refused() {
    for name in ["", "a-b", "a/b", "$a", "a\n"] {
        let refused = check_name(name).expect_err(name);
        assert!(matches!(refused, ProcessError::Name { .. }), "{refused}");
    }
    check_name("paymentDeadline").expect("a name");
}

#[test]
fn an_instance_with_a_path_has_its_stream_in_that_path() {
    for (instance, stream) in
        [("42", "shop-42"), ("acme/eu/order-42", "acme/eu/shop-order-42"), ("a-b", "shop-a-b")]
    {
        assert_eq!(stream_of("shop", instance), stream);
        assert_eq!(instance_of("shop", stream).as_deref(), Some(instance));
    }
    for foreign in ["shop", "shops-1", "shop-1/order-2", "shop$bookmark"] {
        assert_eq!(instance_of("shop", foreign), None, "{foreign}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_instance_that_can_have_no_stream_is_passed_over_or_stops_the_manager() {
    let fake = Fake::new();
    fake.append("order-none", placed(10));
    fake.append("order-1", placed(10));
    let mut stopping = Running::begin(&fake, &Copier, settings(&fake)).await.expect("it begins");
    let stopped = stopping.go().await;
    assert!(matches!(stopped, ProcessError::Stuck { .. }), "{stopped}");
    let mut parking = Running::begin(&fake, &Copier, parking(&fake)).await.expect("it begins");
    tokio::select! {
        error = parking.go() => panic!("{error}"),
        () = fake.until(|fake| fake.count("copy", "Copied") == 1) => {}
    }
}

#[tokio::test(start_paused = true)]
async fn a_runner_stops_while_its_cluster_cannot_be_reached() {
    let client = Client::builder().endpoints(["127.0.0.1:1"]).build().expect("a client");
    let stop = tokio::time::sleep(Duration::from_secs(60));
    let running = ProcessRunner::new(client, Shop).run_until(stop);
    let ended = tokio::time::timeout(Duration::from_secs(3_600), running).await;
    ended.expect("it stops").expect("as requested");
}
