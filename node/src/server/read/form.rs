//! The events of a step in the form that their taker wants: as the store has them, or as a message has them.

use std::collections::VecDeque;

use bytes::Bytes;
use quorate_proto::limits::READ_MESSAGE_BYTES;
use quorate_proto::wire::BatchEncoder;
use quorate_store::StoredEvent;

use super::cursor::Cursor;

/// The bytes that the place of an event and the heads of its fields take in a message, about.
const ENVELOPE_BYTES: usize = 96;
/// The size from which on a message is sent. Memory of this size is still in a processor's cache when it is needed
/// again, and a client takes one message apart while the next one is on its way.
pub(super) const MESSAGE_BYTES: usize = READ_MESSAGE_BYTES / 4;
/// The room for the event that fills a message, if it is a small one.
const MARGIN_BYTES: usize = 4 * 1024;

/// A form of events. It is made where the events were read, on a thread that may take its time.
pub(crate) trait Form: Send + 'static {
    /// Returns these events, of which there is at least one.
    fn of(events: Vec<StoredEvent>) -> Self;
}

impl Form for Vec<StoredEvent> {
    fn of(events: Vec<StoredEvent>) -> Vec<StoredEvent> {
        events
    }
}

/// Events as an answer has them: messages of about [`MESSAGE_BYTES`] of events each.
#[derive(Debug)]
pub(crate) struct Encoded(pub(super) VecDeque<Bytes>);

impl Form for Encoded {
    fn of(events: Vec<StoredEvent>) -> Encoded {
        let mut left: usize = events.iter().map(|event| event.size() + ENVELOPE_BYTES).sum();
        let mut messages = VecDeque::new();
        let mut batch = BatchEncoder::default();
        for event in &events {
            if batch.is_empty() {
                batch = BatchEncoder::with_capacity(left.min(MESSAGE_BYTES + MARGIN_BYTES));
            }
            batch.push(&event.borrow());
            left = left.saturating_sub(event.size() + ENVELOPE_BYTES);
            if batch.len() >= MESSAGE_BYTES {
                messages.push_back(std::mem::take(&mut batch).finish());
            }
        }
        if !batch.is_empty() {
            messages.push_back(batch.finish());
        }
        Encoded(messages)
    }
}

/// Events that are about to be given out.
pub(super) struct Formed<F> {
    pub(super) events: F,
    pub(super) count: u64,
    /// The place of the last of them, its version included.
    pub(super) last: Cursor,
}

impl<F: Form> Formed<F> {
    /// Returns none if there are no events.
    pub(super) fn of(events: Vec<StoredEvent>) -> Option<Formed<F>> {
        let last = events.last()?;
        let last = Cursor { position: last.position, version: Some(last.version) };
        let count = events.len() as u64;
        Some(Formed { events: F::of(events), count, last })
    }
}
