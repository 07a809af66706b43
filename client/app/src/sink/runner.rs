//! Drives a sink: many streams at once, each in order.

use std::future::{Future, pending};

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use quorate_client::{GroupRef, Problem, RecordedEvent};

use crate::sink::deliveries::Deliveries;
use crate::sink::error::SinkError;
use crate::sink::lanes::Lanes;

/// How many events are held at once.
const WINDOW_DEFAULT: u32 = 16;

/// A destination outside of the store.
///
/// It is given an event at least once: again if its answer was lost. Of one stream it is given one event at a
/// time, in order; of several streams as many at once as the runner's window has room for.
pub trait Sink: Send + Sync + 'static {
    /// Brings an event to where it should be, and returns when it is there for good. It should give up by
    /// itself well before the group's message timeout: then the event is given to another consumer.
    fn deliver(&self, event: &RecordedEvent) -> impl Future<Output = Result<(), SinkError>> + Send;
}

/// Drives a sink by a consumer group, as one of its consumers: several may run, in one process or in many.
#[must_use = "nothing is delivered before `run`"]
pub struct SinkRunner<S> {
    group: GroupRef,
    sink: S,
    name: String,
    window: u32,
}

opaque_debug!(SinkRunner<S>);

impl<S: Sink> SinkRunner<S> {
    /// Delivers the events of that group, which is there, to that sink. For order per stream the group must go by
    /// stream, or have a single consumer.
    pub fn new(group: GroupRef, sink: S) -> SinkRunner<S> {
        SinkRunner { group, sink, name: String::new(), window: WINDOW_DEFAULT }
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
        let SinkRunner { group, sink, name, window } = self;
        let consumer = group.consume().name(name).window(window).start();
        let ended = drive(&sink, consumer, stop).await;
        if let Err(problem) = &ended {
            tracing::error!(%problem, "a sink ended: it delivers nothing any more");
        }
        ended
    }
}

/// Delivers what comes until `stop` is ready or there is no more, and finishes what is under way.
pub(crate) async fn drive<S: Sink, D: Deliveries>(
    sink: &S,
    mut deliveries: D,
    stop: impl Future<Output = ()>,
) -> Result<(), Problem> {
    let mut lanes = Lanes::new();
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
                lanes.clear();
                is_open = false;
            }
            Some((delivery, outcome)) = under_way.next(), if !under_way.is_empty() => {
                report::<D>(&delivery, &outcome);
                deliveries.settle(&delivery, outcome);
                let next = lanes.leave(&D::event(&delivery).stream);
                under_way.extend(next.map(begin));
            }
            delivery = deliveries.next(), if is_open => match delivery? {
                Some(delivery) => {
                    let event = D::event(&delivery);
                    let (stream, position) = (event.stream.clone(), event.position);
                    under_way.extend(lanes.enter(&stream, position, delivery).map(begin));
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
