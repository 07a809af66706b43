//! A term of this node's leadership, with what one session may still propose in it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use quorate_proto::Term;
use quorate_store::command::Request;

use super::super::problem;
use super::answer::Answer;
use super::order::Order;
use super::proposal::Proposal;

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
    order: Mutex<Order<(Request, Proposal)>>,
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
    pub(crate) fn order(&self) -> MutexGuard<'_, Order<(Request, Proposal)>> {
        // No code that holds the lock can leave the order half changed.
        self.session.order.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
