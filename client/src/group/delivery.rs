//! The deliveries of a consumer, and the messages between the application and the task behind the consumer.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use quorate_proto::{Problem, RecordedEvent, Settlement};
use tokio::sync::oneshot;

/// An event that was delivered to a consumer.
///
/// ```no_run
/// # async fn example(mut consumer: quorate_client::Consumer) -> Result<(), quorate_client::Problem> {
/// while let Some(delivery) = consumer.try_next().await? {
///     if delivery.attempt > 3 {
///         consumer.park(&delivery, "somebody has to look at it");
///         continue;
///     }
///     println!("{} to do within {:?}", delivery.event.kind, delivery.timeout);
///     consumer.ack(&delivery);
/// }
/// # Ok(()) }
/// ```
#[derive(Clone, Debug)]
pub struct Delivery {
    /// The event.
    pub event: RecordedEvent,
    /// The number of the attempt; the first is 1.
    pub attempt: u32,
    /// The time that the consumer has for the event after [`crate::Consumer::try_next`] handed it out, unless it asks for
    /// more: the group's timeout at that time. If the group is configured otherwise meanwhile, no time is taken away,
    /// and each extension is as long as the group's timeout is by then.
    pub timeout: Duration,
    /// The number of the delivery, and below it that of the stream that it came on.
    pub(super) number: u64,
    pub(super) stream: u64,
    pub(super) has_lapsed: Arc<AtomicBool>,
}

impl Delivery {
    /// Returns true if the delivery was taken back, as far as is known here: its time was over, or the connection was
    /// lost. Its settlement then counts for nothing, and the event is delivered again, to this or another consumer.
    /// Long work may check this now and then.
    pub fn has_lapsed(&self) -> bool {
        self.has_lapsed.load(Ordering::Acquire)
    }
}

/// The state of the task that the consumer reads.
#[derive(Debug, Default)]
pub(super) struct Current {
    /// The number of the open stream; 0 if there is none.
    pub(super) stream: AtomicU64,
    /// The group's timeout, as the node sent it last.
    pub(super) timeout_ms: AtomicU64,
}

/// A message from the application to the task.
#[derive(Debug)]
pub(super) enum ConsumerMessage {
    Settled {
        stream: u64,
        position: u64,
        settlement: Settlement,
    },
    /// The work on a delivery begins or continues.
    Begun {
        stream: u64,
        number: u64,
    },
    Close(oneshot::Sender<Result<(), Problem>>),
}
