//! Requests that any node can answer, once: the client asks one node after the other until one answers.

use std::future::Future;
use std::time::Duration;

use quorate_proto::wire::v1::events_client::EventsClient;
use quorate_proto::{Outcome, Problem};
use tokio::time::Instant;
use tonic::{Response, Status};

use crate::client::Client;
use crate::connection::Connection;
use crate::incoming::GRACE;
use crate::nodes::problem;
use crate::trouble::late;

/// The time to wait after all nodes refused.
const REST: Duration = Duration::from_millis(50);

/// Asks nodes, in this order, until one gives an answer that counts or the client's deadline passes. `call`
/// gets the milliseconds that the node may take. For requests that can be repeated without harm. A refusal
/// after an attempt of unknown outcome leaves the outcome unknown: that attempt may have been taken before.
pub(crate) async fn ask<T, F>(
    client: &Client,
    order: impl Fn() -> Vec<String>,
    call: impl Fn(EventsClient<Connection>, u64) -> F,
) -> Result<T, Problem>
where
    F: Future<Output = Result<Response<T>, Status>>,
{
    let nodes = &client.shared.nodes;
    ask_node(client, order, |address, time| Ok(call(nodes.events(address)?, time))).await
}

/// Does the same for any service: `call` gets the address of the node.
pub(crate) async fn ask_node<T, F>(
    client: &Client,
    order: impl Fn() -> Vec<String>,
    call: impl Fn(&str, u64) -> Result<F, Problem>,
) -> Result<T, Problem>
where
    F: Future<Output = Result<Response<T>, Status>>,
{
    let give_up_at = Instant::now() + client.deadline;
    let mut unknown = false;
    loop {
        let mut last = None;
        for address in order() {
            let left = give_up_at.saturating_duration_since(Instant::now());
            if left.is_zero() && last.is_some() {
                break;
            }
            let time = left.min(client.deadline / 3);
            let asking = call(&address, (time.as_millis() as u64).max(1))?;
            let failure = match tokio::time::timeout(time + GRACE, asking).await {
                Ok(Ok(answer)) => return Ok(answer.into_inner()),
                Ok(Err(status)) => problem(&address, &status),
                Err(_) => Problem { outcome: Outcome::Unknown, ..late(&address) },
            };
            unknown |= failure.outcome == Outcome::Unknown;
            if failure.is_verdict() {
                let outcome = if unknown { Outcome::Unknown } else { failure.outcome };
                return Err(Problem { outcome, ..failure });
            }
            client.shared.nodes.failed(&address);
            last = Some(failure);
        }
        let last = last.expect("a client has at least one endpoint");
        if Instant::now() + REST >= give_up_at {
            let outcome = if unknown { Outcome::Unknown } else { Outcome::NotAppended };
            return Err(Problem { outcome, ..last });
        }
        tokio::time::sleep(REST).await;
    }
}
