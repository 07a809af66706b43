//! The client: how it is made, and what it can be asked.

use std::future::Future;
use std::hash::{BuildHasher, RandomState};
use std::io;
use std::sync::Arc;
use std::time::Duration;

use quorate_proto::limits::{APPEND_BYTES_MAX, DEADLINE_MS_DEFAULT, DEADLINE_MS_MAX};
use quorate_proto::wire::v1::StatusResponse;
use quorate_proto::{Category, Invalid, Listed, Outcome, Path, Problem, StreamName};
use tokio::sync::{Semaphore, mpsc};
use tokio::time::Instant;

use crate::append::{AppendError, Done, Expect, UnknownAppend};
use crate::connector::{Connector, Transport};
use crate::driver;
use crate::event::Event;
use crate::flights::Flight;
use crate::members::{self, GREETING_TIME, learn};
use crate::names::ListRequest;
use crate::nodes::Nodes;
use crate::query::Source;
use crate::read::ReadRequest;
use crate::stream::{ScopeRef, StreamRef};
use crate::transaction::Transaction;

/// How many appends may be under way at once.
const APPENDS_IN_FLIGHT_DEFAULT: usize = 1024;
/// How many bytes of appends may be under way at once.
const BYTES_IN_FLIGHT_DEFAULT: usize = 16 * 1024 * 1024;
/// The longest deadline: a moment further away might not be one that a clock can tell.
const DEADLINE_MAX: Duration = Duration::from_millis(DEADLINE_MS_MAX);

/// A connection to a cluster. Cheap to clone; all clones share one pipelined session for their appends,
/// which keeps the order of the appends to one stream.
#[derive(Clone)]
pub struct Client {
    pub(crate) shared: Arc<Shared>,
    pub(crate) deadline: Duration,
}

pub(crate) struct Shared {
    pub(crate) nodes: Arc<Nodes>,
    pub(crate) submissions: mpsc::UnboundedSender<Flight>,
    pub(crate) appends_left: Arc<Semaphore>,
    pub(crate) bytes_left: Arc<Semaphore>,
    pub(crate) bytes_in_flight: usize,
}

impl Client {
    /// Connects to a cluster through some of its nodes (`host:port`); the others are found through them.
    ///
    /// # Errors
    /// `Unavailable` if none of them answers, `Invalid` if one is no address.
    ///
    /// ```no_run
    /// # async fn example() -> Result<(), quorate_client::Problem> {
    /// use quorate_client::Client;
    /// let client = Client::connect(["127.0.0.1:7701", "127.0.0.1:7702", "127.0.0.1:7703"]).await?;
    /// # let _ = client; Ok(()) }
    /// ```
    pub async fn connect<A: Into<String>>(
        endpoints: impl IntoIterator<Item = A>,
    ) -> Result<Client, Problem> {
        Client::builder().endpoints(endpoints).connect().await
    }

    /// For everything that can be set.
    ///
    /// ```no_run
    /// # async fn example() -> Result<(), quorate_client::Problem> {
    /// use std::time::Duration;
    /// use quorate_client::Client;
    /// let client = Client::builder()
    ///     .endpoints(["127.0.0.1:7701"])
    ///     .deadline(Duration::from_secs(30))
    ///     .connect()
    ///     .await?;
    /// # let _ = client; Ok(()) }
    /// ```
    pub fn builder() -> Builder {
        Builder {
            endpoints: Vec::new(),
            pinned: false,
            in_order: false,
            deadline: Duration::from_millis(DEADLINE_MS_DEFAULT),
            appends_in_flight: APPENDS_IN_FLIGHT_DEFAULT,
            bytes_in_flight: BYTES_IN_FLIGHT_DEFAULT,
            connector: Connector::tcp(),
        }
    }

    /// The same client, going on for so long with an append, or with a read that makes no progress.
    /// More than 24 hours count as 24 hours.
    ///
    /// ```no_run
    /// # fn example(client: quorate_client::Client) {
    /// let patient = client.with_deadline(std::time::Duration::from_secs(60));
    /// # let _ = patient; }
    /// ```
    #[must_use]
    pub fn with_deadline(&self, deadline: Duration) -> Client {
        Client { shared: Arc::clone(&self.shared), deadline: deadline.min(DEADLINE_MAX) }
    }

