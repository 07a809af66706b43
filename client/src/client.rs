//! The client: its construction, and the nodes that it knows.

use std::future::Future;
use std::hash::{BuildHasher, RandomState};
use std::io;
use std::sync::Arc;
use std::time::Duration;

use quorate_proto::limits::{APPEND_BYTES_MAX, DEADLINE_MS_DEFAULT, DEADLINE_MS_MAX};
use quorate_proto::wire::v1::StatusResponse;
use quorate_proto::{Invalid, Problem};
use tokio::sync::{Semaphore, mpsc};
use tokio::time::Instant;

use crate::connection::Headers;
use crate::connector::{Connector, Transport};
use crate::driver;
use crate::in_flight::InFlightAppend;
use crate::members::{self, GREETING_TIME, learn};
use crate::nodes::Nodes;
use crate::trouble::not_appended;
use crate::url::Url;

/// The default number of appends that may be under way at once.
const APPENDS_IN_FLIGHT_DEFAULT: usize = 1024;
/// The default number of bytes of appends that may be under way at once.
const BYTES_IN_FLIGHT_DEFAULT: usize = 16 * 1024 * 1024;
/// The longest deadline: a moment further away might be beyond what a clock can represent.
const DEADLINE_MAX: Duration = Duration::from_millis(DEADLINE_MS_MAX);

/// A connection to a cluster. Cheap to clone; all clones share one pipelined session for their appends,
/// which keeps the order of the appends to one stream.
///
/// ```no_run
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// use quorate_client::{Client, Event, Expect};
/// let client = Client::connect(["127.0.0.1:7701", "127.0.0.1:7702"]).await?;
/// client.append("order-42", Expect::None, [Event::json("OrderPlaced", &50)?]).await?;
/// for event in client.read("order-42").collect().await?.events {
///     println!("{} {}", event.version, event.kind);
/// }
/// # Ok(()) }
/// ```
#[derive(Clone, Debug)]
pub struct Client {
    pub(crate) shared: Arc<Shared>,
    pub(crate) deadline: Duration,
}

#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) nodes: Arc<Nodes>,
    pub(crate) submissions: mpsc::UnboundedSender<InFlightAppend>,
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

    /// Connects as described by a URL, which a program takes from its configuration:
    /// `quorate://HOST:PORT,HOST:PORT?timeout=30s`. See [`Builder::url`] for its options.
    ///
    /// ```no_run
    /// # async fn example() -> Result<(), quorate_client::Problem> {
    /// use quorate_client::Client;
    /// let client = Client::connect_url("quorate://127.0.0.1:7701,127.0.0.1:7702?timeout=30s").await?;
    /// # let _ = client; Ok(()) }
    /// ```
    pub async fn connect_url(url: impl AsRef<str>) -> Result<Client, Problem> {
        Client::builder().url(url)?.connect().await
    }

    /// Returns a builder, which can set all options.
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
            headers: Headers::default(),
        }
    }

    /// Returns the same client with another deadline for an append, or for a read that makes no progress.
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
}

/// The options of a [`Client`] before it is made.
///
/// ```no_run
/// # async fn example() -> Result<(), quorate_client::Problem> {
/// use std::time::Duration;
/// use quorate_client::Client;
/// let nearest_first = Client::builder()
///     .endpoints(["10.0.0.1:7701", "10.0.1.1:7701"])
///     .in_order(true)
///     .deadline(Duration::from_secs(3));
/// let client = nearest_first.connect().await?;
/// # let _ = client; Ok(()) }
/// ```
#[derive(Debug)]
pub struct Builder {
    endpoints: Vec<String>,
    pinned: bool,
    in_order: bool,
    deadline: Duration,
    appends_in_flight: usize,
    bytes_in_flight: usize,
    connector: Connector,
    headers: Headers,
}

impl Builder {
    /// Adds addresses (`host:port`, `[::1]:port`) of some nodes; each may also be a list of them with commas.
    #[must_use]
    pub fn endpoints<A: Into<String>>(mut self, endpoints: impl IntoIterator<Item = A>) -> Builder {
        self.endpoints.extend(endpoints.into_iter().map(Into::into));
        self
    }

    /// Takes over the contents of a URL: `quorate://HOST:PORT,HOST:PORT?OPTION=VALUE&OPTION=VALUE`. Its addresses are
    /// added to the endpoints. The options are `timeout` (the [deadline](Builder::deadline): `500ms`, `30s`, `5m`),
    /// `pinned` and `in_order` (`true` or `false`).
    ///
    /// ```
    /// use quorate_client::Client;
    /// assert!(Client::builder().url("quorate://a:7701,b:7701?timeout=30s&in_order=true").is_ok());
    /// assert!(Client::builder().url("quorate://a:7701?tiemout=30s").is_err());
    /// ```
    pub fn url(self, url: impl AsRef<str>) -> Result<Builder, Invalid> {
        let Url { endpoints, timeout, pinned, in_order } = Url::parse(url.as_ref())?;
        let (deadline, builder) = (timeout.unwrap_or(self.deadline), self.endpoints(endpoints));
        let pinned = pinned.unwrap_or(builder.pinned);
        let in_order = in_order.unwrap_or(builder.in_order);
        Ok(builder.deadline(deadline).pinned(pinned).in_order(in_order))
    }

