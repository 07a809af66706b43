//! The service of consumer groups, on any node.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::{self, BoxStream};
use prost::Message;
use quorate_proto::limits::{GROUPS_MAX, READ_MESSAGE_BYTES};
use quorate_proto::wire::v1;
use quorate_proto::wire::v1::groups_server::Groups as GroupsApi;
use quorate_proto::{
    Consistency, ErrorKind, GroupName, GroupOutcome, GroupRequest, Invalid, Join, Outcome,
    Position, Problem, RequestId,
};
use quorate_raft::host::Host;
use quorate_store::Reader;
use tokio::time::{Instant, timeout};
use tonic::{Request, Response, Status, Streaming};

use super::super::append::{Applied, EncodedRequest, deadline_of};
use super::super::{problem, read};
use super::connection::{ConsumerConnection, ConsumerMessage};
use super::dispatcher::Left;
use super::{Groups, Leader, not_found, show};

/// The time within which a consumer must name the group that it joins.
const JOINED_WITHIN: Duration = Duration::from_secs(5);
/// The number of parked events that are looked up in one step.
const PARKED_AT_ONCE: usize = 16;

/// Requests to groups, and their consumers.
pub(crate) struct GroupsService<H: Host> {
    pub(crate) groups: Arc<Groups<H>>,
}

impl<H: Host> GroupsService<H> {
    /// Refuses a group that would begin after the end of the log, and so pass over the events up to there.
    async fn refuse_the_future(
        &self,
        request: &GroupRequest,
        deadline: Instant,
    ) -> Result<(), Problem> {
        let replica = &self.groups.appends.replica;
        let after = match request {
            GroupRequest::Create(definition) => definition.after,
            GroupRequest::Reset(after) => *after,
            _ => return Ok(()),
        };
        let is_there = |reader: Reader| after <= reader.point().position;
        if replica.reader().is_none_or(is_there) {
            return Ok(());
        }
        let end = read::reach(replica, Consistency::Linearizable, deadline).await?.point().position;
        match after <= end {
            true => Ok(()),
            false => {
                let end = format_args!("the log ends at position {end}");
                Err(Invalid::from_the_future(after.0, end).into())
            }
        }
    }

    async fn reach(
        &self,
        consistency: Option<v1::Consistency>,
        time_left_ms: u64,
    ) -> Result<Reader, Problem> {
        let replica = &self.groups.appends.replica;
        read::reach(replica, consistency.into(), deadline_of(time_left_ms)).await
    }
}

/// Converts the outcome of a request to a group to the answer for its caller.
fn done(name: &GroupName, outcome: GroupOutcome) -> Result<v1::ChangeGroupResponse, Problem> {
    let refused = |kind, message| Problem::new(kind, Outcome::NotAppended, message);
    match outcome {
        GroupOutcome::Done(count) => Ok(v1::ChangeGroupResponse { count }),
        GroupOutcome::NotFound => Err(not_found(name)),
        GroupOutcome::Differs => {
            let message = format!("there is a consumer group `{name}` already, and it differs");
            Err(refused(ErrorKind::AlreadyExists, message))
        }
        GroupOutcome::Full => {
            let message = format!(
                "there is no room: a cluster has at most {GROUPS_MAX} groups, and a group only so many events that \
                 wait to be tried again"
            );
            Err(refused(ErrorKind::Overloaded, message))
        }
        GroupOutcome::Stale => Err(problem::misanswered()),
    }
}

#[tonic::async_trait]
impl<H: Host> GroupsApi for GroupsService<H> {
    type ListGroupsStream = BoxStream<'static, Result<v1::ListGroupsResponse, Status>>;
    type ListParkedStream = BoxStream<'static, Result<v1::ListParkedResponse, Status>>;
    type ConsumeStream = BoxStream<'static, Result<v1::ConsumeResponse, Status>>;

    async fn change_group(
        &self,
        request: Request<v1::ChangeGroupRequest>,
    ) -> Result<Response<v1::ChangeGroupResponse>, Status> {
        let v1::ChangeGroupRequest { group, change, request_id, time_left_ms } =
            request.into_inner();
        let deadline = deadline_of(time_left_ms);
        let name = GroupName::new(group).map_err(Problem::from)?;
        let id = RequestId::from_slice(&request_id).map_err(Problem::from)?;
        let request = GroupRequest::try_from(change).map_err(Problem::from)?;
        self.refuse_the_future(&request, deadline).await?;
        let request = EncodedRequest::from((name.clone(), id, request));
        match self.groups.appends.take(request, deadline).await? {
            Applied::Group(outcome) => Ok(Response::new(done(&name, outcome)?)),
            Applied::Appended(_) | Applied::SnapshotStored(_) => Err(problem::misanswered().into()),
        }
    }

    async fn list_groups(
        &self,
        request: Request<v1::ListGroupsRequest>,
    ) -> Result<Response<Self::ListGroupsStream>, Status> {
        let v1::ListGroupsRequest { consistency, time_left_ms } = request.into_inner();
        let reader = self.reach(consistency, time_left_ms).await?;
        Ok(Response::new(show::all(reader).boxed()))
    }