    /// Reads a stream, by its name, or what a [`crate::Query`] finds.
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

    /// Appends events to one stream: all of them, or none. When this returns `Ok`, they are on the disks
    /// of a majority of the nodes.
    ///
    /// If the future is dropped the append goes on, and its outcome is lost.
    ///
    /// ```no_run
    /// # async fn example(client: quorate_client::Client) -> Result<(), Box<dyn std::error::Error>> {
    /// use quorate_client::{AppendError, Event, Expect};
    /// let order = client.read("order-42").collect().await?;
    /// let paid = Event::json("OrderPaid", &serde_json::json!({ "total": 50 }))?;
    /// match client.append("order-42", Expect::Version(order.version), [paid]).await {
    ///     Ok(done) => println!("version {}, position {}", done.version, done.position),
    ///     Err(AppendError::Conflict(c)) => println!("{} is at {}: decide again", c.stream, c.actual),
    ///     Err(AppendError::Unknown(append)) => drop(client.repeat(append).await?),
    ///     Err(other) => return Err(other.into()),
    /// }
    /// # Ok(()) }
    /// ```
    pub async fn append(
        &self,
        stream: impl AsRef<str>,
        expect: Expect,
        events: impl IntoIterator<Item = Event>,
    ) -> Result<Done, AppendError> {
        self.transaction().write(stream, expect, events).commit().await
    }

    /// Begins an append to several streams, or one that also looks at streams it does not write, or at what a
    /// query finds.
    ///
    /// ```no_run
    /// # async fn example(client: quorate_client::Client) -> Result<(), Box<dyn std::error::Error>> {
    /// use quorate_client::{Event, Expect, Query};
    /// let withdrawn = Event::json("Withdrawn", &50)?;
    /// let deposited = Event::json("Deposited", &50)?;
    /// let done = client
    ///     .transaction()
    ///     .write("account-1", Expect::Version(9), [withdrawn])
    ///     .write("account-2", Expect::Exists, [deposited])
    ///     .require("limits-7", Expect::Version(3))
    ///     .unless(Query::item().types(["Frozen"]).tags(["owner:7"]), 120)
    ///     .commit()
    ///     .await?;
    /// println!("versions {:?}, position {}", done.versions, done.position);
    /// # Ok(()) }
    /// ```
    pub fn transaction(&self) -> Transaction {
        Transaction::new(self.clone())
    }

    /// One stream: its settings, its end, the snapshot of its state.
    ///
    /// ```no_run
    /// # async fn example(client: quorate_client::Client) -> Result<(), Box<dyn std::error::Error>> {
    /// use quorate_client::Settings;
    /// client.stream("order-42").set(Settings::new().max_count(100)).await?;
    /// println!("{:?}", client.stream("order-42").show().await?);
    /// # Ok(()) }
    /// ```
    pub fn stream(&self, name: impl AsRef<str>) -> StreamRef {
        StreamRef::new(self.clone(), StreamName::new(name))
    }

    /// All streams of a category, in whatever path: their settings.
    ///
    /// ```no_run
    /// # async fn example(client: quorate_client::Client) -> Result<(), Box<dyn std::error::Error>> {
    /// use quorate_client::Settings;
    /// client.category("order").set(Settings::new().max_count(1000)).await?;
    /// # Ok(()) }
    /// ```
    pub fn category(&self, name: impl AsRef<str>) -> ScopeRef {
        ScopeRef::category(self.clone(), Category::new(name))
    }

    /// All streams in a path: their settings.
    ///
    /// ```no_run
    /// # async fn example(client: quorate_client::Client) -> Result<(), Box<dyn std::error::Error>> {
    /// println!("{:?}", client.path("acme/eu").show().await?.settings);
    /// # Ok(()) }
    /// ```
    pub fn path(&self, name: impl AsRef<str>) -> ScopeRef {
        ScopeRef::path(self.clone(), Path::new(name))
    }

