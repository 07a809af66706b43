//! The events of a read as they come in, from one node after the other when one is lost.

use std::collections::VecDeque;

use futures_util::stream::BoxStream;
use quorate_proto::wire::v1::read_response::Message;
use quorate_proto::wire::v1::{ReadPoint, ReadResponse};
use quorate_proto::{
    self as proto, Consistency, LogIndex, LogPoint, Position, Problem, RecordedEvent,
    RecordedSnapshot, Timestamp, Version,
};

use crate::client::Client;
use crate::remaining::Remaining;
use crate::resume::{Answer, Answering, EventsNode, Received, Resumed};
use crate::trouble::not_understood;

/// Events as they come in. When a node is lost, another one continues where it stopped: at the same point of the log
/// and without a duplicate.
///
/// Events that were removed meanwhile (truncated, deleted, too many, too old) are gone at the other node. Where the rest
/// of the answer would lack one of them, it ends with an error of kind [`crate::ErrorKind::Removed`] instead of a gap:
/// read again. [`crate::ReadRequest::collect`] does so by itself.
///
/// ```no_run
/// # async fn example(client: quorate_client::Client) -> Result<(), quorate_client::Problem> {
/// let mut order = client.read("order-42").stream().await?;
/// println!("version {} as of position {}", order.version(), order.as_of());
/// while let Some(event) = order.try_next().await? {
///     println!("{} {}", event.version, event.kind);
/// }
/// # Ok(()) }
/// ```
#[derive(Debug)]
pub struct EventStream(Resumed<ReadAnswer>);

impl EventStream {
    /// Begins to read: returns when a node has reported the point at which the read is evaluated.
    pub(crate) async fn begin(client: Client, read: proto::Read) -> Result<EventStream, Problem> {
        let remaining = Remaining::new(read)?;
        let answer = ReadAnswer { remaining, point: None };
        let mut resumed = Resumed::within_deadline(client, answer);
        resumed.find_node().await?;
        Ok(EventStream(resumed))
    }

    /// Returns the position up to which the read sees all events.
    pub fn as_of(&self) -> Position {
        self.0.answer.point.map_or(Position::ZERO, |point| point.as_of)
    }

    /// Returns the version of the stream at that point; 0 if the read is of a query.
    pub fn version(&self) -> Version {
        self.0.answer.point.and_then(|point| point.version).unwrap_or_default()
    }

    /// Returns the snapshot that the events follow, if it was requested and there is one.
    pub fn snapshot(&self) -> Option<&RecordedSnapshot> {
        self.0.answer.remaining.snapshot.as_ref()
    }

    /// Returns the schema of the kept snapshot, if it is newer than [`crate::ReadRequest::snapshot_schema_max`] and was
    /// passed over.
    pub fn snapshot_schema_passed_over(&self) -> Option<u32> {
        self.0.answer.remaining.snapshot_schema_passed_over
    }

    pub(crate) fn take_snapshot(self) -> Option<RecordedSnapshot> {
        self.0.answer.remaining.snapshot
    }

    /// Returns the next event; `None` at the end. Cancelling the future loses nothing.
    pub async fn try_next(&mut self) -> Result<Option<RecordedEvent>, Problem> {
        self.0.try_next().await
    }

    /// Reads the rest of the events into memory.
    pub(crate) async fn collect(mut self) -> Result<Events, Problem> {
        let events = self.0.collect().await?;
        let (version, as_of) = (self.version(), self.as_of());
        let snapshot_schema_passed_over = self.snapshot_schema_passed_over();
        let snapshot = self.take_snapshot();
        Ok(Events { events, version, as_of, snapshot, snapshot_schema_passed_over })
    }

    /// Converts this into a stream of `futures`, which ends after an error. Call [`EventStream::as_of`] and
    /// [`EventStream::version`] before.
    ///
    /// ```no_run
    /// # async fn example(client: quorate_client::Client) -> Result<(), quorate_client::Problem> {
    /// use futures_util::{StreamExt, TryStreamExt};
    /// let events = client.read("order-42").stream().await?.into_stream();
    /// let kinds: Vec<_> = events.take(10).map_ok(|event| event.kind.clone()).try_collect().await?;
    /// # let _ = kinds; Ok(()) }
    /// ```
    pub fn into_stream(self) -> BoxStream<'static, Result<RecordedEvent, Problem>> {
        self.0.into_stream()
    }
}

