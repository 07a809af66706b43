//! The runner of a sink: it drives many streams at once, each in order.

use std::future::{Future, pending};
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use quorate_client::{GroupRef, Problem, RecordedEvent};

use crate::sink::deliveries::Deliveries;
use crate::sink::error::SinkError;
use crate::sink::stream_queues::StreamQueues;

/// The default number of events that are held at once.
const WINDOW_DEFAULT: u32 = 16;
/// The default time for one delivery.
const LONGEST_DEFAULT: Duration = Duration::from_secs(60 * 60);
/// The time for which an event that is under way, or waits for others of its stream, is kept: the sink's own limit ends
/// it before.
const EXTENDED_UP_TO: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// A destination outside of the event store.
///
/// It gets each event at least once: again if its answer was lost. It gets the events of one stream one at a time, in
/// order, and those of several streams at once, as many as the runner's window has room for.
///
/// ```
/// use quorate_app::sink::{Sink, SinkError};
/// use quorate_client::RecordedEvent;
///
/// /// Sends a mail for each order that was shipped.
/// struct Mails;
///
/// impl Sink for Mails {
///     async fn deliver(&self, event: &RecordedEvent) -> Result<(), SinkError> {
///         let unreadable = |error: quorate_client::DecodeError| SinkError::poison(error.to_string());
///         let address: String = event.json().map_err(unreadable)?;
///         send(&address).await.map_err(|error| SinkError::retry(error.to_string()))
///     }
/// }
/// # async fn send(_: &str) -> std::io::Result<()> { Ok(()) }
/// ```
pub trait Sink: Send + Sync + 'static {
    /// Brings an event to its destination, and returns when it is there for good. It may take longer than the group's
    /// timeout: the runner asks for more time meanwhile. If it takes longer than [`SinkRunner::deliver_within`] allows,
    /// its future is dropped, and the event has failed.
    fn deliver(&self, event: &RecordedEvent) -> impl Future<Output = Result<(), SinkError>> + Send;
}

/// Drives a sink as a consumer of a group: several runners may run, in one process or in many.
///
/// ```no_run
/// # use quorate_app::sink::{Sink, SinkRunner};
/// # async fn example(client: quorate_client::Client, mails: impl Sink) -> Result<(), quorate_client::Problem> {
/// use std::time::Duration;
/// let runner = SinkRunner::new(client.group("mails"), mails).name("mails on host 7").window(32);
/// let ctrl_c = async { drop(tokio::signal::ctrl_c().await) };
/// runner.deliver_within(Duration::from_secs(60)).run_until(ctrl_c).await?;
/// # Ok(()) }
/// ```
#[must_use = "nothing is delivered before `run`"]
pub struct SinkRunner<S> {
    group: GroupRef,
    sink: S,
    name: String,
    window: u32,
    longest: Duration,
}

opaque_debug!(SinkRunner<S>);

impl<S: Sink> SinkRunner<S> {
    /// Creates a runner that delivers the events of this group, which must exist, to this sink. For order per stream
    /// the group must go by stream, or have a single consumer.
    pub fn new(group: GroupRef, sink: S) -> SinkRunner<S> {
        let (name, window, longest) = (String::new(), WINDOW_DEFAULT, LONGEST_DEFAULT);
        SinkRunner { group, sink, name, window, longest }
    }

    /// Sets the name of this consumer, for people; at most 128 bytes.
    pub fn name(mut self, name: impl Into<String>) -> SinkRunner<S> {
        self.name = name.into();
        self
    }

    /// Sets how many events it holds at once, each of another stream where they are delivered at once; 16 by default.
    pub fn window(mut self, events: u32) -> SinkRunner<S> {
        self.window = events;
        self
    }

    /// Sets the time for one delivery, whatever the group's timeout is: an hour by default. A delivery that takes
    /// longer has failed, and is tried again as the group is set. A node allows a week at most, counted from when it
    /// handed out the event.
    pub fn deliver_within(mut self, longest: Duration) -> SinkRunner<S> {
        self.longest = longest;
        self
    }

