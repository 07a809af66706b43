//! An append on its way to the log, and the answer it gets.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use quorate_proto::{Appended, Outcome, Problem, Term};
use quorate_store::Verdict;
use tokio::time::Instant;

use super::admission::Admitted;
use super::problem;

/// What became of an append.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// It is in the log for good.
    Appended(Appended),
    /// It is not, for a reason of its own; the appends behind it are not touched by that.
    Rejected(Problem),
    /// It got no verdict, and the session that it belongs to ends with it. The problem's outcome tells
    /// whether it may be in the log.
    Lost(Problem),
}

impl From<Verdict> for Answer {
    fn from(verdict: Verdict) -> Answer {
        match verdict {
            Verdict::Appended(appended) => Answer::Appended(appended),
            Verdict::Rejected(rejection) => Answer::Rejected(rejection.into()),
            Verdict::Kept(_) => Answer::Lost(problem::stopping(Outcome::Unknown)),
        }
    }
}

/// Where the answer goes; called where commands are applied, so it must be short.
pub(crate) type Deliver = Box<dyn FnOnce(Answer) + Send>;

/// The one who waits for an answer, and the room that the append takes until then. Nobody is forgotten:
/// dropped without an answer, it tells that the outcome is unknown.
pub(crate) struct Waiter(Option<(Deliver, Admitted)>);

impl Waiter {
    pub(crate) fn new(deliver: Deliver, admitted: Admitted) -> Waiter {
        Waiter(Some((deliver, admitted)))
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

/// A term of this node's leadership, as one session lives in it.
#[derive(Clone, Debug)]
pub(crate) struct Tenure {
    pub(crate) term: Term,
    ended: Arc<AtomicBool>,
}

impl Tenure {
    pub(crate) fn new(term: Term) -> Tenure {
        Tenure { term, ended: Arc::new(AtomicBool::new(false)) }
    }

    /// Nothing more of this session is proposed: an append of it was lost, and what came after it must
    /// not overtake it when it is sent again.
    pub(crate) fn end(&self) {
        self.ended.store(true, Ordering::Release);
    }

    pub(crate) fn has_ended(&self) -> bool {
        self.ended.load(Ordering::Acquire)
    }
}

/// An append that waits to be proposed.
pub(crate) struct Pending {
    /// As `store::command` has it.
    pub(crate) encoded: Bytes,
    /// Nothing is proposed after it.
    pub(crate) deadline: Instant,
    pub(crate) tenure: Tenure,
    pub(crate) waiter: Waiter,
}
