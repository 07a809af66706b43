//! A consumer of a group, as an application has it; a task carries what it says and hears.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use futures_util::{Stream, StreamExt};
use quorate_proto::limits::{CONSUMER_WINDOW_DEFAULT, GROUP_TIMEOUT_MS_MAX, GROUP_WINDOW_MAX};
use quorate_proto::{
    ErrorKind, Fate, GroupName, Invalid, Join, Outcome, Problem, Settlement, bounded_reason,
};
use tokio::sync::{mpsc, oneshot};

use super::driver::Driver;
use super::shown::milliseconds;
use super::work::Work;
use crate::client::Client;
use crate::event::RecordedEvent;

/// How a group is consumed.
///
/// ```no_run
/// # async fn example(client: quorate_client::Client) {
/// let consumer = client.group("billing").consume().name("worker-1").window(16).start();
/// # drop(consumer); }
/// ```
#[derive(Debug)]
#[must_use = "nothing is consumed before `start`"]
pub struct ConsumeRequest {
    client: Client,
    group: Result<GroupName, Invalid>,
    name: String,
    window: u32,
    extended_up_to: Duration,
}

impl ConsumeRequest {
    pub(super) fn new(client: Client, group: Result<GroupName, Invalid>) -> ConsumeRequest {
        let (name, window) = (String::new(), CONSUMER_WINDOW_DEFAULT);
        ConsumeRequest { client, group, name, window, extended_up_to: Duration::ZERO }
    }

    /// What the consumer is called, for people; at most 128 bytes, and need not be unique.
    pub fn name(mut self, name: impl Into<String>) -> ConsumeRequest {
        self.name = name.into();
        self
    }

    /// Most events that it holds unsettled at once; 16 unless told, at most 65,536.
    pub fn window(mut self, events: u32) -> ConsumeRequest {
        self.window = events;
        self
    }

    /// Lets the work on an event take up to so long, although the group's timeout is shorter: for so long after the
    /// event was handed out the consumer asks for more time by itself, until the event is settled. Not at all unless
    /// told. A node allows a week at most.
    ///
    /// A consumer that hangs keeps its event for so long, and one that dies does not: what it held is given to others
    /// when its connection ends.
    ///
    /// ```no_run
    /// # use std::time::Duration;
    /// # async fn example(client: quorate_client::Client) {
    /// let videos = client.group("videos").consume();
    /// let consumer = videos.extend_up_to(Duration::from_secs(2 * 60 * 60)).start();
    /// # drop(consumer); }
    /// ```
    pub fn extend_up_to(mut self, max: Duration) -> ConsumeRequest {
        self.extended_up_to = max;
        self
    }

    /// Begins: the consumer connects in the background. Must be called within a tokio runtime.
    pub fn start(self) -> Consumer {
        let ConsumeRequest { client, group, name, window, extended_up_to } = self;
        let join = group.and_then(|group| {
            let join = Join { group, consumer: name, window, tells_begun: true };
            join.check().map(|()| join)
        });
        // A window's worth is taken ahead; what is settled is bounded by what was delivered.
        let (deliver, deliveries) = mpsc::channel(window.clamp(1, GROUP_WINDOW_MAX) as usize);
        let (messages, received) = mpsc::unbounded_channel();
        let current = Arc::new(Current::default());
        match join {
            Ok(join) => {
                let work = Work::new(extended_up_to);
                let driver = Driver::new(client, join, received, deliver, current.clone(), work);
                tokio::spawn(driver.run());
            }
            Err(invalid) => {
                let _ = deliver.try_send(Err(invalid.into()));
            }
        }
        Consumer { deliveries, settler: Settler { messages }, current, has_ended: false }
    }
}

/// An event that a consumer was given.
#[derive(Clone, Debug)]
pub struct Delivery {
    /// The event.
    pub event: RecordedEvent,
    /// Which attempt it is; the first is 1.
    pub attempt: u32,
    /// The time that the consumer has for it from when [`Consumer::try_next`] handed it out, unless it asks for more:
    /// the group's timeout at that time. If the group is configured otherwise meanwhile, no time is taken away, and
    /// each extension is for as long as the group's timeout is by then.
    pub timeout: Duration,
    /// The number of the delivery, and of the stream that it came on.
    pub(super) number: u64,
    pub(super) stream: u64,
    pub(super) has_lapsed: Arc<AtomicBool>,
}

