//! The service that appends and reads.

use std::sync::Arc;

use futures_util::stream::BoxStream;
use quorate_proto::Read;
use quorate_proto::wire::v1;
use quorate_proto::wire::v1::events_server::Events;
use quorate_raft::host::Host;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status, Streaming};

use super::appends::{Appends, Prepared, deadline_of};
use super::read;
use super::session::{Answers, Session};

/// Appends and reads, on any node.
pub(crate) struct EventsService<H: Host> {
    pub(crate) appends: Arc<Appends<H>>,
    pub(crate) stopping: CancellationToken,
}

#[tonic::async_trait]
impl<H: Host> Events for EventsService<H> {
    type AppendSessionStream = Answers;
    type ReadStream = BoxStream<'static, Result<v1::ReadResponse, Status>>;

    async fn change_stream(
        &self,
        _: Request<v1::ChangeStreamRequest>,
    ) -> Result<Response<v1::AppendResponse>, Status> {
        Err(Status::unimplemented("not yet"))
    }

    async fn show_stream(
        &self,
        _: Request<v1::ShowStreamRequest>,
    ) -> Result<Response<v1::ShowStreamResponse>, Status> {
        Err(Status::unimplemented("not yet"))
    }

    async fn put_snapshot(
        &self,
        _: Request<v1::PutSnapshotRequest>,
    ) -> Result<Response<v1::PutSnapshotResponse>, Status> {
        Err(Status::unimplemented("not yet"))
    }

    async fn append(
        &self,
        request: Request<v1::AppendRequest>,
    ) -> Result<Response<v1::AppendResponse>, Status> {
        let v1::AppendRequest { append, time_left_ms } = request.into_inner();
        let deadline = deadline_of(time_left_ms);
        let prepared = Prepared::try_from(append).map_err(quorate_proto::Problem::from)?;
        let appended = self.appends.append(prepared, deadline).await?;
        let leader = self.appends.leader_address();
        Ok(Response::new(v1::AppendResponse { leader, ..appended.into() }))
    }

    async fn append_session(
        &self,
        request: Request<Streaming<v1::AppendSessionRequest>>,
    ) -> Result<Response<Answers>, Status> {
        let (appends, stopping) = (self.appends.clone(), self.stopping.clone());
        Ok(Response::new(Session::open(appends, request.into_inner(), stopping)))
    }

    async fn read(
        &self,
        request: Request<v1::ReadRequest>,
    ) -> Result<Response<Self::ReadStream>, Status> {
        let request = request.into_inner();
        let deadline = deadline_of(request.time_left_ms);
        let read = Read::try_from(request).map_err(quorate_proto::Problem::from)?;
        let replica = &self.appends.replica;
        let reader = read::reach(replica, read.consistency, deadline).await?;
        let stopping = self.stopping.clone();
        Ok(Response::new(read::stream(replica.host().clone(), reader, read, stopping)))
    }
}
