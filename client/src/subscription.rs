//! Subscriptions: events as they are appended, from one node after the other when one is lost.

use std::collections::VecDeque;
use std::time::Duration;

use futures_util::stream::{self, BoxStream, StreamExt};
use quorate_proto::wire::SILENCE_MAX;
use quorate_proto::wire::v1::read_response::Message as WireMessage;
use quorate_proto::wire::v1::{
    self, EventBatch, ReadPoint, ReadRequest as WireRequest, ReadResponse,
};
use quorate_proto::{self as proto, Invalid, Problem, Source as ProtoSource};
use tokio::time::Instant;

use crate::client::Client;
use crate::event::RecordedEvent;
use crate::incoming::{GRACE, Incoming, Patience};
use crate::nodes::problem;
use crate::snapshot::RecordedSnapshot;
use crate::trouble::{late, may_help_elsewhere, not_understood, told};

/// The longest rest between failures in a row.
const REST_MAX: Duration = Duration::from_secs(2);
/// The number of rounds in a row in which every node may fail in a lasting way before the subscription ends.
const LASTING_ROUNDS_MAX: usize = 4;

/// The point that a subscription has reached: every requested event at or below it has been handed out. Resume with
/// `after(cursor.version)` when a stream is followed, else with `after(cursor.position)`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cursor {
    /// The position.
    pub position: u64,
    /// The version of the stream, if a stream is followed.
    pub version: Option<u64>,
}

/// A message of a subscription.
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
#[derive(Debug)]
#[must_use = "nothing is read before `try_next`"]
pub struct Subscription {
    client: Client,
    /// The request for the events that are still to be read, or the rule that it breaks.
    read: Result<proto::Read, Invalid>,
    snapshot: Option<RecordedSnapshot>,
    passed_over: Option<u32>,
    incoming: Option<Incoming<ReadResponse>>,
    patience: Patience,
    turn: usize,
    mark: Cursor,
    is_caught_up: bool,
    ended: bool,
    ready: VecDeque<Message>,
}

impl Subscription {
    pub(crate) fn new(client: Client, read: Result<proto::Read, Invalid>) -> Subscription {
        let read = read.and_then(|read| {
            let read = proto::Read { follow: true, ..read };
            read.check().map(|()| read)
        });
        let turn = client.shared.nodes.next_turn();
        Subscription {
            client,
            read,
            snapshot: None,
            passed_over: None,
            incoming: None,
            patience: Patience::new(REST_MAX),
            turn,
            mark: Cursor::default(),
            is_caught_up: false,
            ended: false,
            ready: VecDeque::new(),
        }
    }

    /// Returns the snapshot that the events follow, if it was requested and exists; known after the first message.
    pub fn snapshot(&self) -> Option<&RecordedSnapshot> {
        self.snapshot.as_ref()
    }

    /// Returns the schema of the kept snapshot, if it is newer than [`crate::ReadRequest::snapshot_schema_max`] and was
    /// passed over; known after the first message.
    pub fn snapshot_schema_passed_over(&self) -> Option<u32> {
        self.passed_over
    }

