//! Subscriptions: events as they are appended, from one node after the other when one is lost.

use std::collections::VecDeque;

use futures_util::stream::{self, BoxStream, StreamExt};
use quorate_proto::wire::v1::read_response::Message as WireMessage;
use quorate_proto::wire::v1::{self, ReadResponse};
use quorate_proto::{
    self as proto, Invalid, Position, Problem, RecordedEvent, RecordedSnapshot, Version,
};

use crate::client::Client;
use crate::remaining::Remaining;
use crate::resume::{Answer, Answering, EventsNode, Received, Resumed};
use crate::trouble::not_understood;

/// The point that a subscription has reached: every requested event at or below it has been handed out. Resume with
/// `after(cursor.version)` when a stream is followed, else with `after(cursor.position)`.
///
/// ```no_run
/// # async fn example(client: quorate_client::Client, kept: quorate_client::Cursor)
/// # -> Result<(), quorate_client::Problem> {
/// use quorate_client::{Message, Query};
/// let mut orders = client.read(Query::category("order")).after(kept.position).follow();
/// while let Some(message) = orders.try_next().await? {
///     if let Message::Progress(cursor) | Message::CaughtUp(cursor) = message {
///         println!("everything up to position {} is done", cursor.position);
///     }
/// }
/// # Ok(()) }
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cursor {
    /// The position.
    pub position: Position,
    /// The version of the stream, if a stream is followed.
    pub version: Option<Version>,
}

/// A message of a subscription.
///
/// ```
/// use quorate_client::Message;
///
/// fn line(message: &Message) -> String {
///     match message {
///         Message::Event(event) => format!("{} in {}", event.kind, event.stream),
///         Message::CaughtUp(cursor) => format!("live since position {}", cursor.position),
///         Message::FellBehind(_) => "behind for a while".into(),
///         Message::Progress(cursor) => format!("nothing up to position {}", cursor.position),
///     }
/// }
/// # let _ = line;
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(clippy::large_enum_variant, reason = "almost every message is an event")]
pub enum Message {
    /// The next event; each comes once.
    Event(RecordedEvent),
    /// All existing events have been handed out; from now on events come as they are appended.
    CaughtUp(Cursor),
    /// The subscription does not see what is appended now: it reads too slowly, or its node was lost. It catches up by
    /// itself, without a gap, and then sends `CaughtUp`.
    FellBehind(Cursor),
    /// No new event matched up to this point; sent now and then while the log grows.
    Progress(Cursor),
}

/// Events of a stream or a query, the existing ones and those to come, in the order of the log, each once.
///
/// When a node is lost, the subscription continues at another one, after the last event, for as long as it takes;
/// dropping the subscription ends it. It reads ahead only so far: a slow reader makes the node wait, and loses nothing.
///
/// One client carries about a thousand subscriptions, consumers and reads at once to one node; more wait until others
/// end. Make another client for more.
///
/// Events that were removed before they were handed out (truncated, deleted, too old, one too many) are skipped.
///
/// ```no_run
/// # async fn example(client: quorate_client::Client) -> Result<(), quorate_client::Problem> {
/// use quorate_client::{Message, Query};
/// let mut payments = client.read(Query::category("order").types(["OrderPaid"])).follow();
/// while let Some(message) = payments.try_next().await? {
///     if let Message::Event(event) = message {
///         println!("{} was paid", event.stream);
///     }
/// }
/// # Ok(()) }
/// ```
#[derive(Debug)]
#[must_use = "nothing is read before `try_next`"]
pub struct Subscription(Result<Resumed<SubscriptionAnswer>, Invalid>);

impl Subscription {
    pub(crate) fn new(client: Client, read: Result<proto::Read, Invalid>) -> Subscription {
        let remaining = read.and_then(|read| Remaining::new(proto::Read { follow: true, ..read }));
        Subscription(remaining.map(|remaining| {
            let (mark, is_caught_up) = (Cursor::default(), false);
            Resumed::endless(client, SubscriptionAnswer { remaining, mark, is_caught_up })
        }))
    }

    /// Returns the snapshot that the events follow, if it was requested and exists; known after the first message.
    pub fn snapshot(&self) -> Option<&RecordedSnapshot> {
        self.0.as_ref().ok()?.answer.remaining.snapshot.as_ref()
    }

    /// Returns the schema of the kept snapshot, if it is newer than [`crate::ReadRequest::snapshot_schema_max`] and was
    /// passed over; known after the first message.
    pub fn snapshot_schema_passed_over(&self) -> Option<u32> {
        self.0.as_ref().ok()?.answer.remaining.snapshot_schema_passed_over
    }

