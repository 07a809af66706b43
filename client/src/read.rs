//! Reads: how they are requested, and how another node continues them when one is lost.

use std::collections::VecDeque;

use futures_util::stream::{self, BoxStream, StreamExt};
use quorate_proto::wire::v1::read_response::Message;
use quorate_proto::wire::v1::{EventBatch, ReadPoint, ReadRequest as WireRequest, ReadResponse};
use quorate_proto::{
    self as proto, Consistency, CorrelationId, Direction, Invalid, Position, Problem,
    Source as ProtoSource, Timestamp,
};
use tokio::time::Instant;

use crate::client::Client;
use crate::event::RecordedEvent;
use crate::incoming::{GRACE, Incoming, Patience, REST_MAX, Round, silence_max};
use crate::nodes::problem;
use crate::query::{Source, tags_of, types_of};
use crate::snapshot::RecordedSnapshot;
use crate::subscription::Subscription;
use crate::trouble::{late, not_understood, removed_meanwhile};

/// A read before it is sent; linearizable, whole and oldest first by default.
///
/// ```no_run
/// # async fn example(client: quorate_client::Client) -> Result<(), quorate_client::Problem> {
/// let newest = client.read("order-42").types(["OrderPaid"]).backwards().limit(1).collect().await?;
/// # let _ = newest; Ok(()) }
/// ```
#[derive(Debug)]
#[must_use = "nothing is read before `collect`, `stream` or `follow`"]
pub struct ReadRequest {
    client: Client,
    read: Result<proto::Read, Invalid>,
}

impl ReadRequest {
    pub(crate) fn new(client: Client, source: Source) -> ReadRequest {
        ReadRequest { client, read: source.into_read() }
    }

    /// Selects only events of these types.
    pub fn types<T: AsRef<str>>(self, types: impl IntoIterator<Item = T>) -> ReadRequest {
        let demanded = types_of(types);
        let read = self.read.and_then(|mut read| {
            let demanded = demanded?;
            match &mut read.source {
                ProtoSource::Stream { types, .. } => types.extend(demanded),
                ProtoSource::Query(query) => {
                    narrow(query, |item| item.types.extend(demanded.iter().cloned()));
                }
            }
            Ok(read)
        });
        ReadRequest { read, ..self }
    }

    /// Selects only events that have all of these tags.
    pub fn tags<T: AsRef<str>>(self, tags: impl IntoIterator<Item = T>) -> ReadRequest {
        let demanded = tags_of(tags);
        let read = self.read.and_then(|mut read| {
            let demanded = demanded?;
            match &mut read.source {
                ProtoSource::Stream { tags, .. } => tags.extend(demanded),
                ProtoSource::Query(query) => {
                    narrow(query, |item| item.tags.extend(demanded.iter().cloned()));
                }
            }
            Ok(read)
        });
        ReadRequest { read, ..self }
    }

    /// Selects only events with this correlation id.
    pub fn correlation(self, id: impl AsRef<str>) -> ReadRequest {
        let id = CorrelationId::new(id);
        let read = self.read.and_then(|mut read| {
            let id = Some(id?);
            match &mut read.source {
                ProtoSource::Stream { correlation, .. } => *correlation = id,
                ProtoSource::Query(query) => narrow(query, |item| item.correlation = id.clone()),
            }
            Ok(read)
        });
        ReadRequest { read, ..self }
    }

    /// Begins with the newest snapshot of the stream, if there is one; then only the events after it are read. Needs a
    /// stream, read whole and forwards. A program that may meet a snapshot of a newer schema, because another version
    /// of the program runs too, also calls [`ReadRequest::snapshot_schema_max`].
    ///
    /// ```no_run
    /// # async fn example(client: quorate_client::Client) -> Result<(), Box<dyn std::error::Error>> {
    /// let order = client.read("order-42").with_snapshot().collect().await?;
    /// let mut total: u64 = order.snapshot.as_ref().map_or(Ok(0), |snapshot| snapshot.json())?;
    /// for event in &order.events {
    ///     total += event.json::<u64>()?;
    /// }
    /// # let _ = total; Ok(()) }
    /// ```
    pub fn with_snapshot(self) -> ReadRequest {
        self.with(|read| read.with_snapshot = true)
    }

