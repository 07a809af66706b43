//! Sessions of pipelined appends: one stream of appends in, their answers out, bound to one term of one leader.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use futures_util::{Stream, StreamExt};
use prost::Message;
use quorate_proto::limits::{APPEND_BYTES_MAX, READ_MESSAGE_BYTES};
use quorate_proto::wire::v1;
use quorate_proto::wire::v1::session_answer::Outcome as WireOutcome;
use quorate_proto::{ErrorKind, Outcome, Problem};
use quorate_raft::host::Host;
use quorate_store::Rejection;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::time::{Duration, Instant, timeout};
use tokio_util::sync::CancellationToken;
use tonic::Status;

use super::super::problem;
use super::admission::Admitted;
use super::anchor::Anchor;
use super::answer::{Answer, LeaderTerm, Reply};
use super::appends::{Appends, Prepared, Route, deadline_of};

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

/// The replies of a session, which takes the answers to its appends.
#[derive(Clone)]
pub(crate) struct SessionReplies {
    items: mpsc::UnboundedSender<Item>,
    window: Arc<Semaphore>,
    /// True if an append was refused for lack of room.
    lacked_room: Arc<AtomicBool>,
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
        let lacked_room = Arc::default();
        let replies = SessionReplies { items: sender, window, lacked_room, over: over.clone() };
        (replies, Answers { items, end: None, over })
    }

    /// Sends the message that opens the session; returns the instant from which its deadlines count.
    pub(crate) fn greet(&self, leader: String) -> Anchor {
        let anchor = Anchor::now();
        self.tell_leader(leader);
        anchor
    }

    fn tell_leader(&self, leader: String) {
        let _ = self.items.send(Item::Leader(leader));
    }

    /// Returns a place in the window for an append of this length; waits while the client does not take its
    /// answers.
    pub(crate) async fn place(&self, bytes: usize) -> OwnedSemaphorePermit {
        let bytes = (bytes + ANSWER_BYTES).min(WINDOW_BYTES);
        let bytes = u32::try_from(bytes).expect("the window fits 32 bits");
        let place = self.window.clone().acquire_many_owned(bytes).await;
        place.expect("the semaphore is never closed")
    }

    /// Answers an append that was not passed on.
    pub(crate) fn answer(&self, number: u64, place: OwnedSemaphorePermit, answer: Answer) {
        let _ = self.items.send(Item::Answer { number, answer, place });
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
                replies.over.cancel();
                if problem.outcome == Outcome::NotAppended {
                    // The outcome of this append is known; of later ones only that the session is over.
                    replies.answer(number, place, Answer::Lost(problem.clone()));
                }
                replies.end(problem);
            }
            Answer::NoRoom => {
                replies.lacked_room.store(true, Ordering::Release);
                replies.answer(number, place, Answer::NoRoom);
            }
            answer => replies.answer(number, place, answer),
        };
        Reply::new(Box::new(deliver), admitted)
    }

    /// Ends the session; earlier answers are still sent.
    pub(crate) fn end(&self, problem: Problem) {
        self.over.cancel();
        let _ = self.items.send(Item::End(problem));
    }

    /// Returns true if no append is on its way.
    fn is_idle(&self) -> bool {
        self.window.available_permits() == WINDOW_BYTES
    }

    /// Returns true if no append is on its way and none was lost: then no later append could overtake another.
    fn may_change_route(&self) -> bool {
        // The order matters: the session of a lost append is over before its place is released.
        self.is_idle() && !self.over.is_cancelled()
    }

    /// Waits a moment for the last answers, and then ends the session because the node stops.
    pub(crate) async fn stop(&self) {
        let all = u32::try_from(WINDOW_BYTES).expect("the window fits 32 bits");
        let _ = timeout(LAST_ANSWERS_WITHIN, self.window.acquire_many(all)).await;
        self.end(problem::stopping(Outcome::Unknown));
    }

    /// Completes when the session is over.
    pub(crate) async fn over(&self) {
        self.over.cancelled().await;
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
                    let answer = wire_answer(number, answer);
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

fn wire_answer(number: u64, answer: Answer) -> v1::SessionAnswer {
    let outcome = match answer {
        Answer::Appended(appended) => WireOutcome::Appended(appended.into()),
        Answer::SnapshotStored(version) => {
            WireOutcome::Kept(v1::PutSnapshotResponse { version: version.0 })
        }
        Answer::Group(outcome) => WireOutcome::Group(outcome.into()),
        Answer::Rejected(problem) | Answer::Lost(problem) => WireOutcome::Problem(problem.into()),
        Answer::NoRoom => WireOutcome::Problem(problem::no_space().into()),
        Answer::CheckTooOld => WireOutcome::Problem(Problem::from(Rejection::CheckTooOld).into()),
    };
    v1::SessionAnswer { number, outcome: Some(outcome) }
}

/// A client's session.
pub(crate) struct Session<H: Host> {
    appends: Arc<Appends<H>>,
    replies: SessionReplies,
}

impl<H: Host> Session<H> {
    /// Opens a session; returns the stream of its answers.
    pub(crate) fn open<S>(
        appends: Arc<Appends<H>>,
        requests: S,
        stopping: CancellationToken,
    ) -> Answers
    where
        S: Stream<Item = Result<v1::AppendSessionRequest, Status>> + Unpin + Send + 'static,
    {
        let (replies, answers) = SessionReplies::new();
        let session = Session { appends, replies: replies.clone() };
        tokio::spawn(async move {
            tokio::select! {
                biased;
                () = replies.over() => {}
                () = stopping.cancelled() => replies.stop().await,
                () = session.run(requests) => {}
            }
        });
        answers
    }

    async fn run<S>(self, mut requests: S)
    where
        S: Stream<Item = Result<v1::AppendSessionRequest, Status>> + Unpin,
    {
        let mut route = match self.appends.route(deadline_of(0)).await {
            Ok(route) => route,
            Err(problem) => return self.replies.end(problem),
        };
        let anchor = self.replies.greet(self.appends.leader_address());
        // A client that ends the stream or dies ends this loop: appends under way are still answered.
        while let Some(Ok(request)) = requests.next().await {
            for append in request.appends {
                if let Err(problem) = self.take(&mut route, anchor, append).await {
                    return self.replies.end(problem);
                }
            }
        }
    }

    /// Takes one append. An error ends the session.
    async fn take(
        &self,
        route: &mut Route,
        anchor: Anchor,
        append: v1::SessionAppend,
    ) -> Result<(), Problem> {
        let v1::SessionAppend { number, request, deadline_ms, expires_alone } = append;
        let deadline = anchor.deadline(deadline_ms);
        if let Err(problem) = self.follow_the_leader(route, deadline).await {
            let place = self.replies.place(0).await;
            let is_expired = expires_alone && deadline <= Instant::now();
            // No leader was known for as long as the append could wait.
            let kind = if is_expired { ErrorKind::Deadline } else { problem.kind };
            let problem = Problem { kind, ..problem };
            return self.replies.give_up(number, place, problem, expires_alone);
        }
        let prepared = match Prepared::try_from(request) {
            Ok(prepared) => prepared.expiring_alone(expires_alone),
            Err(invalid) => {
                let place = self.replies.place(0).await;
                self.replies.answer(number, place, Answer::Rejected(invalid.into()));
                return Ok(());
            }
        };
        let place = self.replies.place(prepared.size()).await;
        let admitted = match self.appends.admission.admit(prepared.size(), deadline).await {
            Ok(admitted) => admitted,
            Err(problem) => return self.replies.give_up(number, place, problem, expires_alone),
        };
        let reply =
            self.replies.reply((number, place), admitted, route.leader_term(), expires_alone);
        self.appends.submit(route, prepared, deadline, reply);
        Ok(())
    }

    /// Changes to another route if the session's route is over and nothing is under way: then no later append could
    /// overtake another. If an append was refused for lack of room, the session ends instead, because that append
    /// is sent again.
    async fn follow_the_leader(&self, route: &mut Route, deadline: Instant) -> Result<(), Problem> {
        if self.replies.may_change_route() && self.appends.is_over(route) {
            if self.replies.lacked_room.load(Ordering::Acquire) {
                return Err(problem::room_again());
            }
            *route = self.appends.route(deadline).await?;
            self.replies.tell_leader(self.appends.leader_address());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