    async fn show_group(
        &self,
        request: Request<v1::ShowGroupRequest>,
    ) -> Result<Response<v1::Group>, Status> {
        let v1::ShowGroupRequest { group, consistency, time_left_ms } = request.into_inner();
        let name = GroupName::new(group).map_err(Problem::from)?;
        let reader = self.reach(consistency, time_left_ms).await?;
        Ok(Response::new(self.groups.show(&reader, &name).await?))
    }

    async fn list_parked(
        &self,
        request: Request<v1::ListParkedRequest>,
    ) -> Result<Response<Self::ListParkedStream>, Status> {
        let v1::ListParkedRequest { group, after, limit, consistency, time_left_ms } =
            request.into_inner();
        let name = GroupName::new(group).map_err(Problem::from)?;
        let reader = self.reach(consistency, time_left_ms).await?;
        if reader.group_revision(&name).is_none() {
            return Err(not_found(&name).into());
        }
        let limit = if limit == 0 { u64::MAX } else { limit };
        let list = ParkedList {
            groups: self.groups.clone(),
            reader,
            name,
            after: Position(after),
            limit,
            ready: VecDeque::new(),
        };
        Ok(Response::new(list.stream()))
    }

    async fn find_settled(
        &self,
        request: Request<v1::FindSettledRequest>,
    ) -> Result<Response<v1::FindSettledResponse>, Status> {
        let request = request.into_inner();
        let time_left_ms = request.time_left_ms;
        let named = <(GroupName, Vec<Position>)>::try_from(request).map_err(Problem::from);
        let (name, positions) = named?;
        let reader = self.reach(None, time_left_ms).await?;
        let state = reader.group(&name).ok_or_else(|| not_found(&name))?;
        Ok(Response::new(show::settled(&state, positions)))
    }

    async fn consume(
        &self,
        request: Request<Streaming<v1::ConsumeRequest>>,
    ) -> Result<Response<Self::ConsumeStream>, Status> {
        let mut requests = request.into_inner();
        let first = match timeout(JOINED_WITHIN, requests.message()).await {
            Ok(first) => first?.unwrap_or_default(),
            Err(_) => v1::ConsumeRequest::default(),
        };
        let join = Join::try_from(first.join).map_err(Problem::from)?;
        let deadline = deadline_of(0);
        match self.groups.find_leader(deadline).await? {
            Leader::Local(term) => {
                let (joined, inbox) = self.groups.join(join, term, deadline).await?;
                let connection =
                    ConsumerConnection { id: joined.id, inbox, over: joined.outgoing.over() };
                let message_of = |message: Result<_, Status>| message.map(ConsumerMessage::Request);
                connection.serve(requests.map(message_of), Left::Gracefully);
                Ok(Response::new(joined.outgoing.boxed()))
            }
            Leader::Remote(leader, term) => {
                let forwarded = self.groups.forward(&leader, term, join.into(), requests).await?;
                Ok(Response::new(forwarded.boxed()))
            }
        }
    }
}

/// A list of parked events under way, which holds a few of them at any time.
struct ParkedList<H: Host> {
    groups: Arc<Groups<H>>,
    reader: Reader,
    name: GroupName,
    after: Position,
    limit: u64,
    ready: VecDeque<v1::ParkedEvent>,
}

impl<H: Host> ParkedList<H> {
    fn stream(self) -> BoxStream<'static, Result<v1::ListParkedResponse, Status>> {
        stream::unfold(Some(self), |list| async move {
            let mut list = list?;
            match list.next().await {
                Ok(parked) if parked.is_empty() => None,
                Ok(parked) => Some((Ok(v1::ListParkedResponse { parked }), Some(list))),
                Err(problem) => Some((Err(problem.into()), None)),
            }
        })
        .boxed()
    }

    /// Returns about one message of parked events; none at the end.
    async fn next(&mut self) -> Result<Vec<v1::ParkedEvent>, Problem> {
        let (mut message, mut bytes) = (Vec::new(), 0);
        while bytes < READ_MESSAGE_BYTES && self.limit > 0 {
            if self.ready.is_empty() && !self.fetch().await? {
                break;
            }
            let Some(parked) = self.ready.pop_front() else { break };
            bytes += parked.encoded_len();
            self.limit -= 1;
            message.push(parked);
        }
        Ok(message)
    }

    /// Looks up the next few parked events; returns true if there are any.
    async fn fetch(&mut self) -> Result<bool, Problem> {
        let parked = self.reader.parked(&self.name, self.after, PARKED_AT_ONCE);
        let parked = parked.ok_or_else(|| not_found(&self.name))?;
        let Some(last) = parked.last() else { return Ok(false) };
        self.after = last.position;
        let (replica, reader) = (&self.groups.appends.replica, self.reader.clone());
        let looked_up = replica.host().run(move || show::parked(&reader, parked)).await;
        self.ready = looked_up.map_err(|fault| problem::of_found(replica, &fault))?.into();
        Ok(true)
    }
}
