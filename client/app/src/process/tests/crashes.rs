//! Tests of crashes: however many runners die at any step, each reaction and each due time takes place once.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use quorate_client::CorrelationId;

use crate::clock::Clock;
use crate::process::tests::fake::{Crash, Fake};
use crate::process::tests::shop::{paid, placed, run, run_until_crash};

/// The numbers of lanes in which everything must come out alike.
const LANES: [usize; 2] = [1, 3];

fn orders_in(lanes: usize) -> Fake {
    let mut fake = orders();
    fake.lanes = lanes;
    fake
}

/// Three orders: the first is paid at once, the second never, the third after its deadline.
fn orders() -> Fake {
    let fake = Fake::new();
    for (order, total) in [("order-1", 10), ("order-2", 20), ("order-3", 30)] {
        fake.append(order, placed(total));
    }
    fake.append("order-1", paid());
    fake
}

fn all_is_settled(fake: &Fake) -> bool {
    fake.count("shipping-1", "Asked") > 0
        && fake.count("order-2", "Cancelled") > 0
        && fake.count("order-3", "Cancelled") > 0
}

/// Checks that each event has led to one whole reaction, and each due time that was not cancelled fired once.
fn check(fake: &Fake, story: &str) {
    let events = fake.events();
    let shown: Vec<String> =
        events.iter().map(|event| format!("{} {}", event.stream, event.kind)).collect();
    for order in ["1", "2", "3"] {
        assert_eq!(fake.count(&format!("log-{order}"), "Noted"), 2, "{story}: {shown:#?}");
        let shipped = fake.count(&format!("shipping-{order}"), "Asked");
        let cancelled = fake.count(&format!("order-{order}"), "Cancelled");
        let expected = if order == "1" { (1, 0) } else { (0, 1) };
        assert_eq!((shipped, cancelled), expected, "{story}: {shown:#?}");
        // There are two reactions: to the placed order, and to the payment or the due time.
        assert_eq!(
            fake.count(&format!("shop-{order}"), "ProcessReacted"),
            2,
            "{story}: {shown:#?}"
        );
    }
    let ids: BTreeSet<String> = events.iter().map(|event| event.id.to_string()).collect();
    assert_eq!(ids.len(), events.len(), "{story}: an id is there twice");
}

#[tokio::test(start_paused = true)]
async fn a_manager_that_does_not_crash_reacts_once() {
    let fake = orders();
    run(&fake, all_is_settled).await.expect("it goes on");
    check(&fake, "without a crash");
    let noted = fake.events().into_iter().find(|event| event.kind.as_str() == "Noted");
    let noted = noted.expect("it is there");
    assert_eq!(
        noted.correlation_id,
        CorrelationId::new("command-10").ok(),
        "what follows belongs to the same thing"
    );
    assert_eq!(noted.causation_id, fake.events()[0].id.to_string());
    let cancelled = fake.events().into_iter().find(|event| event.kind.as_str() == "Cancelled");
    assert_eq!(
        cancelled.expect("it is there").correlation_id,
        CorrelationId::new("command-20").ok()
    );
}

