//! A read model that runs: here, or as a standby of another process of the service.

use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::{BoxFuture, select_ok};
use quorate_app::projection::{
    Handler, OnFailure, Projection, ProjectionError, Running, State, Store,
};
use quorate_client::{Client, Query};

/// The time for which a query waits for the position that it asks for.
const PATIENCE: Duration = Duration::from_secs(5);
/// The version of all handlers: increased when one of them would make another model of the same events.
const VERSION: u32 = 1;

type Reached = BoxFuture<'static, Result<(), ProjectionError>>;

/// A read model that is kept up to date, here or in another process.
pub(super) struct ReadModel {
    pub(super) running: Running,
    /// Waits by asking the database, whatever process runs the projection.
    anywhere: Box<dyn Fn(u64) -> Reached + Send + Sync>,
}

/// Starts a projection; while another process runs it, it waits for that one's end.
pub(super) fn start<S: Store, H: Handler<S::Model>>(
    name: &str,
    query: Query,
    store: S,
    handler: H,
    client: &Client,
) -> ReadModel {
    let projection = Projection::new(name, query, store, handler)
        .version(VERSION)
        .rebuild_when_changed()
        .on_failure(OnFailure::Stop)
        .standby();
    let running = projection.start(client.clone());
    let anywhere = Box::new(move |position| -> Reached {
        let projection = projection.clone();
        async move { projection.reached(position, PATIENCE).await }.boxed()
    });
    ReadModel { running, anywhere }
}

impl ReadModel {
    /// Waits until there is a model, though it may be behind, or the projection has ended.
    pub(super) async fn begun(&self) {
        let mut status = self.running.watch();
        let has_begun = |state: &State| !matches!(state, State::Starting | State::Retrying(_));
        // A projection that is gone has set its last status.
        _ = status.wait_for(|status| has_begun(&status.state)).await;
    }

    /// Waits until the model has everything up to a position; 0 = it may be as old as it is.
    pub(super) async fn reached(&self, position: u64) -> Result<(), ProjectionError> {
        if position <= self.running.status().position {
            return Ok(());
        }
        let here = self.running.reached(position, PATIENCE).boxed();
        let anywhere = (self.anywhere)(position);
        select_ok([here, anywhere]).await.map(|_| ())
    }
}
