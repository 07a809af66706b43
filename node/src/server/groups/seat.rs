//! What a consumer says, on its way to the owner: read as fast as the owner takes it.

use futures_util::{Stream, StreamExt};
use quorate_proto::wire::{begun_of, settlements_of, v1};
use quorate_proto::{Invalid, Problem};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tonic::Status;

use super::dispatcher::{ConsumerId, Left};
use super::owner::Input;

/// What comes in from a consumer.
pub(super) enum Said {
    Request(v1::ConsumeRequest),
    /// It leaves in order.
    Left,
}

/// A consumer's place at the owner.
pub(super) struct Seat {
    pub(super) id: ConsumerId,
    pub(super) inbox: mpsc::Sender<Input>,
    /// Cancelled when nobody listens to what goes out any more.
    pub(super) over: CancellationToken,
}

impl Seat {
    /// Passes on what the consumer says, until it went; in a task of its own. `at_end` is what the end of its
    /// requests means.
    pub(super) fn serve<S>(self, requests: S, at_end: Left)
    where
        S: Stream<Item = Result<Said, Status>> + Unpin + Send + 'static,
    {
        tokio::spawn(async move {
            let how = self.run(requests, at_end).await;
            let left = match how {
                Ok(how) => Input::Leave { id: self.id, how },
                Err(problem) => Input::Expel { id: self.id, problem },
            };
            // An owner that is gone has let everybody go.
            let _ = self.inbox.send(left).await;
        });
    }

    async fn run<S>(&self, mut requests: S, at_end: Left) -> Result<Left, Problem>
    where
        S: Stream<Item = Result<Said, Status>> + Unpin,
    {
        loop {
            let said = tokio::select! {
                biased;
                said = requests.next() => said,
                () = self.over.cancelled() => return Ok(Left::Lost),
            };
            match said {
                Some(Ok(Said::Request(request))) => self.pass_on(request).await?,
                Some(Ok(Said::Left)) => return Ok(Left::Gracefully),
                Some(Err(_)) => return Ok(Left::Lost),
                None => return Ok(at_end),
            }
        }
    }

    async fn pass_on(&self, request: v1::ConsumeRequest) -> Result<(), Problem> {
        if request.join.is_some() {
            return Err(Invalid::new("join", "is told by the first message alone").into());
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
