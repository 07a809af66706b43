//! The leader's side of forwarding: takes the appends that clients sent to other nodes.

use std::sync::Arc;
use std::time::Duration;

use quorate_proto::wire::peer::v1 as peer;
use quorate_proto::wire::peer::v1::forward_server::Forward;
use quorate_proto::{ErrorKind, Outcome, Problem, Term};
use quorate_raft::host::Host;
use quorate_raft::{Replica, Role};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status, Streaming};

use super::super::problem;
use super::anchor::Anchor;
use super::answer::LeaderTerm;
use super::appends::{Appends, Prepared, Route};
use super::session::{Answers, SessionReplies};

/// The time for the sender to name its leader and term, and for this node to learn that it was elected.
pub(crate) const OPENING_WITHIN: Duration = Duration::from_secs(1);

/// The service that takes forwarded appends.
pub(crate) struct ForwardService<H: Host> {
    pub(crate) appends: Arc<Appends<H>>,
    pub(crate) stopping: CancellationToken,
}

#[tonic::async_trait]
impl<H: Host> Forward for ForwardService<H> {
    type ForwardStream = Answers;

    async fn forward(
        &self,
        request: Request<Streaming<peer::ForwardRequest>>,
    ) -> Result<Response<Answers>, Status> {
        let mut requests = request.into_inner();
        let leader_term = match timeout(OPENING_WITHIN, requests.message()).await {
            Ok(Ok(Some(first))) => tenure_of(&self.appends.replica, first.opening).await?,
            Ok(Ok(None)) | Err(_) => return Err(mismatch("no opening came").into()),
            Ok(Err(status)) => return Err(status),
        };
        let (replies, answers) = SessionReplies::new();
        let anchor = replies.greet(self.appends.leader_address());
        let (appends, stopping) = (self.appends.clone(), self.stopping.clone());
        tokio::spawn(async move {
            tokio::select! {
                biased;
                () = replies.over() => {}
                () = stopping.cancelled() => replies.stop().await,
                () = take_all(&appends, &replies, leader_term, anchor, requests) => {}
            }
        });
        Ok(Response::new(answers))
    }
}

/// Checks that the sender means this node, in this cluster, in this term.
pub(crate) async fn tenure_of<H: Host>(
    replica: &Replica<H>,
    opening: Option<peer::ForwardOpening>,
) -> Result<LeaderTerm, Problem> {
    let opening = opening.ok_or_else(|| mismatch("the first message has no opening"))?;
    let identity = replica.identity().ok_or_else(problem::not_ready)?;
    if opening.cluster != identity.cluster.as_slice() || opening.log != identity.log {
        return Err(mismatch("the sender belongs to another cluster"));
    }
    if opening.leader != identity.node {
        return Err(mismatch("the sender means another node"));
    }
    let term = Term(opening.term);
    let mut status = replica.status();
    let elected =
        status.wait_for(|now| now.term > term || now.term == term && now.role == Role::Leader);
    match timeout(OPENING_WITHIN, elected).await {
        Ok(Ok(now)) if now.term == term => Ok(LeaderTerm::new(term)),
        _ => {
            let message = format!("this node does not lead in term {term}");
            Err(Problem::new(ErrorKind::Unavailable, Outcome::NotAppended, message))
        }
    }
}

async fn take_all<H: Host>(
    appends: &Arc<Appends<H>>,
    replies: &SessionReplies,
    leader_term: LeaderTerm,
    anchor: Anchor,
    mut requests: Streaming<peer::ForwardRequest>,
) {
    let route = Route::Local(leader_term);
    // A sender that ends the stream or dies ends this loop: requests under way are still answered.
    while let Ok(Some(request)) = requests.message().await {
        for append in request.appends {
            if let Err(problem) = take(appends, replies, &route, anchor, append).await {
                return replies.end(problem);
            }
        }
    }
}

/// Takes one append. An error ends the stream: the bytes are not from a node of this version, or there was
/// no room for the append in time, and no later append may overtake it.
async fn take<H: Host>(
    appends: &Arc<Appends<H>>,
    replies: &SessionReplies,
    route: &Route,
    anchor: Anchor,
    append: peer::ForwardedAppend,
) -> Result<(), Problem> {
    let peer::ForwardedAppend { number, request, deadline_ms, expires_alone } = append;
    let deadline = anchor.deadline(deadline_ms);
    let prepared = Prepared::from_encoded(request)?;
    let place = replies.place(prepared.size()).await;
    let admitted = match appends.admission.admit(prepared.size(), deadline).await {
        Ok(admitted) => admitted,
        Err(problem) => return replies.give_up(number, place, problem, expires_alone),
    };
    let reply = replies.reply((number, place), admitted, route.leader_term(), expires_alone);
    appends.submit(route, prepared, deadline, reply);
    Ok(())
}

pub(crate) fn mismatch(why: &str) -> Problem {
    Problem::new(ErrorKind::Invalid, Outcome::NotAppended, why)
}
