//! The way of appends, snapshots and group requests through a node: to the batcher here, or to the leader elsewhere.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use quorate_proto::limits::DEADLINE_MS_DEFAULT;
use quorate_proto::wire::v1;
use quorate_proto::wire::v1::session_append::Request as WireRequest;
use quorate_proto::{
    Append, Appended, Change, ErrorKind, GroupName, GroupOutcome, GroupRequest, Invalid, Outcome,
    Position, Problem, RequestId, Snapshot, StreamName, Term, Timestamp, Version,
};
use quorate_raft::host::Host;
use quorate_raft::{Done, ProposeError, Replica, Role, Status};
use quorate_store::command::{
    Request, decode_request, encode_append, encode_group, encode_snapshot,
};
use quorate_store::{Prejudged, Verdict};
use tokio::sync::{Semaphore, mpsc, oneshot, watch};
use tokio::time::{Instant, timeout, timeout_at};

use super::super::problem;
use super::admission::Admission;
use super::answer::{Answer, Held, LeaderTerm, Pending, Reply};
use super::batcher::{self, Proposer};
use super::forwarding::{Forwarded, Forwarding};
use super::prejudge::Conditional;

/// The time that a single request waits for news of the leader before it is tried again.
const TRY_AGAIN_AFTER: Duration = Duration::from_millis(50);
/// The maximum number of checks that run at once, of conditions or of old events before a proposal: each may read
/// from the disk for long, and seals and reads of the log need threads too.
const CHECKS_MAX: usize = 4;
/// The maximum time to a deadline, so that adding a number of milliseconds never overflows.
pub(crate) const DEADLINE_MAX: Duration = Duration::from_secs(24 * 3600);

/// The judgement on a request without conditions that only apply can decide.
const PROPOSE: Prejudged = Prejudged::Propose { checked: Position::ZERO };

/// A request in both its forms: decoded, to be judged, and encoded, to be proposed.
#[derive(Clone)]
pub(crate) struct Prepared {
    request: Request,
    encoded: Bytes,
    /// True if later requests need not wait until this one is sent again after its deadline passed.
    expires_alone: bool,
}

impl Prepared {
    /// Returns the bytes that the request counts for admission.
    pub(crate) fn size(&self) -> usize {
        self.encoded.len()
    }

    /// Decodes a request that another node encoded.
    pub(crate) fn from_encoded(encoded: Bytes) -> Result<Prepared, Invalid> {
        Ok(Prepared { request: decode_request(&encoded)?, encoded, expires_alone: false })
    }

    /// Returns the request with `expires_alone` set.
    pub(crate) fn expiring_alone(self, expires_alone: bool) -> Prepared {
        Prepared { expires_alone, ..self }
    }

    fn has_conditions(&self) -> bool {
        matches!(&self.request, Request::Append(append) if !append.conditions.is_empty())
    }

    /// Returns true if the request is taken although the disks are full: settings and removals make room.
    fn makes_room(&self) -> bool {
        match &self.request {
            Request::Append(append) => append.writes.iter().all(|write| write.stream.is_system()),
            Request::Snapshot(_) => false,
            Request::Group { request, .. } => !matches!(request, GroupRequest::Create(_)),
        }
    }

    /// Returns the streams in whose order the request keeps its place: those that it writes or checks.
    fn streams(&self) -> Vec<StreamName> {
        match &self.request {
            Request::Snapshot(snapshot) => vec![snapshot.stream.clone()],
            Request::Group { .. } => Vec::new(),
            Request::Append(append) => {
                let written = append.writes.iter().map(|write| &write.stream);
                let required = append.requirements.iter().map(|one| &one.stream);
                written.chain(required).cloned().collect()
            }
        }
    }
}

impl From<Append> for Prepared {
    fn from(append: Append) -> Prepared {
        let encoded = encode_append(&append);
        Prepared { request: Request::Append(append), encoded, expires_alone: false }
    }
}

impl From<(GroupName, Option<RequestId>, GroupRequest)> for Prepared {
    /// Encodes a request that passed its check.
    fn from((name, id, request): (GroupName, Option<RequestId>, GroupRequest)) -> Prepared {
        let encoded = encode_group(&name, id, &request);
        let request = Request::Group { name, id, request };
        Prepared { request, encoded, expires_alone: false }
    }
}

