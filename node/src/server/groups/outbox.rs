//! The messages to one consumer: deliveries, confirmations, and the end of its stream.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::{Context, Poll};

use futures_util::Stream;
use quorate_proto::Problem;
use quorate_proto::limits::READ_MESSAGE_BYTES;
use quorate_proto::wire::v1;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tonic::Status;

use super::dispatcher::ConsumerId;

/// The bytes of events not taken by the transport at which a consumer is given no more.
const UNTAKEN_BYTES_MAX: usize = READ_MESSAGE_BYTES;
/// The most confirmations in one message.
const NUMBERS_PER_MESSAGE: usize = 10_000;

enum Item {
    Joined(v1::Joined),
    Delivery { delivery: v1::Delivery, bytes: usize },
    Settled(u64),
    Lapsed(u64),
    Timeout(u64),
    StillHere,
    End(Option<Problem>),
}

/// The owner's end of the stream. Dropping it ends the stream without an error.
pub(super) struct Outbox {
    items: mpsc::UnboundedSender<Item>,
    /// The bytes of events that the transport has not taken.
    untaken: Arc<AtomicUsize>,
    /// True while a sign of life waits for the transport: one is enough.
    has_sign: Arc<AtomicBool>,
}

/// The stream of messages. Dropping it shows that the consumer is gone.
///
/// Its content is bounded: events by [`UNTAKEN_BYTES_MAX`] and one event, confirmations by the consumer's window.
pub(crate) struct Outgoing {
    id: ConsumerId,
    items: mpsc::UnboundedReceiver<Item>,
    untaken: Arc<AtomicUsize>,
    has_sign: Arc<AtomicBool>,
    /// The channel that reports that there is room again.
    drained: mpsc::UnboundedSender<ConsumerId>,
    end: Option<Option<Problem>>,
    over: CancellationToken,
}

/// Opens a stream whose first message tells the consumer that it was let in.
pub(super) fn open(
    id: ConsumerId,
    joined: v1::Joined,
    drained: mpsc::UnboundedSender<ConsumerId>,
) -> (Outbox, Outgoing) {
    let (sender, items) = mpsc::unbounded_channel();
    let _ = sender.send(Item::Joined(joined));
    let untaken = Arc::new(AtomicUsize::new(0));
    let has_sign = Arc::new(AtomicBool::new(false));
    let outbox = Outbox { items: sender, untaken: untaken.clone(), has_sign: has_sign.clone() };
    let over = CancellationToken::new();
    (outbox, Outgoing { id, items, untaken, has_sign, drained, end: None, over })
}

impl Outbox {
    /// Sends a delivery; returns true if the consumer takes more events after it.
    pub(super) fn deliver(&self, delivery: v1::Delivery, bytes: usize) -> bool {
        let before = self.untaken.fetch_add(bytes, Ordering::AcqRel);
        let _ = self.items.send(Item::Delivery { delivery, bytes });
        before + bytes < UNTAKEN_BYTES_MAX
    }

    pub(super) fn confirm(&self, number: u64) {
        let _ = self.items.send(Item::Settled(number));
    }

    pub(super) fn lapse(&self, numbers: Vec<u64>) {
        for number in numbers {
            let _ = self.items.send(Item::Lapsed(number));
        }
    }

    /// Tells the consumer the group's timeout, which has changed.
    pub(super) fn set_timeout(&self, timeout_ms: u64) {
        let _ = self.items.send(Item::Timeout(timeout_ms));
    }

    /// Tells the consumer that its group is still served.
    pub(super) fn give_sign(&self) {
        if !self.has_sign.swap(true, Ordering::AcqRel) {
            let _ = self.items.send(Item::StillHere);
        }
    }

    /// Ends the stream; messages sent before still go out.
    pub(super) fn end(self, problem: Option<Problem>) {
        let _ = self.items.send(Item::End(problem));
    }
}

impl Outgoing {
    /// Completes when the stream was dropped.
    pub(super) fn over(&self) -> CancellationToken {
        self.over.clone()
    }

    fn took(&self, bytes: usize) {
        let before = self.untaken.fetch_sub(bytes, Ordering::AcqRel);
        if before >= UNTAKEN_BYTES_MAX && before - bytes < UNTAKEN_BYTES_MAX {
            let _ = self.drained.send(self.id);
        }
    }
}

impl Stream for Outgoing {
    type Item = Result<v1::ConsumeResponse, Status>;

