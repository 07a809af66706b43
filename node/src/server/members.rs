//! Changes of the members and of the leader: whichever node is asked, the leader makes them.

use std::time::Duration;

use futures_util::StreamExt;
use quorate_proto::wire::problem_of;
use quorate_proto::wire::v1::change_members_request::Change;
use quorate_proto::wire::v1::cluster_client::ClusterClient;
use quorate_proto::wire::{SILENCE_MAX, v1};
use quorate_proto::{Address, ErrorKind, Invalid, Problem};
use quorate_raft::host::Host;
use quorate_raft::{CatchUp, ChangeError, MemberChange, Replica, Role, transport};
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout};
use tonic::Status;

use super::problem;

/// The time without progress after which a change is given up that no leader makes.
const LED_WITHIN: Duration = Duration::from_secs(10);
/// The time to wait for another leader before it is tried again.
const REST: Duration = Duration::from_millis(100);
/// The time within which the leader must answer a node that passes a request on.
const ANSWERED_WITHIN: Duration = Duration::from_secs(10);

type Messages = mpsc::UnboundedSender<Result<v1::ChangeMembersProgress, Status>>;

/// Begins a change; returns the messages about it. It ends when nobody takes the messages any more.
pub(super) fn change<H: Host>(
    replica: Replica<H>,
    request: v1::ChangeMembersRequest,
) -> Result<mpsc::UnboundedReceiver<Result<v1::ChangeMembersProgress, Status>>, Status> {
    if replica.identity().is_none() {
        return Err(problem::not_ready().into());
    }
    let change = checked(request.change.clone())?;
    let (messages, progress) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        let mut under_way = UnderWay { replica, request, change, messages: messages.clone() };
        let end = tokio::select! {
            end = under_way.run() => end,
            () = messages.closed() => return,
        };
        let done = |node| v1::ChangeMembersProgress { node, done: true, ..Default::default() };
        let _the_caller_left = messages.send(end.map(done).map_err(Status::from));
    });
    Ok(progress)
}

/// Checks a change that was requested.
fn checked(change: Option<Change>) -> Result<MemberChange, Status> {
    let address = |text: &str| match text.parse::<Address>() {
        Ok(address) => Ok(address.to_string()),
        Err(why) => {
            let invalid = Invalid::new("peer_address", format!("cannot be used: {why}"));
            Err(Status::from(Problem::from(invalid)))
        }
    };
    Ok(match change {
        Some(Change::Add(v1::AddMember { peer_address, as_learner })) => {
            MemberChange::Add { peer_address: address(&peer_address)?, as_learner }
        }
        Some(Change::Replace(v1::ReplaceMember { node, peer_address })) => {
            MemberChange::Replace { node, peer_address: address(&peer_address)? }
        }
        Some(Change::Promote(node)) => MemberChange::Promote(node),
        Some(Change::Demote(node)) => MemberChange::Demote(node),
        Some(Change::Remove(node)) => MemberChange::Remove(node),
        None => {
            let invalid = Invalid::new("change", "is missing");
            return Err(Problem::from(invalid).into());
        }
    })
}

/// A change that is under way, here or at the leader.
struct UnderWay<H: Host> {
    replica: Replica<H>,
    request: v1::ChangeMembersRequest,
    change: MemberChange,
    messages: Messages,
}

impl<H: Host> UnderWay<H> {
    /// Makes the change through whichever node leads; returns the id of the node that it is about.
    async fn run(&mut self) -> Result<u64, Problem> {
        let mut status = self.replica.status();
        let mut moved_at = Instant::now();
        loop {
            let now = status.borrow_and_update().clone();
            let made = match now.leader {
                _ if now.role == Role::Leader => self.here(&mut moved_at).await,
                Some(leader) if !self.request.only_here => {
                    self.there(&leader.client_address, &mut moved_at).await
                }
                _ => Err(problem::no_leader()),
            };
            let again = made.as_ref().is_err_and(|problem| problem.kind == ErrorKind::Unavailable);
            if !again || self.request.only_here || moved_at.elapsed() > LED_WITHIN {
                return made;
            }
            let _soon = timeout(REST, status.changed()).await;
        }
    }

