//! Everything that waits becomes one entry of the log: no timers, a few entries in flight.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use quorate_proto::limits::ENTRY_BYTES_MAX;
use quorate_proto::{ErrorKind, Outcome, Problem, Term, Timestamp};
use quorate_raft::{Done, Lost};
use quorate_store::Verdict;
use quorate_store::command::Builder;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::time::Instant;

use super::pending::{Answer, Pending, Waiter};
use super::problem;

/// While so many entries are under way, what comes in collects for the next. Four did best: with fewer
/// the disk waits for the network, with more the entries get small.
const ENTRIES_IN_FLIGHT_MAX: usize = 4;
/// From this pressure on (see `Status::pressure`) entries are held back.
const PRESSURE_EASY: f32 = 0.5;
/// How long a byte is held back at full pressure: 4 MiB in a second, which any disk seals faster.
const HOLD_BACK_NANOS_PER_BYTE: f32 = 256.0;

/// What the batcher needs of the replica.
pub(crate) trait Proposer: Send + Sync + 'static {
    /// The wall clock, for the stamp of an entry.
    fn now(&self) -> Timestamp;
    /// How near apply is to having to wait for a seal.
    fn pressure(&self) -> f32;
    /// As `Replica::propose`.
    fn propose(&self, term: Term, command: Bytes, done: Done) -> impl Future<Output = ()> + Send;
}

/// Proposes what comes through the queue, in its order, until all senders are gone.
pub(crate) async fn run<P: Proposer>(proposer: P, mut queue: mpsc::UnboundedReceiver<Pending>) {
    let slots = Arc::new(Semaphore::new(ENTRIES_IN_FLIGHT_MAX));
    let mut left_over = None;
    loop {
        let first = match left_over.take() {
            Some(pending) => pending,
            None => match queue.recv().await {
                Some(pending) => pending,
                None => return,
            },
        };
        // First the slot, then all that waits: the batch collects while the slots are taken.
        let slot = slots.clone().acquire_owned().await.expect("the semaphore is never closed");
        let (batch, rest) = Batch::collect(first, &mut queue, proposer.now());
        left_over = rest;
        hold_back(proposer.pressure(), batch.command.size()).await;
        batch.propose(&proposer, slot).await;
    }
}

/// Gives a seal that falls behind the time to finish before apply has to wait for it.
async fn hold_back(pressure: f32, bytes: usize) {
    if pressure > PRESSURE_EASY {
        let share = ((pressure - PRESSURE_EASY) / (1.0 - PRESSURE_EASY)).min(1.0);
        let nanos = bytes as f32 * HOLD_BACK_NANOS_PER_BYTE * share * share;
        tokio::time::sleep(Duration::from_nanos(nanos as u64)).await;
    }
}

/// What becomes one entry.
///
/// Invariants:
/// * All appends were sent in one term; their order is that of the queue.
/// * The command has at most [`ENTRY_BYTES_MAX`] bytes.
struct Batch {
    term: Option<Term>,
    command: Builder,
    waiters: Vec<Waiter>,
}

impl Batch {
    /// Takes from the queue what is there, and gives back the first append that must wait for the next.
    fn collect(
        first: Pending,
        queue: &mut mpsc::UnboundedReceiver<Pending>,
        stamp: Timestamp,
    ) -> (Batch, Option<Pending>) {
        let mut batch = Batch { term: None, command: Builder::new(stamp), waiters: Vec::new() };
        let now = Instant::now();
        let mut next = Some(first);
        while let Some(pending) = next.take().or_else(|| queue.try_recv().ok()) {
            if pending.tenure.has_ended() {
                let lost = problem::of_lost_append(Lost::NotLeader);
                pending.waiter.answer(Answer::Lost(lost));
            } else if pending.deadline <= now {
                pending.waiter.answer(Answer::Rejected(problem::expired()));
            } else if batch.has_room_for(&pending) {
                batch.term = Some(pending.tenure.term);
                batch.command.push(&pending.encoded);
                batch.waiters.push(pending.waiter);
            } else {
                return (batch, Some(pending));
            }
        }
        (batch, None)
    }

    fn has_room_for(&self, pending: &Pending) -> bool {
        let size = self.command.size() + pending.encoded.len() + Builder::BYTES_PER_APPEND;
        self.term.is_none() || self.term == Some(pending.tenure.term) && size <= ENTRY_BYTES_MAX
    }

    async fn propose<P: Proposer>(self, proposer: &P, slot: OwnedSemaphorePermit) {
        let Some(term) = self.term else { return };
        let waiters = self.waiters;
        let done: Done = Box::new(move |outcome| {
            drop(slot);
            answer(waiters, outcome);
        });
        proposer.propose(term, self.command.finish(), done).await;
    }
}

/// Gives every append of an entry its answer.
fn answer(waiters: Vec<Waiter>, outcome: Result<Vec<Verdict>, Lost>) {
    match outcome {
        Ok(verdicts) => {
            let mut verdicts = verdicts.into_iter();
            for waiter in waiters {
                match verdicts.next() {
                    Some(verdict) => waiter.answer(verdict.into()),
                    None => waiter.answer(Answer::Lost(without_verdict())),
                }
            }
        }
        Err(lost) => {
            let problem = problem::of_lost_append(lost);
            waiters.into_iter().for_each(|waiter| waiter.answer(Answer::Lost(problem.clone())));
        }
    }
}

fn without_verdict() -> Problem {
    let message = "the entry was applied without a verdict on this append";
    Problem::new(ErrorKind::Internal, Outcome::Unknown, message)
}

#[cfg(test)]
mod tests;
