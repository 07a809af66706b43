//! The messages of a consumer on their way to the owner: they are read as fast as the owner takes them.

use futures_util::{Stream, StreamExt};
use quorate_proto::wire::{begun_of, settlements_of, v1};
use quorate_proto::{Invalid, Problem};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tonic::Status;

use super::dispatcher::{ConsumerId, Left};
use super::owner::Input;

/// A message of a consumer.
pub(super) enum ConsumerMessage {
    Request(v1::ConsumeRequest),
    /// The consumer leaves in order.
    Left,
}

/// The connection of a consumer to the owner of its group.
pub(super) struct ConsumerConnection {
    pub(super) id: ConsumerId,
    pub(super) inbox: mpsc::Sender<Input>,
    /// Cancelled when nobody receives the consumer's deliveries any more.
    pub(super) over: CancellationToken,
}

impl ConsumerConnection {
    /// Passes the consumer's messages on in a task of its own, until the consumer is gone. `at_end` is the
    /// meaning of the end of its messages.
    pub(super) fn serve<S>(self, requests: S, at_end: Left)
    where
        S: Stream<Item = Result<ConsumerMessage, Status>> + Unpin + Send + 'static,
    {
        tokio::spawn(async move {
            let how = self.run(requests, at_end).await;
            let left = match how {
                Ok(how) => Input::Leave { id: self.id, how },
                Err(problem) => Input::Expel { id: self.id, problem },
            };
            // If the owner is gone, all its consumers are released already.
            let _ = self.inbox.send(left).await;
        });
    }

    async fn run<S>(&self, mut requests: S, at_end: Left) -> Result<Left, Problem>
    where
        S: Stream<Item = Result<ConsumerMessage, Status>> + Unpin,
    {
        loop {
            let message = tokio::select! {
                biased;
                message = requests.next() => message,
                () = self.over.cancelled() => return Ok(Left::Lost),
            };
            match message {
                Some(Ok(ConsumerMessage::Request(request))) => self.pass_on(request).await?,
                Some(Ok(ConsumerMessage::Left)) => return Ok(Left::Gracefully),
                Some(Err(_)) => return Ok(Left::Lost),
                None => return Ok(at_end),
            }
        }
    }

    async fn pass_on(&self, request: v1::ConsumeRequest) -> Result<(), Problem> {
        if request.join.is_some() {
            return Err(Invalid::new("join", "is given by the first message alone").into());
        }
        let begun = begun_of(request.begun)?;
        if !begun.is_empty() {
            let _ = self.inbox.send(Input::Begin { id: self.id, numbers: begun }).await;
        }
        let settlements = settlements_of(request.settlements)?;
        if !settlements.is_empty() {
            let _ = self.inbox.send(Input::Settle { id: self.id, settlements }).await;
        }
        Ok(())
    }
}