    /// Returns the next message; waits while there is none. `None` only after as many events as the read's limit.
    /// Cancelling the future loses nothing.
    ///
    /// # Errors
    /// An error that waiting cannot cure: the request breaks a rule, or every node fails at the same event, again and
    /// again, with an error that does not pass by itself (`Damaged`, `Internal`). Everything else is tried again, at
    /// every node, for as long as it takes.
    pub async fn try_next(&mut self) -> Result<Option<Message>, Problem> {
        loop {
            if let Some(message) = self.ready.pop_front() {
                return Ok(Some(message));
            }
            if self.ended {
                return Ok(None);
            }
            let Some(incoming) = &mut self.incoming else {
                self.find_node().await?;
                continue;
            };
            let heard = match incoming.next(SILENCE_MAX).await {
                Ok(response) => self.take(response),
                Err(problem) => Err(problem),
            };
            if let Err(lost) = heard {
                self.lose(lost)?;
            }
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
        let next = |mut subscription: Subscription| async move {
            Ok(subscription.try_next().await?.map(|message| (message, subscription)))
        };
        stream::try_unfold(self, next).boxed()
    }

    /// Leaves the node. Fails if no other node can do better.
    fn lose(&mut self, lost: Problem) -> Result<(), Problem> {
        if let Some(incoming) = self.incoming.take() {
            self.client.shared.nodes.failed(&incoming.address);
            self.turn = self.client.shared.nodes.next_turn();
            if incoming.age() > REST_MAX {
                // The node worked for a while: earlier failures are no reason to rest.
                self.patience.progressed();
            }
        }
        self.patience.failed(&lost);
        if !may_help_elsewhere(lost.kind) || self.cannot_get_better() {
            self.patience.progressed();
            return Err(told(lost));
        }
        tracing::debug!(problem = %lost, "the subscription goes on at another node");
        if std::mem::take(&mut self.is_caught_up) {
            self.ready.push_back(Message::FellBehind(self.mark));
        }
        Ok(())
    }

    fn cannot_get_better(&self) -> bool {
        let failures = LASTING_ROUNDS_MAX * self.client.shared.nodes.count();
        self.patience.is_lasting_after(failures)
    }

    /// Takes in a message, and notes which events are still to be read after it.
    fn take(&mut self, response: ReadResponse) -> Result<(), Problem> {
        match response.message {
            Some(WireMessage::Events(batch)) => self.take_events(batch),
            Some(WireMessage::CaughtUp(mark)) => {
                self.pass(mark)?;
                self.is_caught_up = true;
                self.ready.push_back(Message::CaughtUp(self.mark));
                Ok(())
            }
            Some(WireMessage::FellBehind(mark)) => {
                self.pass(mark)?;
                if std::mem::take(&mut self.is_caught_up) {
                    self.ready.push_back(Message::FellBehind(self.mark));
                }
                Ok(())
            }
            Some(WireMessage::Progress(mark)) => {
                self.pass(mark)?;
                self.ready.push_back(Message::Progress(self.mark));
                Ok(())
            }
            Some(WireMessage::End(_)) => {
                self.ended = true;
                self.incoming = None;
                Ok(())
            }
            Some(WireMessage::Point(_)) | None => Err(not_understood("a message is out of place")),
        }
    }

    fn take_events(&mut self, batch: EventBatch) -> Result<(), Problem> {
        let read = self.read.as_mut().map_err(|invalid| Problem::from(invalid.clone()))?;
        for event in batch.events {
            let event = proto::RecordedEvent::try_from(event)
                .map_err(|invalid| not_understood(&invalid.to_string()))?;
            let (position, version) = (event.position.0, event.version.0);
            let of_stream = matches!(read.source, ProtoSource::Stream { .. });
            let number = if of_stream { version } else { position };
            if number <= read.bounds.after {
                return Err(not_understood("an event came twice, or out of order"));
            }
            read.bounds.after = number;
            self.patience.progressed();
            if let Some(limit) = &mut read.limit {
                *limit = limit.saturating_sub(1);
            }
            self.mark = Cursor { position, version: of_stream.then_some(version) };
            self.ready.push_back(Message::Event(RecordedEvent::from(event)));
        }
        Ok(())
    }

    /// Notes the point up to which all events were handed out; the next node continues from there.
    fn pass(&mut self, mark: v1::Cursor) -> Result<(), Problem> {
        let read = self.read.as_mut().map_err(|invalid| Problem::from(invalid.clone()))?;
        let number = match (&read.source, mark.version) {
            (ProtoSource::Query(_), _) => mark.position,
            (ProtoSource::Stream { .. }, Some(version)) => version,
            (ProtoSource::Stream { .. }, None) => {
                return Err(not_understood("a mark lacks the version of the stream"));
            }
        };
        if number < read.bounds.after {
            return Err(not_understood("a mark goes back"));
        }
        if number > read.bounds.after {
            self.patience.progressed();
        }
        read.bounds.after = number;
        let position = self.mark.position.max(mark.position);
        let of_stream = matches!(read.source, ProtoSource::Stream { .. });
        self.mark = Cursor { position, version: of_stream.then_some(number) };
        Ok(())
    }

    fn set_point(&mut self, point: ReadPoint) -> Result<(), Problem> {
        let read = self.read.as_mut().map_err(|invalid| Problem::from(invalid.clone()))?;
        if !std::mem::take(&mut read.with_snapshot) {
            return Ok(());
        }
        read.snapshot_schema_max = None;
        self.passed_over = Some(point.snapshot_schema_passed_over).filter(|schema| *schema > 0);
        if let Some(snapshot) = point.snapshot {
            let snapshot = proto::RecordedSnapshot::try_from(snapshot)
                .map_err(|invalid| not_understood(&invalid.to_string()))?;
            let snapshot = RecordedSnapshot::from(snapshot);
            read.bounds.after = snapshot.version;
            self.snapshot = Some(snapshot);
        }
        Ok(())
    }

    /// Asks the nodes in turn until one continues with the remaining events.
    async fn find_node(&mut self) -> Result<(), Problem> {
        let read = self.read.as_ref().map_err(|invalid| Problem::from(invalid.clone()))?;
        if read.limit == Some(0) {
            self.ended = true;
            return Ok(());
        }
        loop {
            self.patience.rest().await;
            for address in self.client.shared.nodes.for_subscription(self.turn) {
                match self.ask(address.clone()).await {
                    Ok(()) => return Ok(()),
                    Err(problem) => {
                        tracing::debug!(%problem, "a node cannot go on with the subscription");
                        self.client.shared.nodes.failed(&address);
                        self.patience.failed(&problem);
                        if !may_help_elsewhere(problem.kind) || self.cannot_get_better() {
                            self.patience.progressed();
                            return Err(told(problem));
                        }
                    }
                }
            }
        }
    }

    /// Asks one node.
    async fn ask(&mut self, address: String) -> Result<(), Problem> {
        let read = self.read.as_ref().map_err(|invalid| Problem::from(invalid.clone()))?;
        let time = self.client.deadline / 3;
        let mut request = WireRequest::from(read.clone());
        request.time_left_ms = (time.as_millis() as u64).max(1);
        let mut events = self.client.shared.nodes.events(&address)?;
        let asking = async {
            let answer = events.read(request).await;
            let mut messages = answer.map_err(|status| problem(&address, &status))?.into_inner();
            let first = messages.message().await.map_err(|status| problem(&address, &status))?;
            Ok::<_, Problem>((messages, first))
        };
        let give_up_at = Instant::now() + time + GRACE;
        let answered = tokio::time::timeout_at(give_up_at, asking).await;
        let (messages, first) = answered.map_err(|_| late(&address))??;
        match first.and_then(|response| response.message) {
            Some(WireMessage::Point(point)) => self.set_point(point)?,
            _ => return Err(not_understood("the answer does not begin with its point")),
        }
        self.incoming = Some(Incoming::new(address, messages));
        Ok(())
    }
}
