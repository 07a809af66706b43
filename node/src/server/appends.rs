//! The way of an append, a snapshot or a request to a group through a node: to the batcher where this node leads, to the leader elsewhere.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use quorate_proto::limits::DEADLINE_MS_DEFAULT;
use quorate_proto::wire::v1;
use quorate_proto::wire::v1::session_append::Request as WireRequest;
use quorate_proto::{
    Append, Appended, Change, ErrorKind, GroupName, GroupOutcome, GroupRequest, Invalid, Outcome,
    Problem, RequestId, Snapshot, StreamName, Term, Timestamp, Version,
};
use quorate_raft::host::Host;
use quorate_raft::{Done, Lost, Replica, Role, Status};
use quorate_store::command::{
    Request, decode_request, encode_append, encode_group, encode_snapshot,
};
use quorate_store::{Early, Verdict};
use tokio::sync::{Semaphore, mpsc, oneshot, watch};
use tokio::time::{Instant, timeout, timeout_at};

use super::admission::Admission;
use super::batcher::{self, Proposer};
use super::conditions::Conditional;
use super::forward::{Forwarded, Forwarding};
use super::pending::{Answer, Held, Pending, Tenure, Waiter};
use super::problem;

/// How long a single request waits for news of the leader before it tries again.
const TRY_AGAIN_AFTER: Duration = Duration::from_millis(50);
/// Most looks at conditions, and at old events before something is proposed, that run at once: each may read long from the disk, and seals and reads of the log
/// need threads too.
const LOOKS_MAX: usize = 4;
/// No deadline is further away, so that a number of milliseconds never runs over.
pub(crate) const DEADLINE_MAX: Duration = Duration::from_secs(24 * 3600);

/// A request in both its forms: to be looked at, and to be proposed.
#[derive(Clone)]
pub(crate) struct Prepared {
    request: Request,
    encoded: Bytes,
    /// Whether nothing behind it need wait for it to be sent again when its deadline passes.
    expires_alone: bool,
}

impl Prepared {
    /// Bytes it counts for admission.
    pub(crate) fn size(&self) -> usize {
        self.encoded.len()
    }

    /// A request as another node encoded it.
    pub(crate) fn from_encoded(encoded: Bytes) -> Result<Prepared, Invalid> {
        Ok(Prepared { request: decode_request(&encoded)?, encoded, expires_alone: false })
    }

    /// The same, which nothing need wait for when its deadline passes, or must.
    pub(crate) fn expiring_alone(self, expires_alone: bool) -> Prepared {
        Prepared { expires_alone, ..self }
    }

    fn has_conditions(&self) -> bool {
        matches!(&self.request, Request::Append(append) if !append.conditions.is_empty())
    }

    /// Whether it is taken although the disks are full: what changes settings or removes makes room.
    fn makes_room(&self) -> bool {
        match &self.request {
            Request::Append(append) => append.writes.iter().all(|write| write.stream.is_system()),
            Request::Snapshot(_) => false,
            Request::Group { request, .. } => !matches!(request, GroupRequest::Create(_)),
        }
    }

    /// The streams whose order it keeps: those that it writes or looks at.
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
    /// Of a request that passed its check.
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

/// What an append or a snapshot came to.
pub(crate) enum Taken {
    Appended(Appended),
    Kept(Version),
    Group(GroupOutcome),
}

/// Where appends go from here, for as long as one leader leads.
#[derive(Clone, Debug)]
pub(crate) enum Lane {
    /// This node leads.
    Here(Tenure),
    /// Another node leads.
    There(Forwarding),
}

impl Lane {
    /// The term of this node's leadership that the lane lives in.
    pub(crate) fn tenure(&self) -> Option<Tenure> {
        match self {
            Lane::Here(tenure) => Some(tenure.clone()),
            Lane::There(_) => None,
        }
    }
}

/// Takes appends and snapshots. One for each node.
pub(crate) struct Appends<H: Host> {
    pub(crate) replica: Replica<H>,
    pub(crate) admission: Admission,
    status: watch::Receiver<Status>,
    queue: mpsc::UnboundedSender<Pending>,
    /// A place for each look at conditions, or at old events, that may run at once.
    looks: Arc<Semaphore>,
    /// The stream to the newest leader that is not this node.
    forwarding: Mutex<Option<Forwarding>>,
}

impl<H: Host> Appends<H> {
    /// Starts the batcher, which runs until this is dropped.
    pub(crate) fn start(replica: Replica<H>) -> Arc<Appends<H>> {
        let (queue, waiting) = mpsc::unbounded_channel();
        let status = replica.status();
        let proposer = ToReplica { replica: replica.clone(), status: status.clone() };
        tokio::spawn(batcher::run(proposer, waiting));
        let (admission, forwarding) = (Admission::new(), Mutex::new(None));
        let looks = Arc::new(Semaphore::new(LOOKS_MAX));
        Arc::new(Appends { replica, status, admission, queue, looks, forwarding })
    }