    async fn here(&self, moved_at: &mut Instant) -> Result<u64, Problem> {
        let mut shown = (0, 0);
        let report = |now: &CatchUp| {
            let reached = (now.matched.0, now.chunks_sent);
            if std::mem::replace(&mut shown, reached) != reached {
                *moved_at = Instant::now();
            }
            let _the_caller_left = self.messages.send(Ok(wire_progress(now)));
        };
        let made = self.replica.change_members(self.change.clone(), report).await;
        made.map_err(|error| problem::of_change_error(&error))
    }

    async fn there(&self, leader: &str, moved_at: &mut Instant) -> Result<u64, Problem> {
        let request = v1::ChangeMembersRequest { only_here: true, ..self.request.clone() };
        let mut client = client(&self.replica, leader)?;
        let opened = within(ANSWERED_WITHIN, client.change_members(request)).await?;
        let mut messages = opened.into_inner();
        let mut shown = (0, 0);
        while let Some(message) = within(SILENCE_MAX, async { Ok(messages.next().await) }).await? {
            let message = message.map_err(|status| passed_on(&status))?;
            if message.done {
                return Ok(message.node);
            }
            if message.node != 0 {
                let reached = (message.matched, message.chunks_sent);
                if std::mem::replace(&mut shown, reached) != reached {
                    *moved_at = Instant::now();
                }
                let _the_caller_left = self.messages.send(Ok(message));
            }
        }
        Err(problem::no_leader())
    }
}

/// Lets another node lead; returns the leader after that.
pub(super) async fn transfer<H: Host>(
    replica: &Replica<H>,
    request: v1::TransferLeadershipRequest,
) -> Result<u64, Status> {
    if replica.identity().is_none() {
        return Err(problem::not_ready().into());
    }
    let now = replica.status().borrow().clone();
    match now.leader {
        _ if now.role == Role::Leader => transfer_from_here(replica, request.to).await,
        Some(leader) if !request.only_here => {
            let request = v1::TransferLeadershipRequest { only_here: true, ..request };
            let mut client = client(replica, &leader.client_address)?;
            let answer = within(ANSWERED_WITHIN, client.transfer_leadership(request)).await?;
            Ok(answer.into_inner().leader)
        }
        _ => Err(problem::no_leader().into()),
    }
}

async fn transfer_from_here<H: Host>(replica: &Replica<H>, to: Option<u64>) -> Result<u64, Status> {
    let handed_over: Result<(), ChangeError> = replica.hand_over(to).await;
    handed_over.map_err(|error| problem::of_change_error(&error))?;
    let mut status = replica.status();
    let own = status.borrow().id;
    let leads = |status: &quorate_raft::Status| {
        let leader = status.leader.as_ref().map(|leader| leader.id);
        leader.filter(|leader| to.is_some_and(|to| to == *leader) || Some(*leader) != own)
    };
    let known = timeout(LED_WITHIN, status.wait_for(|status| leads(status).is_some())).await;
    match known {
        Ok(Ok(status)) => Ok(leads(&status).unwrap_or_default()),
        _ => Err(problem::no_leader().into()),
    }
}

fn client<H: Host>(
    replica: &Replica<H>,
    address: &str,
) -> Result<ClusterClient<tonic::transport::Channel>, Problem> {
    let channel = transport::channel(replica.host(), address).map_err(|_| problem::no_leader())?;
    Ok(ClusterClient::new(channel))
}

async fn within<T>(
    time: Duration,
    answer: impl Future<Output = Result<T, Status>>,
) -> Result<T, Problem> {
    match timeout(time, answer).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(status)) => Err(passed_on(&status)),
        Err(_) => Err(problem::no_leader()),
    }
}

/// Returns the problem that the leader answered; one of the connection means that no leader was reached.
fn passed_on(status: &Status) -> Problem {
    problem_of(status).unwrap_or_else(problem::no_leader)
}

fn wire_progress(now: &CatchUp) -> v1::ChangeMembersProgress {
    v1::ChangeMembersProgress {
        node: now.node,
        matched: now.matched.0,
        committed: now.committed.0,
        chunks_sent: now.chunks_sent,
        chunks: now.chunks,
        done: false,
    }
}
