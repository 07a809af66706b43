//! Appends on their way out: what they are made of, and their place in the session.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use quorate_proto::{
    Append, Change, Condition, ErrorKind, Event as ProtoEvent, Expectation, Invalid, Outcome,
    Position, Problem, Requirement, StreamName, Write,
};
use tokio::sync::{OwnedSemaphorePermit, oneshot};
use tokio::time::Instant;

use crate::append::{AppendError, Done, UnknownAppend, Unresolved};
use crate::client::{Client, Shared};
use crate::event::Event;
use crate::in_flight::InFlightAppend;
use crate::outcome::Attempts;
use crate::query::Query;

/// An append in the making: all its events come to stand at consecutive positions, or none.
///
/// Names are checked when it is sent, so that it can be written in one expression.
///
/// ```no_run
/// # async fn example(client: quorate_client::Client) -> Result<(), Box<dyn std::error::Error>> {
/// use quorate_client::{Event, Expect};
/// let (taken, given) = (Event::json("MoneyTaken", &20)?, Event::json("MoneyGiven", &20)?);
/// let done = client
///     .transaction()
///     .write("account-1", Expect::version(7), [taken])
///     .write("account-2", Expect::Exists, [given])
///     .commit()
///     .await?;
/// println!("both are at version {:?}", done.versions);
/// # Ok(()) }
/// ```
#[derive(Debug)]
#[must_use = "nothing is sent before `commit` or `submit`"]
pub struct Transaction {
    client: Client,
    append: Result<Append, Invalid>,
    settled_at: Option<Instant>,
}

impl Transaction {
    pub(crate) fn new(client: Client) -> Transaction {
        Transaction { client, append: Ok(Append::default()), settled_at: None }
    }

    /// The append that makes a change.
    pub(crate) fn of_change(client: Client, change: Result<Change, Invalid>) -> Transaction {
        let append = change.and_then(|change| change.to_append());
        Transaction { client, append, settled_at: None }
    }

    pub(crate) fn again(client: Client, unknown: UnknownAppend) -> Transaction {
        let Unresolved { append, settled_at, .. } = unknown.into_unresolved();
        Transaction { client, append: Ok(append), settled_at: Some(settled_at) }
    }

    /// Events for a stream; each stream once.
    pub fn write(
        self,
        stream: impl AsRef<str>,
        expect: Expectation,
        events: impl IntoIterator<Item = Event>,
    ) -> Transaction {
        self.and(|append| {
            let stream = StreamName::new(stream)?;
            let events = events.into_iter().map(ProtoEvent::try_from).collect::<Result<_, _>>()?;
            append.writes.push(Write { stream, expectation: expect, events });
            Ok(())
        })
    }

    /// A demand on a stream that is not written.
    pub fn require(self, stream: impl AsRef<str>, expect: Expectation) -> Transaction {
        self.and(|append| {
            let stream = StreamName::new(stream)?;
            append.requirements.push(Requirement { stream, expectation: expect });
            Ok(())
        })
    }

    /// A demand on the log: no event after the position `after` matches the query. What is decided from a
    /// query is appended so: `after` is the `as_of` of the read that found what there was.
    ///
    /// A condition looks at what is there when the append is judged: at nothing that was removed by then. What
    /// violates it counts as there while its deletion or truncation is not answered yet, also if that was sent
    /// first.
    ///
    /// A position that the log has not reached is refused, unless the append is a repetition: what came until then
    /// would be passed over.
    ///
    /// ```no_run
    /// # async fn example(client: quorate_client::Client) -> Result<(), Box<dyn std::error::Error>> {
    /// use quorate_client::{AppendError, Event, Expect, Query};
    /// let seats = Query::item().types(["SeatBooked", "SeatFreed"]).tags(["flight:7"]);
    /// let known = client.read(seats.clone()).collect().await?;
    /// // … decide from `known.events` …
    /// let booked = Event::json("SeatBooked", "12A")?.tag("flight:7").tag("passenger:3");
    /// let booking = client.transaction().write("booking-91", Expect::None, [booked]);
    /// match booking.unless(seats, known.as_of).commit().await {
    ///     Ok(done) => println!("booked at position {}", done.position),
    ///     Err(AppendError::Conflict(c)) => println!("{c}: decide again"),
    ///     Err(other) => return Err(other.into()),
    /// }
    /// # Ok(()) }
    /// ```
    pub fn unless(self, query: Query, after: impl Into<Position>) -> Transaction {
        self.and(|append| {
            let query = query.into_words()?;
            append.conditions.push(Condition { query, after: after.into() });
            Ok(())
        })
    }