    /// Lists streams, by name, with how many events each has and where it is.
    ///
    /// ```no_run
    /// # async fn example(client: quorate_client::Client) -> Result<(), quorate_client::Problem> {
    /// let tenant = client.streams().in_path("acme").limit(100).collect().await?;
    /// # let _ = tenant; Ok(()) }
    /// ```
    pub fn streams(&self) -> ListRequest {
        ListRequest::new(self.clone(), Listed::Streams)
    }

    /// Lists the categories of streams, by name, with how many events were recorded in each.
    ///
    /// ```no_run
    /// # async fn example(client: quorate_client::Client) -> Result<(), quorate_client::Problem> {
    /// for category in client.categories().collect().await? {
    ///     println!("{} {:?}", category.name, category.events);
    /// }
    /// # Ok(()) }
    /// ```
    pub fn categories(&self) -> ListRequest {
        ListRequest::new(self.clone(), Listed::Categories)
    }

    /// Lists the paths that streams lie in, by name, with how many events were recorded in each.
    ///
    /// ```no_run
    /// # async fn example(client: quorate_client::Client) -> Result<(), quorate_client::Problem> {
    /// let below = client.paths().prefix("acme/").collect().await?;
    /// # let _ = below; Ok(()) }
    /// ```
    pub fn paths(&self) -> ListRequest {
        ListRequest::new(self.clone(), Listed::Paths)
    }

    /// Lists the types of events, by name, with how many were recorded of each.
    ///
    /// ```no_run
    /// # async fn example(client: quorate_client::Client) -> Result<(), quorate_client::Problem> {
    /// let types = client.types().collect().await?;
    /// # let _ = types; Ok(()) }
    /// ```
    pub fn types(&self) -> ListRequest {
        ListRequest::new(self.clone(), Listed::Types)
    }

    /// Sends an append again of which it is not known whether it is in the log. If it is, the answer is
    /// its first answer.
    ///
    /// ```no_run
    /// # async fn example(client: quorate_client::Client, append: quorate_client::UnknownAppend)
    /// # -> Result<(), quorate_client::AppendError> {
    /// let done = client.repeat(append).await?;
    /// println!("it is there: version {}", done.version);
    /// # Ok(()) }
    /// ```
    pub async fn repeat(&self, unknown: UnknownAppend) -> Result<Done, AppendError> {
        Transaction::again(self.clone(), unknown).commit().await
    }
}

/// How a [`Client`] is made.
pub struct Builder {
    endpoints: Vec<String>,
    pinned: bool,
    in_order: bool,
    deadline: Duration,
    appends_in_flight: usize,
    bytes_in_flight: usize,
    connector: Connector,
}

impl Builder {
    /// Addresses (`host:port`, `[::1]:port`) of some nodes; each may also be a list of them with commas.
    #[must_use]
    pub fn endpoints<A: Into<String>>(mut self, endpoints: impl IntoIterator<Item = A>) -> Builder {
        self.endpoints.extend(endpoints.into_iter().map(Into::into));
        self
    }

    /// Asks the given nodes only, never others that they tell of: reads are theirs, and appends are
    /// forwarded by them.
    #[must_use]
    pub fn pinned(mut self, pinned: bool) -> Builder {
        self.pinned = pinned;
        self
    }

    /// Asks the first endpoint, and another only when it fails: the first is the nearest, say. Otherwise a client begins
    /// with one of them by chance, and each of its feeds with the next, so that many spread over the nodes.
    #[must_use]
    pub fn in_order(mut self, in_order: bool) -> Builder {
        self.in_order = in_order;
        self
    }

    /// How long to go on with an append, or with a read that makes no progress; 10 s unless told.
    /// More than 24 hours count as 24 hours.
    #[must_use]
    pub fn deadline(mut self, deadline: Duration) -> Builder {
        self.deadline = deadline.min(DEADLINE_MAX);
        self
    }

    /// How many appends may be under way at once, 1,024 unless told; the next one waits.
    #[must_use]
    pub fn appends_in_flight(mut self, appends: usize) -> Builder {
        self.appends_in_flight = appends.clamp(1, Semaphore::MAX_PERMITS);
        self
    }