    /// Uses the given nodes only, never other members that they report: these nodes serve the reads, and forward
    /// the appends.
    #[must_use]
    pub fn pinned(mut self, pinned: bool) -> Builder {
        self.pinned = pinned;
        self
    }

    /// Asks the first endpoint, for example the nearest, and another only when it fails. Otherwise a client begins
    /// with a random endpoint, and each of its subscriptions with the next one, so that many spread over the nodes.
    #[must_use]
    pub fn in_order(mut self, in_order: bool) -> Builder {
        self.in_order = in_order;
        self
    }

    /// Sets the time limit of an append, or of a read that makes no progress; 10 s by default.
    /// More than 24 hours count as 24 hours.
    #[must_use]
    pub fn deadline(mut self, deadline: Duration) -> Builder {
        self.deadline = deadline.min(DEADLINE_MAX);
        self
    }

    /// Sets the number of appends that may be under way at once, 1,024 by default; the next one waits.
    #[must_use]
    pub fn appends_in_flight(mut self, appends: usize) -> Builder {
        self.appends_in_flight = appends.clamp(1, Semaphore::MAX_PERMITS);
        self
    }

    /// Sets the number of bytes of appends that may be under way at once, 16 MiB by default; the next append
    /// waits. The number is at least the largest size of one append.
    #[must_use]
    pub fn bytes_in_flight(mut self, bytes: usize) -> Builder {
        self.bytes_in_flight = bytes.clamp(APPEND_BYTES_MAX, u32::MAX as usize);
        self
    }

    /// Adds headers to every request, also to repeated ones, for example a token. `add` is called each time, so that a
    /// token may be exchanged for a newer one, and must not block.
    ///
    /// ```no_run
    /// # async fn example() -> Result<(), quorate_client::Problem> {
    /// use quorate_client::{Client, http};
    /// let token = http::HeaderValue::from_static("Bearer …");
    /// let client = Client::builder()
    ///     .endpoints(["127.0.0.1:7701"])
    ///     .headers(move |headers| drop(headers.insert(http::header::AUTHORIZATION, token.clone())))
    ///     .connect()
    ///     .await?;
    /// # let _ = client; Ok(()) }
    /// ```
    #[must_use]
    pub fn headers(
        mut self,
        add: impl Fn(&mut http::HeaderMap) + Send + Sync + 'static,
    ) -> Builder {
        self.headers = Headers::new(add);
        self
    }

    /// Makes connections in another way than over TCP: with TLS, through a tunnel, or in a simulation. `connect` gets
    /// the `host:port`.
    ///
    /// ```no_run
    /// # async fn example() -> Result<(), quorate_client::Problem> {
    /// use quorate_client::Client;
    /// // A node whose port is reached through a socket on this machine.
    /// let tunnel = |_address: String| tokio::net::UnixStream::connect("/run/quorate/tunnel");
    /// let client = Client::builder().endpoints(["node-1:7701"]).connector(tunnel).connect().await?;
    /// # let _ = client; Ok(()) }
    /// ```
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

    /// Makes the client and asks the nodes, one after the other, until one answers within the client's deadline.
    /// That node names the others, and the client goes on with a random node that it can reach, unless it is pinned
    /// or keeps the order: so clients that are all given the same endpoint spread over the nodes, too.
    pub async fn connect(self) -> Result<Client, Problem> {
        let client = self.build()?;
        client.greet().await?;
        Ok(client)
    }

    /// Makes the client without asking a node: it connects when it is used. Must be called within a
    /// tokio runtime.
    pub fn build(self) -> Result<Client, Invalid> {
        let chance = (!self.in_order).then(by_chance);
        let nodes = Nodes::new(self.endpoints, self.pinned, chance, self.connector)?;
        let nodes = Arc::new(nodes.with_headers(self.headers));
        // The semaphores bound the channel: each append in it holds its share of them.
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
    /// Finds a node that answers, and learns of the other nodes from it in the background.
    async fn greet(&self) -> Result<(), Problem> {
        let nodes = &self.shared.nodes;
        let answer = self.ask_in_turn(true, GREETING_TIME).await;
        answer.map(|(address, greeted)| {
            tokio::spawn(learn(Arc::clone(nodes), address, greeted));
        })
    }

    /// Returns the status from the first node that answers, and the node's address. Each node is asked before the
    /// client's deadline, however many there are.
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
        Err(not_appended(last))
    }
}

/// Returns a number that differs from client to client.
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
