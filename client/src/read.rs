//! Reads before they are sent: their sources, bounds and demands.

use quorate_proto::{
    self as proto, Consistency, CorrelationId, Direction, ErrorKind, Invalid, Position, Problem,
    QueryItem, Source as ProtoSource, Timestamp, Version,
};

use crate::client::Client;
use crate::event_stream::{EventStream, Events};
use crate::query::{Source, tags_of, types_of};
use crate::subscription::Subscription;

/// The number of times that a read into memory begins, at most: each further one takes a node that is lost within the
/// read, and events that are removed meanwhile.
const BEGINNINGS_MAX: u32 = 5;

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
        self.narrow(types_of(types), |item, types| item.types.extend_from_slice(types))
    }

    /// Selects only events that have all of these tags.
    pub fn tags<T: AsRef<str>>(self, tags: impl IntoIterator<Item = T>) -> ReadRequest {
        self.narrow(tags_of(tags), |item, tags| item.tags.extend_from_slice(tags))
    }

    /// Selects only events with this correlation id.
    pub fn correlation(self, id: impl AsRef<str>) -> ReadRequest {
        self.narrow(CorrelationId::new(id), |item, id| item.correlation = Some(id.clone()))
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
    pub fn after(self, place: impl Into<Place>) -> ReadRequest {
        self.with(|read| read.bounds.after = place.into().0)
    }

    /// Selects only events before this version (of a stream) or position (of a query).
    pub fn before(self, place: impl Into<Place>) -> ReadRequest {
        self.with(|read| read.bounds.before = Some(place.into().0))
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
    pub fn at_least(self, position: impl Into<Position>) -> ReadRequest {
        self.consistency(Consistency::AtLeast(position.into()))
    }

    /// Reads whatever the answering node has.
    pub fn local(self) -> ReadRequest {
        self.consistency(Consistency::Local)
    }

    /// Reads all events into memory, as of one point. Begins again, a few times, if the node was lost and events that
    /// the rest should hold were removed meanwhile.
    pub async fn collect(self) -> Result<Events, Problem> {
        let ReadRequest { client, read } = self;
        let read = read?;
        for _ in 1..BEGINNINGS_MAX {
            match EventStream::begin(client.clone(), read.clone()).await?.collect().await {
                Err(problem) if problem.kind == ErrorKind::Removed => {
                    tracing::debug!(%problem, "the read begins again");
                }
                collected => return collected,
            }
        }
        EventStream::begin(client, read).await?.collect().await
    }

    /// Begins to read: returns when a node has reported the point at which the read is evaluated. An error of kind
    /// `Removed` may end the events, see [`EventStream`].
    pub async fn stream(self) -> Result<EventStream, Problem> {
        EventStream::begin(self.client, self.read?).await
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

    /// Adds a demand on the events of the stream, or on those of each item of the query.
    fn narrow<D>(
        self,
        demand: Result<D, Invalid>,
        add: impl Fn(&mut QueryItem, &D),
    ) -> ReadRequest {
        let read = self.read.and_then(|mut read| {
            let demand = demand?;
            match &mut read.source {
                ProtoSource::Stream { types, tags, correlation, .. } => {
                    let mut item = QueryItem::default();
                    add(&mut item, &demand);
                    types.extend(item.types);
                    tags.extend(item.tags);
                    *correlation = item.correlation.or(correlation.take());
                }
                ProtoSource::Query(query) => {
                    if query.items.is_empty() {
                        query.items.push(QueryItem::default());
                    }
                    query.items.iter_mut().for_each(|item| add(item, &demand));
                }
            }
            Ok(read)
        });
        ReadRequest { read, ..self }
    }

    fn with(mut self, change: impl FnOnce(&mut proto::Read)) -> ReadRequest {
        if let Ok(read) = &mut self.read {
            change(read);
        }
        self
    }
}

impl Client {
    /// Reads a stream, by its name, or the events that a [`crate::Query`] finds.
    ///
    /// ```no_run
    /// # async fn example(client: quorate_client::Client) -> Result<(), quorate_client::Problem> {
    /// use quorate_client::Query;
    /// let order = client.read("order-42").collect().await?;
    /// println!("{} events, version {}", order.events.len(), order.version);
    ///
    /// let mut payments = client.read(Query::category("order").types(["OrderPaid"])).stream().await?;
    /// while let Some(event) = payments.try_next().await? {
    ///     println!("{} {}", event.position, event.stream);
    /// }
    /// # Ok(()) }
    /// ```
    pub fn read(&self, source: impl Into<Source>) -> ReadRequest {
        ReadRequest::new(self.clone(), source.into())
    }
}

/// A place that bounds a read: a version of a stream, or a position of the log for a query.
///
/// ```no_run
/// # async fn example(client: quorate_client::Client) -> Result<(), quorate_client::Problem> {
/// use quorate_client::{Query, Version};
/// let newer = client.read("order-42").after(Version(3)).collect().await?;
/// let page = client.read(Query::category("order")).after(newer.as_of).limit(100).collect().await?;
/// # let _ = page; Ok(()) }
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Place(u64);

impl From<Version> for Place {
    fn from(version: Version) -> Place {
        Place(version.0)
    }
}

impl From<Position> for Place {
    fn from(position: Position) -> Place {
        Place(position.0)
    }
}

impl From<u64> for Place {
    fn from(number: u64) -> Place {
        Place(number)
    }
}
