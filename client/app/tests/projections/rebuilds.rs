//! A model is rebuilt beside the live one and swapped in one step.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use quorate_app::projection::{Handler, OnFailure, ProjectionError, Store};

use super::faulty::{Fault, Faulty};
use super::harness::{PATIENCE, QUICKLY, finish, projection, rows, runtime, until};
use super::kit::{Kit, Notes};
use super::script::Script;

pub(crate) async fn a_model_is_rebuilt_beside_the_live_one_and_swapped<K>(kit: K)
where
    K: Kit,
    Notes: Handler<<K::Store as Store>::Model>,
{
    let script = Script::new();
    script.fill(100);
    // The live model is wrong: its handler passes over what it should not.
    let poisoned = Notes::poisoned_at("orders", 10);
    let orders = projection(kit.open().await, "orders", poisoned).on_failure(OnFailure::Park);
    let live = orders.start(script.clone());
    live.reached(100, PATIENCE).await.expect("everything is applied");

    // The new one waits at an event until more has come to the live one meanwhile. Twice: what a first rebuild leaves
    // behind is in no way of the second.
    for _ in 0..2 {
        let (may_go_on, waits) =
            (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
        let (gate, has_begun) = (Arc::clone(&may_go_on), Arc::clone(&waits));
        let mended = Notes::spoilt("orders", move |event| {
            has_begun.store(true, Ordering::SeqCst);
            match event.position.0 == 50 && !gate.load(Ordering::SeqCst) {
                true => Err("not yet".into()),
                false => Ok(()),
            }
        });
        let mended = projection(kit.open().await, "orders", mended).attempts(u32::MAX, QUICKLY);
        let rebuild = mended.rebuild(script.clone());
        until("the rebuild has begun", || async { waits.load(Ordering::SeqCst) }).await;
        assert!(rebuild.status().rebuilds && !live.status().rebuilds);
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

    let poisoned = Notes::poisoned_at("orders", 45);
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

pub(crate) async fn a_new_version_rebuilds_when_requested<K>(kit: K)
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
