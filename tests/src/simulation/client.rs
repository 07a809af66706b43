//! A client of the simulated cluster: it races with the others for a few streams, and records the answers.

mod draw;
mod words;

use std::cell::Cell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use quorate_client::{AppendError, Client, Done, Scavenged, UnknownAppend};
use quorate_proto::{
    Append, Consistency, Expectation, Position, Read, Snapshot, Source, StreamName, Timestamp,
    Version,
};
use turmoil::net::TcpStream;

pub(super) use draw::registered_twice;
use words::collect;
pub(super) use words::{read_whole, request};

use super::host::true_time;
use super::trace::Trace;
use crate::history::{AppendAnswer, ReadAnswer, Recorder};
use crate::random::Random;

/// Streams that all clients race for, and whose events nobody removes.
const STREAMS: [&str; 4] = ["order-1", "order-2", "acme/account-1", "audit"];
/// Streams that all clients race for, and whose events may be removed at any time.
const MORTAL_STREAMS: [&str; 5] = ["session-1", "session-2", "acme/session-3", "cart-1", "cart-2"];
/// The category of some of these streams: it has settings, and its streams have none of their own.
const MORTAL_CATEGORY: &str = "cart";
/// The time that an append may take while the storm lasts: shorter than some of the storm's faults.
const DEADLINE: Duration = Duration::from_secs(2);
/// The time that an append may take once everything works again.
const CALM_DEADLINE: Duration = Duration::from_secs(20);
/// The number of times that damage may come to light between two reads, once everything works again.
const FLIPS_FOUND_LATE: u32 = 8;

/// The state of a run, shared by its parts.
#[derive(Clone, Debug, Default)]
pub(super) struct Phase {
    founded: Rc<Cell<bool>>,
    calm: Rc<Cell<bool>>,
    working: Rc<Cell<u32>>,
}

impl Phase {
    /// Returns true if the cluster is founded.
    pub(super) fn is_founded(&self) -> bool {
        self.founded.get()
    }

    /// Notes that the cluster is founded.
    pub(super) fn found(&self) {
        self.founded.set(true);
    }

    /// Notes that there are no more faults.
    pub(super) fn calm(&self) {
        self.calm.set(true);
    }

    /// Notes that one more client begins.
    pub(super) fn begin(&self) {
        self.working.set(self.working.get() + 1);
    }

    fn end(&self) {
        self.working.set(self.working.get() - 1);
    }

    /// Waits until the cluster is founded.
    pub(super) async fn founded(&self) {
        until(|| self.founded.get()).await;
    }

    /// Returns true if all clients that append are done.
    pub(super) fn is_done(&self) -> bool {
        self.calm.get() && self.working.get() == 0
    }

    /// Waits until all clients that append are done.
    pub(super) async fn all_done(&self) {
        until(|| self.is_done()).await;
    }
}