    /// Sets the newest schema of a snapshot that this program understands, at least 1; for
    /// [`ReadRequest::with_snapshot`]. A snapshot of a newer schema is passed over: the answer holds all events of the
    /// stream that were not truncated, at one point, and no snapshot, and names the schema in
    /// [`Events::snapshot_schema_passed_over`].
    ///
    /// # Errors
    /// `Invalid` when the read is sent, if the schema is 0 or no snapshot was requested.
    ///
    /// ```no_run
    /// # async fn example(client: quorate_client::Client) -> Result<(), Box<dyn std::error::Error>> {
    /// let read = client.read("order-42").with_snapshot().snapshot_schema_max(2);
    /// let order = read.collect().await?;
    /// if let Some(schema) = order.snapshot_schema_passed_over {
    ///     println!("a newer program keeps schema {schema}; {} events are read", order.events.len());
    /// }
    /// # Ok(()) }
    /// ```
    pub fn snapshot_schema_max(self, schema: u32) -> ReadRequest {
        self.with(|read| read.snapshot_schema_max = Some(schema))
    }

    /// Includes system events also where the query does not name them.
    pub fn with_system(self) -> ReadRequest {
        self.with(|read| read.with_system = true)
    }

    /// Selects only events after this version (of a stream) or position (of a query); 0 is the beginning.
    pub fn after(self, number: u64) -> ReadRequest {
        self.with(|read| read.bounds.after = number)
    }

    /// Selects only events before this version (of a stream) or position (of a query).
    pub fn before(self, number: u64) -> ReadRequest {
        self.with(|read| read.bounds.before = Some(number))
    }

    /// Selects only events that were recorded at this time or later.
    pub fn from(self, time: Timestamp) -> ReadRequest {
        self.with(|read| read.bounds.from = Some(time))
    }

    /// Selects only events that were recorded at this time or earlier: the stream as it was then.
    pub fn until(self, time: Timestamp) -> ReadRequest {
        self.with(|read| read.bounds.until = Some(time))
    }

    /// Reads the newest events first.
    pub fn backwards(self) -> ReadRequest {
        self.with(|read| read.direction = Direction::Backwards)
    }

    /// Reads at most this many events.
    pub fn limit(self, events: u64) -> ReadRequest {
        self.with(|read| read.limit = Some(events))
    }

    /// Sets how fresh the answer must be.
    pub fn consistency(self, consistency: Consistency) -> ReadRequest {
        self.with(|read| read.consistency = consistency)
    }

    /// Reads at least everything up to this position (of an append, for example), without asking the leader.
    pub fn at_least(self, position: u64) -> ReadRequest {
        self.consistency(Consistency::AtLeast(Position(position)))
    }

    /// Reads whatever the answering node has.
    pub fn local(self) -> ReadRequest {
        self.consistency(Consistency::Local)
    }

    /// Reads all events into memory.
    pub async fn collect(self) -> Result<Events, Problem> {
        let mut stream = self.stream().await?;
        let mut events = Vec::new();
        while let Some(event) = stream.try_next().await? {
            events.push(event);
        }
        let (version, as_of) = (stream.version(), stream.as_of());
        let snapshot_schema_passed_over = stream.snapshot_schema_passed_over();
        let snapshot = stream.take_snapshot();
        Ok(Events { events, version, as_of, snapshot, snapshot_schema_passed_over })
    }

