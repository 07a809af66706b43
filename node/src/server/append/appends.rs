//! The entrance of appends, snapshots and group requests: each is submitted to its route, in its session's order.

use std::sync::Arc;

use bytes::Bytes;
use quorate_proto::{Append, Outcome, Problem, StreamName};
use quorate_raft::host::Host;
use quorate_raft::{Histogram, Replica};
use quorate_store::command::Request;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, timeout_at};

use super::super::problem;
use super::admission::Admission;
use super::answer::{Answer, Applied};
use super::batcher;
use super::deadline::{Due, deadline_of};
use super::judge::Judge;
use super::leader_term::LeaderTerm;
use super::proposal::{Decoded, EncodedRequest, Proposal, has_conditions, streams};
use super::reply::Reply;
use super::routes::{Route, Routes};

/// Takes appends, snapshots and group requests. Each node has one.
pub(crate) struct Appends<H: Host> {
    pub(crate) replica: Replica<H>,
    pub(crate) admission: Admission,
    pub(crate) routes: Routes<H>,
    /// The times from the receipt of a request by this node until its answer, of those that it proposed.
    pub(crate) times: Arc<Histogram>,
    judge: Judge<Replica<H>>,
}

impl<H: Host> Appends<H> {
    /// Starts the batcher, which runs until this value is dropped.
    pub(crate) fn start(replica: Replica<H>) -> Arc<Appends<H>> {
        let (queue, waiting) = mpsc::unbounded_channel();
        let times = Arc::new(Histogram::default());
        tokio::spawn(batcher::run(replica.clone(), waiting, times.clone()));
        let (routes, judge) = (Routes::new(replica.clone()), Judge::new(replica.clone(), queue));
        Arc::new(Appends { replica, admission: Admission::new(), times, routes, judge })
    }

    /// Takes one request. A request that was certainly not proposed is tried again until the deadline.
    pub(crate) async fn take(
        self: &Arc<Self>,
        request: EncodedRequest,
        deadline: Instant,
    ) -> Result<Applied, Problem> {
        // A single request has no later requests that would have to keep an order.
        let due = Due { came: Instant::now(), deadline, expires_alone: true };
        loop {
            let admitted = self.admission.admit_or_refuse(request.size(), deadline).await?;
            let route = self.routes.find(deadline).await?;
            let (reply, answer) = Reply::channel(Some(admitted));
            let (request, proposal) = request.clone().propose(due, reply);
            self.submit(&route, request, proposal);
            let answer = timeout_at(deadline, answer).await.map_err(|_| problem::overdue())?;
            match answer.expect("every reply is answered") {
                Answer::Applied(applied) => return Ok(applied),
                Answer::Rejected(problem) => return Err(problem),
                // It takes longer until there is room again than a call may wait.
                Answer::NoRoom => return Err(problem::no_space()),
                Answer::Lost(problem) if problem.outcome == Outcome::Unknown => {
                    return Err(problem);
                }
                Answer::Lost(problem) => self.routes.news(deadline).await.map_err(|_| problem)?,
                Answer::CheckTooOld => {}
            }
        }
    }

    /// Passes a request on; its reply is answered exactly once.
    pub(crate) fn submit(self: &Arc<Self>, route: &Route, decoded: Decoded, proposal: Proposal) {
        let leader_term = match route {
            Route::Leader(forwarding) => return forwarding.send(proposal),
            Route::Local(leader_term) => leader_term,
        };
        let is_conditional = decoded.has_conditions();
        let mut order = leader_term.order();
        if order.is_idle() && !is_conditional {
            drop(order);
            return self.go_on(leader_term, decoded, proposal);
        }
        let request = decoded.of(&proposal);
        let entered = order.enter(streams(&request), is_conditional, (request, proposal));
        drop(order);
        if let Some((request, proposal)) = entered {
            self.go_on_decoded(leader_term, request, proposal);
        }
    }

    /// Proposes the progress of a group, in the term of its owner. Progress is taken although the disks are full: it
    /// may be what lets somebody make room.
    pub(crate) fn propose_progress(
        &self,
        leader_term: &LeaderTerm,
        encoded: Bytes,
    ) -> oneshot::Receiver<Answer> {
        let (reply, answer) = Reply::channel(None);
        let due = Due { came: Instant::now(), deadline: deadline_of(0), expires_alone: true };
        let (key_bytes, makes_room) = (0, true);
        let proposal = Proposal { encoded, key_bytes, makes_room, due, reply };
        self.judge.propose(leader_term, proposal);
        answer
    }

    /// Takes the next step with a request that need not wait for others.
    fn go_on(self: &Arc<Self>, leader_term: &LeaderTerm, decoded: Decoded, proposal: Proposal) {
        let proposal = match decoded {
            Decoded::Request(request) => {
                return self.go_on_decoded(leader_term, *request, proposal);
            }
            Decoded::LeftEncoded => self.judge.judge_encoded(leader_term, proposal),
        };
        if let Some(proposal) = proposal {
            let request = Decoded::LeftEncoded.of(&proposal);
            self.go_on_decoded(leader_term, request, proposal);
        }
    }

    fn go_on_decoded(
        self: &Arc<Self>,
        leader_term: &LeaderTerm,
        request: Request,
        proposal: Proposal,
    ) {
        let holds_back = if has_conditions(&request) { streams(&request) } else { Vec::new() };
        let Request::Append(append) = request else {
            return self.judge.propose(leader_term, proposal);
        };
        if let Some(proposal) = self.judge.judge_in_memory(leader_term, &append, proposal) {
            let appends = self.clone();
            tokio::spawn(appends.carry(leader_term.clone(), append, holds_back, proposal));
        }
    }

    /// Carries an append to its answer, and then releases the requests that waited for it. An append without
    /// conditions holds none back: it cannot be made any more, so there is nothing that they could overtake.
    async fn carry(
        self: Arc<Self>,
        leader_term: LeaderTerm,
        append: Append,
        holds_back: Vec<StreamName>,
        proposal: Proposal,
    ) {
        self.judge.carry(&leader_term, append, proposal).await;
        // The lock is held until all released requests are on their way, so that no new one overtakes them.
        let mut order = leader_term.order();
        for (request, proposal) in order.finish(&holds_back) {
            self.go_on_decoded(&leader_term, request, proposal);
        }
    }
}
