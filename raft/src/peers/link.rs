//! The link from this node to one peer: three connections, the greeting, and log messages about its state.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use futures_util::stream::BoxStream;
use futures_util::{Stream, StreamExt};
use openraft::AsyncRuntime;
use openraft::raft::{AppendEntriesRequest, StreamAppendResult};
use quorate_proto::limits::PEER_MESSAGE_BYTES_MAX;
use quorate_proto::wire::peer::v1;
use quorate_proto::wire::peer::v1::raft_client::RaftClient;
use tokio::time::Instant;
use tonic::transport::Channel;
use tonic::{Code, Response, Status};

use super::unanswered::{Asked, Unanswered};
use super::{riding, wire};
use crate::adapter::types::{self, TypeConfig, Vote};
use crate::disk_space::{Room, Rooms};
use crate::histogram::Histogram;
use crate::host::Host;
use crate::peers::guard::{Guard, Origin};
use crate::peers::transfers::{Transfer, Transfers};
use crate::transport;

/// The connection that a request takes: bulk data must not delay the messages that keep a leader alive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Connection {
    /// Entries of the log.
    Replication,
    /// Heartbeats, votes, greetings, read indexes.
    Control,
    /// Checkpoints.
    Snapshot,
}

type PeerClient = RaftClient<Channel>;
pub(super) type Answers<R> = BoxStream<'static, Result<StreamAppendResult<TypeConfig<R>>, Status>>;

const NOT_TRIED: u8 = 0;
const REACHED: u8 = 1;
const LOST: u8 = 2;
const FULL: u8 = 3;

/// This node, at which its links begin, and the state that it keeps of all its peers. Clones share it.
#[derive(Clone, Debug)]
pub(crate) struct LocalNode<H> {
    pub(crate) host: H,
    /// The peers that are let in.
    pub(crate) guard: Arc<Guard>,
    /// The peers that get a checkpoint.
    pub(crate) transfers: Transfers,
    /// The room that the peers have.
    pub(crate) rooms: Arc<Rooms>,
    /// The round trips of requests with entries, of all peers.
    pub(crate) round_trips: Arc<Histogram>,
    /// The deadline of urgent requests: greeting, opening a stream, asking for a read index.
    pub(crate) deadline: Duration,
    /// The address at which this node serves its peers, as others reach it.
    pub(crate) peer_address: String,
}

/// The link from this node to one peer.
///
/// Invariants:
/// - nothing but a greeting is sent before the peer was let in;
/// - a change of the peer's state is logged once.
#[derive(Debug)]
pub(crate) struct Link<H> {
    local: LocalNode<H>,
    node: u64,
    address: String,
    replication: Option<PeerClient>,
    control: Option<PeerClient>,
    snapshot: Option<PeerClient>,
    greeting: tokio::sync::Mutex<()>,
    state: AtomicU8,
}

impl<H: Host> Link<H> {
    pub(super) fn new(local: &LocalNode<H>, node: u64, address: &str) -> Link<H> {
        let client = || client(&local.host, address).ok();
        Link {
            local: local.clone(),
            node,
            address: address.to_owned(),
            replication: client(),
            control: client(),
            snapshot: client(),
            greeting: tokio::sync::Mutex::new(()),
            state: AtomicU8::new(NOT_TRIED),
        }
    }

    pub(crate) fn host(&self) -> &H {
        &self.local.host
    }

    pub(crate) fn node(&self) -> u64 {
        self.node
    }

    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    /// Returns the deadline of urgent requests.
    pub(super) fn deadline(&self) -> Duration {
        self.local.deadline
    }

    pub(crate) fn guard(&self) -> &Guard {
        &self.local.guard
    }

    pub(crate) fn begin_transfer(&self, index: u64) -> Transfer {
        self.local.transfers.begin(self.node, index)
    }

    /// Returns the client of a connection.
    pub(crate) fn client(&self, connection: Connection) -> Result<PeerClient, Status> {
        let client = match connection {
            Connection::Replication => &self.replication,
            Connection::Control => &self.control,
            Connection::Snapshot => &self.snapshot,
        };
        client
            .clone()
            .ok_or_else(|| Status::unavailable(format!("`{}` is no address", self.address)))
    }

