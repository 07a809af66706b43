//! A consumer of a group, as an application uses it; a task sends and receives its messages.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use futures_util::{Stream, StreamExt};
use quorate_proto::limits::{CONSUMER_WINDOW_DEFAULT, GROUP_TIMEOUT_MS_MAX, GROUP_WINDOW_MAX};
use quorate_proto::{
    ErrorKind, Fate, GroupName, Invalid, Join, Outcome, Problem, Settlement, bounded_reason,
};
use tokio::sync::{mpsc, oneshot};

use super::admin::GroupRef;
use super::delivery::{ConsumerMessage, Current, Delivery};
use super::driver::Driver;
use super::shown::milliseconds;
use super::work::Work;
use crate::client::Client;

/// A consumer before it is started.
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

impl GroupRef {
    /// Prepares a consumer of the group; more can be set before it starts.
    pub fn consume(&self) -> ConsumeRequest {
        ConsumeRequest {
            client: self.client.clone(),
            group: self.name.clone(),
            name: String::new(),
            window: CONSUMER_WINDOW_DEFAULT,
            extended_up_to: Duration::ZERO,
        }
    }
}

impl ConsumeRequest {
    /// Sets the name of the consumer, for people; at most 128 bytes, and need not be unique.
    pub fn name(mut self, name: impl Into<String>) -> ConsumeRequest {
        self.name = name.into();
        self
    }

    /// Sets the largest number of unsettled events that the consumer holds at once; by default 16, at most 65,536.
    pub fn window(mut self, events: u32) -> ConsumeRequest {
        self.window = events;
        self
    }

    /// Lets the work on an event take up to `max`, although the group's timeout is shorter: for that time after the
    /// event was handed out, the consumer asks for more time by itself until the event is settled. By default it does
    /// not. A node allows a week at most.
    ///
    /// A consumer that hangs keeps its event for that time; the events of a consumer that dies are given to others when
    /// its connection ends.
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

