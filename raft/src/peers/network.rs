//! openraft's network over the peer protocol.

use std::sync::{Arc, Weak};
use std::time::Duration;

use futures_util::future::BoxFuture;
use futures_util::stream::BoxStream;
use futures_util::{Stream, StreamExt, stream};
use openraft::errors::{RPCError, ReplicationClosed, StreamingError, Unreachable};
use openraft::network::{
    Backoff, NetBackoff, NetSnapshot, NetStreamAppend, NetTransferLeader, NetVote, RPCOption,
    RaftNetworkFactory,
};
use openraft::raft::{
    AppendEntriesRequest, SnapshotResponse, StreamAppendResult, TransferLeaderRequest,
    TransferLeaderResponse, VoteRequest, VoteResponse,
};
use openraft::{AsyncRuntime, OptionalSend};
use quorate_proto::wire::peer::v1;
use quorate_proto::wire::peer::v1::transfer_leader_response::Refusal;
use tonic::Status;

use crate::adapter::entry;
use crate::adapter::types::{self, Addresses, Snapshot, TypeConfig, Types, Vote};
use crate::host::Host;
use crate::log::RaftLog;
use crate::machine::{Checkpoint, Core};

use super::heartbeats::Heartbeats;
use super::riding::Riding;
use super::{Connection, Link, Peers};
use super::{link, send_checkpoint, wire};

/// The time for which openraft waits after it found a peer unreachable.
const BACKOFF: Duration = Duration::from_millis(200);

type Item<H> = Result<StreamAppendResult<Types<H>>, RPCError<Types<H>>>;

/// Makes openraft's clients; each of them uses its own connection.
pub(crate) struct Factory<H: Host> {
    pub(crate) peers: Arc<Peers<H>>,
    /// The store, whose checkpoints are sent. Held weakly: clients that outlive the node keep nothing of it open.
    pub(crate) core: Weak<Core<H>>,
    pub(crate) log: RaftLog,
}

impl<H: Host> Factory<H> {
    fn client(&self, target: u64, addresses: &Addresses, connection: Connection) -> Client<H> {
        // The membership that openraft makes clients for is the newest one.
        let _newest = self.peers.link(target, addresses);
        Client {
            peers: self.peers.clone(),
            target,
            addresses: addresses.clone(),
            connection,
            core: self.core.clone(),
            log: self.log.clone(),
            heartbeats: Heartbeats::new(),
        }
    }
}

impl<H: Host> RaftNetworkFactory<Types<H>> for Factory<H> {
    type Network = Client<H>;

    async fn new_client(&mut self, target: u64, addresses: &Addresses) -> Client<H> {
        self.client(target, addresses, Connection::Replication)
    }

    async fn new_heartbeat_client(&mut self, target: u64, addresses: &Addresses) -> Client<H> {
        self.client(target, addresses, Connection::Control)
    }

    async fn new_snapshot_client(&mut self, target: u64, addresses: &Addresses) -> Client<H> {
        self.client(target, addresses, Connection::Snapshot)
    }
}

/// One of openraft's clients of a peer.
pub(crate) struct Client<H: Host> {
    peers: Arc<Peers<H>>,
    target: u64,
    /// The addresses of the peer when the client was made.
    addresses: Addresses,
    connection: Connection,
    core: Weak<Core<H>>,
    log: RaftLog,
    heartbeats: Heartbeats<H::Runtime>,
}

/// Makes any failure of a peer "unreachable" to openraft: only then does it wait before it tries again.
fn unreachable<R: AsyncRuntime>(status: &Status) -> Unreachable<TypeConfig<R>> {
    Unreachable::from_string(link::brief(status))
}

impl<H: Host> NetBackoff<Types<H>> for Client<H> {
    fn backoff(&self) -> Option<Backoff> {
        Some(Backoff::new(std::iter::repeat(BACKOFF)))
    }
}

