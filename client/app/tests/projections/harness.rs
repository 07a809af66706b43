//! Helpers for the tests of all stores: a runtime, a projection, and waits with a limit.

use std::future::Future;
use std::time::Duration;

use quorate_app::projection::{Backoff, Handler, Projection, Running, Store};
use quorate_client::Query;
use tokio::runtime::{Builder, Runtime};
use tokio::time::Instant;

use super::kit::{Kit, Rows};
use super::script::Script;

/// The limit of waits, longer than anything takes on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);
/// The lease of owners, short so that a dead process is not waited for long.
const LEASE: Duration = Duration::from_millis(200);
pub(crate) const QUICKLY: Backoff =
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

/// Waits until a condition holds.
pub(crate) async fn until<F: Future<Output = bool>>(what: &str, mut is_so: impl FnMut() -> F) {
    let give_up_at = Instant::now() + PATIENCE;
    while !is_so().await {
        assert!(Instant::now() < give_up_at, "not in time: {what}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// Waits until there is a value.
#[cfg(any(feature = "postgres", feature = "redis"))]
pub(crate) async fn eventually<T, F: Future<Output = Option<T>>>(
    what: &str,
    mut find: impl FnMut() -> F,
) -> T {
    let mut found = None;
    let give_up_at = Instant::now() + PATIENCE;
    while found.is_none() {
        assert!(Instant::now() < give_up_at, "not in time: {what}");
        found = find().await;
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    found.expect("it was looked for until it was there")
}

/// Runs a projection until everything is in the model, and stops it.
pub(crate) async fn finish(running: Running, script: &Script) {
    running.reached(script.end(), PATIENCE).await.expect("everything is applied");
    running.stop().await.expect("it stops in order");
}

/// Returns the content of a projection's live model.
pub(crate) async fn rows<K: Kit>(kit: &K, name: &str) -> Rows {
    let store = kit.open().await;
    kit.rows(&store, name).await.expect("a model")
}
