//! An event log in memory with the semantics that process managers need, which can crash its user at any step.

use std::collections::{BTreeSet, HashMap};
use std::future::pending;
use std::sync::{Arc, Mutex, MutexGuard};

use quorate_client::{
    Conflict, Done, ErrorKind, Event, Expect, Failure, Outcome, Position, Problem, Query,
    RecordedEvent, StreamName, Timestamp, Version, Violation,
};
use tokio::sync::watch;

use crate::clock::Clock;
use crate::process::log::{Commit, Log, LogMessage, Newest, Page, Refusal, Stretch, Subscription};
use crate::process::reaction::{Condition, Write};

/// The time at which the tests begin.
pub(crate) const EPOCH: Timestamp = Timestamp(1_767_225_600_000_000);

/// A clock that advances with tokio's, and can be set.
#[derive(Clone)]
pub(crate) struct FakeClock {
    began: tokio::time::Instant,
    pub(crate) ahead_us: Arc<Mutex<i64>>,
}

impl FakeClock {
    pub(crate) fn new() -> FakeClock {
        FakeClock { began: tokio::time::Instant::now(), ahead_us: Arc::default() }
    }
}

impl Clock for FakeClock {
    fn now(&self) -> Timestamp {
        let passed = i64::try_from(self.began.elapsed().as_micros()).expect("a short test");
        Timestamp(EPOCH.0 + passed + *self.ahead_us.lock().expect("no panic"))
    }
}

/// The step at which the user of the log dies.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Crash {
    /// The number of the step; the first is 0.
    pub(crate) step: u64,
    /// True if the step still takes place, unknown to the user.
    pub(crate) done: bool,
}

#[derive(Clone)]
pub(crate) struct Fake {
    inner: Arc<Mutex<Inner>>,
    /// A counter of everything that happens.
    changed: watch::Sender<u64>,
    clock: FakeClock,
    /// The seed of the number of turns that each step gives to others first.
    pub(crate) turns: Option<Arc<Mutex<u64>>>,
    /// The number of lanes of the managers of these tests.
    pub(crate) lanes: usize,
    /// True if the subscriptions hand out nothing except that they are caught up.
    pub(crate) is_mute: bool,
}

#[derive(Default)]
struct Inner {
    events: Vec<RecordedEvent>,
    /// The indexes among the events at which appends begin.
    begins: BTreeSet<usize>,
    versions: HashMap<String, u64>,
    closed: Vec<String>,
    steps: u64,
    crash: Option<Crash>,
    has_crashed: bool,
    handed_out: u64,
}

impl Fake {
    pub(crate) fn new() -> Fake {
        let changed = watch::Sender::new(0);
        let clock = FakeClock::new();
        Fake { inner: Arc::default(), changed, clock, turns: None, lanes: 1, is_mute: false }
    }

    pub(crate) fn clock(&self) -> FakeClock {
        self.clock.clone()
    }

    /// Appends an event as a writer outside the process manager.
    pub(crate) fn append(&self, stream: &str, event: Event) {
        let write = Write { stream: stream.to_owned(), expect: Expect::Any, events: vec![event] };
        let commit = Commit { writes: vec![write], ..Commit::default() };
        self.judge(&commit).expect("an append that demands nothing");
    }

    pub(crate) fn close(&self, stream: &str) {
        self.lock().closed.push(stream.to_owned());
    }

    pub(crate) fn events(&self) -> Vec<RecordedEvent> {
        self.lock().events.clone()
    }

    /// Returns the number of events of a type in a stream.
    pub(crate) fn count(&self, stream: &str, kind: &str) -> usize {
        let is_one =
            |event: &&RecordedEvent| event.stream.as_str() == stream && event.kind.as_str() == kind;
        self.lock().events.iter().filter(is_one).count()
    }

    /// Resets the count of steps, and sets the step at which the next user dies.
    pub(crate) fn arm(&self, crash: Option<Crash>) {
        let mut inner = self.lock();
        inner.steps = 0;
        inner.handed_out = 0;
        inner.crash = crash;
        inner.has_crashed = false;
    }

    pub(crate) fn steps(&self) -> u64 {
        self.lock().steps
    }

    /// Returns the number of events that were read or handed out.
    pub(crate) fn handed_out(&self) -> u64 {
        self.lock().handed_out
    }

    /// Waits until a condition holds.
    pub(crate) async fn until(&self, is_so: impl Fn(&Fake) -> bool) {
        let mut changed = self.changed.subscribe();
        while !is_so(self) {
            changed.changed().await.expect("the log is there");
        }
    }

    pub(crate) fn has_crashed(&self) -> bool {
        self.lock().has_crashed
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().expect("no panic while it is held")
    }

    fn notify(&self) {
        self.changed.send_modify(|count| *count += 1);
    }

