//! The tests that every store has to pass.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use quorate_app::projection::{
    Backoff, Claim, Creation, Handler, OnFailure, Projection, ProjectionError, Running, Side, Slot,
    State, Step, Store, StoreError,
};
use quorate_client::Query;
use tokio::runtime::{Builder, Runtime};
use tokio::time::Instant;

use super::faulty::{Fault, Faulty};
use super::kit::{Kit, Notes, Rows};
use super::script::Script;

/// Longer than anything takes on a machine that is busy.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);
/// A process that is gone is not waited for long.
const LEASE: Duration = Duration::from_millis(200);
const QUICKLY: Backoff =
    Backoff { first: Duration::from_millis(1), longest: Duration::from_millis(5) };

pub(crate) fn run(test: impl Future<Output = ()>) {
    runtime().block_on(test);
}

pub(crate) fn runtime() -> Runtime {
    Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime")
}

pub(crate) fn projection<S, H>(store: S, name: &str, handler: H) -> Projection<S, H>
where
    S: Store,
    H: Handler<S::Model>,
{
    let query = Query::category("order");
    Projection::new(name, query, store, handler)
        .batch(10, 1 << 20)
        .lease(LEASE)
        .attempts(3, QUICKLY)
}

/// Waits until something is so.
pub(crate) async fn until<F: Future<Output = bool>>(what: &str, mut is_so: impl FnMut() -> F) {
    let give_up_at = Instant::now() + PATIENCE;
    while !is_so().await {
        assert!(Instant::now() < give_up_at, "not in time: {what}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// Waits until there is something.
#[cfg(any(feature = "postgres", feature = "redis"))]
pub(crate) async fn eventually<T, F: Future<Output = Option<T>>>(
    what: &str,
    mut look: impl FnMut() -> F,
) -> T {
    let mut found = None;
    let give_up_at = Instant::now() + PATIENCE;
    while found.is_none() {
        assert!(Instant::now() < give_up_at, "not in time: {what}");
        found = look().await;
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    found.expect("it was looked for until it was there")
}

/// Runs until everything is in the model, and stops.
pub(crate) async fn finish(running: Running, script: &Script) {
    running.reached(script.end(), PATIENCE).await.expect("everything is applied");
    running.stop().await.expect("it stops in order");
}

async fn rows<K: Kit>(kit: &K, name: &str) -> Rows {
    let store = kit.open().await;
    kit.rows(&store, name).await.expect("a model")
}

pub(crate) async fn every_event_is_applied_once_and_in_order<K>(kit: K)
where
    K: Kit,
    Notes: Handler<<K::Store as Store>::Model>,
{
    let script = Script::new();
    script.fill(500);
    let orders = projection(kit.open().await, "orders", Notes::new("orders"));
    let running = orders.start(script.clone());
    running.reached(500, PATIENCE).await.expect("what was there before");
    for _ in 0..50 {
        let position = script.fill(1);
        running.reached(position, PATIENCE).await.expect("what comes");
    }
    let status = running.status();
    assert_eq!(
        (status.state, status.position, status.lag, status.applied),
        (State::Live, 550, 0, 550)
    );
    assert_eq!(rows(&kit, "orders").await, script.expected(550));
    orders.reached(550, PATIENCE).await.expect("another process sees the bookmark");
    running.stop().await.expect("it stops in order");

    // … and it goes on where it stopped.
    script.fill(50);
    finish(orders.start(script.clone()), &script).await;
    assert_eq!(rows(&kit, "orders").await, script.expected(600));
}

/// Lets a projection run until its store strikes, kills it with everything that it has in work, and lets it run again.
/// False if nothing was struck.
async fn kill_at<K>(kit: &Arc<K>, script: &Script, name: &str, at: usize, fault: Fault) -> bool
where
    K: Kit,
    Notes: Handler<<K::Store as Store>::Model>,
{
    let doomed = runtime();
    let (opened, handler) = (Arc::clone(kit), Notes::new(name));
    let store = doomed.spawn(async move { Faulty::new(opened.open().await, at, fault) });
    let store = store.await.expect("a store");
    let running = projection(store.clone(), name, handler);
    let events = script.clone();
    let running = doomed.spawn(async move { finish(running.start(events.clone()), &events).await });
    until("struck or done", || async { store.has_finished_striking() || running.is_finished() })
        .await;
    let has_struck = store.has_struck() && !running.is_finished();
    drop(store);
    doomed.shutdown_background();

    let again = projection(kit.open().await, name, Notes::new(name));
    finish(again.start(script.clone()), script).await;
    assert_eq!(
        rows(kit.as_ref(), name).await,
        script.expected(script.end()),
        "{name}: {fault:?} at {at}"
    );
    has_struck
}

pub(crate) async fn a_kill_at_any_point_neither_loses_nor_repeats<K>(kit: K)
where
    K: Kit,
    Notes: Handler<<K::Store as Store>::Model>,
{
    let (kit, script) = (Arc::new(kit), Script::new());
    script.fill(25);
    for fault in [Fault::DeadBefore, Fault::DeadAfter] {
        let mut struck = 0;
        while kill_at(&kit, &script, &format!("{fault:?}{struck}"), struck, fault).await {
            struck += 1;
        }
        assert!(struck >= 8, "only {struck} operations were struck");
    }
}

pub(crate) async fn a_lost_answer_neither_loses_nor_repeats<K>(kit: K)
where
    K: Kit,
    Notes: Handler<<K::Store as Store>::Model>,
{
    let script = Script::new();
    script.fill(25);
    for fault in [Fault::QuestionLost, Fault::AnswerLost] {
        for at in 0.. {
            let name = format!("{fault:?}{at}");
            let store = Faulty::new(kit.open().await, at, fault);
            let running = projection(store.clone(), &name, Notes::new(&name)).start(script.clone());
            finish(running, &script).await;
            assert_eq!(rows(&kit, &name).await, script.expected(25), "{name}");
            if !store.has_struck() {
                assert!(at >= 8, "only {at} operations were struck");
                break;
            }
        }
    }
}

pub(crate) async fn a_second_process_is_refused_and_a_standby_takes_over<K>(kit: K)
where
    K: Kit,
    Notes: Handler<<K::Store as Store>::Model>,
{
    let script = Script::new();
    script.fill(20);
    let orders = projection(kit.open().await, "orders", Notes::new("orders"));
    let first = orders.start(script.clone());
    first.reached(20, PATIENCE).await.expect("everything is applied");

    let second = projection(kit.open().await, "orders", Notes::new("orders"));
    let refused = second.start(script.clone()).wait().await.expect_err("another runs it");
    assert!(matches!(&refused, ProjectionError::RunsElsewhere { .. }), "{refused}");
    assert!(refused.to_string().contains("another process runs projection `orders`"), "{refused}");

    let standby = second.standby().start(script.clone());
    let mut status = standby.watch();
    let waits = status.wait_for(|status| status.state == State::StandingBy);
    tokio::time::timeout(PATIENCE, waits).await.expect("in time").expect("it runs");
    script.fill(20);
    first.reached(40, PATIENCE).await.expect("the first goes on");
    first.stop().await.expect("it stops in order");
    script.fill(20);
    finish(standby, &script).await;
    assert_eq!(rows(&kit, "orders").await, script.expected(60));
}

/// The contract of stores, without a projection around it: an owner that was paused while another took over cannot
/// take a step any more, and what it had begun is not there.
pub(crate) async fn a_step_is_the_owners_alone_and_begins_at_the_bookmark<K>(kit: K)
where
    K: Kit,
    Notes: Handler<<K::Store as Store>::Model>,
{
    let store = kit.open().await;
    store.prepare().await.expect("tables");
    let slot = Slot { projection: "orders".into(), side: Side::Live };
    let brief = Duration::from_millis(60);
    assert_eq!(store.claim(&slot, "one", brief).await.expect("an answer"), Claim::Missing);
    let creation = Creation {
        slot: &slot,
        definition: "version 1",
        partitioning: "1",
        generation: 1,
        partitions: 1,
        after: 7,
        owner: "one",
        lease: brief,
    };
    let notes = Notes::new("orders");
    let mut model = store.create(&creation).await.expect("a model");
    notes.set_up(&mut model).await.expect("tables");
    store.commit(model).await.expect("committed");
    assert!(matches!(store.create(&creation).await.err(), Some(StoreError::Moved)));

    let script = Script::new();
    script.append("order-1");
    let event = script.first();
    let step = |owner: &'static str, from, to| Step {
        slot: &slot,
        generation: 1,
        partition: 0,
        owner,
        from,
        to,
    };
    // Dropped before it is committed: nothing of it is there.
    let mut model = store.begin(&step("one", 7, 8)).await.expect("a model");
    store.next_event(&mut model, 8);
    notes.apply(&mut model, &event).await.expect("applied");
    drop(model);
    until("the bookmark stands", || async {
        matches!(store.bookmark(&slot, 0, "one").await, Ok(Some(7)))
    })
    .await;

    let held = store.claim(&slot, "two", brief).await.expect("an answer");
    assert!(
        matches!(&held, Claim::Held { owner, .. } if owner == "one")
            || matches!(held, Claim::Owned(_))
    );
    until("the lease runs out", || async {
        matches!(store.claim(&slot, "two", brief).await, Ok(Claim::Owned(_)))
    })
    .await;
    assert!(!store.renew(&slot, "one", brief).await.expect("an answer"));
    assert_eq!(store.bookmark(&slot, 0, "one").await.expect("an answer"), None);

    for wrong in [step("one", 7, 8), step("two", 6, 8), step("two", 8, 9)] {
        // A store may tell at the end of the transaction only.
        let moved = match store.begin(&wrong).await {
            Ok(mut model) => {
                store.next_event(&mut model, 8);
                notes.apply(&mut model, &event).await.expect("applied");
                store.commit(model).await
            }
            Err(error) => Err(error),
        };
        assert!(matches!(moved, Err(StoreError::Moved)), "{moved:?}");
    }
    assert_eq!(rows(&kit, "orders").await, Rows::new());
    let mut model = store.begin(&step("two", 7, 8)).await.expect("a model");
    store.next_event(&mut model, 8);
    notes.apply(&mut model, &event).await.expect("applied");
    store.commit(model).await.expect("committed");
    assert_eq!(store.bookmark(&slot, 0, "two").await.expect("an answer"), Some(8));
    assert_eq!(rows(&kit, "orders").await, script.expected(1));
}

pub(crate) async fn an_event_that_fails_now_and_then_is_tried_again<K>(kit: K)
where
    K: Kit,
    Notes: Handler<<K::Store as Store>::Model>,
{
    let script = Script::new();
    script.fill(100);
    let tries = AtomicU64::new(0);
    let flaky = Notes::spoilt("orders", move |event| {
        let fails =
            event.position % 9 == 4 && !tries.fetch_add(1, Ordering::SeqCst).is_multiple_of(3);
        if fails { Err("not now".into()) } else { Ok(()) }
    });
    let orders = projection(kit.open().await, "orders", flaky);
    finish(orders.start(script.clone()), &script).await;
    assert_eq!(rows(&kit, "orders").await, script.expected(100));
    assert_eq!(orders.parked().await.expect("an answer"), []);
}

pub(crate) async fn an_event_that_fails_stops_the_projection_before_it<K>(kit: K)
where
    K: Kit,
    Notes: Handler<<K::Store as Store>::Model>,
{
    let script = Script::new();
    script.fill(40);
    let tries = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&tries);
    let poisoned = Notes::spoilt("orders", move |event| {
        if event.position != 17 {
            return Ok(());
        }
        counted.fetch_add(1, Ordering::SeqCst);
        Err("a poisoned event".into())
    });
    let orders = projection(kit.open().await, "orders", poisoned);
    let running = orders.start(script.clone());
    let status = running.watch();
    let error = running.wait().await.expect_err("it stops");
    let ProjectionError::Handler { position, version, attempts, .. } = &error else {
        panic!("{error}");
    };
    assert_eq!((*position, *version, *attempts), (17, 3, 3));
    let told = "projection `orders` stopped at position 17 (`order-6` version 3, type `Counted`), tried 3 times: \
                a poisoned event";
    assert_eq!(error.to_string(), told);
    assert_eq!(status.borrow().state, State::Failed(told.to_owned()));
    assert!(tries.load(Ordering::SeqCst) >= 3);
    assert_eq!(rows(&kit, "orders").await, script.expected(16));
    assert_eq!(orders.position().await.expect("an answer"), 16);

    let mended = projection(kit.open().await, "orders", Notes::new("orders"));
    finish(mended.start(script.clone()), &script).await;
    assert_eq!(rows(&kit, "orders").await, script.expected(40));
}

pub(crate) async fn an_event_that_fails_is_parked_and_replayed_after_the_fix<K>(kit: K)
where
    K: Kit,
    Notes: Handler<<K::Store as Store>::Model>,
{
    let script = Script::new();
    script.fill(40);
    let poisoned = Notes::spoilt("orders", |event| match event.position {
        17 => Err("a poisoned event".into()),
        18 => panic!("a handler that panics"),
        30 => Err("never mended".into()),
        _ => Ok(()),
    });
    let orders = projection(kit.open().await, "orders", poisoned).on_failure(OnFailure::Park);
    let running = orders.start(script.clone());
    running.reached(40, PATIENCE).await.expect("it goes on");
    assert_eq!((running.status().applied, running.status().parked), (37, 3));
    running.stop().await.expect("it stops in order");

    let parked = orders.parked().await.expect("an answer");
    let told: Vec<_> =
        parked.iter().map(|one| (one.position, one.attempts, one.reason.as_str())).collect();
    let panicked = "the handler panicked: a handler that panics";
    assert_eq!(told, [(17, 3, "a poisoned event"), (18, 3, panicked), (30, 3, "never mended")]);
    let mut expected = script.expected(40);
    for one in &parked {
        let versions = expected.get_mut(&one.stream).expect("a stream");
        versions.retain(|version| *version != one.version);
    }
    assert_eq!(rows(&kit, "orders").await, expected);

    let mended = Notes::spoilt("orders", |event| match event.position {
        30 => Err("never mended".into()),
        _ => Ok(()),
    });
    let mended = projection(kit.open().await, "orders", mended);
    let error = mended.replay(&script, &parked).await.expect_err("one fails still");
    assert!(error.to_string().contains("never mended"), "{error}");
    let left = mended.parked().await.expect("an answer");
    assert_eq!(left.iter().map(|one| one.position).collect::<Vec<_>>(), [30]);
    assert_eq!(mended.replay(&script, &parked[..2]).await.expect("nothing to do"), 0);
    assert_eq!(mended.drop_parked(&left).await.expect("an answer"), 1);
    assert_eq!(mended.parked().await.expect("an answer"), []);
    for one in &parked[..2] {
        expected.get_mut(&one.stream).expect("a stream").push(one.version);
    }
    assert_eq!(rows(&kit, "orders").await, expected);
}

pub(crate) async fn partitions_keep_the_order_of_each_stream<K>(kit: K)
where
    K: Kit,
    Notes: Handler<<K::Store as Store>::Model>,
{
    let script = Script::new();
    script.fill(300);
    let orders = projection(kit.open().await, "orders", Notes::new("orders")).partitions(4);
    let running = orders.start(script.clone());
    running.reached(300, PATIENCE).await.expect("what was there before");
    for _ in 0..20 {
        running.reached(script.fill(1), PATIENCE).await.expect("what comes");
    }
    running.stop().await.expect("it stops in order");
    script.fill(30);
    finish(orders.start(script.clone()), &script).await;
    assert_eq!(rows(&kit, "orders").await, script.expected(350));
}

pub(crate) async fn partitions_by_key_keep_the_order_of_each_key<K>(kit: K)
where
    K: Kit,
    Notes: Handler<<K::Store as Store>::Model>,
{
    let script = Script::new();
    script.fill(100);
    // Streams are noted, and a key holds whole streams: so their order is kept too.
    let orders = projection(kit.open().await, "orders", Notes::new("orders"));
    let orders = orders.partitions(3).by_key(|event| {
        let number = event.stream.as_str().bytes().last().unwrap_or_default();
        if number.is_multiple_of(2) { "even".into() } else { "odd".into() }
    });
    finish(orders.start(script.clone()), &script).await;
    script.fill(50);
    finish(orders.start(script.clone()), &script).await;
    assert_eq!(rows(&kit, "orders").await, script.expected(150));
}

/// One partition is held back by a poisoned event, so that the bookmarks differ when the number is changed.
pub(crate) async fn another_number_of_partitions_begins_at_one_position<K>(kit: K)
where
    K: Kit,
    Notes: Handler<<K::Store as Store>::Model>,
{
    let script = Script::new();
    script.fill(100);
    let poisoned = Notes::spoilt("orders", |event| match event.position {
        20 => Err("a poisoned event".into()),
        _ => Ok(()),
    });
    let patient =
        Backoff { first: Duration::from_secs(3_600), longest: Duration::from_secs(3_600) };
    let orders =
        projection(kit.open().await, "orders", poisoned).partitions(4).attempts(2, patient);
    let running = orders.start(script.clone());
    let mut status = running.watch();
    let is_held_back = |status: &quorate_app::projection::Status| {
        status.applied >= 60 && matches!(status.state, State::Retrying(_))
    };
    let held_back = tokio::time::timeout(PATIENCE, status.wait_for(is_held_back));
    held_back.await.expect("in time").expect("it runs");
    running.stop().await.expect("it stops in order");
    let position = orders.position().await.expect("an answer");
    assert!(position < 20, "{position}");

    for partitions in [1, 3, 2] {
        let mended =
            projection(kit.open().await, "orders", Notes::new("orders")).partitions(partitions);
        script.fill(10);
        finish(mended.start(script.clone()), &script).await;
        assert_eq!(rows(&kit, "orders").await, script.expected(script.end()), "{partitions}");
    }
}

pub(crate) async fn a_changed_definition_is_refused<K>(kit: K)
where
    K: Kit,
    Notes: Handler<<K::Store as Store>::Model>,
{
    let script = Script::new();
    script.fill(20);
    let orders = projection(kit.open().await, "orders", Notes::new("orders"));
    finish(orders.start(script.clone()), &script).await;

    let newer = orders.clone().version(2).start(script.clone()).wait();
    let elsewhere = orders.start(script.elsewhere()).wait();
    let other =
        Projection::new("orders", Query::category("bill"), kit.open().await, Notes::new("orders"));
    let other = other.start(script.clone()).wait();
    for (error, told) in [
        (newer.await, r#"(version 2; query category "order"; cluster cluster-1)"#),
        (elsewhere.await, r#"(version 1; query category "order"; cluster cluster-2)"#),
        (other.await, r#"(version 1; query category "bill"; cluster cluster-1)"#),
    ] {
        let error = error.expect_err("it is refused");
        assert!(matches!(error, ProjectionError::Changed { .. }), "{error}");
        assert!(error.to_string().contains(told), "{error}");
        assert!(
            error.to_string().contains(r#"(version 1; query category "order"; cluster cluster-1)"#)
        );
    }
    assert_eq!(rows(&kit, "orders").await, script.expected(20));
}

pub(crate) async fn a_model_is_rebuilt_beside_the_live_one_and_swapped<K>(kit: K)
where
    K: Kit,
    Notes: Handler<<K::Store as Store>::Model>,
{
    let script = Script::new();
    script.fill(100);
    // The live model is wrong: its handler passes over what it should not.
    let poisoned = Notes::spoilt("orders", |event| match event.position {
        10 => Err("a poisoned event".into()),
        _ => Ok(()),
    });
    let orders = projection(kit.open().await, "orders", poisoned).on_failure(OnFailure::Park);
    let live = orders.start(script.clone());
    live.reached(100, PATIENCE).await.expect("everything is applied");

    // The new one waits at an event until more has come to the live one meanwhile. Twice: what a first rebuild leaves
    // behind is in no way of the second.
    for _ in 0..2 {
        let (may_go_on, waits) =
            (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
        let (gate, told) = (Arc::clone(&may_go_on), Arc::clone(&waits));
        let mended = Notes::spoilt("orders", move |event| {
            told.store(true, Ordering::SeqCst);
            match event.position == 50 && !gate.load(Ordering::SeqCst) {
                true => Err("not yet".into()),
                false => Ok(()),
            }
        });
        let mended = projection(kit.open().await, "orders", mended).attempts(u32::MAX, QUICKLY);
        let rebuild = mended.rebuild(script.clone());
        until("the rebuild has begun", || async { waits.load(Ordering::SeqCst) }).await;
        let before = rows(&kit, "orders").await;
        script.fill(10);
        live.reached(script.end(), PATIENCE).await.expect("the live one goes on");
        assert_ne!(rows(&kit, "orders").await, before);
        may_go_on.store(true, Ordering::SeqCst);
        rebuild.wait().await.expect("it is swapped");
        let (whole, store) = (script.expected(script.end()), kit.open().await);
        let now = kit.rows(&store, "orders").await.expect("a model");
        assert_eq!(now, whole);
        assert_eq!(orders.parked().await.expect("an answer"), []);
    }
    // The one that runs goes on with the new model, since its definition is the same.
    script.fill(10);
    live.reached(script.end(), PATIENCE).await.expect("the live one goes on");
    live.stop().await.expect("it stops in order");
    assert_eq!(rows(&kit, "orders").await, script.expected(script.end()));
}

pub(crate) async fn an_interrupted_rebuild_leaves_the_live_model_and_is_resumed<K>(kit: K)
where
    K: Kit,
    Notes: Handler<<K::Store as Store>::Model>,
{
    let script = Script::new();
    script.fill(60);
    let orders = projection(kit.open().await, "orders", Notes::new("orders"));
    finish(orders.start(script.clone()), &script).await;

    let poisoned = Notes::spoilt("orders", |event| match event.position {
        45 => Err("a poisoned event".into()),
        _ => Ok(()),
    });
    let broken = projection(kit.open().await, "orders", poisoned).version(2);
    let error = broken.rebuild(script.clone()).wait().await.expect_err("it fails");
    assert!(matches!(error, ProjectionError::Handler { position: 45, .. }), "{error}");
    assert_eq!(rows(&kit, "orders").await, script.expected(60));
    script.fill(10);
    finish(orders.start(script.clone()), &script).await;

    let applied = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&applied);
    let counting = Notes::spoilt("orders", move |_| {
        counted.fetch_add(1, Ordering::SeqCst);
        Ok(())
    });
    let mended = projection(kit.open().await, "orders", counting).version(2);
    let rebuild = mended.resume_rebuild(script.clone());
    rebuild.wait().await.expect("it is swapped");
    assert_eq!(
        applied.load(Ordering::SeqCst),
        70 - 44,
        "what was applied before is not applied again"
    );
    assert_eq!(rows(&kit, "orders").await, script.expected(70));
    let old = orders.start(script.clone()).wait().await.expect_err("it is replaced");
    assert!(matches!(old, ProjectionError::Changed { .. }), "{old}");
    finish(mended.start(script.clone()), &script).await;

    // A rebuild that is not resumed begins anew, and one that is given up leaves nothing.
    let error = broken.rebuild(script.clone()).wait().await.expect_err("it fails");
    assert!(matches!(error, ProjectionError::Handler { position: 45, .. }), "{error}");
    mended.discard_rebuild().await.expect("it is removed");
    applied.store(0, Ordering::SeqCst);
    mended.resume_rebuild(script.clone()).wait().await.expect("it is swapped");
    assert_eq!(applied.load(Ordering::SeqCst), 71, "the set-up and all events");
    assert_eq!(rows(&kit, "orders").await, script.expected(70));
}

pub(crate) async fn a_rebuild_killed_at_any_point_leaves_one_whole_model<K>(kit: K)
where
    K: Kit,
    Notes: Handler<<K::Store as Store>::Model>,
{
    let (kit, script) = (Arc::new(kit), Script::new());
    script.fill(15);
    let orders = projection(kit.open().await, "orders", Notes::new("orders"));
    finish(orders.start(script.clone()), &script).await;
    for fault in [Fault::DeadBefore, Fault::DeadAfter] {
        for at in 0.. {
            let doomed = runtime();
            let opened = Arc::clone(&kit);
            let store = doomed.spawn(async move { Faulty::new(opened.open().await, at, fault) });
            let store = store.await.expect("a store");
            let rebuild = projection(store.clone(), "orders", Notes::new("orders"));
            let events = script.clone();
            let rebuild = doomed.spawn(async move { rebuild.rebuild(events).wait().await });
            until("struck or done", || async { store.has_struck() || rebuild.is_finished() }).await;
            let has_struck = store.has_struck() && !rebuild.is_finished();
            drop(store);
            doomed.shutdown_background();
            assert_eq!(
                rows(kit.as_ref(), "orders").await,
                script.expected(15),
                "{fault:?} at {at}"
            );
            let again = projection(kit.open().await, "orders", Notes::new("orders"));
            again.resume_rebuild(script.clone()).wait().await.expect("it is swapped");
            finish(again.start(script.clone()), &script).await;
            assert_eq!(
                rows(kit.as_ref(), "orders").await,
                script.expected(15),
                "{fault:?} at {at}"
            );
            if !has_struck {
                assert!(at >= 8, "only {at} operations were struck");
                break;
            }
        }
    }
}

pub(crate) async fn a_new_version_rebuilds_when_told_to<K>(kit: K)
where
    K: Kit,
    Notes: Handler<<K::Store as Store>::Model>,
{
    let script = Script::new();
    script.fill(30);
    let orders = projection(kit.open().await, "orders", Notes::new("orders"));
    let old = orders.start(script.clone());
    old.reached(30, PATIENCE).await.expect("everything is applied");
    let newer = projection(kit.open().await, "orders", Notes::new("orders"));
    let newer = newer.version(2).partitions(2).rebuild_when_changed().start(script.clone());
    let replaced = old.wait().await.expect_err("it is replaced");
    assert!(matches!(replaced, ProjectionError::Changed { .. }), "{replaced}");
    script.fill(30);
    finish(newer, &script).await;
    assert_eq!(rows(&kit, "orders").await, script.expected(60));
}

pub(crate) async fn the_bookmark_moves_while_nothing_matches<K>(kit: K)
where
    K: Kit,
    Notes: Handler<<K::Store as Store>::Model>,
{
    let script = Script::new();
    script.fill(5);
    let orders = projection(kit.open().await, "orders", Notes::new("orders")).partitions(2);
    let running = orders.start(script.clone());
    running.reached(5, PATIENCE).await.expect("everything is applied");
    for _ in 0..100 {
        script.pass();
    }
    running.reached(105, PATIENCE).await.expect("it passes over what is not its own");
    orders.reached(105, PATIENCE).await.expect("the bookmark follows");
    let late = orders.reached(106, Duration::from_millis(20)).await.expect_err("nothing came");
    assert!(matches!(late, ProjectionError::NotReached { actual: 105, wanted: 106, .. }), "{late}");
    running.stop().await.expect("it stops in order");
    assert_eq!(rows(&kit, "orders").await, script.expected(5));
}

pub(crate) async fn set_up_that_fails_leaves_nothing<K>(kit: K)
where
    K: Kit,
    Notes: Handler<<K::Store as Store>::Model>,
{
    let script = Script::new();
    script.fill(5);
    let broken = Notes::spoilt("orders", |event| match event.stream.as_str() {
        "set-up" => Err("no such type".into()),
        _ => Ok(()),
    });
    let broken = projection(kit.open().await, "orders", broken);
    let error = broken.start(script.clone()).wait().await.expect_err("it cannot be set up");
    assert!(matches!(error, ProjectionError::SetUp { .. }), "{error}");
    let store = kit.open().await;
    assert_eq!(kit.rows(&store, "orders").await, None);
    let orders = projection(store, "orders", Notes::new("orders"));
    finish(orders.start(script.clone()), &script).await;
    assert_eq!(rows(&kit, "orders").await, script.expected(5));
}