    /// Joins everything that is ready into one message.
    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let mut message = v1::ConsumeResponse::default();
        let (mut bytes, mut numbers) = (0, 0);
        let mut is_empty = true;
        while self.end.is_none() && bytes < READ_MESSAGE_BYTES && numbers < NUMBERS_PER_MESSAGE {
            match self.items.poll_recv(context) {
                Poll::Ready(Some(Item::Joined(joined))) => {
                    message.joined = Some(joined);
                    return Poll::Ready(Some(Ok(message)));
                }
                Poll::Ready(Some(Item::Delivery { delivery, bytes: size })) => {
                    self.took(size);
                    bytes += size;
                    message.deliveries.push(delivery);
                }
                Poll::Ready(Some(Item::Settled(number))) => {
                    numbers += 1;
                    message.settled.push(number);
                }
                Poll::Ready(Some(Item::Lapsed(number))) => {
                    numbers += 1;
                    message.lapsed.push(number);
                }
                Poll::Ready(Some(Item::Timeout(timeout_ms))) => {
                    message.timeout_ms = Some(timeout_ms);
                }
                Poll::Ready(Some(Item::StillHere)) => self.has_sign.store(false, Ordering::Release),
                Poll::Ready(Some(Item::End(problem))) => {
                    self.end = Some(problem);
                    break;
                }
                Poll::Ready(None) => {
                    self.end = Some(None);
                    break;
                }
                Poll::Pending if is_empty => return Poll::Pending,
                Poll::Pending => break,
            }
            is_empty = false;
        }
        if !is_empty {
            return Poll::Ready(Some(Ok(message)));
        }
        let problem = self.end.as_mut().and_then(Option::take);
        Poll::Ready(problem.map(|problem| Err(problem.into())))
    }
}

impl Drop for Outgoing {
    fn drop(&mut self) {
        self.over.cancel();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::{FutureExt, StreamExt};
    use quorate_proto::{ErrorKind, Outcome};

    fn delivery(number: u64) -> v1::Delivery {
        v1::Delivery { number, ..v1::Delivery::default() }
    }

    #[tokio::test]
    async fn what_is_ready_goes_out_together_and_the_end_comes_last() {
        let (drained, _receiver) = mpsc::unbounded_channel();
        let (outbox, mut outgoing) = open(ConsumerId(1), v1::Joined::default(), drained);
        assert!(outbox.deliver(delivery(1), 10));
        assert!(outbox.deliver(delivery(2), 10));
        outbox.confirm(1);
        outbox.lapse(vec![7]);
        outbox.end(Some(Problem::new(ErrorKind::Unavailable, Outcome::NotAppended, "over")));
        let first = outgoing.next().await.expect("a message").expect("no error");
        assert!(first.joined.is_some() && first.deliveries.is_empty());
        let second = outgoing.next().await.expect("a message").expect("no error");
        assert_eq!((second.deliveries.len(), second.settled, second.lapsed), (2, vec![1], vec![7]));
        let end = outgoing.next().await.expect("an end").expect_err("an error");
        assert_eq!(end.message(), "over");
        assert!(outgoing.next().await.is_none());
    }

    #[tokio::test]
    async fn a_sign_of_life_is_an_empty_message_and_only_one_waits() {
        let (drained, _receiver) = mpsc::unbounded_channel();
        let (outbox, mut outgoing) = open(ConsumerId(1), v1::Joined::default(), drained);
        outgoing.next().await.expect("it joined").expect("no error");
        for _ in 0..3 {
            outbox.give_sign();
        }
        assert_eq!(outgoing.items.len(), 1);
        let sign = outgoing.next().await.expect("a message").expect("no error");
        assert_eq!(sign, v1::ConsumeResponse::default());
        assert!(outgoing.next().now_or_never().is_none());
        outbox.give_sign();
        assert!(outgoing.next().now_or_never().is_some(), "the next one goes out too");
    }

    #[tokio::test]
    async fn a_consumer_that_takes_nothing_is_given_no_more_until_it_does() {
        let (drained, mut ids) = mpsc::unbounded_channel();
        let (outbox, mut outgoing) = open(ConsumerId(7), v1::Joined::default(), drained);
        outgoing.next().await.expect("it joined").expect("no error");
        assert!(!outbox.deliver(delivery(1), UNTAKEN_BYTES_MAX));
        assert!(ids.recv().now_or_never().is_none());
        outgoing.next().await.expect("a message").expect("no error");
        assert_eq!(ids.recv().now_or_never(), Some(Some(ConsumerId(7))));
        let over = outgoing.over();
        drop(outgoing);
        assert!(over.is_cancelled());
    }
}
