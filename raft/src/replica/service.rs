//! The peer protocol as this node serves it.

use std::sync::Arc;

use futures_util::stream::BoxStream;
use futures_util::{StreamExt, stream};
use openraft::raft::{AppendEntriesRequest, TransferLeaderError};
use quorate_proto::limits::PEER_MESSAGE_BYTES_MAX;
use quorate_proto::wire::peer::v1;
use quorate_proto::wire::peer::v1::raft_server::RaftServer;
use quorate_proto::wire::peer::v1::transfer_leader_response::Refusal;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

use super::Replica;
use super::adopt::Giver;
use super::running::Running;
use crate::adapter::types::{Addresses, Types, Vote};
use crate::adapter::{entry, types};
use crate::disk_space::Room;
use crate::error::{ChangeError, ProposeError};
use crate::host::Host;
use crate::identity::{Identity, JoinSecret};
use crate::leadership::read_index;
use crate::maintenance::repair;
use crate::peers::guard::Refused;
use crate::peers::wire;

/// The peer protocol as this node serves it.
struct Service<H: Host>(Replica<H>);

impl<H: Host> Replica<H> {
    /// Returns the services for peers, to be mounted on the peer listener.
    pub fn routes(&self) -> tonic::service::Routes {
        let server = RaftServer::new(Service(self.clone()))
            .max_decoding_message_size(PEER_MESSAGE_BYTES_MAX)
            .max_encoding_message_size(PEER_MESSAGE_BYTES_MAX);
        tonic::service::Routes::new(server)
    }
}

impl<H: Host> Service<H> {
    fn running(&self) -> Result<Arc<Running<H>>, Status> {
        self.0.running().ok_or_else(|| Status::permission_denied("it belongs to no cluster"))
    }

    /// Returns the replica, and the node that a request comes from, which was let in.
    fn admit(&self, origin: Option<v1::Origin>) -> Result<(Arc<Running<H>>, u64), Status> {
        let running = self.running()?;
        let origin = wire::from_origin(origin)?;
        let from = running.guard.admit(&origin).map_err(wire::refusal)?;
        Ok((running, from))
    }
}

type Appends<H> = AppendEntriesRequest<Types<H>>;

#[tonic::async_trait]
impl<H: Host> v1::raft_server::Raft for Service<H> {
    type AppendStream = BoxStream<'static, Result<v1::AppendResponse, Status>>;
    type ChunkStream = repair::Parts;
    type SnapshotStream = ReceiverStream<Result<v1::SnapshotResponse, Status>>;

    async fn greet(
        &self,
        request: Request<v1::GreetRequest>,
    ) -> Result<Response<v1::GreetResponse>, Status> {
        let running = self.running()?;
        let request = request.into_inner();
        let cluster = wire::cluster(&request.cluster)?;
        let shown = wire::from_shown(request.shown)?;
        let guard = &running.guard;
        guard.is_for_me(cluster, request.log, request.to).map_err(wire::refusal)?;
        if guard.was_removed(request.from) {
            return Ok(Response::new(v1::GreetResponse { shown: None, removed: true }));
        }
        let judged = guard.judge(request.from, &shown, &request.peer_address);
        judged.map_err(Status::permission_denied)?;
        let shown = Some(wire::shown(&guard.shown()));
        Ok(Response::new(v1::GreetResponse { shown, removed: false }))
    }

    async fn adopt(
        &self,
        request: Request<v1::AdoptRequest>,
    ) -> Result<Response<v1::AdoptResponse>, Status> {
        let request = request.into_inner();
        let identity = Identity {
            cluster: wire::cluster(&request.cluster)?,
            log: request.log,
            node: request.node,
            chunk_bytes: request.chunk_bytes,
            secret: JoinSecret::default(),
        };
        let giver = match request.secret.is_empty() {
            true => Giver::Member(request.proof.to_vec()),
            false => Giver::Founder(JoinSecret(wire::secret(&request.secret)?)),
        };
        self.0.adopt(identity, giver, request.check_only).await?;
        let client_address = self.0.shared.options.client_address.clone();
        let drawn = self.0.shared.drawn.to_vec().into();
        Ok(Response::new(v1::AdoptResponse { client_address, drawn }))
    }

