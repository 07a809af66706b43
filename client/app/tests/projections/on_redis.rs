//! Tests that only Redis needs: commands that fail in the middle, connections that are cut.

use quorate_app::projection::{Handler, HandlerError, OnFailure, RedisModel};
use quorate_app::redis;
use quorate_client::RecordedEvent;

use super::harness::{PATIENCE, finish, projection, run};
use super::kit::{Kit, Notes, RedisKit};
use super::script::Script;

/// A handler with a command for every fifth event that Redis refuses only when it runs the command.
struct Wrong;

impl Handler<RedisModel> for Wrong {
    async fn apply(
        &self,
        model: &mut RedisModel,
        event: &RecordedEvent,
    ) -> Result<(), HandlerError> {
        let key = model.key(event.stream.as_str());
        let command = if event.position.0.is_multiple_of(5) { "HINCRBY" } else { "RPUSH" };
        let mut command = redis::cmd(command);
        command.arg(key).arg(event.version.0);
        model.run(command);
        Ok(())
    }
}

/// Redis takes nothing back: events before the one that failed are applied, and must not be applied again.
#[test]
fn a_command_that_fails_in_the_middle_of_a_batch_repeats_nothing() {
    let Some(kit) = RedisKit::new() else { return };
    run(async {
        let script = Script::new();
        script.fill(100);
        let orders = projection(kit.open().await, "orders", Wrong).on_failure(OnFailure::Park);
        finish(orders.start(script.clone()), &script).await;
        let parked = orders.parked().await.expect("an answer");
        assert_eq!(parked.len(), 20);
        let reason = &parked[0].reason;
        assert!(reason.contains("command 1 of the event at 5: ERR"), "{reason}");
        let mut expected = script.expected(100);
        for one in &parked {
            let versions = expected.get_mut(&one.stream).expect("a stream");
            versions.retain(|version| *version != one.version);
        }
        assert_eq!(kit.rows(&kit.open().await, "orders").await, Some(expected));
        let mended = projection(kit.open().await, "orders", Notes::new("orders"));
        assert_eq!(mended.replay(&script, &parked).await.expect("they are applied"), 20);
        assert_eq!(orders.parked().await.expect("an answer"), []);
    });
}

#[test]
fn connections_that_are_cut_are_made_again() {
    let Some(kit) = RedisKit::new() else { return };
    run(async {
        let script = Script::new();
        let orders = projection(kit.open().await, "orders", Notes::new("orders")).partitions(3);
        let running = orders.start(script.clone());
        for _ in 0..20 {
            script.fill(100);
            kit.cut_connections().await;
        }
        running.reached(script.end(), PATIENCE).await.expect("it goes on");
        finish(running, &script).await;
        let rows = kit.rows(&kit.open().await, "orders").await;
        assert_eq!(rows, Some(script.expected(2_000)));
    });
}

#[test]
fn the_keys_of_a_replaced_model_expire() {
    let Some(kit) = RedisKit::new() else { return };
    run(async {
        let script = Script::new();
        script.fill(7);
        let store = kit.open().await;
        let orders = projection(store.clone(), "orders", Notes::new("orders"));
        finish(orders.start(script.clone()), &script).await;
        let before = store.prefix("orders").await.expect("an answer").expect("a model");
        orders.rebuild(script.clone()).wait().await.expect("it is swapped");
        let after = store.prefix("orders").await.expect("an answer").expect("a model");
        assert_ne!(before, after);
        for (prefix, expires) in [(before, true), (after, false)] {
            let seconds = kit.seconds_left(&format!("{prefix}order-1")).await;
            assert_eq!(seconds > 0, expires, "{prefix} {seconds}");
        }
    });
}
