//! The route of appends from this node: to the batcher here, or to the leader elsewhere.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use quorate_proto::{ErrorKind, Outcome, Problem};
use quorate_raft::host::Host;
use quorate_raft::{Replica, Role, Status};
use tokio::sync::watch;
use tokio::time::{Instant, timeout, timeout_at};

use super::super::problem;
use super::forwarding::Forwarding;
use super::leader_term::LeaderTerm;

/// The time that a single request waits for news of the leader before it is tried again.
const TRY_AGAIN_AFTER: Duration = Duration::from_millis(50);

/// The way of appends from this node, for as long as one leader leads.
pub(crate) enum Route {
    /// This node leads.
    Local(LeaderTerm),
    /// Another node leads.
    Leader(Forwarding),
}

impl Route {
    /// Returns the term of this node's leadership to which the route belongs.
    pub(crate) fn leader_term(&self) -> Option<LeaderTerm> {
        match self {
            Route::Local(leader_term) => Some(leader_term.clone()),
            Route::Leader(_) => None,
        }
    }
}

/// The routes of a node, which change with its leader.
pub(crate) struct Routes<H: Host> {
    replica: Replica<H>,
    status: watch::Receiver<Status>,
    /// The stream to the newest leader other than this node.
    forwarding: Mutex<Option<Forwarding>>,
}

impl<H: Host> Routes<H> {
    pub(crate) fn new(replica: Replica<H>) -> Routes<H> {
        Routes { status: replica.status(), replica, forwarding: Mutex::new(None) }
    }

    /// Waits until a leader is known.
    pub(crate) async fn find(&self, deadline: Instant) -> Result<Route, Problem> {
        let mut status = self.status.clone();
        loop {
            let route = self.find_now(&status.borrow_and_update());
            if let Some(route) = route? {
                return Ok(route);
            }
            match timeout_at(deadline, status.changed()).await {
                Ok(Ok(())) => {}
                Ok(Err(_)) => return Err(problem::stopping(Outcome::NotAppended)),
                Err(_) => {
                    let message = "no leader was found in time; nothing was appended";
                    let outcome = Outcome::NotAppended;
                    return Err(Problem::new(ErrorKind::Unavailable, outcome, message));
                }
            }
        }
    }

    fn find_now(&self, status: &Status) -> Result<Option<Route>, Problem> {
        let id = status.id.ok_or_else(problem::not_ready)?;
        if status.role == Role::Leader {
            return Ok(Some(Route::Local(LeaderTerm::new(status.term))));
        }
        let Some(leader) = status.leader.as_ref().filter(|leader| leader.id != id) else {
            return Ok(None);
        };
        let mut slot = self.forwarding.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(open) = slot.as_ref().filter(|open| open.leads_to(leader, status.term)) {
            return Ok(Some(Route::Leader(open.clone())));
        }
        let opened = Forwarding::open(&self.replica, leader.clone(), status.term);
        *slot = Some(opened.clone());
        Ok(Some(Route::Leader(opened)))
    }

    /// Returns true if appends would take another route now.
    pub(crate) fn is_over(&self, route: &Route) -> bool {
        match route {
            Route::Leader(forwarding) => forwarding.is_over(),
            Route::Local(leader_term) => {
                let status = self.status.borrow();
                leader_term.has_ended()
                    || status.role != Role::Leader
                    || status.term != leader_term.term
            }
        }
    }

    /// Returns the address where the leader serves clients; empty if the leader is not known.
    pub(crate) fn leader_address(&self) -> String {
        let leader =
            self.status.borrow().leader.as_ref().map(|leader| leader.client_address.clone());
        leader.unwrap_or_default()
    }

    /// Waits until the replica's status changes, at most for [`TRY_AGAIN_AFTER`].
    pub(crate) async fn news(&self, deadline: Instant) -> Result<(), Problem> {
        let mut status = self.status.clone();
        status.mark_unchanged();
        let _ = timeout(TRY_AGAIN_AFTER, status.changed()).await;
        if Instant::now() >= deadline { Err(problem::expired()) } else { Ok(()) }
    }
}