    async fn append(
        &self,
        request: Request<Streaming<v1::AppendRequest>>,
    ) -> Result<Response<Self::AppendStream>, Status> {
        let mut input = request.into_inner();
        let Some(mut first) = input.message().await? else {
            return Ok(Response::new(stream::empty().boxed()));
        };
        let running = self.running()?;
        let origin = wire::from_origin(first.origin.take())?;
        let from = running.guard.admit(&origin).map_err(wire::refusal)?;
        let first: Appends<H> = wire::from_append_request(first)?;
        if first.vote.leader_id.voted_for != from {
            return Err(wire::refusal(Refused::Stranger("its vote is another's".to_owned())));
        }
        // The leader's request for this vote is durable there; its grant by a majority may not be yet.
        let asked = Vote { committed: false, ..first.vote };
        running.guard.saw_vote(from, types::vote_record(&asked));
        // A message that does not decode ends the stream, and so do entries for which there is no room, and the end
        // of the trust in the leader: the leader begins another stream. While the disk is behind, entries wait.
        let (core, guard) = (running.core.clone(), running.guard.clone());
        let has_room = move |request: &Appends<H>| {
            !entry::needs_room(&request.entries) || core.space.room() < Room::Full
        };
        if !has_room(&first) {
            return Err(wire::no_room());
        }
        let rest = input.map(|request| request.and_then(wire::from_append_request));
        let rest = rest.map(move |request| {
            request.ok().filter(|request| guard.admit(&origin).is_ok() && has_room(request))
        });
        let rest = rest.take_while(|request| std::future::ready(request.is_some()));
        let requests = stream::iter([first]).chain(rest.filter_map(|request| async { request }));
        let (log, bytes) = (running.log.clone(), running.unflushed_bytes_max());
        let requests = requests.then(move |request| {
            let log = log.clone();
            async move {
                if !request.entries.is_empty() {
                    log.wait_drained(bytes).await;
                }
                request
            }
        });
        let begun = running.raft.call(|raft| async { raft.stream_append(requests).boxed() });
        let answers = begun.await;
        let core = running.core.clone();
        let answers = answers.map(move |answer| match answer {
            Ok(result) => Ok(wire::append_response(result, core.space.room())),
            Err(fatal) => Err(Status::unavailable(fatal.to_string())),
        });
        Ok(Response::new(answers.boxed()))
    }

    async fn vote(
        &self,
        request: Request<v1::VoteRequest>,
    ) -> Result<Response<v1::VoteResponse>, Status> {
        let mut request = request.into_inner();
        let (running, from) = self.admit(request.origin.take())?;
        let vote_request = wire::from_vote_request(&request)?;
        let response = if request.pre_vote {
            running.raft.call(|raft| raft.pre_vote(vote_request)).await
        } else {
            running.guard.saw_vote(from, types::vote_record(&vote_request.vote));
            running.raft.call(|raft| raft.vote(vote_request)).await
        };
        let response = response.map_err(|error| Status::unavailable(error.to_string()))?;
        Ok(Response::new(wire::vote_response(&response)))
    }

    async fn transfer_leader(
        &self,
        request: Request<v1::TransferLeaderRequest>,
    ) -> Result<Response<v1::TransferLeaderResponse>, Status> {
        let mut request = request.into_inner();
        let (running, _) = self.admit(request.origin.take())?;
        let transfer = wire::from_transfer_request(&request)?;
        // The leader takes no more entries; those that are still under way come first.
        if let Some(last) = transfer.last_log_id() {
            let durable = running.log.wait_flushed(last.index);
            let _late = tokio::time::timeout(running.peers.deadline(), durable).await;
        }
        let handled = running.raft.call(|raft| raft.handle_transfer_leader(transfer)).await;
        let refusal = match handled.map_err(|fatal| Status::unavailable(fatal.to_string()))? {
            Ok(()) => None,
            Err(TransferLeaderError::VoteChanged { actual, .. }) => {
                Some(Refusal::Vote(wire::vote(&actual)))
            }
            Err(TransferLeaderError::LogNotFlushed { actual, .. }) => {
                let last = actual.map(wire::raft_log_id);
                Some(Refusal::Flushed(v1::Matched { last }))
            }
        };
        Ok(Response::new(v1::TransferLeaderResponse { refusal }))
    }

