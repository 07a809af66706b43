//! The leader's side of forwarding: accepts the consumers that joined at other nodes.

use std::sync::Arc;

use futures_util::StreamExt;
use quorate_proto::wire::peer::v1 as peer;
use quorate_proto::wire::peer::v1::pass_groups_server::PassGroups;
use quorate_proto::{GroupName, Join, Problem};
use quorate_raft::host::Host;
use tokio::time::timeout;
use tonic::{Request, Response, Status, Streaming};

use super::super::append::{OPENING_WITHIN, deadline_of, leader_term_of, mismatch};
use super::Groups;
use super::connection::{ConsumerConnection, ConsumerMessage};
use super::dispatcher::Left;
use super::outbox::Outgoing;

/// The service that accepts consumers from other nodes.
pub(crate) struct ForwardedConsumers<H: Host> {
    pub(crate) groups: Arc<Groups<H>>,
}

#[tonic::async_trait]
impl<H: Host> PassGroups for ForwardedConsumers<H> {
    type PassStream = Outgoing;

    async fn pass(
        &self,
        request: Request<Streaming<peer::PassRequest>>,
    ) -> Result<Response<Outgoing>, Status> {
        let mut requests = request.into_inner();
        let opening = next(&mut requests).await?.opening;
        let leader_term = leader_term_of(&self.groups.appends.replica, opening).await?;
        let first = next(&mut requests).await?.request;
        let join = first.ok_or_else(|| mismatch("the second message has no request"))?.join;
        let join = Join::try_from(join).map_err(Problem::from)?;
        let (joined, inbox) = self.groups.join(join, leader_term.term, deadline_of(0)).await?;
        let connection = ConsumerConnection { id: joined.id, inbox, over: joined.outgoing.over() };
        let message_of = |message: Result<peer::PassRequest, Status>| match message? {
            peer::PassRequest { left: true, .. } => Ok(ConsumerMessage::Left),
            peer::PassRequest { request, .. } => {
                Ok(ConsumerMessage::Request(request.unwrap_or_default()))
            }
        };
        // The node of a consumer that leaves in order reports that; a mere end means a lost consumer or node.
        connection.serve(requests.map(message_of), Left::Lost);
        Ok(Response::new(joined.outgoing))
    }

    async fn watch(
        &self,
        request: Request<peer::WatchRequest>,
    ) -> Result<Response<peer::WatchResponse>, Status> {
        let peer::WatchRequest { opening, group } = request.into_inner();
        leader_term_of(&self.groups.appends.replica, opening).await?;
        let name = GroupName::new(group).map_err(Problem::from)?;
        let watched = self.groups.watched(&name).await.unwrap_or_default();
        Ok(Response::new(watched.into()))
    }
}

async fn next(requests: &mut Streaming<peer::PassRequest>) -> Result<peer::PassRequest, Status> {
    match timeout(OPENING_WITHIN, requests.message()).await {
        Ok(Ok(Some(message))) => Ok(message),
        Ok(Ok(None)) | Err(_) => Err(mismatch("no opening came").into()),
        Ok(Err(status)) => Err(status),
    }
}