/// The events that were read, and the point at which the read was evaluated.
///
/// ```no_run
/// # async fn example(client: quorate_client::Client) -> Result<(), Box<dyn std::error::Error>> {
/// use quorate_client::{Event, Expect};
/// let order = client.read("order-42").collect().await?;
/// if order.events.iter().all(|event| event.kind.as_str() != "OrderPaid") {
///     let reminded = Event::new("OrderReminded", "{}")?;
///     client.append("order-42", Expect::version(order.version), [reminded]).await?;
/// }
/// # Ok(()) }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Events {
    /// The events.
    pub events: Vec<RecordedEvent>,
    /// The version of the stream at that point, also when no event or only a part was read: the version to expect in
    /// the next append. 0 if the read was of a query.
    pub version: Version,
    /// The position up to which the read has seen all events.
    pub as_of: Position,
    /// The snapshot that the events follow, if it was requested and there is one.
    pub snapshot: Option<RecordedSnapshot>,
    /// The schema of the kept snapshot, if it is newer than [`crate::ReadRequest::snapshot_schema_max`] and was passed
    /// over: then `events` holds all events that there are, and they follow no snapshot.
    pub snapshot_schema_passed_over: Option<u32>,
}

type Ready = VecDeque<RecordedEvent>;

#[derive(Clone, Copy, Debug)]
struct Point {
    as_of: Position,
    version: Option<Version>,
}

/// The answer to a read.
///
/// Invariant: once the point is known, the rest is requested as of that point, and nothing newer; a node that cannot
/// give all of it fails.
#[derive(Debug)]
struct ReadAnswer {
    remaining: Remaining,
    point: Option<Point>,
}

impl Answer for ReadAnswer {
    type Message = ReadResponse;
    type Item = RecordedEvent;

    fn request(&self, node: EventsNode, time_left_ms: u64) -> Answering<ReadResponse> {
        self.remaining.request(node, time_left_ms)
    }

    fn begin(&mut self, first: ReadResponse, _: &mut Ready) -> Result<Received, Problem> {
        let point = self.remaining.begin(first)?;
        if self.point.is_none() {
            self.set_point(&point);
        }
        Ok(Received::Beginning)
    }

    fn take(&mut self, response: ReadResponse, ready: &mut Ready) -> Result<Received, Problem> {
        match response.message {
            Some(Message::Events(batch)) if batch.is_empty() => Ok(Received::Work),
            Some(Message::Events(batch)) => {
                let mut events = self.remaining.decode(&batch)?;
                // One that is not accepted ends the answer behind those that are taken in, which are not requested again.
                let mut refused = None;
                let is_taken = |event: &&RecordedEvent| {
                    self.remaining.take(event).map_err(|problem| refused = Some(problem)).is_ok()
                };
                let taken = events.iter().take_while(is_taken).count();
                events.truncate(taken);
                if ready.is_empty() {
                    // This copies no event.
                    *ready = events.into();
                } else {
                    ready.extend(events);
                }
                refused.map_or(Ok(Received::Progress), Err)
            }
            Some(Message::End(_)) => Ok(Received::End),
            _ => Err(not_understood("a message is none that ends by itself")),
        }
    }

    fn is_exhausted(&self) -> bool {
        self.point.is_some() && self.remaining.is_exhausted()
    }
}

impl ReadAnswer {
    fn set_point(&mut self, point: &ReadPoint) {
        let (as_of, version) = (Position(point.as_of), point.version.map(Version));
        self.point = Some(Point { as_of, version });
        let is_of_stream = self.remaining.is_of_stream();
        let top = if is_of_stream { point.version.unwrap_or_default() } else { point.as_of };
        let before = top.saturating_add(1);
        let read = &mut self.remaining.read;
        read.bounds.before = Some(read.bounds.before.map_or(before, |own| own.min(before)));
        read.consistency = Consistency::AtLeast(as_of);
        read.continues = Some(LogPoint {
            position: as_of,
            log_index: LogIndex(point.log_index),
            log_time: Timestamp(point.log_time),
        });
    }
}
