//! The requests of clients and their answers, in the order in which they happened.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use quorate_proto::{
    Append, Failure, Position, Read, RecordedEvent, Snapshot, Strategy, Timestamp, Version,
    Violation,
};

/// A place in the order of all invocations and answers of a history. A counter, not a clock: what was
/// counted earlier happened earlier, and no two things share a moment.
pub type Moment = u64;

/// A request and its time; the answer and its time, if an answer came that settles the outcome.
#[derive(Clone, Debug)]
pub struct Operation<R, A> {
    /// The number of the client that sent the request.
    pub client: u32,
    /// The moment before the request was sent.
    pub invoked: Moment,
    /// The request.
    pub request: R,
    /// The answer, and the moment after it came. `None`: there was none, or it left the outcome open.
    pub answer: Option<(Moment, A)>,
}

/// The answer to an append. An append whose outcome is unknown has no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AppendAnswer {
    /// The append is in the log for good.
    Appended {
        /// The version of the last event of each write.
        versions: Vec<Version>,
        /// The position of the last event.
        position: Position,
        /// The time at which the leader stamped it.
        recorded_at: Timestamp,
    },
    /// The append is not in the log; without failures and violations it was refused for another reason.
    Rejected {
        /// The expectations that were not met, in the order of the request.
        failures: Vec<Failure>,
        /// The conditions that were violated, in the order of the request.
        violations: Vec<Violation>,
    },
}

/// The answer to a read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReadAnswer {
    /// The position as of which the read was evaluated.
    pub as_of: Position,
    /// The stream's version, if the source is a stream.
    pub version: Option<Version>,
    /// The aggregate snapshot that the events follow, if one was requested and there was one.
    pub snapshot: Option<Snapshot>,
    /// The events, in the order in which they came.
    pub events: Vec<RecordedEvent>,
}

/// A message of a subscription.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(clippy::large_enum_variant, reason = "almost everything that is received is an event")]
pub enum Received {
    /// The next event.
    Event(RecordedEvent),
    /// The subscription has caught up, at this position and, if its source is a stream, this version.
    CaughtUp(Position, Option<u64>),
    /// The subscription fell behind.
    FellBehind(Position, Option<u64>),
    /// No further event up to here matched.
    Progress(Position, Option<u64>),
}

/// A subscription and its messages.
#[derive(Clone, Debug)]
pub struct Subscription {
    /// The number of the client that followed.
    pub client: u32,
    /// The moment before the subscription was requested.
    pub began: Moment,
    /// The read that the subscription follows.
    pub read: Read,
    /// Its messages, in order, each with the moment at which it was received.
    pub received: Vec<(Moment, Received)>,
}

/// The settlement of an event by a consumer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// The event is handled.
    Acknowledged,
    /// The event is to be tried again.
    Failed,
    /// The event is not to be tried again.
    Parked,
}

/// The deliveries to all consumers of one group, and their settlements. The group's query matches all events.
#[derive(Clone, Debug)]
pub struct Consumed {
    /// The strategy by which they share the events.
    pub strategy: Strategy,
    /// The deliveries, in order.
    pub deliveries: Vec<(Moment, RecordedEvent)>,
    /// The settlements, each with the moment before it was sent.
    pub settlements: Vec<(Moment, Position, Fate)>,
    /// The positions that are parked at the end.
    pub parked: BTreeSet<Position>,
}

/// The history of a run: everything that clients did.
///
/// Callers keep to two rules: an append is made again, with the same ids, only while its outcome is unknown;
/// and it is made again until its outcome is known if any of its events may be removed later.
#[derive(Clone, Debug, Default)]
pub struct History {
    /// The appends.
    pub appends: Vec<Operation<Append, AppendAnswer>>,
    /// The reads.
    pub reads: Vec<Operation<Read, ReadAnswer>>,
    /// The subscriptions.
    pub subscriptions: Vec<Subscription>,
    /// The deliveries of the consumer group, if there was one.
    pub consumed: Option<Consumed>,
    /// The puts of aggregate snapshots, each answered with the version that was stored then.
    pub snapshots: Vec<Operation<Snapshot, Version>>,
    now: Moment,
}