    /// How many bytes of appends may be under way at once, 16 MiB unless told; the next one waits. At
    /// least what one append may have.
    #[must_use]
    pub fn bytes_in_flight(mut self, bytes: usize) -> Builder {
        self.bytes_in_flight = bytes.clamp(APPEND_BYTES_MAX, u32::MAX as usize);
        self
    }

    /// Makes connections in another way than over TCP: in a simulation, or through a tunnel. It is given
    /// the `host:port`.
    #[must_use]
    pub fn connector<F, C, T>(mut self, connect: F) -> Builder
    where
        F: Fn(String) -> C + Send + Sync + 'static,
        C: Future<Output = io::Result<T>> + Send + 'static,
        T: Transport,
    {
        self.connector = Connector::new(connect);
        self
    }

    /// Makes the client and asks the nodes, one after the other, until one answers within the client's deadline. From
    /// that one it learns of the others, and goes on with one that it can reach from here, by chance, unless it is
    /// pinned or told to keep the order: so clients that are all given one endpoint spread over the nodes too.
    pub async fn connect(self) -> Result<Client, Problem> {
        let client = self.build()?;
        client.greet().await?;
        Ok(client)
    }

    /// Makes the client without asking a node: it connects when it is used. Must be called within a
    /// tokio runtime.
    pub fn build(self) -> Result<Client, Invalid> {
        let nodes = Arc::new(Nodes::new(
            self.endpoints,
            self.pinned,
            (!self.in_order).then(by_chance),
            self.connector,
        )?);
        // Bounded by the semaphores: what is in the channel holds its share of them.
        let (submissions, submitted) = mpsc::unbounded_channel();
        tokio::spawn(driver::run(Arc::clone(&nodes), submitted));
        let shared = Shared {
            nodes,
            submissions,
            appends_left: Arc::new(Semaphore::new(self.appends_in_flight)),
            bytes_left: Arc::new(Semaphore::new(self.bytes_in_flight)),
            bytes_in_flight: self.bytes_in_flight,
        };
        Ok(Client { shared: Arc::new(shared), deadline: self.deadline })
    }
}

impl Client {
    /// Finds a node that answers, and has the others learned from it while work goes on.
    async fn greet(&self) -> Result<(), Problem> {
        let nodes = &self.shared.nodes;
        let answer = self.ask_in_turn(true, GREETING_TIME).await;
        answer.map(|(address, greeted)| {
            tokio::spawn(learn(Arc::clone(nodes), address, greeted));
        })
    }

    /// The status that the first node tells which answers, and its address. Each node is asked before the client's
    /// deadline, however many there are.
    pub(crate) async fn ask_in_turn(
        &self,
        only_self: bool,
        time_max: Duration,
    ) -> Result<(String, StatusResponse), Problem> {
        let nodes = &self.shared.nodes;
        let give_up_at = Instant::now() + self.deadline;
        let order = nodes.for_reads();
        let mut last = None;
        for (address, waiting) in order.iter().zip((1..=order.len() as u32).rev()) {
            let left = give_up_at.saturating_duration_since(Instant::now());
            match members::ask(nodes, address, only_self, time_max.min(left / waiting)).await {
                Ok(status) => return Ok((address.clone(), status)),
                Err(problem) => last = Some(problem),
            }
            nodes.failed(address);
        }
        let last = last.expect("a client has at least one endpoint");
        Err(Problem { outcome: Outcome::NotAppended, ..last })
    }
}

/// A number that differs from client to client.
fn by_chance() -> usize {
    RandomState::new().hash_one(()) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_deadline_is_a_day_at_most() {
        let builder = Client::builder().endpoints(["127.0.0.1:1"]).deadline(Duration::MAX);
        let client = builder.build().expect("a client");
        assert_eq!(client.deadline, DEADLINE_MAX);
        assert_eq!(client.with_deadline(Duration::MAX).deadline, DEADLINE_MAX);
        assert_eq!(client.with_deadline(Duration::from_secs(1)).deadline, Duration::from_secs(1));
    }
}