    /// Sends it and waits for its verdict. When this returns `Ok`, the events are on the disks of a
    /// majority of the nodes.
    pub async fn commit(self) -> Result<Done, AppendError> {
        self.submit().await.await
    }

    /// Gives it its place behind what was submitted before, waiting while too much is under way; the
    /// verdict is waited for separately. So a writer can send ahead: of two appends to one stream the
    /// one that was submitted first is judged first.
    ///
    /// ```no_run
    /// # async fn example(client: quorate_client::Client) -> Result<(), Box<dyn std::error::Error>> {
    /// use quorate_client::{Event, Expect};
    /// let first = client.transaction().write("log-1", Expect::version(0), [Event::json("Said", "a")?]);
    /// let second = client.transaction().write("log-1", Expect::version(1), [Event::json("Said", "b")?]);
    /// let (first, second) = (first.submit().await, second.submit().await);
    /// println!("{} {}", first.await?.version, second.await?.version);
    /// # Ok(()) }
    /// ```
    pub async fn submit(self) -> Submitted {
        let (caller, verdict) = oneshot::channel();
        let refused = match self.append.and_then(|append| check(&append).map(|()| append)) {
            Ok(append) => launch(&self.client, append, self.settled_at, caller).await,
            Err(invalid) => Some((invalid.into(), caller)),
        };
        if let Some((error, caller)) = refused {
            let _ = caller.send(Err(error));
        }
        Submitted(verdict)
    }

    fn and(mut self, add: impl FnOnce(&mut Append) -> Result<(), Invalid>) -> Transaction {
        self.append = self.append.and_then(|mut append| add(&mut append).map(|()| append));
        self
    }
}

impl Client {
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
    /// match client.append("order-42", Expect::version(order.version), [paid]).await {
    ///     Ok(done) => println!("version {}, position {}", done.version, done.position),
    ///     Err(AppendError::Conflict(c)) => println!("{c}: decide again"),
    ///     Err(AppendError::Unknown(append)) => drop(client.repeat(append).await?),
    ///     Err(other) => return Err(other.into()),
    /// }
    /// # Ok(()) }
    /// ```
    pub async fn append(
        &self,
        stream: impl AsRef<str>,
        expect: Expectation,
        events: impl IntoIterator<Item = Event>,
    ) -> Result<Done, AppendError> {
        self.transaction().write(stream, expect, events).commit().await
    }

    /// Begins an append to several streams, or one that also checks streams that it does not write, or events that
    /// a query finds.
    ///
    /// ```no_run
    /// # async fn example(client: quorate_client::Client) -> Result<(), Box<dyn std::error::Error>> {
    /// use quorate_client::{Event, Expect, Query};
    /// let withdrawn = Event::json("Withdrawn", &50)?;
    /// let deposited = Event::json("Deposited", &50)?;
    /// let done = client
    ///     .transaction()
    ///     .write("account-1", Expect::version(9), [withdrawn])
    ///     .write("account-2", Expect::Exists, [deposited])
    ///     .require("limits-7", Expect::version(3))
    ///     .unless(Query::item().types(["Frozen"]).tags(["owner:7"]), 120)
    ///     .commit()
    ///     .await?;
    /// println!("versions {:?}, position {}", done.versions, done.position);
    /// # Ok(()) }
    /// ```
    pub fn transaction(&self) -> Transaction {
        Transaction::new(self.clone())
    }

