//! The batcher, which makes one entry of the log of everything that waits: no timers, a few entries in flight.

use std::collections::VecDeque;
use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use quorate_proto::limits::ENTRY_BYTES_MAX;
use quorate_proto::{ErrorKind, Outcome, Problem, Term, Timestamp};
use quorate_raft::host::Host;
use quorate_raft::{Done, Histogram, ProposeError, Replica};
use quorate_store::Verdict;
use quorate_store::command::{Builder, Request, decode_request};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::time::Instant;

use super::super::problem;
use super::answer::Answer;
use super::leader_term::LeaderTerm;
use super::proposal::Proposal;

/// The number of entries in flight at which requests collect for the next entry. Four did best: with fewer
/// the disk waits for the network, with more the entries become small.
const ENTRIES_IN_FLIGHT_MAX: usize = 4;
/// The pressure (see `Status::pressure`) above which entries are held back.
const PRESSURE_EASY: f32 = 0.5;
/// The time before an entry is proposed again that the leader did not take because it had not heard from a
/// majority, for example right after its election.
const TRY_AGAIN_AFTER: Duration = Duration::from_millis(5);
/// The time for which each byte, counted as for the chunk size, is held back at full pressure. It allows 4 MiB per
/// second, and any disk seals faster.
const HOLD_BACK_NANOS_PER_BYTE: f32 = 256.0;

/// The way into the batcher.
pub(crate) type Queue = mpsc::UnboundedSender<Queued>;
/// A request in the batcher, and the term in which it is proposed.
type Queued = (LeaderTerm, Proposal);

/// The replica, as the batcher sees it.
pub(crate) trait Proposer: Send + Sync + 'static {
    /// Returns the stamp for an entry that is proposed now; none while the node does not know enough clocks.
    fn stamp(&self) -> Option<Timestamp>;
    /// Returns how near apply is to having to wait for a seal.
    fn pressure(&self) -> f32;
    /// Does the same as `Replica::propose`.
    fn propose(
        &self,
        term: Term,
        command: Bytes,
        done: Done,
    ) -> impl Future<Output = Result<(), ProposeError>> + Send;
    /// Answers an append that was not made, perhaps because it was made before, after a check of stored events: of the
    /// content for a repetition, and of old events for an append that is older than the window of retries. It is called
    /// where commands are applied, so it does not wait for that check.
    fn answer_after_check(&self, proposal: Proposal, verdict: Verdict);
}

/// Proposes what arrives in the queue, in its order, until all senders are gone. `times` counts how long requests took
/// from their receipt until their answer.
pub(crate) async fn run<P: Proposer>(
    proposer: P,
    queue: mpsc::UnboundedReceiver<Queued>,
    times: Arc<Histogram>,
) {
    let proposer = Arc::new(proposer);
    let slots = Arc::new(Semaphore::new(ENTRIES_IN_FLIGHT_MAX));
    let mut waiting = Waiting { first: VecDeque::new(), queue };
    while let Some(first) = waiting.next().await {
        // First the slot, then the waiting requests: the batch collects while the slots are taken.
        waiting.first.push_front(first);
        let slot = slots.clone().acquire_owned().await.expect("the semaphore is never closed");
        let stamp = proposer.stamp();
        let batch = Batch::collect(&mut waiting, stamp.unwrap_or_default());
        let bytes = batch.chunk_bytes();
        let refused = match stamp {
            Some(_) => batch.propose(&proposer, &times, slot).await,
            None => Some(batch.appends),
        };
        if let Some(refused) = refused {
            waiting.put_back(refused);
            tokio::time::sleep(TRY_AGAIN_AFTER).await;
        }
        // The wait is here and not before proposing: a batch checks its deadlines when it is collected.
        hold_back(proposer.pressure(), bytes).await;
    }
}

/// The requests that are to be proposed, in order.
struct Waiting {
    /// The requests that were taken from the queue and could not be proposed yet.
    first: VecDeque<Queued>,
    queue: mpsc::UnboundedReceiver<Queued>,
}

impl Waiting {
    async fn next(&mut self) -> Option<Queued> {
        match self.first.pop_front() {
            Some(queued) => Some(queued),
            None => self.queue.recv().await,
        }
    }

    /// Returns the next request, if one is there without waiting.
    fn next_now(&mut self) -> Option<Queued> {
        self.first.pop_front().or_else(|| self.queue.try_recv().ok())
    }

    fn put_back(&mut self, refused: Vec<Queued>) {
        refused.into_iter().rev().for_each(|queued| self.first.push_front(queued));
    }
}

/// Gives a seal that falls behind the time to finish before apply has to wait for it.
async fn hold_back(pressure: f32, bytes: u64) {
    if pressure > PRESSURE_EASY {
        let share = ((pressure - PRESSURE_EASY) / (1.0 - PRESSURE_EASY)).min(1.0);
        let nanos = bytes as f32 * HOLD_BACK_NANOS_PER_BYTE * share * share;
        tokio::time::sleep(Duration::from_nanos(nanos as u64)).await;
    }
}

/// The requests that become one entry.
///
/// Invariants:
/// * All requests were sent in one term; their order is that of the queue.
/// * The command has at most [`ENTRY_BYTES_MAX`] bytes.
struct Batch {
    term: Option<Term>,
    command: Builder,
    appends: Vec<Queued>,
}

