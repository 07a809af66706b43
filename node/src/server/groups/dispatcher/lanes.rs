//! The order within streams: of each stream one event goes on, and the others wait behind it.

use std::collections::BTreeSet;

use quorate_proto::{Position, StreamName};

use super::Dispatcher;

/// The events of one stream: one of them goes on, the others wait for it.
pub(super) struct Lane {
    head: Position,
    waiting: BTreeSet<Position>,
}

impl<E> Dispatcher<E> {
    /// Puts an event in its place: ready, or behind the one of its stream. Whether it is ready.
    pub(super) fn line_up(&mut self, position: Position, stream: Option<StreamName>) -> bool {
        let Some(stream) = stream else {
            self.ready.insert(position);
            return true;
        };
        match self.lanes.get_mut(&stream) {
            // An older one that comes back goes first, unless somebody has had the other.
            Some(lane) if position < lane.head && self.ready.remove(&lane.head) => {
                lane.waiting.insert(lane.head);
                lane.head = position;
                self.ready.insert(position);
                true
            }
            Some(lane) if lane.head != position => {
                lane.waiting.insert(position);
                false
            }
            Some(_) => {
                self.ready.insert(position);
                true
            }
            None => {
                let lane = Lane { head: position, waiting: BTreeSet::new() };
                self.lanes.insert(stream, lane);
                self.ready.insert(position);
                true
            }
        }
    }

    /// The event of a stream that went on has ended: the next one goes on.
    pub(super) fn leave_lane(&mut self, position: Position, stream: Option<StreamName>) {
        let Some(stream) = stream else { return };
        let Some(lane) = self.lanes.get_mut(&stream) else { return };
        if lane.head != position {
            lane.waiting.remove(&position);
            return;
        }
        match lane.waiting.pop_first() {
            Some(next) => {
                lane.head = next;
                self.ready.insert(next);
            }
            None => {
                self.lanes.remove(&stream);
            }
        }
    }
}
