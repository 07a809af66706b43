//! Appends with conditions: checked against what is applied here, and proposed with the position up to which
//! the conditions hold, so that no apply ever scans.

use std::future::Future;
use std::sync::Arc;

use bytes::Bytes;
use quorate_proto::{Append, Outcome, Position, Problem};
use quorate_raft::host::Host;
use quorate_raft::{ProposeError, Replica};
use quorate_store::Prejudged;
use quorate_store::command::{checked, key_bytes};
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::time::{Instant, timeout_at};

use super::super::problem;
use super::answer::{Answer, LeaderTerm, Pending, Reply};

/// The log, as far as the check of conditions needs it.
pub(crate) trait Log: Send + Sync {
    /// Judges an append by what is applied here; see [`quorate_store::Reader::prejudge`].
    fn prejudge(
        &self,
        append: Arc<Append>,
    ) -> impl Future<Output = Result<Prejudged, Problem>> + Send;
    /// Returns true if the disks have room for more events.
    fn has_room(&self) -> bool;
    /// Waits until everything that was acknowledged before the call is applied here.
    fn catch_up(&self, deadline: Instant) -> impl Future<Output = Result<(), Problem>> + Send;
}

/// An append with conditions, on its way to the log.
pub(crate) struct Conditional {
    pub(crate) append: Arc<Append>,
    /// The encoded append, not checked up to any position yet.
    pub(crate) encoded: Bytes,
    pub(crate) deadline: Instant,
    pub(crate) leader_term: LeaderTerm,
    /// One permit for each check that may run at once.
    pub(crate) permits: Arc<Semaphore>,
}

impl Conditional {
    /// Checks and proposes the append until there is an answer: again if the check was too old to count.
    ///
    /// A violation is refused without being proposed only at a point that was the end of the log after the
    /// append came: before that point, an earlier attempt of the append would have shown; after it, no attempt can
    /// be appended any more while the violating event is there.
    pub(crate) async fn carry<L: Log>(
        self,
        log: &L,
        queue: &mpsc::UnboundedSender<Pending>,
    ) -> Answer {
        loop {
            let through = match self.judge(log).await {
                Ok(Prejudged::Propose { checked }) => checked,
                Ok(Prejudged::Answer(verdict)) => return verdict.into(),
                Ok(Prejudged::Violated(problem)) => return Answer::Rejected(problem),
                Err(problem) => return Answer::Lost(problem),
            };
            if let Some(refusal) = self.leader_term.refusal(log.has_room()) {
                return refusal;
            }
            match self.propose(through, queue).await {
                Answer::CheckTooOld => {}
                answer => return answer,
            }
        }
    }

    async fn judge<L: Log>(&self, log: &L) -> Result<Prejudged, Problem> {
        let prejudged = self.check(log).await?;
        if !matches!(prejudged, Prejudged::Violated(_)) {
            return Ok(prejudged);
        }
        log.catch_up(self.deadline).await?;
        self.check(log).await
    }

    /// Checks the append once a permit is free, unless its deadline or the leader's term has ended.
    async fn check<L: Log>(&self, log: &L) -> Result<Prejudged, Problem> {
        let place = timeout_at(self.deadline, self.permits.acquire()).await;
        let _place = place.map_err(|_| problem::expired())?.expect("it is never closed");
        if self.leader_term.has_ended() {
            return Err(problem::of_lost_append(ProposeError::NotLeader));
        }
        if self.deadline <= Instant::now() {
            return Err(problem::expired());
        }
        log.prejudge(self.append.clone()).await
    }

    async fn propose(&self, through: Position, queue: &mpsc::UnboundedSender<Pending>) -> Answer {
        let (sender, receiver) = oneshot::channel();
        // The caller that waits for the answer holds the room that the append takes.
        let reply = Reply::without_room(Box::new(move |answer| drop(sender.send(answer))));
        let (encoded, deadline) = (checked(&self.encoded, through), self.deadline);
        // If the batcher is gone, it drops the reply, which then answers by itself.
        let (key_bytes, leader_term) = (key_bytes(&self.append), self.leader_term.clone());
        let _ = queue.send(Pending { encoded, key_bytes, deadline, leader_term, reply });
        let answer = receiver.await;
        answer.unwrap_or_else(|_| Answer::Lost(problem::stopping(Outcome::Unknown)))
    }
}

impl<H: Host> Log for Replica<H> {
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