    /// Takes a step, unless the user dies at it.
    async fn step<T>(&self, take: impl FnOnce() -> T) -> T {
        self.give_turns().await;
        let crash = {
            let mut inner = self.lock();
            let step = inner.steps;
            inner.steps += 1;
            let crash = inner.crash.filter(|crash| crash.step == step);
            inner.has_crashed |= crash.is_some();
            crash
        };
        match crash {
            None => {
                let taken = take();
                self.notify();
                taken
            }
            Some(crash) => {
                if crash.done {
                    take();
                }
                self.notify();
                pending().await
            }
        }
    }

    async fn give_turns(&self) {
        let Some(turns) = &self.turns else { return };
        let drawn = {
            let mut state = turns.lock().expect("no panic while it is held");
            *state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            *state >> 61
        };
        for _ in 0..drawn {
            tokio::task::yield_now().await;
        }
    }

    /// Takes all of the commit, or nothing.
    fn judge(&self, commit: &Commit) -> Result<Done, Refusal> {
        let mut inner = self.lock();
        if let Some(judged) = inner.judge_repetition(commit) {
            return judged;
        }
        for write in &commit.writes {
            if inner.closed.contains(&write.stream) {
                let why = format!("`{}` is closed for good", write.stream);
                let problem = Problem::new(ErrorKind::StreamClosed, Outcome::NotAppended, why);
                return Err(Refusal::Rejected(problem));
            }
        }
        let written = commit.writes.iter().map(|write| (&write.stream, write.expect));
        let required = commit.requirements.iter().map(|(stream, expect)| (stream, *expect));
        let failures: Vec<Failure> = written
            .chain(required)
            .filter_map(|(stream, expect)| inner.failure(stream, expect))
            .collect();
        let violations = inner.violations(&commit.conditions);
        if let Some(first) = failures.first() {
            return Err(Refusal::Conflict(Conflict {
                stream: first.stream.clone(),
                expected: first.expected,
                actual: Some(first.actual),
                failures,
                violations,
            }));
        }
        if !violations.is_empty() {
            let stream = StreamName::new(&commit.writes[0].stream).expect("a name");
            let (expected, actual) = (Expect::Any, None);
            let conflict = Conflict { stream, expected, actual, failures, violations };
            return Err(Refusal::Conflict(conflict));
        }
        let done = inner.write(commit, self.clock.now());
        drop(inner);
        self.notify();
        Ok(done)
    }
}

impl Inner {
    fn version(&self, stream: &str) -> u64 {
        self.versions.get(stream).copied().unwrap_or_default()
    }

    fn failure(&self, stream: &str, expected: Expect) -> Option<Failure> {
        let actual = Version(self.version(stream));
        let stream = StreamName::new(stream).expect("a name");
        (!expected.is_met_at(actual)).then_some(Failure { stream, expected, actual })
    }

    /// Returns the conditions that events of the log violate.
    fn violations(&self, conditions: &[Condition]) -> Vec<Violation> {
        let newest = |condition: &Condition| {
            let is_forbidden = |event: &&RecordedEvent| {
                event.position > condition.after && is_found(&condition.query, event)
            };
            Some(self.events.iter().rev().find(is_forbidden)?.position)
        };
        let violation = |(condition, it)| Some(Violation { condition, position: newest(it)? });
        conditions.iter().enumerate().filter_map(violation).collect()
    }

    /// Returns the first answer to an append that is in the log already; none if the log knows none of its ids. An id
    /// that is found in another append is never written a second time, whatever is expected.
    fn judge_repetition(&self, commit: &Commit) -> Option<Result<Done, Refusal>> {
        let wanted: Vec<RecordedEvent> = commit.writes.iter().flat_map(in_stream).collect();
        let is_known = wanted.iter().any(|wanted| self.events.iter().any(|it| it.id == wanted.id));
        let first = self.events.iter().position(|event| event.id == wanted[0].id);
        let first = match first {
            Some(first) if self.is_one_append(first, wanted.len()) => first,
            _ if is_known => return Some(Err(id_reused())),
            _ => return None,
        };
        let found = &self.events[first..first + wanted.len()];
        if !found.iter().zip(&wanted).all(|(found, wanted)| is_same(found, wanted)) {
            return Some(Err(id_reused()));
        }
        let mut ends = 0;
        let versions: Vec<Version> = commit
            .writes
            .iter()
            .map(|write| {
                ends += write.events.len();
                found[ends - 1].version
            })
            .collect();
        Some(Ok(Done {
            version: versions[0],
            versions,
            first_position: found[0].position,
            position: found[found.len() - 1].position,
            recorded_at: found[0].recorded_at,
        }))
    }

    /// Returns true if an append began at index `first` and had `length` events.
    fn is_one_append(&self, first: usize, length: usize) -> bool {
        let next = self.begins.range(first + 1..).next().copied();
        self.begins.contains(&first) && next.unwrap_or(self.events.len()) == first + length
    }