impl<H: Host> NetStreamAppend<Types<H>> for Client<H> {
    fn stream_append<'s, S>(
        &'s mut self,
        mut input: S,
        _: RPCOption,
    ) -> BoxFuture<'s, Result<BoxStream<'s, Item<H>>, RPCError<Types<H>>>>
    where
        S: Stream<Item = AppendEntriesRequest<Types<H>>> + OptionalSend + Unpin + 'static,
    {
        Box::pin(async move {
            // This precedes connecting: openraft sleeps its back-off inside this stream. The stream is never
            // polled again after its end, where it panics.
            let Some(first) = input.next().await else {
                return Ok(stream::empty().boxed());
            };
            let (vote, link) = (first.vote, self.link());
            if self.connection == Connection::Control {
                // A stream for heartbeats has one of them.
                let answer = self.heartbeats.send(&link, first).await;
                let answer = link.note_append(answer, &vote);
                let answer = answer.map_err(|status| unreachable(&status))?;
                return Ok(stream::iter([Ok(answer)]).boxed());
            }
            // Entries that a full peer would refuse are not sent; its answers to heartbeats show its room.
            if entry::needs_room(&first.entries) && link.is_full() {
                return Err(unreachable(&Status::resource_exhausted("it has no room")).into());
            }
            let log = self.log.clone();
            let log_end = move || log.end().map_or(0, |end| end.index.0);
            let input = Riding::new(&first, input, log_end);
            let opened = link.replicate(first, input).await;
            let answers = opened.map_err(|status| unreachable(&status))?;
            let answers = answers.map(move |answer| link.note_append(answer, &vote));
            Ok(answers.map(|answer| answer.map_err(|status| unreachable(&status).into())).boxed())
        })
    }
}

impl<H: Host> Client<H> {
    /// Returns the link to the peer, where it is now.
    fn link(&self) -> Arc<Link<H>> {
        self.peers.newest_link(self.target, &self.addresses)
    }

    async fn ask(
        &self,
        request: VoteRequest<Types<H>>,
        pre_vote: bool,
        option: &RPCOption,
    ) -> Result<VoteResponse<Types<H>>, RPCError<Types<H>>> {
        let link = self.link();
        let response = link.unary(option.hard_ttl(), |origin, mut client| {
            let request = wire::vote_request(&request, pre_vote, origin);
            async move { client.vote(request).await }
        });
        let response = response.await.and_then(wire::from_vote_response);
        let response = response.map_err(|status| unreachable(&status))?;
        if !pre_vote {
            link.guard().saw_vote(link.node(), types::vote_record(&response.vote));
        }
        Ok(response)
    }
}

impl<H: Host> NetVote<Types<H>> for Client<H> {
    async fn vote(
        &mut self,
        request: VoteRequest<Types<H>>,
        option: RPCOption,
    ) -> Result<VoteResponse<Types<H>>, RPCError<Types<H>>> {
        self.ask(request, false, &option).await
    }

    async fn pre_vote(
        &mut self,
        request: VoteRequest<Types<H>>,
        option: RPCOption,
    ) -> Result<VoteResponse<Types<H>>, RPCError<Types<H>>> {
        self.ask(request, true, &option).await
    }
}

impl<H: Host> NetTransferLeader<Types<H>> for Client<H> {
    async fn transfer_leader(
        &mut self,
        request: TransferLeaderRequest<Types<H>>,
        _: RPCOption,
    ) -> Result<TransferLeaderResponse<Types<H>>, RPCError<Types<H>>> {
        let link = self.link();
        // The heir first waits for the end of the log, which takes longer than a heartbeat may.
        let response = link.unary(link.deadline(), |origin, mut client| {
            let request = wire::transfer_request(&request, origin);
            async move { client.transfer_leader(request).await }
        });
        let response = response.await.map_err(|status| unreachable(&status))?;
        Ok(transfer_response(&request, response))
    }
}

fn transfer_response<R: AsyncRuntime>(
    request: &TransferLeaderRequest<TypeConfig<R>>,
    response: v1::TransferLeaderResponse,
) -> TransferLeaderResponse<TypeConfig<R>> {
    use openraft::raft::TransferLeaderError;
    match response.refusal {
        None => Ok(()),
        Some(Refusal::Vote(actual)) => Err(TransferLeaderError::VoteChanged {
            expected: *request.from_leader(),
            actual: wire::from_vote(Some(actual)).unwrap_or(*request.from_leader()),
        }),
        Some(Refusal::Flushed(flushed)) => Err(TransferLeaderError::LogNotFlushed {
            expected: request.last_log_id().copied(),
            actual: flushed.last.map(wire::from_raft_log_id),
        }),
    }
}

impl<H: Host> NetSnapshot<Types<H>> for Client<H> {
    type SnapshotData = Checkpoint;

    async fn full_snapshot(
        &mut self,
        vote: Vote,
        snapshot: Snapshot<Checkpoint>,
        cancel: impl Future<Output = ReplicationClosed> + OptionalSend + 'static,
        _: RPCOption,
    ) -> Result<SnapshotResponse<Types<H>>, StreamingError<Types<H>>> {
        let link = self.link();
        tokio::select! {
            closed = cancel => Err(closed.into()),
            sent = send_checkpoint::send(&link, &self.core, vote, snapshot) => {
                let vote = sent.map_err(|status| unreachable(&status))?;
                Ok(SnapshotResponse::new(vote))
            }
        }
    }
}
