//! The order within streams: of each stream one event goes on, and the others wait behind it.

use std::collections::BTreeSet;

use quorate_proto::{Position, StreamName};

use super::Dispatcher;

/// The events of one stream: one of them goes on, the others wait for it.
pub(super) struct StreamQueue {
    head: Position,
    waiting: BTreeSet<Position>,
}

impl<E> Dispatcher<E> {
    /// Makes an event ready, or puts it behind the head of its stream's queue; returns true if it is ready.
    pub(super) fn line_up(&mut self, position: Position, stream: Option<StreamName>) -> bool {
        let Some(stream) = stream else {
            self.ready.insert(position);
            return true;
        };
        match self.stream_queues.get_mut(&stream) {
            // An older event that comes back goes before a head that is ready; behind any other head it waits.
            Some(stream_queue)
                if position < stream_queue.head && self.ready.remove(&stream_queue.head) =>
            {
                stream_queue.waiting.insert(stream_queue.head);
                stream_queue.head = position;
                self.ready.insert(position);
                true
            }
            Some(stream_queue) if stream_queue.head != position => {
                stream_queue.waiting.insert(position);
                false
            }
            Some(_) => {
                self.ready.insert(position);
                true
            }
            None => {
                let stream_queue = StreamQueue { head: position, waiting: BTreeSet::new() };
                self.stream_queues.insert(stream, stream_queue);
                self.ready.insert(position);
                true
            }
        }
    }

    /// Removes an event that ended from its stream's queue; if it was the head, the next event goes on.
    pub(super) fn leave_queue(&mut self, position: Position, stream: Option<StreamName>) {
        let Some(stream) = stream else { return };
        let Some(stream_queue) = self.stream_queues.get_mut(&stream) else { return };
        if stream_queue.head != position {
            stream_queue.waiting.remove(&position);
            return;
        }
        match stream_queue.waiting.pop_first() {
            Some(next) => {
                stream_queue.head = next;
                self.ready.insert(next);
            }
            None => {
                self.stream_queues.remove(&stream);
            }
        }
    }
}