    /// Takes one request. What was certainly not proposed is tried again until the deadline.
    pub(crate) async fn take(
        self: &Arc<Self>,
        prepared: Prepared,
        deadline: Instant,
    ) -> Result<Taken, Problem> {
        // It stands alone: there is no order that it would have to keep.
        let prepared = prepared.expiring_alone(true);
        loop {
            let admitted = self.admission.admit_or_refuse(prepared.size(), deadline).await?;
            let lane = self.lane(deadline).await?;
            let (sender, receiver) = oneshot::channel();
            let deliver = Box::new(move |answer| drop(sender.send(answer)));
            let waiter = Waiter::new(deliver, admitted);
            self.submit(&lane, prepared.clone(), deadline, waiter);
            let answer = timeout_at(deadline, receiver).await.map_err(|_| problem::overdue())?;
            match answer.unwrap_or_else(|_| Answer::Lost(problem::stopping(Outcome::Unknown))) {
                Answer::Appended(appended) => return Ok(Taken::Appended(appended)),
                Answer::Kept(version) => return Ok(Taken::Kept(version)),
                Answer::Group(outcome) => return Ok(Taken::Group(outcome)),
                Answer::Rejected(problem) => return Err(problem),
                // What waits for room waits longer than a call.
                Answer::NoRoom => return Err(problem::no_space()),
                Answer::Lost(problem) if problem.outcome == Outcome::Unknown => {
                    return Err(problem);
                }
                Answer::Lost(problem) => self.news(deadline).await.map_err(|_| problem)?,
                Answer::CheckTooOld => {}
            }
        }
    }

    /// Hands a request on; its waiter is answered exactly once.
    pub(crate) fn submit(
        self: &Arc<Self>,
        lane: &Lane,
        prepared: Prepared,
        deadline: Instant,
        waiter: Waiter,
    ) {
        let tenure = match lane {
            Lane::There(forwarding) => {
                let Prepared { encoded, expires_alone, .. } = prepared;
                return forwarding.send(Forwarded { encoded, deadline, expires_alone, waiter });
            }
            Lane::Here(tenure) => tenure,
        };
        let held = Held { prepared, deadline, waiter };
        let is_conditional = held.prepared.has_conditions();
        let mut order = tenure.order();
        let entered = if order.is_idle() && !is_conditional {
            Some(held)
        } else {
            order.enter(held.prepared.streams(), is_conditional, held)
        };
        drop(order);
        if let Some(held) = entered {
            self.go_on(tenure, held);
        }
    }

    /// Hands the progress of a group to the batcher, told in the term of its owner; its waiter is answered exactly
    /// once. It is taken although the disks are full: it may be what lets somebody make room.
    pub(crate) fn tell_progress(&self, tenure: &Tenure, encoded: Bytes, waiter: Waiter) {
        let (deadline, tenure) = (deadline_of(0), tenure.clone());
        // A batcher that is gone drops the waiter, which answers for itself.
        let _ = self.queue.send(Pending { encoded, key_bytes: 0, deadline, tenure, waiter });
    }

    /// Takes the next step with what need not wait for others.
    fn go_on(self: &Arc<Self>, tenure: &Tenure, held: Held) {
        let Held { prepared, deadline, waiter } = held;
        let streams = if prepared.has_conditions() { prepared.streams() } else { Vec::new() };
        let makes_room = prepared.makes_room();
        match prepared {
            Prepared { request: Request::Append(append), encoded, .. } if !streams.is_empty() => {
                let (append, tenure) = (Arc::new(append), tenure.clone());
                let looks = self.looks.clone();
                let conditional = Conditional { append, encoded, deadline, tenure, looks };
                tokio::spawn(self.clone().carry(conditional, streams, waiter));
            }
            Prepared { request, encoded, .. } => {
                let (key_bytes, tenure) = (request.key_bytes(), tenure.clone());
                let pending = Pending { encoded, key_bytes, deadline, tenure, waiter };
                match self.judge(&request) {
                    Early::Answer(verdict) => pending.waiter.answer(verdict.into()),
                    Early::Propose => self.propose(pending, makes_room),
                    Early::Look => drop(tokio::spawn(self.clone().look(pending, makes_room))),
                }
            }
        }
    }

    fn propose(&self, pending: Pending, makes_room: bool) {
        let refusal = || pending.tenure.refusal(self.replica.has_room());
        match if makes_room { None } else { refusal() } {
            Some(answer) => pending.waiter.answer(answer),
            // A batcher that is gone drops the waiter, which answers for itself.
            None => drop(self.queue.send(pending)),
        }
    }

    /// Answers an append that cannot be made any more, by what is stored. What comes behind it in its session need
    /// not wait: there is nothing that it could overtake.
    async fn look(self: Arc<Self>, pending: Pending, makes_room: bool) {
        let _place = self.looks.acquire().await.expect("it is never closed");
        match judge_early(&self.replica, &pending.encoded).await {
            Ok(Some(verdict)) => pending.waiter.answer(verdict.into()),
            Ok(None) => self.propose(pending, makes_room),
            // Lost, not rejected: it is sent again.
            Err(problem) => pending.waiter.answer(Answer::Lost(problem)),
        }
    }

