//! What clients asked for and what they were told, in the order in which it happened.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use quorate_proto::{
    Append, Failure, Position, Read, RecordedEvent, Snapshot, Strategy, Timestamp, Version,
    Violation,
};

/// A place in the order of all invocations and answers of a history. A counter, not a clock: what was
/// counted earlier happened earlier, and no two things share a moment.
pub type Moment = u64;

/// A request, when it was made, and the answer and when it came, if one came that says something.
#[derive(Clone, Debug)]
pub struct Operation<R, A> {
    /// Which client asked.
    pub client: u32,
    /// Counted before the request was sent.
    pub invoked: Moment,
    /// What was asked for.
    pub request: R,
    /// Counted after the answer came. `None`: there was none, or one that leaves open what happened.
    pub answer: Option<(Moment, A)>,
}

/// What is known of an append that was answered. One whose outcome is unknown has no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AppendAnswer {
    /// In the log for good.
    Appended {
        /// The version of the last event of each write.
        versions: Vec<Version>,
        /// The position of the last event.
        position: Position,
        /// When the leader stamped it.
        recorded_at: Timestamp,
    },
    /// Certainly not in the log; neither a failure nor a violation if it was refused for another reason.
    Rejected {
        /// The expectations that were not met, in the order of the request.
        failures: Vec<Failure>,
        /// The conditions that were violated, in the order of the request.
        violations: Vec<Violation>,
    },
}

/// What a read returned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReadAnswer {
    /// The position as of which it was evaluated.
    pub as_of: Position,
    /// The stream's version, if the source is a stream.
    pub version: Option<Version>,
    /// The aggregate snapshot that the events follow, if it was asked for and there was one.
    pub snapshot: Option<Snapshot>,
    /// The events, in the order in which they came.
    pub events: Vec<RecordedEvent>,
}

/// What a feed told.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(clippy::large_enum_variant, reason = "almost everything that is heard is an event")]
pub enum Heard {
    /// The next event.
    Event(RecordedEvent),
    /// It has caught up, at this position and, of a stream, this version.
    CaughtUp(Position, Option<u64>),
    /// It fell behind.
    FellBehind(Position, Option<u64>),
    /// Nothing else matched up to here.
    Progress(Position, Option<u64>),
}

/// A feed, from when it was begun.
#[derive(Clone, Debug)]
pub struct Feed {
    /// Which client followed.
    pub client: u32,
    /// Counted before it was asked for.
    pub began: Moment,
    /// What was asked for.
    pub read: Read,
    /// What it told, in order, counted when it was heard.
    pub heard: Vec<(Moment, Heard)>,
}

/// What a consumer said of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It is handled.
    Acknowledged,
    /// It is to be tried again.
    Failed,
    /// It is not to be tried again.
    Parked,
}

/// What the consumers of one group were given and said, whichever of them. The group finds everything.
#[derive(Clone, Debug)]
pub struct Consumed {
    /// How they shared.
    pub strategy: Strategy,
    /// What they were given, in order.
    pub deliveries: Vec<(Moment, RecordedEvent)>,
    /// What they said, counted before it was said.
    pub settlements: Vec<(Moment, Position, Fate)>,
    /// What is parked in the end.
    pub parked: BTreeSet<Position>,
}

/// All that clients did.
///
/// Callers keep to two rules: an append is made again, with the same ids, only while its outcome is unknown;
/// and it is made again until its outcome is known if any of its events may be removed later.
#[derive(Clone, Debug, Default)]
pub struct History {
    /// The appends.
    pub appends: Vec<Operation<Append, AppendAnswer>>,
    /// The reads.
    pub reads: Vec<Operation<Read, ReadAnswer>>,
    /// What was followed.
    pub feeds: Vec<Feed>,
    /// What consumers shared, if there was a group.
    pub consumed: Option<Consumed>,
    /// The aggregate snapshots that were put, each answered with the version of the one that was kept then.
    pub snapshots: Vec<Operation<Snapshot, Version>>,
    now: Moment,
}

/// Writes a history while many clients work. Cheap to clone; all clones write the same history.
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

/// A feed that was begun.
#[derive(Debug)]
pub struct BegunFeed(usize);

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

    /// Notes an answer that has come.
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

    /// Notes an answer that has come, whole.
    pub fn end_read(&mut self, begun: BegunRead, answer: ReadAnswer) {
        let now = self.tick();
        self.reads[begun.0].answer = Some((now, answer));
    }

    /// Notes a feed that is about to be asked for.
    pub fn begin_feed(&mut self, client: u32, read: Read) -> BegunFeed {
        let began = self.tick();
        self.feeds.push(Feed { client, began, read, heard: Vec::new() });
        BegunFeed(self.feeds.len() - 1)
    }

    /// Notes what a feed told.
    pub fn hear(&mut self, begun: &BegunFeed, heard: Heard) {
        let now = self.tick();
        self.feeds[begun.0].heard.push((now, heard));
    }

    /// Notes that there is a group. Of several consumers that say so, the first counts.
    pub fn share(&mut self, strategy: Strategy) {
        let (deliveries, settlements) = (Vec::new(), Vec::new());
        let parked = BTreeSet::new();
        self.consumed.get_or_insert(Consumed { strategy, deliveries, settlements, parked });
    }

    /// Notes an event that a consumer was given.
    pub fn deliver(&mut self, event: RecordedEvent) {
        let now = self.tick();
        self.group().deliveries.push((now, event));
    }

    /// Notes what a consumer is about to say of an event.
    pub fn settle(&mut self, position: Position, fate: Fate) {
        let now = self.tick();
        self.group().settlements.push((now, position, fate));
    }

    /// Notes that an event is parked in the end.
    pub fn note_parked(&mut self, position: Position) {
        self.group().parked.insert(position);
    }

    fn group(&mut self) -> &mut Consumed {
        self.consumed.as_mut().expect("consumers tell of their group first")
    }

    /// Notes a snapshot that is about to be put.
    pub fn begin_snapshot(&mut self, client: u32, request: Snapshot) -> BegunSnapshot {
        let invoked = self.tick();
        self.snapshots.push(Operation { client, invoked, request, answer: None });
        BegunSnapshot(self.snapshots.len() - 1)
    }

    /// Notes the version of the snapshot that is kept now.
    pub fn end_snapshot(&mut self, begun: BegunSnapshot, kept: Version) {
        let now = self.tick();
        self.snapshots[begun.0].answer = Some((now, kept));
    }
}

impl Recorder {
    /// The history, for as long as it is being written to.
    pub fn history(&self) -> MutexGuard<'_, History> {
        self.history.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