    /// Returns the origin of requests to the peer; greets the peer first if need be.
    pub(crate) async fn origin(&self) -> Result<Origin, Status> {
        if let Some(origin) = self.local.guard.origin(self.node) {
            return Ok(origin);
        }
        let _one_at_a_time = self.greeting.lock().await;
        if let Some(origin) = self.local.guard.origin(self.node) {
            return Ok(origin);
        }
        self.greet().await?;
        let origin = self.local.guard.origin(self.node);
        origin.ok_or_else(|| Status::unavailable("the peer was not let in"))
    }

    async fn greet(&self) -> Result<(), Status> {
        let me = self.local.guard.identity();
        let request = v1::GreetRequest {
            cluster: me.cluster.to_vec().into(),
            log: me.log,
            from: me.node,
            to: self.node,
            shown: Some(wire::shown(&self.local.guard.shown())),
            peer_address: self.local.peer_address.clone(),
        };
        let mut client = self.client(Connection::Control)?;
        let response = match within(self.local.deadline, client.greet(request)).await {
            Ok(response) => response.into_inner(),
            Err(status) => {
                if status.code() == Code::PermissionDenied {
                    self.local.guard.refused_by(self.node, status.message());
                }
                return Err(status);
            }
        };
        if response.removed {
            self.local.guard.leave();
            return Err(Status::permission_denied("it says that this node was removed"));
        }
        let shown = wire::from_shown(response.shown)?;
        let judged = self.local.guard.judge(self.node, &shown, &self.address);
        judged.map_err(Status::permission_denied)
    }

    /// Sends one request and returns its answer, on the connection for urgent messages. A peer that was restarted
    /// since it was greeted is greeted and asked once more: an election must not fail for that.
    pub(crate) async fn unary<T, F>(
        &self,
        deadline: Duration,
        call: impl Fn(v1::Origin, PeerClient) -> F,
    ) -> Result<T, Status>
    where
        F: Future<Output = Result<Response<T>, Status>>,
    {
        let sent = async {
            let mut is_repeated = false;
            loop {
                let origin = self.origin().await?;
                let answer = call(wire::origin(&origin), self.client(Connection::Control)?).await;
                let answer = self.note(Some(&origin), answer);
                let is_unknown =
                    answer.as_ref().is_err_and(|status| status.code() == Code::Unauthenticated);
                if !is_unknown || std::mem::replace(&mut is_repeated, true) {
                    return answer;
                }
            }
        };
        match tokio::time::timeout(deadline, sent).await {
            Ok(answer) => Ok(answer?.into_inner()),
            Err(_) => self.note(None, Err(late())),
        }
    }

    /// Returns the origin of requests to the peer, or an error if the peer cannot be greeted in time.
    pub(super) async fn origin_in_time(&self) -> Result<Origin, Status> {
        match within(self.local.deadline, self.origin()).await {
            Ok(origin) => Ok(origin),
            Err(status) => self.note(None, Err(status)),
        }
    }

    /// Opens the stream that replicates the log; the stream ends with an error if a request gets no answer.
    pub(super) async fn replicate<R: AsyncRuntime>(
        &self,
        first: AppendEntriesRequest<TypeConfig<R>>,
        rest: impl Stream<Item = AppendEntriesRequest<TypeConfig<R>>> + Send + Unpin + 'static,
    ) -> Result<Answers<R>, Status> {
        let origin = self.origin_in_time().await?;
        let (end, mut first) = asked(first);
        first.origin = Some(wire::origin(&origin));
        let (unanswered, requests) = Unanswered::new((end, first), rest.map(asked));
        let unanswered = unanswered.above(self.local.transfers.floor());
        let unanswered = unanswered.timed_by(self.local.round_trips.clone());
        let answers = self.open(Connection::Replication, &origin, requests).await?;
        Ok(unanswered.answers(answers).boxed())
    }