    /// Returns the next message; waits while there is none. `None` only after as many events as the read's limit.
    /// Cancelling the future loses nothing.
    ///
    /// # Errors
    /// An error that waiting cannot cure: the request breaks a rule, or every node fails at the same event, again and
    /// again, with an error that does not pass by itself (`Damaged`, `Internal`). Everything else is tried again, at
    /// every node, for as long as it takes.
    pub async fn try_next(&mut self) -> Result<Option<Message>, Problem> {
        match &mut self.0 {
            Ok(resumed) => resumed.try_next().await,
            Err(invalid) => Err(invalid.clone().into()),
        }
    }

    /// Converts the subscription into a stream of `futures`, which ends after an error.
    ///
    /// ```no_run
    /// # async fn example(client: quorate_client::Client) -> Result<(), quorate_client::Problem> {
    /// use futures_util::TryStreamExt;
    /// let mut messages = client.read("order-42").follow().into_stream();
    /// while let Some(message) = messages.try_next().await? {
    ///     println!("{message:?}");
    /// }
    /// # Ok(()) }
    /// ```
    pub fn into_stream(self) -> BoxStream<'static, Result<Message, Problem>> {
        match self.0 {
            Ok(resumed) => resumed.into_stream(),
            Err(invalid) => stream::iter([Err(invalid.into())]).boxed(),
        }
    }
}

type Ready = VecDeque<Message>;

/// The messages of a subscription so far.
///
/// Invariant: the rest is requested after the mark, once there is one.
#[derive(Debug)]
struct SubscriptionAnswer {
    remaining: Remaining,
    mark: Cursor,
    is_caught_up: bool,
}

impl Answer for SubscriptionAnswer {
    type Message = ReadResponse;
    type Item = Message;

    fn request(&self, node: EventsNode, time_left_ms: u64) -> Answering<ReadResponse> {
        self.remaining.request(node, time_left_ms)
    }

    fn begin(&mut self, first: ReadResponse, _: &mut Ready) -> Result<Received, Problem> {
        self.remaining.begin(first).map(|_| Received::Beginning)
    }

    fn take(&mut self, response: ReadResponse, ready: &mut Ready) -> Result<Received, Problem> {
        match response.message {
            Some(WireMessage::Events(batch)) if batch.is_empty() => Ok(Received::Work),
            Some(WireMessage::Events(batch)) => {
                let events = self.remaining.decode(&batch)?;
                ready.reserve(events.len());
                for event in events {
                    self.remaining.take(&event)?;
                    let version = self.remaining.is_of_stream().then_some(event.version);
                    self.mark = Cursor { position: event.position, version };
                    ready.push_back(Message::Event(event));
                }
                Ok(Received::Progress)
            }
            Some(WireMessage::CaughtUp(mark)) => {
                let received = self.pass(mark)?;
                self.is_caught_up = true;
                ready.push_back(Message::CaughtUp(self.mark));
                Ok(received)
            }
            Some(WireMessage::FellBehind(mark)) => {
                let received = self.pass(mark)?;
                self.lost(ready);
                Ok(received)
            }
            Some(WireMessage::Progress(mark)) => {
                let received = self.pass(mark)?;
                ready.push_back(Message::Progress(self.mark));
                Ok(received)
            }
            Some(WireMessage::End(_)) => Ok(Received::End),
            Some(WireMessage::Point(_)) | None => Err(not_understood("a message is out of place")),
        }
    }

    fn is_exhausted(&self) -> bool {
        self.remaining.is_exhausted()
    }

    /// Reports that what is appended now is not seen, unless that is known.
    fn lost(&mut self, ready: &mut Ready) {
        if std::mem::take(&mut self.is_caught_up) {
            ready.push_back(Message::FellBehind(self.mark));
        }
    }
}

impl SubscriptionAnswer {
    /// Notes the point up to which all events were handed out; the next node continues from there.
    fn pass(&mut self, mark: v1::Cursor) -> Result<Received, Problem> {
        let number = match (self.remaining.is_of_stream(), mark.version) {
            (false, _) => mark.position,
            (true, Some(version)) => version,
            (true, None) => return Err(not_understood("a mark lacks the version of the stream")),
        };
        let after = &mut self.remaining.read.bounds.after;
        if number < *after {
            return Err(not_understood("a mark goes back"));
        }
        let received = if number > *after { Received::Progress } else { Received::Work };
        *after = number;
        let position = self.mark.position.max(Position(mark.position));
        let version = self.remaining.is_of_stream().then_some(Version(number));
        self.mark = Cursor { position, version };
        Ok(received)
    }
}