    /// Delivers until it cannot go on. Dropping the future leaves the group: its events are given to others.
    pub async fn run(self) -> Result<(), Problem> {
        self.run_until(pending()).await
    }

    /// Delivers until `stop` is ready, finishes the deliveries under way, and returns when all settlements are durable.
    ///
    /// # Errors
    /// The group does not exist (any more), or a rule is broken. A lost connection or a change of leader is no error:
    /// the runner waits until it is over. At the end: it is not known whether all settlements were kept.
    pub async fn run_until(self, stop: impl Future<Output = ()>) -> Result<(), Problem> {
        let SinkRunner { group, sink, name, window, longest } = self;
        let consuming = group.consume().name(name).window(window);
        let consumer = consuming.extend_up_to(EXTENDED_UP_TO).start();
        let ended = drive(&Bounded { sink, longest }, consumer, stop).await;
        if let Err(problem) = &ended {
            tracing::error!(%problem, "a sink ended: it delivers nothing any more");
        }
        ended
    }
}

/// A sink with a limit on the time of each delivery.
pub(crate) struct Bounded<S> {
    pub(crate) sink: S,
    pub(crate) longest: Duration,
}

impl<S: Sink> Sink for Bounded<S> {
    async fn deliver(&self, event: &RecordedEvent) -> Result<(), SinkError> {
        let delivering = tokio::time::timeout(self.longest, self.sink.deliver(event)).await;
        delivering.unwrap_or_else(|_| {
            Err(SinkError::retry(format!("the delivery took longer than {:?}", self.longest)))
        })
    }
}

/// Delivers until `stop` is ready or there are no more events, and finishes the deliveries under way.
pub(crate) async fn drive<S: Sink, D: Deliveries>(
    sink: &S,
    mut deliveries: D,
    stop: impl Future<Output = ()>,
) -> Result<(), Problem> {
    let mut stream_queues = StreamQueues::new();
    let mut under_way = FuturesUnordered::new();
    let begin = |delivery: D::Delivery| async move {
        let outcome = sink.deliver(D::event(&delivery)).await;
        (delivery, outcome)
    };
    tokio::pin!(stop);
    let mut is_open = true;
    while is_open || !under_way.is_empty() {
        tokio::select! {
            biased;
            () = &mut stop, if is_open => {
                // The waiting deliveries were not begun: other consumers get them.
                stream_queues.clear();
                is_open = false;
            }
            Some((delivery, outcome)) = under_way.next(), if !under_way.is_empty() => {
                report::<D>(&delivery, &outcome);
                deliveries.settle(&delivery, outcome);
                let stream = &D::event(&delivery).stream;
                let mut next = stream_queues.leave(stream);
                // A delivery that was taken back while it waited goes to another consumer.
                while next.as_ref().is_some_and(D::has_lapsed) {
                    next = stream_queues.leave(stream);
                }
                under_way.extend(next.map(begin));
            }
            delivery = deliveries.next(), if is_open => match delivery? {
                Some(delivery) => {
                    let event = D::event(&delivery);
                    let (stream, position) = (event.stream.clone(), event.position);
                    under_way.extend(stream_queues.enter(&stream, position.0, delivery).map(begin));
                }
                None => is_open = false,
            },
        }
    }
    deliveries.close().await
}

fn report<D: Deliveries>(delivery: &D::Delivery, outcome: &Result<(), SinkError>) {
    let RecordedEvent { position, stream, .. } = D::event(delivery);
    match outcome {
        Ok(()) => tracing::debug!(%position, %stream, "delivered"),
        Err(SinkError::Retry { reason, .. }) => {
            tracing::warn!(%position, %stream, reason, "not delivered: tried again later");
        }
        Err(SinkError::Poison { reason }) => {
            tracing::warn!(%position, %stream, reason, "cannot be delivered: parked");
        }
    }
}
