//! The service that appends, changes and reads.

use std::sync::Arc;

use futures_util::stream::BoxStream;
use quorate_proto::wire::v1;
use quorate_proto::wire::v1::events_server::Events;
use quorate_proto::{Append, Change, Invalid, ListRequest, Problem, Read, Scope, Snapshot};
use quorate_raft::host::Host;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status, Streaming};

use super::append::{Answers, Appends, Applied, Session, deadline_of};
use super::problem;
use super::read::{self, Live, Subscription};

/// Appends, changes and reads, on any node.
pub(crate) struct EventsService<H: Host> {
    pub(crate) appends: Arc<Appends<H>>,
    pub(crate) live: Arc<Live<H>>,
    pub(crate) stopping: CancellationToken,
}

impl<H: Host> EventsService<H> {
    async fn append_one(
        &self,
        append: Result<Append, Invalid>,
        time_left_ms: u64,
    ) -> Result<Response<v1::AppendResponse>, Status> {
        let deadline = deadline_of(time_left_ms);
        let append = append.map_err(Problem::from)?;
        match self.appends.take(append.into(), deadline).await? {
            Applied::Appended(appended) => {
                let leader = self.appends.routes.leader_address();
                Ok(Response::new(v1::AppendResponse { leader, ..appended.into() }))
            }
            Applied::SnapshotStored(_) | Applied::Group(_) => Err(problem::misanswered().into()),
        }
    }
}

#[tonic::async_trait]
impl<H: Host> Events for EventsService<H> {
    type AppendSessionStream = Answers;
    type ListNamesStream = BoxStream<'static, Result<v1::ListNamesResponse, Status>>;
    type ReadStream = BoxStream<'static, Result<v1::ReadResponse, Status>>;

    async fn append(
        &self,
        request: Request<v1::AppendRequest>,
    ) -> Result<Response<v1::AppendResponse>, Status> {
        let v1::AppendRequest { append, time_left_ms } = request.into_inner();
        self.append_one(Append::try_from(append), time_left_ms).await
    }

    async fn change_stream(
        &self,
        request: Request<v1::ChangeStreamRequest>,
    ) -> Result<Response<v1::AppendResponse>, Status> {
        let v1::ChangeStreamRequest { change, time_left_ms } = request.into_inner();
        let append = Change::try_from(change).and_then(|change| change.to_append());
        self.append_one(append, time_left_ms).await
    }

    async fn put_snapshot(
        &self,
        request: Request<v1::PutSnapshotRequest>,
    ) -> Result<Response<v1::PutSnapshotResponse>, Status> {
        let v1::PutSnapshotRequest { snapshot, time_left_ms } = request.into_inner();
        let deadline = deadline_of(time_left_ms);
        let snapshot = Snapshot::try_from(snapshot).map_err(Problem::from)?;
        match self.appends.take(snapshot.into(), deadline).await? {
            Applied::SnapshotStored(version) => {
                Ok(Response::new(v1::PutSnapshotResponse { version: version.0 }))
            }
            Applied::Appended(_) | Applied::Group(_) => Err(problem::misanswered().into()),
        }
    }

    async fn show_stream(
        &self,
        request: Request<v1::ShowStreamRequest>,
    ) -> Result<Response<v1::ShowStreamResponse>, Status> {
        let v1::ShowStreamRequest { scope, consistency, time_left_ms } = request.into_inner();
        let deadline = deadline_of(time_left_ms);
        let scope = Scope::try_from(scope).map_err(Problem::from)?;
        let replica = &self.appends.replica;
        let reader = read::reach(replica, consistency.into(), deadline).await?;
        let shown = replica.host().run(move || read::of_scope(&reader, &scope)).await;
        Ok(Response::new(shown.map_err(|fault| problem::of_found(replica, &fault))?))
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
        let read = Read::try_from(request).map_err(Problem::from)?;
        let replica = &self.appends.replica;
        let (reader, beginning) = match read.follow {
            false => read::reach_reading(&self.live, &read, deadline).await?,
            true => {
                let reader = read::reach(replica, read.consistency, deadline).await?;
                read::refuse_the_future(replica, &reader, &read, deadline).await?;
                (reader, None)
            }
        };
        if let Some(point) = read.continues {
            // Log time goes on without events, so the position alone does not bring the node to the point.
            let applied = replica.applied(point.log_index, deadline).await;
            applied.map_err(problem::of_lost_read)?;
        }
        let subscription = Subscription::begin(self.live.clone(), reader, read).with(beginning);
        Ok(Response::new(read::stream(subscription, self.stopping.clone())))
    }

    async fn list_names(
        &self,
        request: Request<v1::ListNamesRequest>,
    ) -> Result<Response<Self::ListNamesStream>, Status> {
        let request = request.into_inner();
        let deadline = deadline_of(request.time_left_ms);
        let request = ListRequest::try_from(request).map_err(Problem::from)?;
        let replica = &self.appends.replica;
        let reader = read::reach(replica, request.consistency, deadline).await?;
        let stopping = self.stopping.clone();
        Ok(Response::new(read::stream_of_names(replica.clone(), reader, request, stopping)))
    }
}
