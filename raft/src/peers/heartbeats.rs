//! The heartbeats to one peer: they go through one stream, which stays open, one after the other.
//!
//! openraft opens a stream for each heartbeat, and each round of linearizable reads is a heartbeat to every peer.

use std::sync::{Mutex, PoisonError};

use futures_util::{StreamExt, stream};
use openraft::AsyncRuntime;
use openraft::raft::{AppendEntriesRequest, StreamAppendResult};
use quorate_proto::wire::peer::v1;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;

use super::guard::Origin;
use super::link::{Answers, Connection, Link};
use super::wire;
use crate::adapter::types::TypeConfig;
use crate::host::Host;

type Answer<R> = Result<StreamAppendResult<TypeConfig<R>>, Status>;

/// The stream of heartbeats to one peer, if it is open.
///
/// Invariant: whenever no heartbeat is being sent, all those of the open stream are answered. A leader must not take
/// the answer to an earlier heartbeat for that to a later one: it dates its lease, and its reads, by them.
pub(super) struct Heartbeats<R: AsyncRuntime> {
    /// Locked by nobody: openraft's clients must be `Sync`, and a stream is not.
    open: Mutex<Option<Open<R>>>,
}

struct Open<R: AsyncRuntime> {
    origin: Origin,
    requests: mpsc::Sender<v1::AppendRequest>,
    answers: Answers<R>,
}

impl<R: AsyncRuntime> Heartbeats<R> {
    pub(super) fn new() -> Heartbeats<R> {
        Heartbeats { open: Mutex::new(None) }
    }

    /// Sends a heartbeat and returns its answer. If this future is dropped before it has the answer, the stream is
    /// closed.
    pub(super) async fn send<H: Host>(
        &mut self,
        link: &Link<H>,
        heartbeat: AppendEntriesRequest<TypeConfig<R>>,
    ) -> Answer<R> {
        let origin = link.origin_in_time().await?;
        let request = wire::append_request(heartbeat);
        // The stream is taken out for as long as it owes an answer.
        let open = self.open().take().filter(|open| open.origin == origin);
        if let Some(mut open) = open
            && open.requests.send(request.clone()).await.is_ok()
            && let Ok(answer) = open.answer().await
        {
            return self.keep(open, answer);
        }
        // There was no stream, or it is lost.
        let mut open = Open::new(link, origin, request).await?;
        let answer = open.answer().await?;
        self.keep(open, answer)
    }

    #[cfg(test)]
    pub(super) fn is_open(&mut self) -> bool {
        self.open().is_some()
    }

    fn open(&mut self) -> &mut Option<Open<R>> {
        self.open.get_mut().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps the stream for the next heartbeat, unless the peer ends it with this answer.
    fn keep(&mut self, open: Open<R>, answer: StreamAppendResult<TypeConfig<R>>) -> Answer<R> {
        *self.open() = answer.is_ok().then_some(open);
        Ok(answer)
    }
}

impl<R: AsyncRuntime> Open<R> {
    /// Opens a stream with its first heartbeat.
    async fn new<H: Host>(
        link: &Link<H>,
        origin: Origin,
        first: v1::AppendRequest,
    ) -> Result<Open<R>, Status> {
        let (requests, rest) = mpsc::channel(1);
        let first = v1::AppendRequest { origin: Some(wire::origin(&origin)), ..first };
        let outgoing = stream::iter([first]).chain(ReceiverStream::new(rest));
        let answers = link.open(Connection::Control, &origin, outgoing).await?;
        Ok(Open { origin, requests, answers })
    }

    async fn answer(&mut self) -> Answer<R> {
        let ended = || Err(Status::unavailable("it ended without an answer"));
        self.answers.next().await.unwrap_or_else(ended)
    }
}
