//! What clients asked for and what they were told, in the order in which it happened.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use quorate_proto::{Append, Failure, Position, Read, RecordedEvent, Version};

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
    },
    /// Certainly not in the log: the expectations that were not met, in the order of the request; none
    /// if it was refused for another reason.
    Rejected(Vec<Failure>),
}

/// What a read returned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReadAnswer {
    /// The position as of which it was evaluated.
    pub as_of: Position,
    /// The stream's version, if the source is a stream.
    pub version: Option<Version>,
    /// The events, in the order in which they came.
    pub events: Vec<RecordedEvent>,
}

/// All that clients did.
///
/// Callers keep to one rule: an append is made again, with the same ids, only while its outcome is
/// unknown.
#[derive(Clone, Debug, Default)]
pub struct History {
    /// The appends.
    pub appends: Vec<Operation<Append, AppendAnswer>>,
    /// The reads.
    pub reads: Vec<Operation<Read, ReadAnswer>>,
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
}

impl Recorder {
    /// The history, for as long as it is being written to.
    pub fn history(&self) -> MutexGuard<'_, History> {
        self.history.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