impl Delivery {
    /// True if it was taken back, as far as is known here: its time was over, or the connection was lost. What is
    /// settled of it counts for nothing, and the event goes to this or another consumer again. Work that is long may
    /// look at this now and then.
    pub fn has_lapsed(&self) -> bool {
        self.has_lapsed.load(Ordering::Acquire)
    }
}

/// What the task tells beside the deliveries.
#[derive(Debug, Default)]
pub(super) struct Current {
    /// The number of the stream that is open.
    pub(super) stream: AtomicU64,
    /// The group's timeout, as it was told last.
    pub(super) timeout_ms: AtomicU64,
}

/// What the application says to the task.
#[derive(Debug)]
pub(super) enum ConsumerMessage {
    Settled {
        stream: u64,
        position: u64,
        settlement: Settlement,
    },
    /// The work on a delivery begins or goes on.
    Begun {
        stream: u64,
        number: u64,
    },
    Close(oneshot::Sender<Result<(), Problem>>),
}

/// A consumer of a group. It connects to the leader, through another node if need be, and again for as long as it
/// takes when the connection is lost. Dropping it leaves the group, even if a [`Settler`] of it lives: what it holds is
/// given to others.
///
/// Every event comes at least once: what was settled when the connection was lost may come again, here or to another
/// consumer. Settle each delivery, once; what is settled late is not accepted, and comes again.
#[derive(Debug)]
#[must_use = "a consumer that is dropped leaves"]
pub struct Consumer {
    deliveries: mpsc::Receiver<Result<Delivery, Problem>>,
    settler: Settler,
    current: Arc<Current>,
    /// True once the error that ends it was handed out.
    has_ended: bool,
}

impl Consumer {
    /// The next event; waits while there is none. `None` only after an error. Cancelling it loses nothing.
    ///
    /// With this the work on the event begins, and its time with it. What waits within the consumer costs no attempt:
    /// it may go to another consumer that has room after the group's timeout.
    ///
    /// # Errors
    /// What cannot get better by waiting: there is no such group (any more), or a rule is broken.
    pub async fn try_next(&mut self) -> Result<Option<Delivery>, Problem> {
        self.next().await.transpose()
    }

    /// The event is handled.
    pub fn ack(&self, delivery: &Delivery) {
        self.settler.ack(delivery);
    }

    /// See [`Settler::fail`].
    pub fn fail(&self, delivery: &Delivery, reason: impl Into<String>) {
        self.settler.fail(delivery, reason);
    }

    /// See [`Settler::fail_after`].
    pub fn fail_after(&self, delivery: &Delivery, reason: impl Into<String>, delay: Duration) {
        self.settler.fail_after(delivery, reason, delay);
    }

    /// See [`Settler::park`].
    pub fn park(&self, delivery: &Delivery, reason: impl Into<String>) {
        self.settler.park(delivery, reason);
    }

    /// The event is given up for good.
    pub fn skip(&self, delivery: &Delivery) {
        self.settler.skip(delivery);
    }

    /// See [`Settler::extend`].
    pub fn extend(&self, delivery: &Delivery) {
        self.settler.extend(delivery);
    }

    /// A handle that settles, for tasks that handle events beside each other.
    pub fn settler(&self) -> Settler {
        self.settler.clone()
    }

    /// Leaves in order, and waits until everything that was settled is durable. What was not settled is given to other
    /// consumers, and does not count as an attempt.
    ///
    /// # Errors
    /// It is not known whether all of it was kept; which events is in the message, also those that were settled on a
    /// connection that was lost since, unless the group has them settled by now, by whomever. They may be delivered
    /// again.
    pub async fn close(self) -> Result<(), Problem> {
        let (reply, answer) = oneshot::channel();
        if self.settler.messages.send(ConsumerMessage::Close(reply)).is_err() {
            // The task never began: a rule was broken, and nothing was settled.
            return Ok(());
        }
        answer.await.unwrap_or_else(|_| {
            let message = "the consumer ended before it was known what was kept";
            Err(Problem::new(ErrorKind::Unavailable, Outcome::Unknown, message))
        })
    }
}