    fn write(&mut self, commit: &Commit, now: Timestamp) -> Done {
        let first_position = Position(self.events.len() as u64 + 1);
        self.begins.insert(self.events.len());
        let mut versions = Vec::new();
        for write in &commit.writes {
            let name = StreamName::new(&write.stream).expect("a name");
            for event in &write.events {
                let version = self.versions.entry(write.stream.clone()).or_default();
                *version += 1;
                let position = self.events.len() as u64 + 1;
                self.events.push(event.clone().recorded(position, name.clone(), *version, now));
            }
            versions.push(Version(self.version(&write.stream)));
        }
        let position = Position(self.events.len() as u64);
        Done { version: versions[0], versions, first_position, position, recorded_at: now }
    }
}

fn is_found(query: &Query, event: &RecordedEvent) -> bool {
    query.matches(&event.stream, &event.event.clone().into()).expect("a query")
}

/// Returns the events of a write as they would be recorded, without position, version and time.
fn in_stream(write: &Write) -> Vec<RecordedEvent> {
    let name = StreamName::new(&write.stream).expect("a name");
    let recorded = |event: &Event| event.clone().recorded(0, name.clone(), 0, EPOCH);
    write.events.iter().map(recorded).collect()
}

fn is_same(found: &RecordedEvent, wanted: &RecordedEvent) -> bool {
    let of = |recorded: &RecordedEvent| {
        let RecordedEvent { stream, event, .. } = recorded.clone();
        (stream, event.id, event.kind, event.data, event.metadata)
    };
    of(found) == of(wanted)
}

fn id_reused() -> Refusal {
    let why = "the log has an event with an id of these, of another append";
    Refusal::Rejected(Problem::new(ErrorKind::IdReused, Outcome::NotAppended, why))
}

impl Log for Fake {
    type Subscription = FakeSubscription;

    async fn newest(&self, stream: &str, types: &[&str], _: u64) -> Result<Newest, Problem> {
        let take = || {
            let inner = self.lock();
            let is_one = |event: &&RecordedEvent| {
                event.stream.as_str() == stream && types.contains(&event.kind.as_str())
            };
            let event = inner.events.iter().rev().find(is_one).cloned();
            Newest { version: inner.version(stream), event }
        };
        Ok(self.step(take).await)
    }

    async fn page(&self, query: &Query, stretch: Stretch) -> Result<Page, Problem> {
        let take = || {
            let mut inner = self.lock();
            let as_of = inner.events.len() as u64;
            let is_wanted = |event: &&RecordedEvent| {
                event.position > Position(stretch.after)
                    && stretch.before.is_none_or(|before| event.position < Position(before))
                    && is_found(query, event)
            };
            let limit = usize::try_from(stretch.limit).expect("a small page");
            let events: Vec<_> =
                inner.events.iter().filter(is_wanted).take(limit).cloned().collect();
            inner.handed_out += events.len() as u64;
            Page { events, as_of }
        };
        Ok(self.step(take).await)
    }

    fn follow(&self, query: &Query, after: u64) -> FakeSubscription {
        let (changed, query) = (self.changed.subscribe(), query.clone());
        FakeSubscription { fake: self.clone(), query, after, is_caught_up: false, changed }
    }

    async fn commit(&self, commit: Commit) -> Result<Done, Refusal> {
        self.step(|| self.judge(&commit)).await
    }

    async fn is_closed(&self, stream: &str) -> Result<bool, Problem> {
        Ok(self.step(|| self.lock().closed.iter().any(|closed| closed == stream)).await)
    }

    async fn keep_newest(&self, _: &str) -> Result<(), Problem> {
        self.step(|| ()).await;
        Ok(())
    }
}

pub(crate) struct FakeSubscription {
    fake: Fake,
    query: Query,
    after: u64,
    is_caught_up: bool,
    changed: watch::Receiver<u64>,
}

impl Subscription for FakeSubscription {
    async fn next(&mut self) -> Result<LogMessage, Problem> {
        loop {
            self.changed.borrow_and_update();
            let (next, end) = {
                let inner = self.fake.lock();
                let is_wanted = |event: &&RecordedEvent| {
                    event.position > Position(self.after) && is_found(&self.query, event)
                };
                let next = inner.events.iter().find(is_wanted).cloned();
                (next.filter(|_| !self.fake.is_mute), inner.events.len() as u64)
            };
            if let Some(event) = next {
                let event = self.fake.step(|| event).await;
                self.fake.lock().handed_out += 1;
                self.after = event.position.0;
                self.is_caught_up = false;
                return Ok(LogMessage::Event(Box::new(event)));
            }
            if !self.is_caught_up {
                self.is_caught_up = true;
                return Ok(LogMessage::CaughtUp(if self.fake.is_mute { 0 } else { end }));
            }
            self.changed.changed().await.expect("the log is there");
        }
    }
}