    /// Begins to read: returns when a node has reported the point at which the read is evaluated.
    pub async fn stream(self) -> Result<EventStream, Problem> {
        let read = self.read?;
        read.check()?;
        let mut stream = EventStream {
            client: self.client,
            read,
            point: None,
            snapshot: None,
            passed_over: None,
            incoming: None,
            patience: Patience::new(REST_MAX),
            has_begun: false,
            goes_on: false,
            ended: false,
            ready: VecDeque::new(),
        };
        stream.find_node().await?;
        Ok(stream)
    }

    /// Subscribes to the selected events, those that exist and those to come. Connects at the first
    /// [`Subscription::try_next`].
    ///
    /// ```no_run
    /// # use quorate_client::{Client, Message, Query};
    /// # async fn example(client: Client, bookmark: u64) -> Result<(), quorate_client::Problem> {
    /// let mut subscription = client.read(Query::category("order")).after(bookmark).follow();
    /// while let Some(message) = subscription.try_next().await? {
    ///     match message {
    ///         Message::Event(event) => println!("{} {}", event.position, event.kind),
    ///         Message::CaughtUp(at) | Message::Progress(at) => println!("all up to {}", at.position),
    ///         Message::FellBehind(_) => {}
    ///     }
    /// }
    /// # Ok(()) }
    /// ```
    pub fn follow(self) -> Subscription {
        Subscription::new(self.client, self.read)
    }

    fn with(mut self, change: impl FnOnce(&mut proto::Read)) -> ReadRequest {
        if let Ok(read) = &mut self.read {
            change(read);
        }
        self
    }
}

/// The events that were read, and the point at which the read was evaluated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Events {
    /// The events.
    pub events: Vec<RecordedEvent>,
    /// The version of the stream at that point, also when no event or only a part was read: the version to expect in
    /// the next append. 0 if the read was of a query.
    pub version: u64,
    /// The position up to which the read has seen all events.
    pub as_of: u64,
    /// The snapshot that the events follow, if it was requested and there is one.
    pub snapshot: Option<RecordedSnapshot>,
    /// The schema of the kept snapshot, if it is newer than [`ReadRequest::snapshot_schema_max`] and was passed over:
    /// then `events` holds all events that there are, and they follow no snapshot.
    pub snapshot_schema_passed_over: Option<u32>,
}

#[derive(Clone, Copy, Debug)]
struct Point {
    as_of: u64,
    version: Option<u64>,
}

/// Events as they come in. When a node is lost, another one continues where it stopped: at the same point of the log
/// and without a duplicate.
///
/// Events that were removed meanwhile (truncated, deleted, too many, too old) are gone at the other node. A stream that
/// is read whole and forwards then ends with an error of kind `Unavailable` instead of a gap: read again. Every other
/// read, of a query for example, continues without those events; so does a stream of which no event had come yet.
#[derive(Debug)]
pub struct EventStream {
    client: Client,
    /// The request for the events that are still to be read.
    read: proto::Read,
    point: Option<Point>,
    snapshot: Option<RecordedSnapshot>,
    passed_over: Option<u32>,
    /// `None` while no node works on the read.
    incoming: Option<Incoming<ReadResponse>>,
    patience: Patience,
    /// True once an event has come.
    has_begun: bool,
    /// True if events came before the current node was asked.
    goes_on: bool,
    ended: bool,
    ready: VecDeque<RecordedEvent>,
}

impl EventStream {
    /// Returns the position up to which the read sees all events.
    pub fn as_of(&self) -> u64 {
        self.point.map_or(0, |point| point.as_of)
    }

    /// Returns the version of the stream at that point; 0 if the read is of a query.
    pub fn version(&self) -> u64 {
        self.point.and_then(|point| point.version).unwrap_or_default()
    }

    /// Returns the snapshot that the events follow, if it was requested and there is one.
    pub fn snapshot(&self) -> Option<&RecordedSnapshot> {
        self.snapshot.as_ref()
    }

    /// Returns the schema of the kept snapshot, if it is newer than [`ReadRequest::snapshot_schema_max`] and was passed
    /// over.
    pub fn snapshot_schema_passed_over(&self) -> Option<u32> {
        self.passed_over
    }