#[tokio::test(start_paused = true)]
async fn a_crash_at_any_step_neither_loses_nor_repeats_a_reaction() {
    for lanes in LANES {
        let fake = orders_in(lanes);
        fake.arm(None);
        run(&fake, all_is_settled).await.expect("it goes on");
        let steps = fake.steps();
        assert!(steps > 20, "only {steps} steps: the crashes would be missed");
        for step in 0..steps {
            for done in [false, true] {
                let crash = Crash { step, done };
                let fake = orders_in(lanes);
                run_until_crash(&fake, crash, all_is_settled).await;
                fake.arm(None);
                run(&fake, all_is_settled).await.expect("it goes on");
                check(&fake, &format!("{lanes} lanes, {crash:?}"));
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn crash_after_crash_loses_and_repeats_nothing() {
    for (step, lanes) in (0..24).flat_map(|step| LANES.map(|lanes| (step, lanes))) {
        for done in [false, true] {
            let fake = orders_in(lanes);
            for _ in 0..30 {
                run_until_crash(&fake, Crash { step, done }, all_is_settled).await;
            }
            fake.arm(None);
            run(&fake, all_is_settled).await.expect("it goes on");
            check(&fake, &format!("{lanes} lanes, again and again at step {step}, done: {done}"));
        }
    }
}

#[tokio::test(start_paused = true)]
async fn of_several_runners_one_reacts() {
    for seed in 0..100_u64 {
        let mut fake = orders_in(LANES[seed as usize % 2]);
        fake.turns = Some(Arc::new(Mutex::new(seed)));
        let runners = [(); 3].map(|()| run(&fake, all_is_settled));
        for ended in futures_util::future::join_all(runners).await {
            ended.expect("it goes on");
        }
        check(&fake, &format!("seed {seed}"));
    }
}

#[tokio::test(start_paused = true)]
async fn runners_that_crash_beside_others_lose_and_repeat_nothing() {
    for seed in 0..200_u64 {
        let mut fake = orders_in(LANES[seed as usize / 2 % 2]);
        fake.turns = Some(Arc::new(Mutex::new(seed)));
        fake.arm(Some(Crash { step: seed % 50, done: seed % 2 == 0 }));
        // The runner that takes this step dies there; the other one is stopped at any step.
        let runners = [(); 2].map(|()| run(&fake, all_is_settled));
        for ended in futures_util::future::join_all(runners).await {
            ended.expect("it goes on");
        }
        fake.arm(None);
        run(&fake, all_is_settled).await.expect("it goes on");
        check(&fake, &format!("seed {seed}"));
    }
}

#[tokio::test(start_paused = true)]
async fn an_idle_manager_writes_nothing() {
    let fake = orders();
    let clock = fake.clock();
    run(&fake, all_is_settled).await.expect("it goes on");
    let end = fake.events().len();
    let began = clock.now();
    let hours = async {
        tokio::time::sleep(Duration::from_secs(5 * 3600)).await;
        fake.append("note-1", paid());
    };
    let over = |fake: &Fake| fake.count("note-1", "Paid") > 0;
    let (ended, ()) = tokio::join!(run(&fake, over), hours);
    ended.expect("it goes on");
    assert!(clock.now().0 - began.0 >= 5 * 3_600_000_000);
    // It may write what it had not noted yet, and the test adds the event that ends it.
    assert!(fake.events().len() <= end + 2, "it wrote {} events", fake.events().len() - end - 1);
}

#[tokio::test(start_paused = true)]
async fn a_restart_begins_at_the_bookmark_and_finds_what_is_outstanding() {
    let fake = Fake::new();
    for order in 0..500 {
        fake.append(&format!("order-{order}"), placed(order));
        fake.append(&format!("order-{order}"), paid());
    }
    fake.append("order-late", placed(7));
    let bookmarked = |fake: &Fake| {
        fake.count("shop-late", "ProcessReacted") == 1
            && fake.events().last().is_some_and(|event| event.kind.as_str() == "ProcessBookmarked")
    };
    run(&fake, bookmarked).await.expect("it goes on");
    fake.arm(None);
    let cancelled = |fake: &Fake| fake.count("order-late", "Cancelled") > 0;
    run(&fake, cancelled).await.expect("it goes on");
    assert!(fake.handed_out() < 30, "{} events were read again", fake.handed_out());
    assert_eq!(fake.count("order-late", "Cancelled"), 1);
}

#[tokio::test(start_paused = true)]
async fn what_follows_has_other_ids_in_another_log_with_the_same_names() {
    let mut seen = BTreeSet::new();
    for _ in 0..2 {
        let fake = orders();
        run(&fake, all_is_settled).await.expect("it goes on");
        for event in fake.events() {
            assert!(seen.insert(event.id.to_string()), "{} {}", event.stream, event.kind);
        }
    }
}
