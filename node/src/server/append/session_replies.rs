//! The answers of a session: their order, their bound, and the end of the session with the first append that is lost.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use futures_util::Stream;
use prost::Message;
use quorate_proto::limits::{APPEND_BYTES_MAX, READ_MESSAGE_BYTES};
use quorate_proto::wire::v1;
use quorate_proto::{Outcome, Problem};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::time::{Duration, timeout};
use tokio_util::sync::CancellationToken;
use tonic::Status;

use super::super::problem;
use super::admission::Admitted;
use super::answer::Answer;
use super::deadline::Anchor;
use super::leader_term::LeaderTerm;
use super::reply::Reply;

/// The maximum bytes of one session's appends whose answers the transport has not taken yet. An answer that
/// names everything that failed is about as large as its append.
const WINDOW_BYTES: usize = 8 * 1024 * 1024;
/// The bytes that every append counts for its answer, in addition to its own.
const ANSWER_BYTES: usize = 512;
const _: () = assert!(APPEND_BYTES_MAX + ANSWER_BYTES < WINDOW_BYTES);
/// The time for which a session that ends waits for its last answers.
const LAST_ANSWERS_WITHIN: Duration = Duration::from_secs(1);

/// An item in the answers of a session.
enum Item {
    Answer { number: u64, answer: Answer, place: OwnedSemaphorePermit },
    Leader(String),
    End(Problem),
}

/// The replies of a session, which takes the answers to its appends. Every append under way holds a clone.
#[derive(Clone)]
pub(crate) struct SessionReplies(Arc<Replies>);

struct Replies {
    items: mpsc::UnboundedSender<Item>,
    window: Arc<Semaphore>,
    /// True if an append was refused for lack of room.
    lacked_room: AtomicBool,
    /// Cancelled when an append was lost, or nobody receives the answers any more.
    over: CancellationToken,
}

/// The answers of a session, as a stream of messages. Dropping it ends the session.
pub(crate) struct Answers {
    items: mpsc::UnboundedReceiver<Item>,
    end: Option<Problem>,
    over: CancellationToken,
}

impl SessionReplies {
    pub(crate) fn new() -> (SessionReplies, Answers) {
        let (sender, items) = mpsc::unbounded_channel();
        let over = CancellationToken::new();
        let window = Arc::new(Semaphore::new(WINDOW_BYTES));
        let lacked_room = AtomicBool::new(false);
        let replies = Replies { items: sender, window, lacked_room, over: over.clone() };
        (SessionReplies(Arc::new(replies)), Answers { items, end: None, over })
    }

    /// Sends the message that opens the session; returns the instant from which its deadlines count.
    pub(crate) fn greet(&self, leader: String) -> Anchor {
        let anchor = Anchor::now();
        self.name_leader(leader);
        anchor
    }

    /// Sends the address of the leader, for the client's next session.
    pub(crate) fn name_leader(&self, leader: String) {
        let _ = self.0.items.send(Item::Leader(leader));
    }

    /// Returns a place in the window for an append of this length; waits while the client does not take its
    /// answers.
    pub(crate) async fn place(&self, bytes: usize) -> OwnedSemaphorePermit {
        let bytes = (bytes + ANSWER_BYTES).min(WINDOW_BYTES);
        let bytes = u32::try_from(bytes).expect("the window fits 32 bits");
        let place = self.0.window.clone().acquire_many_owned(bytes).await;
        place.expect("the semaphore is never closed")
    }

    /// Returns true if an append was refused for lack of room.
    pub(crate) fn lacked_room(&self) -> bool {
        self.0.lacked_room.load(Ordering::Acquire)
    }

    /// Answers an append that was not passed on.
    pub(crate) fn answer(&self, number: u64, place: OwnedSemaphorePermit, answer: Answer) {
        let _ = self.0.items.send(Item::Answer { number, answer, place });
    }

    /// Answers an append that could not be passed on. Returns an error if it did not expire alone: the session
    /// ends, because no later append may overtake it when it is sent again.
    pub(crate) fn give_up(
        &self,
        number: u64,
        place: OwnedSemaphorePermit,
        problem: Problem,
        expires_alone: bool,
    ) -> Result<(), Problem> {
        if !(expires_alone && problem::is_expired(&problem)) {
            return Err(problem);
        }
        self.answer(number, place, Answer::Lost(problem));
        Ok(())
    }