    async fn read_index(
        &self,
        request: Request<v1::ReadIndexRequest>,
    ) -> Result<Response<v1::ReadIndexResponse>, Status> {
        let (running, _) = self.admit(request.into_inner().origin)?;
        // This bypasses the queue: a follower's request must not be sent on to another node.
        let index = read_index::as_leader(&running.raft, running.peers.deadline())
            .await
            .map_err(not_done)?;
        Ok(Response::new(v1::ReadIndexResponse { index: index.0 }))
    }

    async fn snapshot(
        &self,
        request: Request<Streaming<v1::SnapshotRequest>>,
    ) -> Result<Response<Self::SnapshotStream>, Status> {
        let mut input = request.into_inner();
        let first = input.message().await?.and_then(|request| request.part);
        let Some(v1::snapshot_request::Part::Offer(mut offer)) = first else {
            return Err(wire::malformed("offer"));
        };
        let (running, _) = self.admit(offer.origin.take())?;
        if running.core.space.room() == Room::Full {
            return Err(wire::no_room());
        }
        let (answers, outgoing) = mpsc::channel(2);
        tokio::spawn(running.receiver.clone().receive(offer, input, answers));
        Ok(Response::new(ReceiverStream::new(outgoing)))
    }

    async fn chunk(
        &self,
        request: Request<v1::ChunkRequest>,
    ) -> Result<Response<Self::ChunkStream>, Status> {
        let mut request = request.into_inner();
        let (running, _) = self.admit(request.origin.take())?;
        Ok(Response::new(repair::serve(&running.core, &request).await?))
    }

    async fn checkpoint(
        &self,
        request: Request<v1::CheckpointRequest>,
    ) -> Result<Response<v1::CheckpointResponse>, Status> {
        let (running, _) = self.admit(request.into_inner().origin)?;
        let index = running.checkpointer.end_chunk_as_leader().await.map_err(not_done)?;
        Ok(Response::new(v1::CheckpointResponse { index: index.0 }))
    }

    async fn time(
        &self,
        request: Request<v1::TimeRequest>,
    ) -> Result<Response<v1::TimeResponse>, Status> {
        let (running, _) = self.admit(request.into_inner().origin)?;
        Ok(Response::new(v1::TimeResponse { now_us: running.core.host().now().0 }))
    }

    async fn relocate(
        &self,
        request: Request<v1::RelocateRequest>,
    ) -> Result<Response<v1::RelocateResponse>, Status> {
        let request = request.into_inner();
        let (running, from) = self.admit(request.origin)?;
        let v1::RelocateRequest { client_address, peer_address, .. } = request;
        let addresses = Addresses { client_address, peer_address };
        running.members.relocate(from, addresses).await.map_err(not_changed)?;
        Ok(Response::new(v1::RelocateResponse {}))
    }

    async fn remember(
        &self,
        request: Request<v1::RememberRequest>,
    ) -> Result<Response<v1::RememberResponse>, Status> {
        let request = request.into_inner();
        let (running, _) = self.admit(request.origin)?;
        let mut is_news = false;
        for memory in request.memories {
            is_news |= running.guard.learn(&wire::from_memory(memory)?);
        }
        // On a full disk, the rest of the existing segments is reserved for votes.
        if is_news && running.core.space.room() < Room::Full {
            running.log.write_marks();
        }
        Ok(Response::new(v1::RememberResponse {}))
    }

    async fn digest(
        &self,
        request: Request<v1::DigestRequest>,
    ) -> Result<Response<v1::DigestResponse>, Status> {
        let request = request.into_inner();
        let (running, _) = self.admit(request.origin)?;
        let digest = running.core.digests().at(request.index);
        let digest = digest.map(wire::digest).unwrap_or_default();
        Ok(Response::new(v1::DigestResponse { digest }))
    }
}

/// Returns the status of a change of the members that was not made.
fn not_changed(why: ChangeError) -> Status {
    match why {
        ChangeError::NotLeader => Status::failed_precondition(why.to_string()),
        ChangeError::Refused(why) => Status::invalid_argument(why),
        _ => Status::unavailable(why.to_string()),
    }
}

/// Returns the status of a request for the leader that was not done.
fn not_done(why: ProposeError) -> Status {
    match why {
        ProposeError::NotLeader => Status::failed_precondition(why.to_string()),
        _ => Status::unavailable(why.to_string()),
    }
}