    /// Carries an append with conditions to its answer, and then lets go what it held back.
    async fn carry(
        self: Arc<Self>,
        conditional: Conditional,
        streams: Vec<StreamName>,
        waiter: Waiter,
    ) {
        let tenure = conditional.tenure.clone();
        waiter.answer(conditional.carry(&self.replica, &self.queue).await);
        // Under the lock until all is on its way, so that nothing new overtakes it.
        let mut order = tenure.order();
        for held in order.finish(&streams) {
            self.go_on(&tenure, held);
        }
    }

    /// What can be said without proposing the request, and without a look at the disk.
    fn judge(&self, request: &Request) -> Early {
        match (request, self.replica.reader()) {
            (Request::Append(append), Some(reader)) => reader.judge_in_memory(append),
            _ => Early::Propose,
        }
    }

    /// Waits until a leader is known.
    pub(crate) async fn lane(&self, deadline: Instant) -> Result<Lane, Problem> {
        let mut status = self.status.clone();
        loop {
            let lane = self.lane_now(&status.borrow_and_update());
            if let Some(lane) = lane? {
                return Ok(lane);
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

    fn lane_now(&self, status: &Status) -> Result<Option<Lane>, Problem> {
        let id = status.id.ok_or_else(problem::not_ready)?;
        if status.role == Role::Leader {
            return Ok(Some(Lane::Here(Tenure::new(status.term))));
        }
        let Some(leader) = status.leader.as_ref().filter(|leader| leader.id != id) else {
            return Ok(None);
        };
        let mut slot = self.forwarding.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(open) = slot.as_ref().filter(|open| open.leads_to(leader, status.term)) {
            return Ok(Some(Lane::There(open.clone())));
        }
        let opened = Forwarding::open(&self.replica, leader.clone(), status.term);
        *slot = Some(opened.clone());
        Ok(Some(Lane::There(opened)))
    }

    /// Whether appends would take another lane now.
    pub(crate) fn is_over(&self, lane: &Lane) -> bool {
        match lane {
            Lane::There(forwarding) => forwarding.is_over(),
            Lane::Here(tenure) => {
                let status = self.status.borrow();
                tenure.has_ended() || status.role != Role::Leader || status.term != tenure.term
            }
        }
    }

    /// Where the leader serves clients; empty if it is not known.
    pub(crate) fn leader_address(&self) -> String {
        let leader =
            self.status.borrow().leader.as_ref().map(|leader| leader.client_address.clone());
        leader.unwrap_or_default()
    }

    /// Waits until something changed, or a little.
    async fn news(&self, deadline: Instant) -> Result<(), Problem> {
        let mut status = self.status.clone();
        status.mark_unchanged();
        let _ = timeout(TRY_AGAIN_AFTER, status.changed()).await;
        if Instant::now() >= deadline { Err(problem::expired()) } else { Ok(()) }
    }
}

/// The instant that a number of milliseconds from now means; 0 is the default.
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

    async fn propose(&self, term: Term, command: Bytes, done: Done) -> Result<(), Lost> {
        self.replica.propose(term, command, done).await
    }

    fn answer_after_look(&self, append: Pending, verdict: Verdict) {
        let replica = self.replica.clone();
        tokio::spawn(async move {
            let Pending { encoded, waiter, .. } = append;
            waiter.answer(judge_again(&replica, encoded, verdict).await);
        });
    }
}

/// What can be told of an append without proposing it, by what is stored: it may lie on the disk.
async fn judge_early<H: Host>(
    replica: &Replica<H>,
    encoded: &Bytes,
) -> Result<Option<Verdict>, Problem> {
    let Some(reader) = replica.reader() else { return Ok(None) };
    let encoded = encoded.clone();
    let judge = move || match decode_request(&encoded) {
        Ok(Request::Append(append)) => reader.judge_early(&append),
        _ => Ok(None),
    };
    replica.host().run(judge).await.map_err(|fault| problem::of_found(replica, &fault))
}

/// The answer to an append that was not made when it was applied, by what is stored of one that was made before: it
/// may lie on the disk.
async fn judge_again<H: Host>(replica: &Replica<H>, encoded: Bytes, verdict: Verdict) -> Answer {
    let Some(reader) = replica.reader() else {
        return Answer::Lost(problem::stopping(Outcome::Unknown));
    };
    let judge = move || match (decode_request(&encoded), verdict) {
        (Ok(Request::Append(append)), Verdict::Repeated(first)) => {
            reader.judge_repeated(&append, first)
        }
        (Ok(Request::Append(append)), Verdict::Unsettled(unsettled)) => {
            reader.judge_unsettled(&append, unsettled)
        }
        // Nothing but an append is looked for.
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