/// Writes a history while many clients work. Cheap to clone; all clones write to the same history.
#[derive(Clone, Debug, Default)]
pub struct Recorder {
    history: Arc<Mutex<History>>,
}

/// An append that was begun.
#[derive(Debug)]
pub struct BegunAppend(usize);

/// A read that was begun.
#[derive(Debug)]
pub struct BegunRead(usize);

/// A subscription that was begun.
#[derive(Debug)]
pub struct BegunSubscription(usize);

/// A snapshot that is being put.
#[derive(Debug)]
pub struct BegunSnapshot(usize);

impl History {
    fn tick(&mut self) -> Moment {
        self.now += 1;
        self.now
    }

    /// Notes an append that is about to be sent.
    pub fn begin_append(&mut self, client: u32, request: Append) -> BegunAppend {
        let invoked = self.tick();
        self.appends.push(Operation { client, invoked, request, answer: None });
        BegunAppend(self.appends.len() - 1)
    }

    /// Notes the answer to an append.
    pub fn end_append(&mut self, begun: BegunAppend, answer: AppendAnswer) {
        let now = self.tick();
        self.appends[begun.0].answer = Some((now, answer));
    }

    /// Notes a read that is about to be sent.
    pub fn begin_read(&mut self, client: u32, request: Read) -> BegunRead {
        let invoked = self.tick();
        self.reads.push(Operation { client, invoked, request, answer: None });
        BegunRead(self.reads.len() - 1)
    }

    /// Notes the whole answer to a read.
    pub fn end_read(&mut self, begun: BegunRead, answer: ReadAnswer) {
        let now = self.tick();
        self.reads[begun.0].answer = Some((now, answer));
    }

    /// Notes a subscription that is about to be requested.
    pub fn begin_subscription(&mut self, client: u32, read: Read) -> BegunSubscription {
        let began = self.tick();
        self.subscriptions.push(Subscription { client, began, read, received: Vec::new() });
        BegunSubscription(self.subscriptions.len() - 1)
    }

    /// Notes a message of a subscription.
    pub fn receive(&mut self, begun: &BegunSubscription, received: Received) {
        let now = self.tick();
        self.subscriptions[begun.0].received.push((now, received));
    }

    /// Notes that there is a group. If several consumers note it, the first counts.
    pub fn share(&mut self, strategy: Strategy) {
        let (deliveries, settlements) = (Vec::new(), Vec::new());
        let parked = BTreeSet::new();
        self.consumed.get_or_insert(Consumed { strategy, deliveries, settlements, parked });
    }

    /// Notes a delivery to a consumer.
    pub fn deliver(&mut self, event: RecordedEvent) {
        let now = self.tick();
        self.group().deliveries.push((now, event));
    }

    /// Notes a settlement that a consumer is about to send.
    pub fn settle(&mut self, position: Position, fate: Fate) {
        let now = self.tick();
        self.group().settlements.push((now, position, fate));
    }

    /// Notes that an event is parked at the end.
    pub fn note_parked(&mut self, position: Position) {
        self.group().parked.insert(position);
    }

    fn group(&mut self) -> &mut Consumed {
        self.consumed.as_mut().expect("consumers note their group first")
    }

    /// Notes a snapshot that is about to be put.
    pub fn begin_snapshot(&mut self, client: u32, request: Snapshot) -> BegunSnapshot {
        let invoked = self.tick();
        self.snapshots.push(Operation { client, invoked, request, answer: None });
        BegunSnapshot(self.snapshots.len() - 1)
    }

    /// Notes the version of the snapshot that is stored now.
    pub fn end_snapshot(&mut self, begun: BegunSnapshot, stored: Version) {
        let now = self.tick();
        self.snapshots[begun.0].answer = Some((now, stored));
    }
}

impl Recorder {
    /// Locks the history, to write to it.
    pub fn history(&self) -> MutexGuard<'_, History> {
        self.history.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