/// The deliveries, as [`Consumer::try_next`] hands them out; settle them with a [`Settler`]. It ends after an error.
///
/// ```no_run
/// # async fn example(client: quorate_client::Client) -> Result<(), quorate_client::Problem> {
/// use futures_util::TryStreamExt;
/// let mut consumer = client.group("billing").consume().start();
/// let settler = consumer.settler();
/// let handled = (&mut consumer).try_for_each_concurrent(8, |delivery| {
///     let settler = settler.clone();
///     async move {
///         println!("{}", delivery.event.stream);
///         settler.ack(&delivery);
///         Ok(())
///     }
/// });
/// handled.await?;
/// consumer.close().await
/// # }
/// ```
impl Stream for Consumer {
    type Item = Result<Delivery, Problem>;

    fn poll_next(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Delivery, Problem>>> {
        if self.has_ended {
            return Poll::Ready(None);
        }
        loop {
            let Some(delivery) = ready!(self.deliveries.poll_recv(context)) else {
                return Poll::Ready(None);
            };
            let mut delivery = match delivery {
                Ok(delivery) => delivery,
                Err(problem) => {
                    self.has_ended = true;
                    return Poll::Ready(Some(Err(problem)));
                }
            };
            // A delivery that a lost stream brought, or that was taken back, goes to somebody else by now.
            let is_lost = delivery.stream != self.current.stream.load(Ordering::Acquire);
            if !is_lost && !delivery.has_lapsed() {
                let timeout_ms = self.current.timeout_ms.load(Ordering::Acquire);
                delivery.timeout = Duration::from_millis(timeout_ms);
                self.settler.extend(&delivery);
                return Poll::Ready(Some(Ok(delivery)));
            }
        }
    }
}

/// Settles what a consumer was given. Nothing waits: what is settled is sent in the background, and
/// [`Consumer::close`] waits until it is durable.
#[derive(Clone, Debug)]
pub struct Settler {
    messages: mpsc::UnboundedSender<ConsumerMessage>,
}

impl Settler {
    /// The event is handled.
    pub fn ack(&self, delivery: &Delivery) {
        self.settle(delivery, Fate::Acknowledged);
    }

    /// The event failed, and is tried again after the group's delay, or parked after its last attempt. Of the reason
    /// 512 bytes are kept.
    pub fn fail(&self, delivery: &Delivery, reason: impl Into<String>) {
        let reason = bounded_reason(reason.into());
        self.settle(delivery, Fate::Failed { reason, delay_ms: None });
    }

    /// The same, with the time until it is tried again: a week at most.
    pub fn fail_after(&self, delivery: &Delivery, reason: impl Into<String>, delay: Duration) {
        let reason = bounded_reason(reason.into());
        let delay_ms = Some(milliseconds(delay).min(GROUP_TIMEOUT_MS_MAX));
        self.settle(delivery, Fate::Failed { reason, delay_ms });
    }

    /// The event is not to be tried again until somebody replays it.
    pub fn park(&self, delivery: &Delivery, reason: impl Into<String>) {
        self.settle(delivery, Fate::Parked(bounded_reason(reason.into())));
    }

    /// The event is given up for good.
    pub fn skip(&self, delivery: &Delivery) {
        self.settle(delivery, Fate::Skipped);
    }

    /// The work on the event goes on: its time begins anew. To be said in good time, say at a third of the group's
    /// timeout; a node allows a week in all. [`ConsumeRequest::extend_up_to`] does it by itself.
    pub fn extend(&self, delivery: &Delivery) {
        let Delivery { number, stream, .. } = *delivery;
        let _ = self.messages.send(ConsumerMessage::Begun { stream, number });
    }

    fn settle(&self, delivery: &Delivery, fate: Fate) {
        let Delivery { number, stream, .. } = *delivery;
        let (position, settlement) = (delivery.event.position, Settlement { number, fate });
        // A task that has ended has told why, and what it held comes again.
        let _ = self.messages.send(ConsumerMessage::Settled { stream, position, settlement });
    }
}