    /// Returns the reply for an append that is passed on. The first append that is lost, unless it expired alone,
    /// ends the session and all requests of `leader_term` that are not proposed yet. The session is over before the
    /// place of the lost append is released: whoever sees the window empty must see that too.
    pub(crate) fn reply(
        &self,
        (number, place): (u64, OwnedSemaphorePermit),
        admitted: Admitted,
        leader_term: Option<LeaderTerm>,
        expires_alone: bool,
    ) -> Reply {
        let replies = self.clone();
        let deliver = move |answer| match answer {
            Answer::Lost(problem) if expires_alone && problem::is_expired(&problem) => {
                replies.answer(number, place, Answer::Lost(problem));
            }
            Answer::Lost(problem) => {
                if let Some(leader_term) = leader_term {
                    leader_term.end();
                }
                replies.0.over.cancel();
                if problem.outcome == Outcome::NotAppended {
                    // The outcome of this append is known; of later ones only that the session is over.
                    replies.answer(number, place, Answer::Lost(problem.clone()));
                }
                replies.end(problem);
            }
            Answer::NoRoom => {
                replies.0.lacked_room.store(true, Ordering::Release);
                replies.answer(number, place, Answer::NoRoom);
            }
            answer => replies.answer(number, place, answer),
        };
        Reply::new(deliver, admitted)
    }

    /// Ends the session; earlier answers are still sent.
    pub(crate) fn end(&self, problem: Problem) {
        self.0.over.cancel();
        let _ = self.0.items.send(Item::End(problem));
    }

    /// Returns true if no append is on its way.
    fn is_idle(&self) -> bool {
        self.0.window.available_permits() == WINDOW_BYTES
    }

    /// Returns true if no append is on its way and none was lost: then no later append could overtake another.
    pub(crate) fn may_change_route(&self) -> bool {
        // The order matters: the session of a lost append is over before its place is released.
        self.is_idle() && !self.0.over.is_cancelled()
    }

    /// Waits a moment for the last answers, and then ends the session because the node stops.
    pub(crate) async fn stop(&self) {
        let all = u32::try_from(WINDOW_BYTES).expect("the window fits 32 bits");
        let _ = timeout(LAST_ANSWERS_WITHIN, self.0.window.acquire_many(all)).await;
        self.end(problem::stopping(Outcome::Unknown));
    }

    /// Completes when the session is over.
    pub(crate) async fn over(&self) {
        self.0.over.cancelled().await;
    }
}

impl Stream for Answers {
    type Item = Result<v1::AppendSessionResponse, Status>;

    /// Makes one message of all answers that are ready.
    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if let Some(problem) = self.end.take() {
            self.items.close();
            while self.items.try_recv().is_ok() {}
            return Poll::Ready(Some(Err(problem.into())));
        }
        let mut message = v1::AppendSessionResponse::default();
        let mut bytes = 0;
        while bytes < READ_MESSAGE_BYTES {
            match self.items.poll_recv(context) {
                Poll::Ready(Some(Item::Answer { number, answer, place })) => {
                    let answer = v1::SessionAnswer { number, outcome: Some(answer.into()) };
                    bytes += answer.encoded_len();
                    message.answers.push(answer);
                    drop(place);
                }
                Poll::Ready(Some(Item::Leader(leader))) => {
                    message.leader = leader;
                    return Poll::Ready(Some(Ok(message)));
                }
                Poll::Ready(Some(Item::End(problem))) => {
                    self.end = Some(problem);
                    if message.answers.is_empty() {
                        return self.poll_next(context);
                    }
                    break;
                }
                Poll::Ready(None) if message.answers.is_empty() => return Poll::Ready(None),
                Poll::Pending if message.answers.is_empty() => return Poll::Pending,
                Poll::Ready(None) | Poll::Pending => break,
            }
        }
        Poll::Ready(Some(Ok(message)))
    }
}

impl Drop for Answers {
    fn drop(&mut self) {
        self.over.cancel();
    }
}

#[cfg(test)]
mod tests;
