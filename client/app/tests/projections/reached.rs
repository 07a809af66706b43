//! Waiting until a model has everything up to a position.

use std::time::Duration;

use super::harness::{PATIENCE, projection, run};
use super::kit::{Kit, MemoryKit, Notes};
use super::script::Script;

/// The longest duration must not be added to any instant: that would overflow.
#[test]
fn a_position_can_be_waited_for_without_an_end() {
    run(async {
        let script = Script::new();
        script.fill(5);
        let orders = projection(MemoryKit::new().open().await, "orders", Notes::new("orders"));
        let running = orders.start(script.clone());
        running.reached(5, Duration::MAX).await.expect("what was there before");
        let waits = tokio::spawn(async move { orders.reached(6, Duration::MAX).await });
        script.fill(1);
        let reached = tokio::time::timeout(PATIENCE, waits).await.expect("in time");
        reached.expect("no panic").expect("it is there");
        running.stop().await.expect("it stops in order");
    });
}
