//! An event that fails is tried again, stops the projection, or is parked.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use quorate_app::projection::{Handler, OnFailure, ProjectionError, State, Store};

use super::harness::{PATIENCE, finish, projection, rows};
use super::kit::{Kit, Notes};
use super::script::Script;

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
            event.position.0 % 9 == 4 && !tries.fetch_add(1, Ordering::SeqCst).is_multiple_of(3);
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
        if event.position.0 != 17 {
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
    let message = "projection `orders` stopped at position 17 (`order-6` version 3, type `Counted`), tried 3 times: \
                a poisoned event";
    assert_eq!(error.to_string(), message);
    assert_eq!(status.borrow().state, State::Failed(message.to_owned()));
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
    let poisoned = Notes::spoilt("orders", |event| match event.position.0 {
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
    let shown: Vec<_> =
        parked.iter().map(|one| (one.position, one.attempts, one.reason.as_str())).collect();
    let panicked = "the handler panicked: a handler that panics";
    assert_eq!(shown, [(17, 3, "a poisoned event"), (18, 3, panicked), (30, 3, "never mended")]);
    let mut expected = script.expected(40);
    for one in &parked {
        let versions = expected.get_mut(&one.stream).expect("a stream");
        versions.retain(|version| *version != one.version);
    }
    assert_eq!(rows(&kit, "orders").await, expected);

    let mended = Notes::spoilt("orders", |event| match event.position.0 {
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
