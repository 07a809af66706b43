//! Sessions of pipelined appends: one stream of appends in, their answers out, bound to one term of one leader.

use std::sync::Arc;

use quorate_proto::wire::v1;
use quorate_proto::{ErrorKind, Problem};
use quorate_raft::host::Host;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tonic::Streaming;

use super::super::problem;
use super::answer::Answer;
use super::appends::Appends;
use super::deadline::{Anchor, Due, deadline_of};
use super::proposal::EncodedRequest;
use super::routes::Route;
use super::session_replies::{Answers, SessionReplies};

/// A session of a client, or of a node that forwards the appends of its clients.
pub(crate) struct Session<H: Host> {
    pub(crate) appends: Arc<Appends<H>>,
    pub(crate) replies: SessionReplies,
}

impl<H: Host> Session<H> {
    /// Opens a client's session; returns the stream of its answers.
    pub(crate) fn open(
        appends: Arc<Appends<H>>,
        requests: Streaming<v1::AppendSessionRequest>,
        stopping: CancellationToken,
    ) -> Answers {
        Session::start(appends, stopping, |session| session.take_all(requests))
    }

    /// Runs the work of a session in a task of its own, until the session is over or the node stops; returns the
    /// stream of its answers. An error ends the session.
    pub(crate) fn start<W>(
        appends: Arc<Appends<H>>,
        stopping: CancellationToken,
        work: impl FnOnce(Session<H>) -> W,
    ) -> Answers
    where
        W: Future<Output = Result<(), Problem>> + Send + 'static,
    {
        let (replies, answers) = SessionReplies::new();
        let work = work(Session { appends, replies: replies.clone() });
        tokio::spawn(async move {
            tokio::select! {
                biased;
                () = replies.over() => {}
                () = stopping.cancelled() => replies.stop().await,
                ended = work => if let Err(problem) = ended {
                    replies.end(problem);
                },
            }
        });
        answers
    }

    /// Passes one append on, once there is room for it and for its answer. An error ends the session.
    pub(crate) async fn pass_on(
        &self,
        route: &Route,
        number: u64,
        request: EncodedRequest,
        due: Due,
    ) -> Result<(), Problem> {
        let Due { deadline, expires_alone, .. } = due;
        let place = self.replies.place(request.size()).await;
        let admitted = match self.appends.admission.admit(request.size(), deadline).await {
            Ok(admitted) => admitted,
            Err(problem) => return self.replies.give_up(number, place, problem, expires_alone),
        };
        let leader_term = route.leader_term();
        let reply = self.replies.reply((number, place), admitted, leader_term, expires_alone);
        let (request, proposal) = request.propose(due, reply);
        self.appends.submit(route, request, proposal);
        Ok(())
    }

    async fn take_all(
        self,
        mut requests: Streaming<v1::AppendSessionRequest>,
    ) -> Result<(), Problem> {
        let mut route = self.appends.routes.find(deadline_of(0)).await?;
        let anchor = self.replies.greet(self.appends.routes.leader_address());
        // A client that ends the stream or dies ends this loop: appends under way are still answered.
        while let Ok(Some(request)) = requests.message().await {
            // One instant for all: a clock is read once a message, and not once an append.
            let came = Instant::now();
            for append in request.appends {
                self.take(&mut route, (anchor, came), append).await?;
            }
        }
        Ok(())
    }

    /// Takes one append of a client. An error ends the session.
    async fn take(
        &self,
        route: &mut Route,
        (anchor, came): (Anchor, Instant),
        append: v1::SessionAppend,
    ) -> Result<(), Problem> {
        let v1::SessionAppend { number, request, deadline_ms, expires_alone } = append;
        let deadline = anchor.deadline(deadline_ms, came);
        if let Err(problem) = self.follow_the_leader(route, deadline).await {
            let place = self.replies.place(0).await;
            let is_expired = expires_alone && deadline <= Instant::now();
            // No leader was known for as long as the append could wait.
            let kind = if is_expired { ErrorKind::Deadline } else { problem.kind };
            let problem = Problem { kind, ..problem };
            return self.replies.give_up(number, place, problem, expires_alone);
        }
        match EncodedRequest::try_from(request) {
            Ok(request) => {
                let due = Due { came, deadline, expires_alone };
                self.pass_on(route, number, request, due).await
            }
            Err(invalid) => {
                let place = self.replies.place(0).await;
                self.replies.answer(number, place, Answer::Rejected(invalid.into()));
                Ok(())
            }
        }
    }

    /// Changes to another route if the session's route is over and nothing is under way: then no later append could
    /// overtake another. If an append was refused for lack of room, the session ends instead, because that append
    /// is sent again.
    async fn follow_the_leader(&self, route: &mut Route, deadline: Instant) -> Result<(), Problem> {
        if self.replies.may_change_route() && self.appends.routes.is_over(route) {
            if self.replies.lacked_room() {
                return Err(problem::room_again());
            }
            *route = self.appends.routes.find(deadline).await?;
            self.replies.name_leader(self.appends.routes.leader_address());
        }
        Ok(())
    }
}
