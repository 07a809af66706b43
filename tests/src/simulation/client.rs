//! A client of the simulated cluster: it races with the others for a few streams, and notes what it is told.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use quorate_client::{AppendError, Client, Done, Query, RecordedEvent, UnknownAppend};
use quorate_proto::{
    Append, Consistency, Event, EventId, EventType, Expectation, Position, Read, Requirement,
    Source, StreamName, Version, Write,
};
use turmoil::net::TcpStream;

use super::trace::Trace;
use crate::history::{AppendAnswer, ReadAnswer, Recorder};
use crate::random::Random;

/// The streams that all clients race for.
const STREAMS: [&str; 4] = ["order-1", "order-2", "acme/account-1", "audit"];
/// How long an append may take while the storm lasts: shorter than some of the storm's faults.
const DEADLINE: Duration = Duration::from_secs(2);
/// How long it may take, and how often it is tried, once everything works again.
const CALM_DEADLINE: Duration = Duration::from_secs(20);

/// What a run's parts tell each other.
#[derive(Clone, Debug, Default)]
pub(super) struct Phase {
    founded: Rc<Cell<bool>>,
    calm: Rc<Cell<bool>>,
    working: Rc<Cell<u32>>,
}

impl Phase {
    /// The cluster is there.
    pub(super) fn is_founded(&self) -> bool {
        self.founded.get()
    }

    /// The cluster is there from now on.
    pub(super) fn found(&self) {
        self.founded.set(true);
    }

    /// There are no more faults from now on.
    pub(super) fn calm(&self) {
        self.calm.set(true);
    }

    /// One more client begins.
    pub(super) fn begin(&self) {
        self.working.set(self.working.get() + 1);
    }

    fn end(&self) {
        self.working.set(self.working.get() - 1);
    }

    /// Waits until the cluster is there.
    pub(super) async fn founded(&self) {
        until(|| self.founded.get()).await;
    }

    /// Waits until all clients are done.
    pub(super) async fn all_done(&self) {
        until(|| self.calm.get() && self.working.get() == 0).await;
    }
}

