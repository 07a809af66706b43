//! Models that are ahead of the log: the cluster came back from an older copy.

use quorate_app::projection::ProjectionError;

use super::harness::{PATIENCE, projection, run};
use super::kit::{Kit, MemoryKit, Notes};
use super::script::Script;

#[test]
fn a_projection_whose_bookmark_is_ahead_of_the_log_stops_and_says_so() {
    run(async {
        let (script, shorter) = (Script::new(), Script::new());
        script.fill(5);
        shorter.fill(4);
        let store = MemoryKit::new().open().await;
        let orders = || projection(store.clone(), "orders", Notes::new("orders"));
        let running = orders().start(script.clone());
        running.reached(5, PATIENCE).await.expect("everything is applied");
        running.stop().await.expect("it stops in order");
        let ended = orders().start(shorter.clone()).wait().await;
        let error = ended.expect_err("the next event would be passed over");
        assert!(matches!(error, ProjectionError::Ahead { bookmark: 5, .. }), "{error}");
        assert!(error.to_string().contains("ahead of the cluster's log"), "{error}");
        shorter.fill(1);
        let running = orders().start(shorter);
        running.reached(5, PATIENCE).await.expect("it is not ahead any more");
        running.stop().await.expect("it stops in order");
    });
}
