//! Partitions keep the order that they promise, and their number may change.

use std::time::Duration;

use quorate_app::projection::{Backoff, Handler, State, Store};

use super::harness::{PATIENCE, finish, projection, rows};
use super::kit::{Kit, Notes};
use super::script::Script;

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
    let poisoned = Notes::poisoned_at("orders", 20);
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