    /// Starts the consumer, which connects in the background. Must be called within a tokio runtime.
    pub fn start(self) -> Consumer {
        let ConsumeRequest { client, group, name, window, extended_up_to } = self;
        let join = group.and_then(|group| {
            let join = Join { group, consumer: name, window, tells_begun: true };
            join.check().map(|()| join)
        });
        // One window of deliveries is taken ahead; settlements are bounded by the deliveries.
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

/// A consumer of a group. It connects to the leader, through another node if need be, and connects again for as long as
/// it takes when the connection is lost. Dropping it leaves the group, even if one of its [`Settler`]s lives: the
/// events that it holds are given to others.
///
/// Every event comes at least once: an event that was settled when the connection was lost may come again, here or to
/// another consumer. Settle each delivery, once; a late settlement is not accepted, and the event comes again.
///
/// ```no_run
/// # async fn send_mail(_: &quorate_client::RecordedEvent) -> Result<(), String> { Ok(()) }
/// # async fn example(client: quorate_client::Client) -> Result<(), quorate_client::Problem> {
/// let mut consumer = client.group("mails").consume().name("host 7").start();
/// while let Some(delivery) = consumer.try_next().await? {
///     match send_mail(&delivery.event).await {
///         Ok(()) => consumer.ack(&delivery),
///         Err(why) => consumer.fail(&delivery, why),
///     }
/// }
/// # Ok(()) }
/// ```
#[derive(Debug)]
#[must_use = "a consumer that is dropped leaves"]
pub struct Consumer {
    deliveries: mpsc::Receiver<Result<Delivery, Problem>>,
    settler: Settler,
    current: Arc<Current>,
    /// True once the error that ends the consumer was handed out.
    has_ended: bool,
}

impl Consumer {
    /// Returns the next event; waits while there is none. `None` only after an error. Cancelling it loses nothing.
    ///
    /// The work on the event, and its time, begin when this returns. An event that waits within the consumer costs no
    /// attempt: it may go to another consumer that has room after the group's timeout.
    ///
    /// # Errors
    /// An error that waiting cannot cure: the group does not exist (any more), or a rule is broken.
    pub async fn try_next(&mut self) -> Result<Option<Delivery>, Problem> {
        self.next().await.transpose()
    }

    /// Settles the event as handled.
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

    /// Gives the event up for good.
    pub fn skip(&self, delivery: &Delivery) {
        self.settler.skip(delivery);
    }

    /// See [`Settler::extend`].
    pub fn extend(&self, delivery: &Delivery) {
        self.settler.extend(delivery);
    }

    /// Returns a handle that settles, for tasks that handle events concurrently.
    pub fn settler(&self) -> Settler {
        self.settler.clone()
    }

    /// Leaves in order, and waits until every settlement is durable. Events that were not settled are given to other
    /// consumers, and this does not count as an attempt.
    ///
    /// # Errors
    /// It is not known whether all settlements were kept; the message names the events, also those that were settled on
    /// a connection that was lost since, except those that the group has settled by now, by any consumer. They may be
    /// delivered again.
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

/// The deliveries, as [`Consumer::try_next`] returns them; settle them with a [`Settler`]. Ends after an error.
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
            // A delivery of a lost stream, or one that was taken back, goes to another consumer by now.
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

/// Settles the deliveries of a consumer. No method waits: settlements are sent in the background, and
/// [`Consumer::close`] waits until they are durable.
///
/// ```no_run
/// # async fn send_mail(_: &quorate_client::RecordedEvent) {}
/// # async fn example(client: quorate_client::Client) -> Result<(), quorate_client::Problem> {
/// let mut consumer = client.group("mails").consume().window(8).start();
/// while let Some(delivery) = consumer.try_next().await? {
///     let settler = consumer.settler();
///     tokio::spawn(async move {
///         send_mail(&delivery.event).await;
///         settler.ack(&delivery);
///     });
/// }
/// # Ok(()) }
/// ```
#[derive(Clone, Debug)]
pub struct Settler {
    messages: mpsc::UnboundedSender<ConsumerMessage>,
}

impl Settler {
    /// Settles the event as handled.
    pub fn ack(&self, delivery: &Delivery) {
        self.settle(delivery, Fate::Acknowledged);
    }

    /// Settles the event as failed: it is tried again after the group's delay, or parked after its last attempt. Of the
    /// reason 512 bytes are kept.
    pub fn fail(&self, delivery: &Delivery, reason: impl Into<String>) {
        let reason = bounded_reason(reason.into());
        self.settle(delivery, Fate::Failed { reason, delay_ms: None });
    }

    /// Does the same as [`Settler::fail`], with another delay before the next attempt: a week at most.
    pub fn fail_after(&self, delivery: &Delivery, reason: impl Into<String>, delay: Duration) {
        let reason = bounded_reason(reason.into());
        let delay_ms = Some(milliseconds(delay).min(GROUP_TIMEOUT_MS_MAX));
        self.settle(delivery, Fate::Failed { reason, delay_ms });
    }

    /// Parks the event: it is not tried again until it is replayed.
    pub fn park(&self, delivery: &Delivery, reason: impl Into<String>) {
        self.settle(delivery, Fate::Parked(bounded_reason(reason.into())));
    }

    /// Gives the event up for good.
    pub fn skip(&self, delivery: &Delivery) {
        self.settle(delivery, Fate::Skipped);
    }

    /// Asks for more time for the event: its timeout begins anew. Call it in good time, at a third of the group's
    /// timeout for example; a node allows a week in all. [`ConsumeRequest::extend_up_to`] does it by itself.
    pub fn extend(&self, delivery: &Delivery) {
        let Delivery { number, stream, .. } = *delivery;
        let _ = self.messages.send(ConsumerMessage::Begun { stream, number });
    }

    fn settle(&self, delivery: &Delivery, fate: Fate) {
        let Delivery { number, stream, .. } = *delivery;
        let (position, settlement) = (delivery.event.position.0, Settlement { number, fate });
        // A task that has ended has handed out its error, and its events come again.
        let _ = self.messages.send(ConsumerMessage::Settled { stream, position, settlement });
    }
}
