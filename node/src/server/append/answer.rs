//! A request on its way to the log, and its answer.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use quorate_proto::{Appended, GroupOutcome, Outcome, Problem, Term, Version};
use quorate_store::{Rejection, Verdict};
use tokio::time::Instant;

use super::super::problem;
use super::admission::Admitted;
use super::appends::Prepared;
use super::order::Order;

/// The outcome of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// The append is in the log for good.
    Appended(Appended),
    /// The snapshot that is kept now has this version.
    SnapshotStored(Version),
    /// The outcome of a request to a consumer group.
    Group(GroupOutcome),
    /// The request was refused for a reason of its own; later requests are not affected.
    Rejected(Problem),
    /// The request got no verdict, and its session ends with it. The problem's outcome states whether it may be
    /// in the log.
    Lost(Problem),
    /// The append is not in the log, because the disks are too full for more events. The session continues, for
    /// requests that make room; see [`LeaderTerm::refusal`].
    NoRoom,
    /// The append is not in the log: its conditions were checked too long before its turn. No caller gets this
    /// answer: the proposer checks them again.
    CheckTooOld,
}

impl From<Verdict> for Answer {
    fn from(verdict: Verdict) -> Answer {
        match verdict {
            Verdict::Appended(first) | Verdict::Repeated(first) => Answer::Appended(first),
            Verdict::SnapshotStored(version) => Answer::SnapshotStored(version),
            Verdict::Group(outcome) => Answer::Group(outcome),
            Verdict::Rejected(Rejection::CheckTooOld) => Answer::CheckTooOld,
            Verdict::Rejected(rejection) => Answer::Rejected(rejection.into()),
            Verdict::Unsettled(_) => Answer::Lost(problem::unsettled()),
        }
    }
}

/// The receiver of the answer; called where commands are applied, so it must be short.
pub(crate) type Callback = Box<dyn FnOnce(Answer) + Send>;

/// A request that waits for its answer, and the room that it takes until then. Every reply is answered: one
/// that is dropped answers that the outcome is unknown.
pub(crate) struct Reply(Option<(Callback, Option<Admitted>)>);

impl Reply {
    pub(crate) fn new(deliver: Callback, admitted: Admitted) -> Reply {
        Reply(Some((deliver, Some(admitted))))
    }

    /// Makes a reply for a request whose room somebody else holds.
    pub(crate) fn without_room(deliver: Callback) -> Reply {
        Reply(Some((deliver, None)))
    }

    /// Delivers the answer and gives the room back.
    pub(crate) fn answer(mut self, answer: Answer) {
        if let Some((deliver, _room)) = self.0.take() {
            deliver(answer);
        }
    }
}

impl Drop for Reply {
    fn drop(&mut self) {
        if let Some((deliver, _room)) = self.0.take() {
            deliver(Answer::Lost(problem::stopping(Outcome::Unknown)));
        }
    }
}

/// A request that waits for its turn in a session.
pub(crate) struct Held {
    pub(crate) prepared: Prepared,
    pub(crate) deadline: Instant,
    pub(crate) reply: Reply,
}

/// A term of this node's leadership, with the state of one session in it.
#[derive(Clone)]
pub(crate) struct LeaderTerm {
    pub(crate) term: Term,
    session: Arc<SessionState>,
}

#[derive(Default)]
struct SessionState {
    ended: AtomicBool,
    /// True if an append of the session was refused for lack of room.
    lacked_room: AtomicBool,
    order: Mutex<Order<Held>>,
}

impl std::fmt::Debug for LeaderTerm {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LeaderTerm").field("term", &self.term).finish_non_exhaustive()
    }
}

impl LeaderTerm {
    pub(crate) fn new(term: Term) -> LeaderTerm {
        LeaderTerm { term, session: Arc::default() }
    }

    /// Ends the session: nothing more of it is proposed, because an append of it was lost and no later one may
    /// overtake it when it is sent again.
    pub(crate) fn end(&self) {
        self.session.ended.store(true, Ordering::Release);
    }

    pub(crate) fn has_ended(&self) -> bool {
        self.session.ended.load(Ordering::Acquire)
    }

    /// Returns the answer to an append of this session that must not be proposed, given whether the disks have room.
    /// Once one was refused for lack of room, no later append goes on: when there is room again the session ends, so
    /// that none overtakes one that is sent again. Requests that make room are not checked here, and always go on.
    pub(crate) fn refusal(&self, has_room: bool) -> Option<Answer> {
        if !has_room {
            self.session.lacked_room.store(true, Ordering::Release);
            return Some(Answer::NoRoom);
        }
        let lacked_room = self.session.lacked_room.load(Ordering::Acquire);
        lacked_room.then(|| Answer::Lost(problem::room_again()))
    }

    /// Returns the requests of this session that wait for an append with conditions.
    pub(crate) fn order(&self) -> MutexGuard<'_, Order<Held>> {
        // No code that holds the lock can leave the order half changed.
        self.session.order.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An append or a snapshot that waits to be proposed.
pub(crate) struct Pending {
    /// The request in the encoding of `store::command`.
    pub(crate) encoded: Bytes,
    /// The bytes that the request counts towards the chunk size beside its length.
    pub(crate) key_bytes: u64,
    /// The time after which the request is not proposed any more.
    pub(crate) deadline: Instant,
    pub(crate) leader_term: LeaderTerm,
    pub(crate) reply: Reply,
}
