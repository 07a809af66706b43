//! An append or a snapshot on its way to the log, and the answer it gets.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use quorate_proto::{Appended, GroupOutcome, Outcome, Problem, Term, Version};
use quorate_store::{Rejection, Verdict};
use tokio::time::Instant;

use super::admission::Admitted;
use super::appends::Prepared;
use super::order::Order;
use super::problem;

/// What became of an append or a snapshot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// It is in the log for good.
    Appended(Appended),
    /// The snapshot that is kept now is of this version.
    Kept(Version),
    /// What a request to a consumer group came to.
    Group(GroupOutcome),
    /// It is not, for a reason of its own; the appends behind it are not touched by that.
    Rejected(Problem),
    /// It got no verdict, and the session that it belongs to ends with it. The problem's outcome tells
    /// whether it may be in the log.
    Lost(Problem),
    /// It is not in the log, for the disks are too full for more events. The session goes on, for the sake of
    /// what makes room; see [`Tenure::refusal`].
    NoRoom,
    /// It is not in the log: its conditions were looked at too long before it was its turn. Nobody's answer:
    /// who proposed it looks again.
    CheckTooOld,
}

impl From<Verdict> for Answer {
    fn from(verdict: Verdict) -> Answer {
        match verdict {
            Verdict::Appended(first) | Verdict::Repeated(first) => Answer::Appended(first),
            Verdict::Kept(version) => Answer::Kept(version),
            Verdict::Group(outcome) => Answer::Group(outcome),
            Verdict::Rejected(Rejection::CheckTooOld) => Answer::CheckTooOld,
            Verdict::Rejected(rejection) => Answer::Rejected(rejection.into()),
            Verdict::Unsettled(_) => Answer::Lost(problem::unsettled()),
        }
    }
}

/// Where the answer goes; called where commands are applied, so it must be short.
pub(crate) type Deliver = Box<dyn FnOnce(Answer) + Send>;

/// The one who waits for an answer, and the room that the append takes until then. Nobody is forgotten:
/// dropped without an answer, it tells that the outcome is unknown.
pub(crate) struct Waiter(Option<(Deliver, Option<Admitted>)>);

impl Waiter {
    pub(crate) fn new(deliver: Deliver, admitted: Admitted) -> Waiter {
        Waiter(Some((deliver, Some(admitted))))
    }

    /// For an append whose room somebody else holds.
    pub(crate) fn without_room(deliver: Deliver) -> Waiter {
        Waiter(Some((deliver, None)))
    }

    /// Delivers the answer and gives the room back.
    pub(crate) fn answer(mut self, answer: Answer) {
        if let Some((deliver, _room)) = self.0.take() {
            deliver(answer);
        }
    }
}

impl Drop for Waiter {
    fn drop(&mut self) {
        if let Some((deliver, _room)) = self.0.take() {
            deliver(Answer::Lost(problem::stopping(Outcome::Unknown)));
        }
    }
}

/// What waits in a session for its turn.
pub(crate) struct Held {
    pub(crate) prepared: Prepared,
    pub(crate) deadline: Instant,
    pub(crate) waiter: Waiter,
}

/// A term of this node's leadership, as one session lives in it.
#[derive(Clone)]
pub(crate) struct Tenure {
    pub(crate) term: Term,
    session: Arc<SessionState>,
}

#[derive(Default)]
struct SessionState {
    ended: AtomicBool,
    /// Whether an append of it was refused for want of room.
    lacked_room: AtomicBool,
    order: Mutex<Order<Held>>,
}

impl std::fmt::Debug for Tenure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tenure").field("term", &self.term).finish_non_exhaustive()
    }
}

impl Tenure {
    pub(crate) fn new(term: Term) -> Tenure {
        Tenure { term, session: Arc::default() }
    }

    /// Nothing more of this session is proposed: an append of it was lost, and what came after it must
    /// not overtake it when it is sent again.
    pub(crate) fn end(&self) {
        self.session.ended.store(true, Ordering::Release);
    }

    pub(crate) fn has_ended(&self) -> bool {
        self.session.ended.load(Ordering::Acquire)
    }

    /// What is told an append of this session that is not to be proposed, if the disks have room or not. Once one
    /// was refused for want of room, none behind it goes on: when there is room again the session ends, so that
    /// none overtakes one that is sent again. What makes room is not asked of, and goes on all the while.
    pub(crate) fn refusal(&self, has_room: bool) -> Option<Answer> {
        if !has_room {
            self.session.lacked_room.store(true, Ordering::Release);
            return Some(Answer::NoRoom);
        }
        let lacked_room = self.session.lacked_room.load(Ordering::Acquire);
        lacked_room.then(|| Answer::Lost(problem::room_again()))
    }

    /// What waits in this session for an append with conditions.
    pub(crate) fn order(&self) -> MutexGuard<'_, Order<Held>> {
        // No code that holds the lock can leave the order half changed.
        self.session.order.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An append or a snapshot that waits to be proposed.
pub(crate) struct Pending {
    /// As `store::command` has it.
    pub(crate) encoded: Bytes,
    /// What it counts towards the chunk size beside its length.
    pub(crate) key_bytes: u64,
    /// Nothing is proposed after it.
    pub(crate) deadline: Instant,
    pub(crate) tenure: Tenure,
    pub(crate) waiter: Waiter,
}