impl TryFrom<Option<v1::Append>> for Prepared {
    type Error = Invalid;

    fn try_from(append: Option<v1::Append>) -> Result<Prepared, Invalid> {
        Append::try_from(append).map(Prepared::from)
    }
}

impl TryFrom<Option<v1::Change>> for Prepared {
    type Error = Invalid;

    fn try_from(change: Option<v1::Change>) -> Result<Prepared, Invalid> {
        Change::try_from(change)?.to_append().map(Prepared::from)
    }
}

impl TryFrom<Option<v1::Snapshot>> for Prepared {
    type Error = Invalid;

    fn try_from(snapshot: Option<v1::Snapshot>) -> Result<Prepared, Invalid> {
        let snapshot = Snapshot::try_from(snapshot)?;
        let encoded = encode_snapshot(&snapshot);
        Ok(Prepared { request: Request::Snapshot(snapshot), encoded, expires_alone: false })
    }
}

impl TryFrom<Option<WireRequest>> for Prepared {
    type Error = Invalid;

    fn try_from(request: Option<WireRequest>) -> Result<Prepared, Invalid> {
        match request {
            Some(WireRequest::Append(append)) => Prepared::try_from(Some(append)),
            Some(WireRequest::Change(change)) => Prepared::try_from(Some(change)),
            None => Err(Invalid::new("append", "is missing")),
        }
    }
}

/// The result of a request that succeeded.
pub(crate) enum Taken {
    Appended(Appended),
    SnapshotStored(Version),
    Group(GroupOutcome),
}

/// The way of appends from this node, for as long as one leader leads.
#[derive(Clone, Debug)]
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

/// Takes appends, snapshots and group requests. Each node has one.
pub(crate) struct Appends<H: Host> {
    pub(crate) replica: Replica<H>,
    pub(crate) admission: Admission,
    status: watch::Receiver<Status>,
    queue: mpsc::UnboundedSender<Pending>,
    /// One permit for each check of conditions, or of old events, that may run at once.
    permits: Arc<Semaphore>,
    /// The stream to the newest leader other than this node.
    forwarding: Mutex<Option<Forwarding>>,
}

impl<H: Host> Appends<H> {
    /// Starts the batcher, which runs until this value is dropped.
    pub(crate) fn start(replica: Replica<H>) -> Arc<Appends<H>> {
        let (queue, waiting) = mpsc::unbounded_channel();
        let status = replica.status();
        let proposer = ToReplica { replica: replica.clone(), status: status.clone() };
        tokio::spawn(batcher::run(proposer, waiting));
        let (admission, forwarding) = (Admission::new(), Mutex::new(None));
        let permits = Arc::new(Semaphore::new(CHECKS_MAX));
        Arc::new(Appends { replica, status, admission, queue, permits, forwarding })
    }

    /// Takes one request. A request that was certainly not proposed is tried again until the deadline.
    pub(crate) async fn take(
        self: &Arc<Self>,
        prepared: Prepared,
        deadline: Instant,
    ) -> Result<Taken, Problem> {
        // A single request has no later requests that would have to keep an order.
        let prepared = prepared.expiring_alone(true);
        loop {
            let admitted = self.admission.admit_or_refuse(prepared.size(), deadline).await?;
            let route = self.route(deadline).await?;
            let (sender, receiver) = oneshot::channel();
            let deliver = Box::new(move |answer| drop(sender.send(answer)));
            let reply = Reply::new(deliver, admitted);
            self.submit(&route, prepared.clone(), deadline, reply);
            let answer = timeout_at(deadline, receiver).await.map_err(|_| problem::overdue())?;
            match answer.unwrap_or_else(|_| Answer::Lost(problem::stopping(Outcome::Unknown))) {
                Answer::Appended(appended) => return Ok(Taken::Appended(appended)),
                Answer::SnapshotStored(version) => return Ok(Taken::SnapshotStored(version)),
                Answer::Group(outcome) => return Ok(Taken::Group(outcome)),
                Answer::Rejected(problem) => return Err(problem),
                // It takes longer until there is room again than a call may wait.
                Answer::NoRoom => return Err(problem::no_space()),
                Answer::Lost(problem) if problem.outcome == Outcome::Unknown => {
                    return Err(problem);
                }
                Answer::Lost(problem) => self.news(deadline).await.map_err(|_| problem)?,
                Answer::CheckTooOld => {}
            }
        }
    }