    /// Sends an append of unknown outcome again. If it is in the log, the answer is its first
    /// answer.
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

/// A change was checked when it was made an append; of users' appends this refuses the system's streams.
fn check(append: &Append) -> Result<(), Invalid> {
    match Change::of_append(append)? {
        Some(_) => Ok(()),
        None => append.check(),
    }
}

/// An append that has its place; resolves to its verdict.
///
/// ```no_run
/// # async fn example(client: quorate_client::Client, orders: Vec<quorate_client::Event>)
/// # -> Result<(), quorate_client::AppendError> {
/// use quorate_client::Expect;
/// // Many appends are under way at once, and are answered in their order.
/// let mut submitted = Vec::new();
/// for order in orders {
///     submitted.push(client.transaction().write("orders", Expect::Any, [order]).submit().await);
/// }
/// for append in submitted {
///     println!("appended at position {}", append.await?.position);
/// }
/// # Ok(()) }
/// ```
#[derive(Debug)]
pub struct Submitted(oneshot::Receiver<Result<Done, AppendError>>);

impl Future for Submitted {
    type Output = Result<Done, AppendError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.0)
            .poll(context)
            .map(|verdict| verdict.expect("an append is answered at the latest when it is dropped"))
    }
}

type Caller = oneshot::Sender<Result<Done, AppendError>>;

/// Waits for a share of what may be under way and hands the append over.
async fn launch(
    client: &Client,
    append: Append,
    settled_at: Option<Instant>,
    caller: Caller,
) -> Option<(AppendError, Caller)> {
    let now = Instant::now();
    let give_up_at = now + client.deadline;
    let bytes = append.size();
    // A wait needs a timer, and few appends have to wait.
    let share = match share_now(&client.shared, bytes) {
        Some(share) => Ok(share),
        None => tokio::time::timeout_at(give_up_at, share_of(&client.shared, bytes)).await,
    };
    let Ok(share) = share else {
        let message = "too much is under way: the append was not sent before its deadline";
        let error = match settled_at {
            Some(settled_at) => {
                let problem = Problem::new(ErrorKind::Deadline, Outcome::Unknown, message);
                Unresolved { append, problem, settled_at }.into()
            }
            None => {
                let problem = Problem::new(ErrorKind::Deadline, Outcome::NotAppended, message);
                AppendError::Rejected(problem)
            }
        };
        return Some((error, caller));
    };
    let attempts = Attempts::new(now, give_up_at, settled_at);
    let append = InFlightAppend::new(append, attempts, caller, Some(share));
    // Without a driver the append is dropped, which answers its caller.
    let _ = client.shared.submissions.send(append);
    None
}

/// Returns a share if there is one without waiting: if somebody waits, there is none.
fn share_now(shared: &Shared, bytes: usize) -> Option<[OwnedSemaphorePermit; 2]> {
    let append = shared.appends_left.clone().try_acquire_owned().ok()?;
    let bytes = shared.bytes_left.clone().try_acquire_many_owned(bytes_of(shared, bytes)).ok()?;
    Some([append, bytes])
}

async fn share_of(shared: &Shared, bytes: usize) -> [OwnedSemaphorePermit; 2] {
    let bytes = bytes_of(shared, bytes);
    let never_closed = "nobody closes the semaphores";
    [
        shared.appends_left.clone().acquire_owned().await.expect(never_closed),
        shared.bytes_left.clone().acquire_many_owned(bytes).await.expect(never_closed),
    ]
}

/// Returns the number of bytes that an append takes of those under way: a larger one takes all.
fn bytes_of(shared: &Shared, bytes: usize) -> u32 {
    u32::try_from(bytes.min(shared.bytes_in_flight)).unwrap_or(u32::MAX)
}
