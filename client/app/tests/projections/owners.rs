//! A model has one owner at a time, and one definition.

use std::time::Duration;

use quorate_app::projection::{
    Claim, Creation, Handler, Projection, ProjectionError, Side, Slot, State, Step, Store,
    StoreError,
};
use quorate_client::Query;

use super::harness::{PATIENCE, finish, projection, rows, until};
use super::kit::{Kit, Notes, Rows};
use super::script::Script;

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

/// The contract of stores, without a projection: an owner that was paused while another took over cannot
/// take a step any more, and nothing of the step that it had begun is stored.
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
    // A model that is dropped before it is committed leaves nothing behind.
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
        // A store may report this only at the end of the transaction.
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
    for (error, definition) in [
        (newer.await, r#"(version 2; query category "order"; cluster a script)"#),
        (elsewhere.await, r#"(version 1; query category "order"; cluster another script)"#),
        (other.await, r#"(version 1; query category "bill"; cluster a script)"#),
    ] {
        let error = error.expect_err("it is refused");
        assert!(matches!(error, ProjectionError::Changed { .. }), "{error}");
        assert!(error.to_string().contains(definition), "{error}");
        assert!(
            error.to_string().contains(r#"(version 1; query category "order"; cluster a script)"#)
        );
    }
    assert_eq!(rows(&kit, "orders").await, script.expected(20));
}