    /// Passes a request on; its reply is answered exactly once.
    pub(crate) fn submit(
        self: &Arc<Self>,
        route: &Route,
        prepared: Prepared,
        deadline: Instant,
        reply: Reply,
    ) {
        let leader_term = match route {
            Route::Leader(forwarding) => {
                let Prepared { encoded, expires_alone, .. } = prepared;
                return forwarding.send(Forwarded { encoded, deadline, expires_alone, reply });
            }
            Route::Local(leader_term) => leader_term,
        };
        let held = Held { prepared, deadline, reply };
        let is_conditional = held.prepared.has_conditions();
        let mut order = leader_term.order();
        let entered = if order.is_idle() && !is_conditional {
            Some(held)
        } else {
            order.enter(held.prepared.streams(), is_conditional, held)
        };
        drop(order);
        if let Some(held) = entered {
            self.go_on(leader_term, held);
        }
    }

    /// Hands the progress of a group to the batcher, in the term of its owner; its reply is answered exactly once.
    /// Progress is taken although the disks are full: it may be what lets somebody make room.
    pub(crate) fn tell_progress(&self, leader_term: &LeaderTerm, encoded: Bytes, reply: Reply) {
        let (deadline, leader_term) = (deadline_of(0), leader_term.clone());
        // If the batcher is gone it drops the reply, and that answers by itself.
        let _ = self.queue.send(Pending { encoded, key_bytes: 0, deadline, leader_term, reply });
    }

    /// Takes the next step with a request that need not wait for others.
    fn go_on(self: &Arc<Self>, leader_term: &LeaderTerm, held: Held) {
        let Held { prepared, deadline, reply } = held;
        let streams = if prepared.has_conditions() { prepared.streams() } else { Vec::new() };
        let makes_room = prepared.makes_room();
        match prepared {
            Prepared { request: Request::Append(append), encoded, .. } if !streams.is_empty() => {
                let (append, leader_term) = (Arc::new(append), leader_term.clone());
                let permits = self.permits.clone();
                let conditional = Conditional { append, encoded, deadline, leader_term, permits };
                tokio::spawn(self.clone().carry(conditional, streams, reply));
            }
            Prepared { request, encoded, .. } => {
                let (key_bytes, leader_term) = (request.key_bytes(), leader_term.clone());
                let pending = Pending { encoded, key_bytes, deadline, leader_term, reply };
                match self.prejudge(&request) {
                    Some(prejudged) => self.act(pending, makes_room, prejudged),
                    None => drop(tokio::spawn(self.clone().check(pending, makes_room))),
                }
            }
        }
    }

    fn act(&self, pending: Pending, makes_room: bool, prejudged: Prejudged) {
        match prejudged {
            Prejudged::Answer(verdict) => pending.reply.answer(verdict.into()),
            Prejudged::Propose { .. } => self.propose(pending, makes_room),
            Prejudged::Violated(problem) => pending.reply.answer(Answer::Rejected(problem)),
        }
    }

    fn propose(&self, pending: Pending, makes_room: bool) {
        let refusal = || pending.leader_term.refusal(self.replica.has_room());
        match if makes_room { None } else { refusal() } {
            Some(answer) => pending.reply.answer(answer),
            // If the batcher is gone it drops the reply, and that answers by itself.
            None => drop(self.queue.send(pending)),
        }
    }

    /// Judges an append by what is stored on the disk, and answers it if it cannot be made any more. Later requests of
    /// its session need not wait: there is nothing that they could overtake.
    async fn check(self: Arc<Self>, pending: Pending, makes_room: bool) {
        let _place = self.permits.acquire().await.expect("it is never closed");
        match prejudge(&self.replica, &pending.encoded).await {
            Ok(prejudged) => self.act(pending, makes_room, prejudged),
            // Lost, not rejected: the request is sent again.
            Err(problem) => pending.reply.answer(Answer::Lost(problem)),
        }
    }

