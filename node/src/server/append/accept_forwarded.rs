//! The leader's side of forwarding: takes the appends that clients sent to other nodes.

use std::sync::Arc;
use std::time::Duration;

use quorate_proto::wire::peer::v1 as peer;
use quorate_proto::wire::peer::v1::forward_server::Forward;
use quorate_proto::{ErrorKind, Outcome, Problem, Term};
use quorate_raft::host::Host;
use quorate_raft::{Replica, Role};
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status, Streaming};

use super::super::problem;
use super::appends::Appends;
use super::deadline::Due;
use super::leader_term::LeaderTerm;
use super::proposal::EncodedRequest;
use super::routes::Route;
use super::session::Session;
use super::session_replies::Answers;

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
            Ok(Ok(Some(first))) => leader_term_of(&self.appends.replica, first.opening).await?,
            Ok(Ok(None)) | Err(_) => return Err(mismatch("no opening came").into()),
            Ok(Err(status)) => return Err(status),
        };
        let answers = Session::start(self.appends.clone(), self.stopping.clone(), |session| {
            take_all(session, leader_term, requests)
        });
        Ok(Response::new(answers))
    }
}

/// Checks that the sender means this node, in this cluster, in this term.
pub(crate) async fn leader_term_of<H: Host>(
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
    session: Session<H>,
    leader_term: LeaderTerm,
    mut requests: Streaming<peer::ForwardRequest>,
) -> Result<(), Problem> {
    let route = Route::Local(leader_term);
    let anchor = session.replies.greet(session.appends.routes.leader_address());
    // A sender that ends the stream or dies ends this loop: requests under way are still answered.
    while let Ok(Some(message)) = requests.message().await {
        let came = Instant::now();
        for append in message.appends {
            let peer::ForwardedAppend { number, request, deadline_ms, expires_alone } = append;
            let due = Due { came, deadline: anchor.deadline(deadline_ms, came), expires_alone };
            // An error ends the stream: the bytes are not from a node of this version, or there was no room for the
            // append in time, and no later append may overtake it.
            let request = EncodedRequest::decode(request)?;
            session.pass_on(&route, number, request, due).await?;
        }
    }
    Ok(())
}

pub(crate) fn mismatch(why: &str) -> Problem {
    Problem::new(ErrorKind::Invalid, Outcome::NotAppended, why)
}
