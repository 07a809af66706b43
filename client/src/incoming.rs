//! A node's answer as it comes in.

use std::time::Duration;

use quorate_proto::Problem;
use tokio::time::{Instant, timeout_at};
use tonic::Streaming;

use crate::client::Client;
use crate::nodes::problem;
use crate::trouble::{late, unavailable};

/// The time that a client gives a node beyond the deadline that it sent to the node.
pub(crate) const GRACE: Duration = Duration::from_millis(200);
/// The time for which a node may be silent within its answer: another may still answer before the deadline.
pub(crate) fn silence_max(client: &Client) -> Duration {
    client.deadline / 3 + GRACE
}

/// A node's answer.
#[derive(Debug)]
pub(crate) struct Incoming<T> {
    pub(crate) address: String,
    messages: Streaming<T>,
    began_at: Instant,
    /// The time since which the next message is awaited.
    waiting_since: Option<Instant>,
}

impl<T> Incoming<T> {
    pub(crate) fn new(address: String, messages: Streaming<T>) -> Incoming<T> {
        Incoming { address, messages, began_at: Instant::now(), waiting_since: None }
    }

    /// Returns the next message. A node that is silent for longer than `silence_max` is given up, although it may
    /// answer pings. Cancelling the future loses nothing, and does not give the node more time.
    pub(crate) async fn next(&mut self, silence_max: Duration) -> Result<T, Problem> {
        let next = self.next_or_end(silence_max).await?;
        next.ok_or_else(|| unavailable(format!("{} ended its answer early", self.address)))
    }

    /// Does the same for an answer that ends without an end message: `None` at its end.
    pub(crate) async fn next_or_end(
        &mut self,
        silence_max: Duration,
    ) -> Result<Option<T>, Problem> {
        let since = *self.waiting_since.get_or_insert_with(Instant::now);
        let received = timeout_at(since + silence_max, self.messages.message()).await;
        self.waiting_since = None;
        match received {
            Ok(Ok(message)) => Ok(message),
            Ok(Err(status)) => Err(problem(&self.address, &status)),
            Err(_) => Err(late(&self.address)),
        }
    }

    pub(crate) fn age(&self) -> Duration {
        self.began_at.elapsed()
    }
}