    /// Carries an append with conditions to its answer, and then releases the requests that waited for it.
    async fn carry(
        self: Arc<Self>,
        conditional: Conditional,
        streams: Vec<StreamName>,
        reply: Reply,
    ) {
        let leader_term = conditional.leader_term.clone();
        reply.answer(conditional.carry(&self.replica, &self.queue).await);
        // The lock is held until all released requests are on their way, so that no new one overtakes them.
        let mut order = leader_term.order();
        for held in order.finish(&streams) {
            self.go_on(&leader_term, held);
        }
    }

    /// Judges a request by what is in memory, without proposing it.
    fn prejudge(&self, request: &Request) -> Option<Prejudged> {
        match (request, self.replica.reader()) {
            (Request::Append(append), Some(reader)) => reader.prejudge_in_memory(append),
            _ => Some(PROPOSE),
        }
    }

    /// Waits until a leader is known.
    pub(crate) async fn route(&self, deadline: Instant) -> Result<Route, Problem> {
        let mut status = self.status.clone();
        loop {
            let route = self.route_now(&status.borrow_and_update());
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

    fn route_now(&self, status: &Status) -> Result<Option<Route>, Problem> {
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
    async fn news(&self, deadline: Instant) -> Result<(), Problem> {
        let mut status = self.status.clone();
        status.mark_unchanged();
        let _ = timeout(TRY_AGAIN_AFTER, status.changed()).await;
        if Instant::now() >= deadline { Err(problem::expired()) } else { Ok(()) }
    }
}

/// Returns the instant that is a number of milliseconds from now; 0 stands for the default.
pub(crate) fn deadline_of(time_left_ms: u64) -> Instant {
    let left = if time_left_ms == 0 { DEADLINE_MS_DEFAULT } else { time_left_ms };
    Instant::now() + Duration::from_millis(left).min(DEADLINE_MAX)
}

struct ToReplica<H: Host> {
    replica: Replica<H>,
    status: watch::Receiver<Status>,
}

impl<H: Host> Proposer for ToReplica<H> {
    fn stamp(&self) -> Option<Timestamp> {
        self.replica.stamp()
    }

    fn pressure(&self) -> f32 {
        self.status.borrow().pressure
    }

    async fn propose(&self, term: Term, command: Bytes, done: Done) -> Result<(), ProposeError> {
        self.replica.propose(term, command, done).await
    }

    fn answer_after_check(&self, append: Pending, verdict: Verdict) {
        let replica = self.replica.clone();
        tokio::spawn(async move {
            let Pending { encoded, reply, .. } = append;
            reply.answer(judge_again(&replica, encoded, verdict).await);
        });
    }
}

/// Judges an append by what is stored, which may be on the disk, without proposing it.
async fn prejudge<H: Host>(replica: &Replica<H>, encoded: &Bytes) -> Result<Prejudged, Problem> {
    let Some(reader) = replica.reader() else { return Ok(PROPOSE) };
    let encoded = encoded.clone();
    let judge = move || match decode_request(&encoded) {
        Ok(Request::Append(append)) => reader.prejudge(&append),
        _ => Ok(PROPOSE),
    };
    replica.host().run(judge).await.map_err(|fault| problem::of_found(replica, &fault))
}

/// Answers an append that was not made when it was applied, by the stored append that was made before, which
/// may be on the disk.
async fn judge_again<H: Host>(replica: &Replica<H>, encoded: Bytes, verdict: Verdict) -> Answer {
    let Some(reader) = replica.reader() else {
        return Answer::Lost(problem::stopping(Outcome::Unknown));
    };
    let judge = move || match (decode_request(&encoded), verdict) {
        (Ok(Request::Append(append)), verdict) => reader.settle(&append, verdict),
        // Only appends need a check of stored events.
        (_, verdict) => Ok(verdict),
    };
    match replica.host().run(judge).await {
        Ok(verdict) => verdict.into(),
        Err(fault) => {
            let found = problem::of_found(replica, &fault);
            Answer::Lost(Problem { outcome: Outcome::Unknown, ..found })
        }
    }
}
