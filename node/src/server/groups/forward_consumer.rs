//! A consumer that is connected to a follower: its messages go to the leader, and those of the leader come back.

use std::pin::Pin;
use std::sync::PoisonError;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::Stream;
use quorate_proto::limits::{CLIENT_MESSAGE_BYTES_MAX, PEER_MESSAGE_BYTES_MAX};
use quorate_proto::wire::peer::v1 as peer;
use quorate_proto::wire::peer::v1::pass_groups_client::PassGroupsClient;
use quorate_proto::wire::{problem_of, v1};
use quorate_proto::{GroupName, Outcome, Problem, Term};
use quorate_raft::host::Host;
use quorate_raft::{Member, transport};
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::{CancellationToken, DropGuard, WaitForCancellationFutureOwned};
use tonic::transport::Channel;
use tonic::{Status, Streaming};

use super::super::append::opening_of;
use super::super::problem;
use super::{Groups, unavailable};

/// The time within which a leader must accept a consumer. It includes the owner's time to take over.
const OPENED_WITHIN: Duration = Duration::from_secs(8);
/// The time within which a leader must report what it knows of a group; otherwise that is left out.
const WATCHED_WITHIN: Duration = Duration::from_secs(1);
/// The maximum number of messages that wait for the transport; more would only wait longer.
const MESSAGES_WAITING_MAX: usize = 2;

/// The leader's messages to a consumer. Dropping this informs the leader that the consumer was lost.
pub(crate) struct ForwardedConsumer {
    inbound: Option<Streaming<v1::ConsumeResponse>>,
    stopping: Pin<Box<WaitForCancellationFutureOwned>>,
    _over: DropGuard,
}

impl Stream for ForwardedConsumer {
    type Item = Result<v1::ConsumeResponse, Status>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if self.stopping.as_mut().poll(context).is_ready() && self.inbound.take().is_some() {
            return Poll::Ready(Some(Err(problem::stopping(Outcome::NotAppended).into())));
        }
        let Some(inbound) = &mut self.inbound else { return Poll::Ready(None) };
        match Pin::new(inbound).poll_next(context) {
            Poll::Ready(Some(Err(status))) => {
                self.inbound = None;
                Poll::Ready(Some(Err(problem_from(&status).into())))
            }
            other => other,
        }
    }
}

/// Returns the leader's problem; an error of the connection itself becomes an unreachable leader.
fn problem_from(status: &Status) -> Problem {
    problem_of(status).unwrap_or_else(|| {
        unavailable(format!("the connection to the leader was lost: {}", status.message()))
    })
}

impl<H: Host> Groups<H> {
    /// Forwards a consumer to the leader.
    pub(super) async fn forward(
        &self,
        leader: &Member,
        term: Term,
        join: v1::JoinGroup,
        requests: Streaming<v1::ConsumeRequest>,
    ) -> Result<ForwardedConsumer, Problem> {
        let mut client = self.leader(leader)?;
        let opening = opening_of(&self.appends.replica, leader, term);
        let opening = Some(opening.ok_or_else(problem::not_ready)?);
        let (outbound, messages) = mpsc::channel(MESSAGES_WAITING_MAX);
        let lost = |_| unavailable("the connection to the leader was lost");
        let first = peer::PassRequest { opening, ..peer::PassRequest::default() };
        outbound.send(first).await.map_err(lost)?;
        let join = v1::ConsumeRequest { join: Some(join), ..v1::ConsumeRequest::default() };
        outbound.send(passed_on(join)).await.map_err(lost)?;
        let opening = client.pass(ReceiverStream::new(messages));
        let opened = timeout(OPENED_WITHIN, opening).await;
        let opened = opened.map_err(|_| unavailable("the leader does not answer"))?;
        let inbound = opened.map_err(|status| problem_from(&status))?.into_inner();
        let over = CancellationToken::new();
        tokio::spawn(pump(requests, outbound, over.clone(), self.stopping.clone()));
        let stopping = Box::pin(self.stopping.clone().cancelled_owned());
        Ok(ForwardedConsumer { inbound: Some(inbound), stopping, _over: over.drop_guard() })
    }

    /// Returns what the leader knows of a group beside the log, if it answers in time.
    pub(super) async fn ask_leader(
        &self,
        leader: &Member,
        term: Term,
        name: &GroupName,
    ) -> Option<peer::WatchResponse> {
        let opening = opening_of(&self.appends.replica, leader, term);
        let request = peer::WatchRequest { opening, group: name.as_str().to_owned() };
        let mut client = self.leader(leader).ok()?;
        let answer = timeout(WATCHED_WITHIN, client.watch(request)).await.ok()?;
        answer.ok().map(tonic::Response::into_inner)
    }

    /// Returns a client of the leader; all consumers of this node share the connection.
    fn leader(&self, leader: &Member) -> Result<PassGroupsClient<Channel>, Problem> {
        let mut connection = self.connection.lock().unwrap_or_else(PoisonError::into_inner);
        let address = &leader.peer_address;
        let channel = match &*connection {
            Some((known, channel)) if known == address => channel.clone(),
            _ => {
                let made = transport::channel(self.appends.replica.host(), address);
                let channel = made.map_err(|error| unavailable(error.to_string()))?;
                *connection = Some((address.clone(), channel.clone()));
                channel
            }
        };
        Ok(PassGroupsClient::new(channel)
            .max_decoding_message_size(CLIENT_MESSAGE_BYTES_MAX)
            .max_encoding_message_size(PEER_MESSAGE_BYTES_MAX))
    }
}

/// Returns a consumer's message in the form in which it goes to the leader.
fn passed_on(request: v1::ConsumeRequest) -> peer::PassRequest {
    peer::PassRequest { request: Some(request), ..peer::PassRequest::default() }
}

/// Passes a consumer's messages on, as fast as the leader takes them. The leader is informed when the consumer
/// leaves in order, and also when this node stops, because its consumers are well.
async fn pump(
    mut requests: Streaming<v1::ConsumeRequest>,
    outbound: mpsc::Sender<peer::PassRequest>,
    over: CancellationToken,
    stopping: CancellationToken,
) {
    loop {
        let received = tokio::select! {
            biased;
            () = stopping.cancelled() => Ok(None),
            () = over.cancelled() => return,
            received = requests.message() => received,
        };
        let is_last = matches!(received, Ok(None));
        let message = match received {
            Ok(Some(request)) => passed_on(request),
            Ok(None) => peer::PassRequest { left: true, ..peer::PassRequest::default() },
            Err(_) => return,
        };
        if outbound.send(message).await.is_err() || is_last {
            return;
        }
    }
}