    /// Opens a stream of requests, the first of which has the origin; returns the peer's answers.
    pub(super) async fn open<R: AsyncRuntime>(
        &self,
        connection: Connection,
        origin: &Origin,
        requests: impl Stream<Item = v1::AppendRequest> + Send + 'static,
    ) -> Result<Answers<R>, Status> {
        let mut client = self.client(connection)?;
        let opened = within(self.local.deadline, client.append(requests)).await;
        let answers = self.note(Some(origin), opened)?.into_inner();
        let (rooms, node) = (self.local.rooms.clone(), self.node);
        let answers = answers.map(move |answer| {
            let (result, room) = wire::from_append_response(answer?)?;
            rooms.note(node, room);
            Ok(result)
        });
        Ok(answers.boxed())
    }

    /// Returns true if the peer reported of late that it takes no entries.
    pub(super) fn is_full(&self) -> bool {
        self.local.rooms.of(self.node, Instant::now()) == Some(Room::Full)
    }

    /// Remembers the log id that the peer acknowledged under the vote of this leader.
    pub(super) fn note_append<R: AsyncRuntime>(
        &self,
        answer: Result<StreamAppendResult<TypeConfig<R>>, Status>,
        vote: &Vote,
    ) -> Result<StreamAppendResult<TypeConfig<R>>, Status> {
        let answer = self.note(None, answer)?;
        if let Ok(acknowledged) = &answer {
            let log_id = acknowledged.map(types::ours);
            self.local.guard.acknowledged(self.node, log_id, types::vote_record(vote));
        }
        Ok(answer)
    }

    /// Logs a change of the peer's state, and forgets a greeting that the peer does not know of.
    pub(crate) fn note<T>(
        &self,
        origin: Option<&Origin>,
        answer: Result<T, Status>,
    ) -> Result<T, Status> {
        match &answer {
            Ok(_) => {
                if self.state.swap(REACHED, Ordering::Relaxed) != REACHED {
                    tracing::info!("node {} at {} is reached", self.node, self.address);
                }
            }
            Err(status) if status.code() == Code::Unauthenticated => {
                if let Some(origin) = origin {
                    self.local.guard.greet_again(origin);
                }
            }
            // The process that was let in is gone: its address now has a node of another cluster, or of none.
            Err(status) if status.code() == Code::PermissionDenied && origin.is_some() => {
                self.local.guard.refused_by(self.node, status.message());
            }
            Err(status) if status.code() == Code::ResourceExhausted => {
                self.local.rooms.note(self.node, Room::Full);
                if self.state.swap(FULL, Ordering::Relaxed) != FULL {
                    tracing::warn!("node {} at {} has no room", self.node, self.address);
                }
            }
            Err(status) => {
                if self.state.swap(LOST, Ordering::Relaxed) != LOST {
                    let (node, address) = (self.node, &self.address);
                    tracing::warn!("node {node} at {address} is not reached: {}", brief(status));
                }
            }
        }
        answer
    }
}

/// Converts a request to its message, and returns it with the log id at which it ends.
fn asked<R: AsyncRuntime>(
    request: AppendEntriesRequest<TypeConfig<R>>,
) -> Asked<v1::AppendRequest> {
    (riding::end(&request), wire::append_request(request))
}

/// Returns a client that sends and takes messages between peers.
pub(super) fn client<H: Host>(
    host: &H,
    address: &str,
) -> Result<PeerClient, tonic::transport::Error> {
    let channel = transport::channel(host, address)?;
    Ok(RaftClient::new(channel)
        .max_decoding_message_size(PEER_MESSAGE_BYTES_MAX)
        .max_encoding_message_size(PEER_MESSAGE_BYTES_MAX))
}

/// Waits for an answer; returns an error if it came too late.
pub(crate) async fn within<T>(
    deadline: Duration,
    answer: impl Future<Output = Result<T, Status>>,
) -> Result<T, Status> {
    tokio::time::timeout(deadline, answer).await.unwrap_or_else(|_| Err(late()))
}

fn late() -> Status {
    Status::deadline_exceeded("it did not answer in time")
}

/// Returns a status's message in few words: the innermost cause instead of the whole chain.
pub(super) fn brief(status: &Status) -> String {
    let mut source = std::error::Error::source(status);
    let mut innermost = status.message().to_owned();
    while let Some(cause) = source {
        innermost = cause.to_string();
        source = cause.source();
    }
    innermost.chars().take(200).collect()
}

#[cfg(test)]
mod tests;
