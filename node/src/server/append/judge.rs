//! The leader's judgement on appends before it proposes them, so that no apply ever scans.

use std::future::Future;
use std::sync::Arc;

use bytes::Bytes;
use quorate_proto::{Append, Position, Problem};
use quorate_raft::host::Host;
use quorate_raft::{ProposeError, Replica};
use quorate_store::Prejudged;
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout_at};

use super::super::problem;
use super::answer::Answer;
use super::batcher::Queue;
use super::leader_term::LeaderTerm;
use super::proposal::Proposal;

/// The maximum number of checks that run at once, of conditions or of old events before a proposal: each may read
/// from the disk for long, and seals and reads of the log need threads too.
const CHECKS_MAX: usize = 4;

/// The log, as far as the judgement needs it.
pub(crate) trait Log: Send + Sync {
    /// Does the same as [`quorate_store::Reader::prejudge_in_memory`].
    fn prejudge_in_memory(&self, append: &Append) -> Option<Prejudged>;
    /// Does the same as [`quorate_store::Reader::prejudge_request_in_memory`].
    fn prejudge_request_in_memory(&self, request: &Bytes) -> Option<Prejudged>;
    /// Does the same as [`quorate_store::Reader::prejudge`].
    fn prejudge(
        &self,
        append: Arc<Append>,
    ) -> impl Future<Output = Result<Prejudged, Problem>> + Send;
    /// Returns true if the disks have room for more events.
    fn has_room(&self) -> bool;
    /// Waits until everything that was acknowledged before the call is applied here.
    fn catch_up(&self, deadline: Instant) -> impl Future<Output = Result<(), Problem>> + Send;
}

/// The judge of the appends that this node may propose as the leader.
pub(crate) struct Judge<L> {
    log: L,
    queue: Queue,
    /// One permit for each check that may run at once.
    permits: Semaphore,
}

impl<L: Log> Judge<L> {
    pub(crate) fn new(log: L, queue: Queue) -> Judge<L> {
        Judge { log, queue, permits: Semaphore::new(CHECKS_MAX) }
    }

    /// Hands a proposal to the batcher, unless the disks are too full for it.
    pub(crate) fn propose(&self, leader_term: &LeaderTerm, proposal: Proposal) {
        let refusal = || leader_term.refusal(self.log.has_room());
        match if proposal.makes_room { None } else { refusal() } {
            Some(answer) => proposal.reply.answer(answer),
            // If the batcher is gone it drops the reply, and that answers by itself.
            None => drop(self.queue.send((leader_term.clone(), proposal))),
        }
    }

    /// Judges an append by memory, and answers or proposes it. Returns the proposal if memory does not suffice.
    pub(crate) fn judge_in_memory(
        &self,
        leader_term: &LeaderTerm,
        append: &Append,
        proposal: Proposal,
    ) -> Option<Proposal> {
        self.follow(self.log.prejudge_in_memory(append), leader_term, proposal)
    }

    /// Does the same with an append without conditions that is not decoded.
    pub(crate) fn judge_encoded(
        &self,
        leader_term: &LeaderTerm,
        proposal: Proposal,
    ) -> Option<Proposal> {
        let prejudged = self.log.prejudge_request_in_memory(&proposal.encoded);
        self.follow(prejudged, leader_term, proposal)
    }

    fn follow(
        &self,
        prejudged: Option<Prejudged>,
        leader_term: &LeaderTerm,
        proposal: Proposal,
    ) -> Option<Proposal> {
        let Some(prejudged) = prejudged else { return Some(proposal) };
        match propose_or_answer(prejudged) {
            Ok(_) => self.propose(leader_term, proposal),
            Err(answer) => proposal.reply.answer(answer),
        }
        None
    }

    /// Judges and proposes an append until there is an answer: again if the check was too old to count.
    pub(crate) async fn carry(&self, leader_term: &LeaderTerm, append: Append, proposal: Proposal) {
        let append = Arc::new(append);
        let answer = loop {
            let through = match self.judge(leader_term, &append, proposal.due.deadline).await {
                Ok(through) => through,
                Err(answer) => break answer,
            };
            let (checked, answer) = proposal.checked(through);
            self.propose(leader_term, checked);
            match answer.await.expect("every reply is answered") {
                Answer::CheckTooOld => {}
                answer => break answer,
            }
        };
        proposal.reply.answer(answer);
    }

    /// Returns the position through which the conditions of an append hold, or the append's answer.
    ///
    /// A violation is refused without being proposed only at a point that was the end of the log after the
    /// append came: before that point, an earlier attempt of the append would have shown; after it, no attempt can
    /// be appended any more while the violating event is there.
    async fn judge(
        &self,
        leader_term: &LeaderTerm,
        append: &Arc<Append>,
        deadline: Instant,
    ) -> Result<Position, Answer> {
        let mut prejudged = self.check(leader_term, append, deadline).await?;
        if matches!(prejudged, Prejudged::Violated(_)) {
            self.log.catch_up(deadline).await.map_err(Answer::Lost)?;
            prejudged = self.check(leader_term, append, deadline).await?;
        }
        propose_or_answer(prejudged)
    }

    /// Checks an append once a permit is free, unless its deadline or the leader's term has ended.
    async fn check(
        &self,
        leader_term: &LeaderTerm,
        append: &Arc<Append>,
        deadline: Instant,
    ) -> Result<Prejudged, Answer> {
        let lost = |problem| Err(Answer::Lost(problem));
        let Ok(permit) = timeout_at(deadline, self.permits.acquire()).await else {
            return lost(problem::expired());
        };
        let _permit = permit.expect("the semaphore is never closed");
        if leader_term.has_ended() {
            return lost(problem::of_lost_append(ProposeError::NotLeader));
        }
        if deadline <= Instant::now() {
            return lost(problem::expired());
        }
        self.log.prejudge(append.clone()).await.or_else(lost)
    }
}

/// Returns the position through which the conditions of an append hold, or its answer.
fn propose_or_answer(prejudged: Prejudged) -> Result<Position, Answer> {
    match prejudged {
        Prejudged::Propose { checked } => Ok(checked),
        Prejudged::Answer(verdict) => Err(verdict.into()),
        Prejudged::Violated(problem) => Err(Answer::Rejected(problem)),
    }
}

impl<H: Host> Log for Replica<H> {
    fn prejudge_in_memory(&self, append: &Append) -> Option<Prejudged> {
        self.reader()?.prejudge_in_memory(append)
    }

    fn prejudge_request_in_memory(&self, request: &Bytes) -> Option<Prejudged> {
        self.reader()?.prejudge_request_in_memory(request)
    }

    async fn prejudge(&self, append: Arc<Append>) -> Result<Prejudged, Problem> {
        let reader = self.reader().ok_or_else(problem::not_ready)?;
        // It may read from the disk.
        let prejudged = self.host().run(move || reader.prejudge(&append)).await;
        prejudged.map_err(|fault| problem::of_found(self, &fault))
    }

    fn has_room(&self) -> bool {
        Replica::has_room(self)
    }

    async fn catch_up(&self, deadline: Instant) -> Result<(), Problem> {
        let index = self.read_index(deadline).await.map_err(problem::of_lost_read)?;
        self.applied(index, deadline).await.map_err(problem::of_lost_read)
    }
}

#[cfg(test)]
mod tests;