    pub(crate) fn take_snapshot(self) -> Option<RecordedSnapshot> {
        self.snapshot
    }

    /// Returns the next event; `None` at the end. Cancelling the future loses nothing.
    pub async fn try_next(&mut self) -> Result<Option<RecordedEvent>, Problem> {
        while self.ready.is_empty() && !self.ended {
            let Some(incoming) = &mut self.incoming else {
                self.find_node().await?;
                continue;
            };
            let heard = match incoming.next(silence_max(&self.client)).await {
                Ok(response) if self.misses_events(&response) => {
                    self.incoming = None;
                    return Err(removed_meanwhile());
                }
                Ok(response) => self.take(response),
                Err(problem) => Err(problem),
            };
            if let Err(lost) = heard {
                self.patience.lost(&self.client, self.incoming.take(), lost)?;
            }
        }
        Ok(self.ready.pop_front())
    }

    /// Converts this into a stream of `futures`, which ends after an error. Call [`EventStream::as_of`] and
    /// [`EventStream::version`] before.
    ///
    /// ```no_run
    /// # async fn example(client: quorate_client::Client) -> Result<(), quorate_client::Problem> {
    /// use futures_util::{StreamExt, TryStreamExt};
    /// let events = client.read("order-42").stream().await?.into_stream();
    /// let kinds: Vec<_> = events.take(10).map_ok(|event| event.kind).try_collect().await?;
    /// # let _ = kinds; Ok(()) }
    /// ```
    pub fn into_stream(self) -> BoxStream<'static, Result<RecordedEvent, Problem>> {
        let next = |mut events: EventStream| async move {
            Ok(events.try_next().await?.map(|event| (event, events)))
        };
        stream::try_unfold(self, next).boxed()
    }

    /// Returns true if a node that continues a stream, read whole and forwards, lacks some of its events.
    fn misses_events(&self, next: &ReadResponse) -> bool {
        let bounds = &self.read.bounds;
        let is_whole = match &self.read.source {
            ProtoSource::Stream { types, tags, correlation, .. } => {
                types.is_empty() && tags.is_empty() && correlation.is_none()
            }
            ProtoSource::Query(_) => false,
        } && (bounds.from, bounds.until) == (None, None)
            && self.read.direction == Direction::Forwards;
        if !is_whole || !self.goes_on {
            return false;
        }
        match &next.message {
            Some(Message::Events(batch)) => {
                let mut versions = batch.events.iter().map(|event| event.version);
                let mut expected = bounds.after.saturating_add(1)..;
                versions.any(|version| expected.next() != Some(version))
            }
            Some(Message::End(_)) => {
                let next = bounds.after.saturating_add(1);
                self.read.limit != Some(0) && bounds.before.is_some_and(|before| next < before)
            }
            _ => false,
        }
    }

    /// Takes in a message, and notes which events are still to be read after it.
    fn take(&mut self, response: ReadResponse) -> Result<(), Problem> {
        match response.message {
            Some(Message::Point(point)) => self.set_point(point),
            Some(Message::Events(batch)) => self.take_events(batch),
            Some(Message::End(_)) => {
                self.ended = true;
                self.incoming = None;
                Ok(())
            }
            Some(Message::CaughtUp(_) | Message::FellBehind(_) | Message::Progress(_)) | None => {
                Err(not_understood("a message is none that ends by itself"))
            }
        }
    }

    fn set_point(&mut self, point: ReadPoint) -> Result<(), Problem> {
        if self.point.is_some() {
            return Ok(());
        }
        self.point = Some(Point { as_of: point.as_of, version: point.version });
        // A node that continues the read must see as much, and nothing newer …
        let top = match self.read.source {
            ProtoSource::Stream { .. } => point.version.unwrap_or_default(),
            ProtoSource::Query(_) => point.as_of,
        };
        let before = top.saturating_add(1);
        let bounds = &mut self.read.bounds;
        bounds.before = Some(bounds.before.map_or(before, |told| told.min(before)));
        self.read.consistency = Consistency::AtLeast(Position(point.as_of));
        // … and send the events after the same snapshot.
        self.read.with_snapshot = false;
        self.read.snapshot_schema_max = None;
        self.passed_over = Some(point.snapshot_schema_passed_over).filter(|schema| *schema > 0);
        if let Some(snapshot) = point.snapshot {
            let snapshot = proto::RecordedSnapshot::try_from(snapshot)
                .map_err(|invalid| not_understood(&invalid.to_string()))?;
            let snapshot = RecordedSnapshot::from(snapshot);
            self.read.bounds.after = snapshot.version;
            self.snapshot = Some(snapshot);
        }
        Ok(())
    }

    fn take_events(&mut self, batch: EventBatch) -> Result<(), Problem> {
        self.patience.heard();
        for event in batch.events {
            let event = proto::RecordedEvent::try_from(event)
                .map_err(|invalid| not_understood(&invalid.to_string()))?;
            let event = RecordedEvent::from(event);
            self.patience.progressed();
            let number = match self.read.source {
                ProtoSource::Stream { .. } => event.version,
                ProtoSource::Query(_) => event.position,
            };
            match self.read.direction {
                Direction::Forwards => self.read.bounds.after = number,
                Direction::Backwards => self.read.bounds.before = Some(number),
            }
            if let Some(limit) = &mut self.read.limit {
                *limit = limit.saturating_sub(1);
            }
            self.has_begun = true;
            self.ready.push_back(event);
        }
        Ok(())
    }

    /// Finds a node that continues with the remaining events, within the deadline.
    async fn find_node(&mut self) -> Result<(), Problem> {
        if self.point.is_some() && self.read.limit == Some(0) {
            self.ended = true;
            return Ok(());
        }
        let give_up_at = self.patience.since() + self.client.deadline;
        loop {
            self.patience.rest().await;
            let mut round = Round::default();
            for address in self.client.shared.nodes.for_reads() {
                if round.is_over(give_up_at) {
                    break;
                }
                match self.ask(address.clone(), give_up_at).await {
                    Ok(()) => return Ok(()),
                    Err(problem) => round.refused(&self.client, &address, problem)?,
                }
            }
            self.patience.refused(round, give_up_at)?;
        }
    }

    /// Asks one node, for a part of the time that is left: another may do better.
    async fn ask(&mut self, address: String, give_up_at: Instant) -> Result<(), Problem> {
        let left = give_up_at.saturating_duration_since(Instant::now());
        let time = left.min(self.client.deadline / 3);
        let mut request = WireRequest::from(self.read.clone());
        request.time_left_ms = (time.as_millis() as u64).max(1);
        let mut events = self.client.shared.nodes.events(&address)?;
        let asking = async {
            let answer = events.read(request).await;
            let mut messages = answer.map_err(|status| problem(&address, &status))?.into_inner();
            let first = messages.message().await.map_err(|status| problem(&address, &status))?;
            Ok::<_, Problem>((messages, first))
        };
        // The node's own report of its deadline is worth more than our report of its silence.
        let (messages, first) =
            tokio::time::timeout(time + GRACE, asking).await.map_err(|_| late(&address))??;
        match first.and_then(|response| response.message) {
            Some(Message::Point(point)) => self.set_point(point)?,
            _ => return Err(not_understood("the answer does not begin with its point")),
        }
        self.goes_on = self.has_begun;
        self.incoming = Some(Incoming::new(address, messages));
        Ok(())
    }
}

/// Adds a demand to all items of a query.
fn narrow(query: &mut proto::Query, add: impl Fn(&mut proto::QueryItem)) {
    if query.items.is_empty() {
        query.items.push(proto::QueryItem::default());
    }
    query.items.iter_mut().for_each(add);
}