async fn until(mut condition: impl FnMut() -> bool) {
    while !condition() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// A client that asks these nodes, and others only if it is not pinned.
pub(super) fn connect(addresses: &[String], pinned: bool, deadline: Duration) -> Client {
    Client::builder()
        .endpoints(addresses.iter().cloned())
        .pinned(pinned)
        .deadline(deadline)
        .connector(|address: String| async move { TcpStream::connect(address).await })
        .build()
        .expect("the addresses are well-formed")
}

/// One client and what it knows.
pub(super) struct Worker {
    pub(super) number: u32,
    pub(super) random: Random,
    pub(super) recorder: Recorder,
    pub(super) trace: Trace,
    pub(super) phase: Phase,
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
    /// Works until the storm is over; then must be served, at every node.
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
            0..62 => self.append().await,
            62..82 => self.read(Consistency::Linearizable).await,
            82..92 => self.read(Consistency::Local).await,
            _ => self.read(Consistency::AtLeast(Position(self.seen))).await,
        }
    }

    /// What the cluster owes everybody once nothing is wrong any more.
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
            if let Err(problem) = self.send_read(&client, read).await {
                return Err(format!("node {node} serves no read in calm weather: {problem}"))?;
            }
        }
        Ok(())
    }

    async fn append(&mut self) {
        let append = self.draw_append(false);
        let client = self.draw_client();
        let mut unknown = self.send(&client, append).await;
        // What stays unknown is sent again, sometimes, perhaps to another node.
        while let Some(append) = unknown {
            if self.worker.random.chance(30) {
                return;
            }
            let client = self.draw_client();
            unknown = self.send_again(&client, append).await;
        }
    }

    /// Sends an append; returns it if its outcome is unknown.
    async fn send(&mut self, client: &Client, append: Append) -> Option<UnknownAppend> {
        let mut transaction = client.transaction();
        for Write { stream, expectation, events } in append.writes.clone() {
            let events = events.into_iter().map(quorate_client::Event::from);
            transaction = transaction.write(stream.as_str(), expectation.into(), events);
        }
        for Requirement { stream, expectation } in &append.requirements {
            transaction = transaction.require(stream.as_str(), (*expectation).into());
        }
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

    /// Notes what is appended, waits, and notes the answer.
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
        // Not the whole answer: it holds an instant of the real clock.
        let told = result.as_ref().map_err(AppendError::problem);
        trace.note(&who, format_args!("was told of {id}: {told:?}"));
        let answer = match result {
            Ok(Done { versions, position, .. }) => AppendAnswer::Appended {
                versions: versions.into_iter().map(Version).collect(),
                position: Position(position),
            },
            Err(AppendError::Conflict(conflict)) => AppendAnswer::Rejected(conflict.failures),
            Err(AppendError::Rejected(_)) => AppendAnswer::Rejected(Vec::new()),
            Err(AppendError::Unknown(unknown)) => return Some(unknown),
        };
        self.learn(&append, &answer);
        self.worker.recorder.history().end_append(begun, answer);
        None
    }

    fn learn(&mut self, append: &Append, answer: &AppendAnswer) {
        let mut learn = |stream: &StreamName, version: Version| {
            if let Some(name) = STREAMS.iter().find(|name| **name == stream.as_str()) {
                self.known.insert(name, version.0);
            }
        };
        match answer {
            AppendAnswer::Appended { versions, position } => {
                for (write, version) in append.writes.iter().zip(versions) {
                    learn(&write.stream, *version);
                }
                self.seen = self.seen.max(position.0);
            }
            AppendAnswer::Rejected(failures) => {
                failures.iter().for_each(|failure| learn(&failure.stream, failure.actual));
            }
        }
    }

    async fn read(&mut self, consistency: Consistency) {
        let random = &mut self.worker.random;
        let mut read = match random.below(4) {
            0 => Read::query(quorate_proto::Query::everything()),
            _ => Read::stream(stream(random.pick::<&str>(&STREAMS))),
        };
        read.consistency = consistency;
        read.limit = random.chance(30).then(|| random.between(1, 20));
        if random.chance(20) {
            read.direction = quorate_proto::Direction::Backwards;
        }
        let client = self.draw_client();
        let _lost_in_the_storm = self.send_read(&client, read).await;
    }

    async fn send_read(&mut self, client: &Client, read: Read) -> Result<(), String> {
        let Worker { recorder, trace, number, .. } = &self.worker;
        let who = format!("client-{number}");
        trace.note(&who, format_args!("reads {:?} {:?}", read.source, read.consistency));
        let begun = recorder.history().begin_read(*number, read.clone());
        let answer = collect(client, &read).await;
        let told = answer.as_ref().map(|answer| (answer.as_of, answer.events.len()));
        trace.note(&who, format_args!("read {told:?}"));
        let answer = answer?;
        if let (Source::Stream { stream, .. }, Some(version)) = (&read.source, answer.version)
            && let Some(name) = STREAMS.iter().find(|name| **name == stream.as_str())
            && read.consistency == Consistency::Linearizable
        {
            self.known.insert(name, version.0);
        }
        self.worker.recorder.history().end_read(begun, answer);
        Ok(())
    }

    fn draw_client(&mut self) -> Client {
        match self.worker.random.below(2 * self.pinned.len() as u64) as usize {
            node if node < self.pinned.len() => self.pinned[node].clone(),
            _ => self.anywhere.clone(),
        }
    }

    /// An append that others are likely to race with; or one that nothing can refuse.
    fn draw_append(&mut self, calm: bool) -> Append {
        let first = *self.worker.random.pick(&STREAMS);
        let expectation = if calm { Expectation::Any } else { self.draw_expectation(first) };
        let mut append = Append::to(stream(first), expectation, self.draw_events());
        let second = *self.worker.random.pick(&STREAMS);
        if second != first && !calm {
            let expectation = self.draw_expectation(second);
            let stream = stream(second);
            match self.worker.random.below(10) {
                0 => {
                    let events = self.draw_events();
                    append.writes.push(Write { stream, expectation, events });
                }
                1 => append.requirements.push(Requirement { stream, expectation }),
                _ => {}
            }
        }
        append
    }

    fn draw_expectation(&mut self, name: &'static str) -> Expectation {
        let known = self.known.get(name).copied().unwrap_or_default();
        let random = &mut self.worker.random;
        match random.below(100) {
            0..70 => Expectation::Exactly(Version(known)),
            70..74 => Expectation::Exactly(Version(known.saturating_sub(1))),
            74..77 => Expectation::Exactly(Version(known + 1)),
            77..80 => Expectation::None,
            80..87 => Expectation::Exists,
            _ => Expectation::Any,
        }
    }

    fn draw_events(&mut self) -> Vec<Event> {
        let random = &mut self.worker.random;
        let count = if random.chance(80) { 1 } else { random.between(2, 4) };
        let event = |_| {
            let id = EventId::from_bytes(random.wide().to_be_bytes()).expect("hardly ever nil");
            let kind = EventType::new(random.pick::<&str>(&["Opened", "Changed", "Closed"]))
                .expect("a type");
            let size = if random.chance(40) { random.below(4_000) } else { random.below(100) };
            let data: Vec<u8> = (0..size).map(|_| random.next() as u8).collect();
            Event::new(id, kind, data)
        };
        (0..count).map(event).collect()
    }
}

fn stream(name: &str) -> StreamName {
    StreamName::new(name).expect("a name")
}

/// Reads everything that a read asks for.
pub(super) async fn collect(client: &Client, read: &Read) -> Result<ReadAnswer, String> {
    let mut request = match &read.source {
        Source::Stream { stream, .. } => client.read(stream.as_str()),
        Source::Query(_) => client.read(Query::everything()),
    };
    request = request.consistency(read.consistency);
    if let Some(limit) = read.limit {
        request = request.limit(limit);
    }
    if read.direction == quorate_proto::Direction::Backwards {
        request = request.backwards();
    }
    let events = request.collect().await.map_err(|problem| problem.to_string())?;
    let of_stream = matches!(read.source, Source::Stream { .. });
    Ok(ReadAnswer {
        as_of: Position(events.as_of),
        version: of_stream.then_some(Version(events.version)),
        events: events.events.into_iter().map(recorded).collect(),
    })
}

fn recorded(event: RecordedEvent) -> quorate_proto::RecordedEvent {
    quorate_proto::RecordedEvent {
        position: Position(event.position),
        stream: event.stream,
        version: Version(event.version),
        recorded_at: event.recorded_at,
        event: Event {
            id: event.id,
            kind: event.kind,
            data: event.data,
            metadata: event.metadata,
            tags: event.tags,
            content_type: event.content_type,
            schema: event.schema,
            correlation_id: event.correlation_id,
            causation_id: event.causation_id,
            occurred_at: event.occurred_at,
        },
    }
}