async fn until(mut condition: impl FnMut() -> bool) {
    while !condition() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// A client that uses these nodes, and others only if it is not pinned.
pub(super) fn connect(addresses: &[String], pinned: bool, deadline: Duration) -> Client {
    Client::builder()
        .endpoints(addresses.iter().cloned())
        .pinned(pinned)
        .in_order(true)
        .deadline(deadline)
        .connector(|address: String| async move { TcpStream::connect(address).await })
        .build()
        .expect("the addresses are well-formed")
}

/// The sums over all scavenges.
#[derive(Clone, Debug, Default)]
pub(super) struct Scavenges {
    chunks: Rc<Cell<u64>>,
    events: Rc<Cell<u64>>,
}

impl Scavenges {
    fn count(&self, done: &Scavenged) {
        self.chunks.set(self.chunks.get() + done.rewritten);
        self.events.set(self.events.get() + done.events_removed);
    }

    /// Returns the numbers of rewritten chunks and of removed events.
    pub(super) fn sum(&self) -> (u64, u64) {
        (self.chunks.get(), self.events.get())
    }
}

/// The most that stamps of appends were ahead of the true time at which clients received them.
#[derive(Clone, Debug, Default)]
pub(super) struct Stamps(Rc<Cell<i64>>);

impl Stamps {
    fn note(&self, stamp: Timestamp) {
        self.0.set(self.0.get().max(stamp.0 - true_time().0));
    }

    /// The largest difference, in microseconds; 0 if no stamp was ahead.
    pub(super) fn furthest(&self) -> i64 {
        self.0.get()
    }
}

/// A client and its tools.
pub(super) struct Worker {
    pub(super) number: u32,
    pub(super) random: Random,
    pub(super) recorder: Recorder,
    pub(super) trace: Trace,
    pub(super) phase: Phase,
    pub(super) counts: Scavenges,
    pub(super) stamps: Stamps,
    pub(super) addresses: Vec<String>,
}

struct Session {
    worker: Worker,
    anywhere: Client,
    pinned: Vec<Client>,
    known: BTreeMap<&'static str, u64>,
    seen: u64,
}

impl Worker {
    /// Works until the storm is over; then every node must serve it.
    pub(super) async fn run(self) -> turmoil::Result {
        self.phase.founded().await;
        let anywhere = connect(&self.addresses, false, DEADLINE);
        let pinned = |address: &String| connect(std::slice::from_ref(address), true, DEADLINE);
        let pinned = self.addresses.iter().map(pinned).collect();
        let phase = self.phase.clone();
        let known = BTreeMap::new();
        let mut session = Session { worker: self, anywhere, pinned, known, seen: 0 };
        while !phase.calm.get() {
            session.step().await;
        }
        session.finish().await?;
        phase.end();
        Ok(())
    }
}

impl Session {
    async fn step(&mut self) {
        let pause = self.worker.random.below(60);
        tokio::time::sleep(Duration::from_millis(pause)).await;
        match self.worker.random.below(100) {
            0..36 => {
                let append = self.draw_append(false);
                self.append(append).await;
            }
            36..45 => self.register().await,
            45..56 => {
                let append = self.draw_mortal_append();
                self.append(append).await;
            }
            56..63 => self.change().await,
            63..67 => self.put_snapshot().await,
            67..68 => self.scavenge().await,
            68..85 => self.read(Consistency::Linearizable).await,
            85..93 => self.read(Consistency::Local).await,
            _ => self.read(Consistency::AtLeast(Position(self.seen))).await,
        }
    }

    /// Checks that once nothing is wrong any more, an append and reads of all nodes succeed.
    async fn finish(&mut self) -> turmoil::Result {
        self.anywhere = self.anywhere.with_deadline(CALM_DEADLINE);
        for node in &mut self.pinned {
            *node = node.with_deadline(CALM_DEADLINE);
        }
        let append = self.draw_append(true);
        let client = self.anywhere.clone();
        if self.send(&client, append).await.is_some() {
            return Err(format!("client {} cannot append in calm weather", self.worker.number))?;
        }
        for node in 0..self.pinned.len() {
            let client = self.pinned[node].clone();
            let read = Read::query(quorate_proto::Query::everything());
            let mut answer = Err(String::new());
            // Damaged chunks are being repaired meanwhile. A flipped bit under a cached block may be found by
            // a scavenge between the two reads, so that one whole read does not prove the next.
            for _ in 0..FLIPS_FOUND_LATE {
                read_whole(&client, &read).await?;
                answer = self.send_read(&client, read.clone()).await;
                if !answer.as_ref().is_err_and(|problem| problem.contains("damaged")) {
                    break;
                }
            }
            if let Err(problem) = answer {
                return Err(format!("node {node} serves no read in calm weather: {problem}"))?;
            }
        }
        Ok(())
    }

    async fn append(&mut self, append: Append) {
        let client = self.draw_client();
        let before = self.seen;
        let unknown = self.send(&client, append.clone()).await;
        if unknown.is_none() && self.seen > before && self.worker.random.chance(10) {
            self.write_again(append).await;
        }
        self.resolve(unknown).await;
    }

    /// Sends an append once more that was answered, as a program does that has read the version again. It is
    /// not recorded in the history: it must not change anything.
    async fn write_again(&mut self, mut append: Append) {
        for write in &mut append.writes {
            let name = write.stream.as_str();
            let known = self.known.get(name).copied().unwrap_or_default();
            write.expectation = Expectation::Exactly(Version(known));
        }
        let client = self.draw_client();
        let done = words::transaction(&client, &append).commit().await;
        let (number, id) = (self.worker.number, append.writes[0].events[0].id);
        let answer = done.as_ref().map_err(AppendError::problem);
        let who = format!("client-{number}");
        self.worker.trace.note(&who, format_args!("wrote {id} again and got: {answer:?}"));
    }

    /// Sends an append with an unknown outcome again, sometimes, perhaps to another node; always if its
    /// events may be removed later, so that their positions are known.
    async fn resolve(&mut self, mut unknown: Option<UnknownAppend>) {
        while let Some(append) = unknown {
            let mut writes = append.append().writes.iter();
            let is_mortal = writes.any(|write| MORTAL_STREAMS.contains(&write.stream.as_str()));
            if !is_mortal && self.worker.random.chance(30) {
                return;
            }
            let client = self.draw_client();
            unknown = self.send_again(&client, append).await;
        }
    }

    /// Registers a name, which no other client may have registered.
    async fn register(&mut self) {
        let mut append = self.draw_registration();
        let client = self.draw_client();
        if self.worker.random.chance(40) {
            let query = append.conditions[0].query.clone();
            let Ok(known) = self.send_read(&client, Read::query(query)).await else { return };
            if !known.events.is_empty() {
                return;
            }
            append.conditions[0].after = known.as_of;
        }
        self.append(append).await;
    }

    async fn change(&mut self) {
        let change = self.draw_change();
        let append = change.to_append().expect("it changes something");
        let client = self.draw_client();
        let unknown = self.note(append, words::send_change(&client, &change)).await;
        self.resolve(unknown).await;
    }

    /// Makes one node remove deleted events from its disk; the client may stop waiting in the middle.
    async fn scavenge(&mut self) {
        let random = &mut self.worker.random;
        let (node, patience) = (random.below(2), random.between(10, 3_000));
        let client = self.pinned[node as usize].clone();
        let Worker { trace, number, counts, .. } = &self.worker;
        let who = format!("client-{number}");
        trace.note(&who, format_args!("lets node {} scavenge", node + 1));
        let scavenged = client.scavenge(|_| ());
        let done = tokio::time::timeout(Duration::from_millis(patience), scavenged).await;
        trace.note(&who, format_args!("got: {done:?}"));
        if let Ok(Ok(done)) = done {
            counts.count(&done);
        }
    }

    async fn put_snapshot(&mut self) {
        let Some(snapshot) = self.draw_snapshot() else { return };
        let client = self.draw_client();
        let Worker { recorder, trace, number, .. } = &self.worker;
        let who = format!("client-{number}");
        let Snapshot { stream, version, .. } = &snapshot;
        trace.note(&who, format_args!("puts a snapshot of {stream} at {version}"));
        let begun = recorder.history().begin_snapshot(*number, snapshot.clone());
        let stored = words::put_snapshot(&client, &snapshot).await;
        trace.note(&who, format_args!("got: {stored:?}"));
        if let Ok(stored) = stored {
            recorder.history().end_snapshot(begun, stored);
        }
    }

    /// Sends an append; returns it if its outcome is unknown.
    async fn send(&mut self, client: &Client, append: Append) -> Option<UnknownAppend> {
        let transaction = words::transaction(client, &append);
        self.note(append, transaction.commit()).await
    }

    async fn send_again(
        &mut self,
        client: &Client,
        unknown: UnknownAppend,
    ) -> Option<UnknownAppend> {
        let append = unknown.append().clone();
        self.note(append, client.repeat(unknown)).await
    }

    /// Records an append, waits, and records the answer.
    async fn note(
        &mut self,
        append: Append,
        sending: impl Future<Output = Result<Done, AppendError>>,
    ) -> Option<UnknownAppend> {
        let Worker { recorder, trace, number, .. } = &self.worker;
        let who = format!("client-{number}");
        let id = append.writes[0].events[0].id;
        trace.note(&who, format_args!("appends {id}"));
        let begun = recorder.history().begin_append(*number, append.clone());
        let result = sending.await;
        // The whole answer cannot be noted, as it holds an instant of the real clock.
        let verdict = result.as_ref().map_err(AppendError::problem);
        trace.note(&who, format_args!("got for {id}: {verdict:?}"));
        let answer = match result {
            Ok(Done { versions, position, recorded_at, .. }) => {
                AppendAnswer::Appended { versions, position, recorded_at }
            }
            Err(AppendError::Conflict(conflict)) => AppendAnswer::Rejected {
                failures: conflict.failures,
                violations: conflict.violations,
            },
            Err(AppendError::Rejected(_)) => {
                AppendAnswer::Rejected { failures: Vec::new(), violations: Vec::new() }
            }
            Err(AppendError::Unknown(unknown)) => return Some(unknown),
        };
        if let AppendAnswer::Appended { recorded_at, .. } = &answer {
            self.worker.stamps.note(*recorded_at);
        }
        self.learn(&append, &answer);
        self.worker.recorder.history().end_append(begun, answer);
        None
    }

    fn learn(&mut self, append: &Append, answer: &AppendAnswer) {
        match answer {
            AppendAnswer::Appended { versions, position, .. } => {
                for (write, version) in append.writes.iter().zip(versions) {
                    self.know(&write.stream, *version);
                }
                self.seen = self.seen.max(position.0);
            }
            AppendAnswer::Rejected { failures, .. } => {
                failures.iter().for_each(|failure| self.know(&failure.stream, failure.actual));
            }
        }
    }

    fn know(&mut self, stream: &StreamName, version: Version) {
        let mut names = STREAMS.iter().chain(&MORTAL_STREAMS);
        if let Some(name) = names.find(|name| **name == stream.as_str()) {
            self.known.insert(name, version.0);
        }
    }

    async fn read(&mut self, consistency: Consistency) {
        let read = self.draw_read(consistency);
        let client = self.draw_client();
        let _lost_in_the_storm = self.send_read(&client, read).await;
    }

    async fn send_read(&mut self, client: &Client, read: Read) -> Result<ReadAnswer, String> {
        let Worker { recorder, trace, number, .. } = &self.worker;
        let who = format!("client-{number}");
        trace.note(&who, format_args!("reads {:?} {:?}", read.source, read.consistency));
        let begun = recorder.history().begin_read(*number, read.clone());
        let answer = collect(client, &read).await;
        let shown = answer.as_ref().map(|answer| (answer.as_of, answer.events.len()));
        trace.note(&who, format_args!("read {shown:?}"));
        let answer = answer?;
        if let (Source::Stream { stream, .. }, Some(version), Consistency::Linearizable) =
            (&read.source, answer.version, read.consistency)
        {
            self.know(stream, version);
        }
        self.worker.recorder.history().end_read(begun, answer.clone());
        Ok(answer)
    }

    fn draw_client(&mut self) -> Client {
        match self.worker.random.below(2 * self.pinned.len() as u64) as usize {
            node if node < self.pinned.len() => self.pinned[node].clone(),
            _ => self.anywhere.clone(),
        }
    }
}
