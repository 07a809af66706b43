//! Drives a sink: many streams at once, each in order.

use std::future::{Future, pending};
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use quorate_client::{GroupRef, Problem, RecordedEvent};

use crate::sink::deliveries::Deliveries;
use crate::sink::error::SinkError;
use crate::sink::stream_queues::StreamQueues;

/// How many events are held at once.
const WINDOW_DEFAULT: u32 = 16;
/// One delivery may take so long.
const LONGEST_DEFAULT: Duration = Duration::from_secs(60 * 60);
/// An event that is under way, or waits for others of its stream, is kept for so long: a bound of the sink ends it
/// before.
const EXTENDED_UP_TO: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// A destination outside of the store.
///
/// It is given an event at least once: again if its answer was lost. Of one stream it is given one event at a
/// time, in order; of several streams as many at once as the runner's window has room for.
pub trait Sink: Send + Sync + 'static {
    /// Brings an event to where it should be, and returns when it is there for good. It may take longer than the
    /// group's timeout: the runner asks for more time meanwhile. It is dropped when it takes longer than
    /// [`SinkRunner::deliver_within`] allows, and the event has failed.
    fn deliver(&self, event: &RecordedEvent) -> impl Future<Output = Result<(), SinkError>> + Send;
}

/// Drives a sink by a consumer group, as one of its consumers: several may run, in one process or in many.
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
    /// Delivers the events of that group, which is there, to that sink. For order per stream the group must go by
    /// stream, or have a single consumer.
    pub fn new(group: GroupRef, sink: S) -> SinkRunner<S> {
        let (name, window, longest) = (String::new(), WINDOW_DEFAULT, LONGEST_DEFAULT);
        SinkRunner { group, sink, name, window, longest }
    }

    /// What this consumer is called, for people; at most 128 bytes.
    pub fn name(mut self, name: impl Into<String>) -> SinkRunner<S> {
        self.name = name.into();
        self
    }

    /// How many events it holds at once, each of another stream where they go beside each other; 16 unless told.
    pub fn window(mut self, events: u32) -> SinkRunner<S> {
        self.window = events;
        self
    }

    /// Lets one delivery take so long, whatever the group's timeout is: an hour unless told. A delivery that takes longer
    /// has failed, and is tried again as the group says. A node allows a week at most, counted from when it handed the
    /// event out.
    pub fn deliver_within(mut self, longest: Duration) -> SinkRunner<S> {
        self.longest = longest;
        self
    }

    /// Delivers until it cannot go on. Dropping the future leaves the group: what it held is given to others.
    pub async fn run(self) -> Result<(), Problem> {
        self.run_until(pending()).await
    }

    /// Delivers until `stop` is ready, finishes what is under way, and returns when it is durable what was
    /// settled.
    ///
    /// # Errors
    /// There is no such group (any more), or a rule is broken. A lost connection or a change of leader is no
    /// error: it goes on when that is over. At the end: it is not known whether all of what was settled was
    /// kept.
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

/// A sink whose deliveries end.
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

/// Delivers what comes until `stop` is ready or there is no more, and finishes what is under way.
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
                // What waits was not begun: another consumer gets it.
                stream_queues.clear();
                is_open = false;
            }
            Some((delivery, outcome)) = under_way.next(), if !under_way.is_empty() => {
                report::<D>(&delivery, &outcome);
                deliveries.settle(&delivery, outcome);
                let stream = &D::event(&delivery).stream;
                let mut next = stream_queues.leave(stream);
                // A delivery that was taken back while it waited goes to somebody else.
                while next.as_ref().is_some_and(D::has_lapsed) {
                    next = stream_queues.leave(stream);
                }
                under_way.extend(next.map(begin));
            }
            delivery = deliveries.next(), if is_open => match delivery? {
                Some(delivery) => {
                    let event = D::event(&delivery);
                    let (stream, position) = (event.stream.clone(), event.position);
                    under_way.extend(stream_queues.enter(&stream, position, delivery).map(begin));
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
        Ok(()) => tracing::debug!(position, %stream, "delivered"),
        Err(SinkError::Retry { reason, .. }) => {
            tracing::warn!(position, %stream, reason, "not delivered: tried again later");
        }
        Err(SinkError::Poison { reason }) => {
            tracing::warn!(position, %stream, reason, "cannot be delivered: parked");
        }
    }
}
