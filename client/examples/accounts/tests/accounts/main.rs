//! The example from end to end: on real nodes in memory, which lose their power, into each destination, and with processes.

mod destinations;
#[path = "../../../tests/dev.rs"]
mod dev;
mod models;
mod payments;
mod power_cuts;
mod processes;
mod servers;

use std::future::Future;
use std::time::Duration;

use quorate_client::{Client, Position, Query};

/// The time after which a test counts as hanging.
const HANGS_AFTER: Duration = Duration::from_secs(120);

/// Waits for what must happen, and fails if it does not.
async fn in_time<T>(what: &str, happening: impl Future<Output = T>) -> T {
    let happened = tokio::time::timeout(HANGS_AFTER, happening).await;
    happened.unwrap_or_else(|_| panic!("it does not happen: {what}"))
}

/// Returns the position up to which everything is in the log.
async fn end_of_log(client: &Client) -> Position {
    let nothing = client.read(Query::everything()).limit(0).stream();
    in_time("the end of the log", nothing).await.expect("an answer").as_of()
}
