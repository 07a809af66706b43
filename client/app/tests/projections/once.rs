//! Each event is applied once and in order, despite kills, losses and missing services.

use std::sync::Arc;
use std::time::Duration;

use quorate_app::projection::{Handler, ProjectionError, State, Store};

use super::faulty::{Fault, Faulty};
use super::harness::{PATIENCE, finish, projection, rows, runtime, until};
use super::kit::{Kit, Notes};
use super::script::Script;

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

    // … and it continues where it stopped.
    script.fill(50);
    finish(orders.start(script.clone()), &script).await;
    assert_eq!(rows(&kit, "orders").await, script.expected(600));
}

/// Lets a projection run until its store fails, kills it in the middle of its work, and lets it run again.
/// Returns false if there was no failure.
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