impl Batch {
    /// Takes the waiting requests, up to the first that must wait for the next entry.
    fn collect(waiting: &mut Waiting, stamp: Timestamp) -> Batch {
        let mut batch = Batch { term: None, command: Builder::new(stamp), appends: Vec::new() };
        let now = Instant::now();
        while let Some((leader_term, proposal)) = waiting.next_now() {
            if leader_term.has_ended() {
                let lost = problem::of_lost_append(ProposeError::NotLeader);
                proposal.reply.answer(Answer::Lost(lost));
            } else if proposal.due.deadline <= now {
                // Lost, not rejected: the request is sent again, and no later one may overtake it.
                proposal.reply.answer(Answer::Lost(problem::expired()));
            } else if batch.has_room_for(leader_term.term, &proposal) {
                batch.term = Some(leader_term.term);
                batch.command.push(&proposal.encoded);
                batch.appends.push((leader_term, proposal));
            } else {
                waiting.first.push_front((leader_term, proposal));
                break;
            }
        }
        batch
    }

    /// Returns the bytes that the batch counts towards the chunk size, by which the pressure is measured.
    fn chunk_bytes(&self) -> u64 {
        let keys: u64 = self.appends.iter().map(|(_, proposal)| proposal.key_bytes).sum();
        self.command.size() as u64 + keys
    }

    fn has_room_for(&self, term: Term, proposal: &Proposal) -> bool {
        let size = self.command.size() + proposal.encoded.len() + Builder::BYTES_PER_REQUEST;
        self.term.is_none() || self.term == Some(term) && size <= ENTRY_BYTES_MAX
    }

    /// Proposes the entry. Returns its requests if they can be proposed a little later: no later request was
    /// proposed yet, so these keep their place.
    async fn propose<P: Proposer>(
        self,
        proposer: &Arc<P>,
        times: &Arc<Histogram>,
        slot: OwnedSemaphorePermit,
    ) -> Option<Vec<Queued>> {
        let term = self.term?;
        let appends = Arc::new(Mutex::new(self.appends));
        let (answered, answering, times) = (appends.clone(), proposer.clone(), times.clone());
        let done: Done = Box::new(move |outcome| {
            drop(slot);
            let appends = take(&answered);
            if outcome.is_ok() {
                count_times(&times, &appends);
            }
            answer(&*answering, appends, outcome);
        });
        match proposer.propose(term, self.command.finish(), done).await {
            Ok(()) => None,
            Err(ProposeError::NotNow) => Some(take(&appends)),
            Err(lost) => {
                answer(&**proposer, take(&appends), Err(lost));
                None
            }
        }
    }
}

fn take(appends: &Mutex<Vec<Queued>>) -> Vec<Queued> {
    std::mem::take(&mut *appends.lock().unwrap_or_else(PoisonError::into_inner))
}

/// Counts the times that an entry's requests took. Those that came in one message are counted at once.
fn count_times(times: &Histogram, appends: &[Queued]) {
    let now = Instant::now();
    for together in appends.chunk_by(|(_, one), (_, next)| one.due.came == next.due.came) {
        let took = now.saturating_duration_since(together[0].1.due.came);
        times.observe_many(took, together.len() as u64);
    }
}

/// Answers every request of an entry.
fn answer<P: Proposer>(
    proposer: &P,
    appends: Vec<Queued>,
    outcome: Result<Vec<Verdict>, ProposeError>,
) {
    match outcome {
        Ok(verdicts) => {
            let mut verdicts = verdicts.into_iter();
            for (_, proposal) in appends {
                match verdicts.next() {
                    Some(verdict @ (Verdict::Repeated(_) | Verdict::Unsettled(_))) => {
                        proposer.answer_after_check(proposal, verdict);
                    }
                    Some(verdict) => proposal.reply.answer(verdict.into()),
                    None => proposal.reply.answer(Answer::Lost(without_verdict())),
                }
            }
        }
        Err(lost) => {
            let problem = problem::of_lost_append(lost);
            for (_, proposal) in appends {
                proposal.reply.answer(Answer::Lost(problem.clone()));
            }
        }
    }
}

impl<H: Host> Proposer for Replica<H> {
    fn stamp(&self) -> Option<Timestamp> {
        Replica::stamp(self)
    }

    fn pressure(&self) -> f32 {
        self.status().borrow().pressure
    }

    async fn propose(&self, term: Term, command: Bytes, done: Done) -> Result<(), ProposeError> {
        Replica::propose(self, term, command, done).await
    }

    fn answer_after_check(&self, proposal: Proposal, verdict: Verdict) {
        let replica = self.clone();
        tokio::spawn(async move {
            let Proposal { encoded, reply, .. } = proposal;
            reply.answer(settle(&replica, encoded, verdict).await);
        });
    }
}

/// Returns the answer to a request by the verdict of apply and by stored events, which may be on the disk.
async fn settle<H: Host>(replica: &Replica<H>, encoded: Bytes, verdict: Verdict) -> Answer {
    let Some(reader) = replica.reader() else {
        return Answer::Lost(problem::stopping(Outcome::Unknown));
    };
    let settle = move || match decode_request(&encoded) {
        Ok(Request::Append(append)) => reader.settle(&append, verdict),
        // Only the verdict on an append is open.
        _ => Ok(verdict),
    };
    match replica.host().run(settle).await {
        Ok(verdict) => verdict.into(),
        Err(fault) => {
            let found = problem::of_found(replica, &fault);
            Answer::Lost(Problem { outcome: Outcome::Unknown, ..found })
        }
    }
}

fn without_verdict() -> Problem {
    let message = "the entry was applied without a verdict on this append";
    Problem::new(ErrorKind::Internal, Outcome::Unknown, message)
}

#[cfg(test)]
mod tests;
