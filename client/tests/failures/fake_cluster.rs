//! The fake node's answers about its cluster, as the test sets them.

use std::pin::Pin;
use std::sync::{Arc, Mutex};

use futures_util::stream::{self, Stream, StreamExt};
use quorate_proto::wire::v1;
use quorate_proto::wire::v1::cluster_server::Cluster;
use tokio::sync::watch;
use tonic::{Request, Response, Status};

/// A fake node's answer to a request for its status, which the test sets.
#[derive(Clone, Default)]
pub(crate) struct Members {
    status: Arc<Mutex<Option<v1::StatusResponse>>>,
    asked: Arc<watch::Sender<usize>>,
    tokens: Arc<Mutex<Vec<String>>>,
    /// True once a change of the members was asked for.
    changed: Arc<Mutex<bool>>,
}

impl Members {
    /// Sets the cluster of the node, and the addresses of the members, its own first.
    pub(crate) fn set(&self, cluster: u8, addresses: &[&str]) {
        let member = |address: &&str| v1::NodeStatus {
            address: (*address).to_owned(),
            role: "follower".to_owned(),
            ..v1::NodeStatus::default()
        };
        let nodes = addresses.iter().map(member).collect();
        let cluster = vec![cluster; 16].into();
        let status = v1::StatusResponse { nodes, cluster, ..v1::StatusResponse::default() };
        *self.status.lock().expect("no panic before") = Some(status);
    }

    /// Returns the tokens of the requests for its status, in order.
    pub(crate) fn tokens(&self) -> Vec<String> {
        self.tokens.lock().expect("no panic before").clone()
    }

    /// Waits until its status was requested this many times.
    pub(crate) async fn until_asked(&self, times: usize) {
        let mut asked = self.asked.subscribe();
        asked.wait_for(|asked| *asked >= times).await.expect("the node lives");
    }
}

#[tonic::async_trait]
impl Cluster for Members {
    type ScavengeStream = Pin<Box<dyn Stream<Item = Result<v1::ScavengeProgress, Status>> + Send>>;
    type ChangeMembersStream =
        Pin<Box<dyn Stream<Item = Result<v1::ChangeMembersProgress, Status>> + Send>>;

    /// Reports the progress of node 4, and ends without an answer the first time.
    async fn change_members(
        &self,
        _: Request<v1::ChangeMembersRequest>,
    ) -> Result<Response<Self::ChangeMembersStream>, Status> {
        let is_first =
            !std::mem::replace(&mut *self.changed.lock().expect("no panic before"), true);
        let now = |matched| v1::ChangeMembersProgress {
            node: 4,
            matched,
            committed: 9,
            ..v1::ChangeMembersProgress::default()
        };
        let done = v1::ChangeMembersProgress { done: true, ..now(0) };
        let messages = if is_first { vec![now(3), now(3)] } else { vec![now(9), done] };
        Ok(Response::new(Box::pin(stream::iter(messages.into_iter().map(Ok)))))
    }

    async fn transfer_leadership(
        &self,
        _: Request<v1::TransferLeadershipRequest>,
    ) -> Result<Response<v1::TransferLeadershipResponse>, Status> {
        Err(Status::unimplemented("no test asks for it"))
    }

    async fn join_token(
        &self,
        _: Request<v1::JoinTokenRequest>,
    ) -> Result<Response<v1::JoinTokenResponse>, Status> {
        Err(Status::unimplemented("no test asks for it"))
    }

    async fn init(
        &self,
        _: Request<v1::InitRequest>,
    ) -> Result<Response<v1::InitResponse>, Status> {
        Err(Status::unimplemented("no test asks for it"))
    }

    async fn status(
        &self,
        request: Request<v1::StatusRequest>,
    ) -> Result<Response<v1::StatusResponse>, Status> {
        if let Some(token) = request.metadata().get("authorization") {
            let token = token.to_str().expect("text").to_owned();
            self.tokens.lock().expect("no panic before").push(token);
        }
        self.asked.send_modify(|asked| *asked += 1);
        let configured = self.status.lock().expect("no panic before").clone();
        let mut status = configured.ok_or_else(|| Status::unavailable("not set"))?;
        if request.into_inner().only_self {
            status.nodes.truncate(1);
        }
        Ok(Response::new(status))
    }

    /// Reports two chunks, and hangs.
    async fn scavenge(
        &self,
        _: Request<v1::ScavengeRequest>,
    ) -> Result<Response<Self::ScavengeStream>, Status> {
        let progress = [0, 1, 1, 2]
            .map(|chunks| Ok(v1::ScavengeProgress { chunks, ..v1::ScavengeProgress::default() }));
        Ok(Response::new(Box::pin(stream::iter(progress).chain(stream::pending()))))
    }
}
