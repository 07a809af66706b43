//! The deliveries that wait for their turn: one delivery of each stream is under way at a time, in order.

use std::collections::{HashMap, VecDeque};

use quorate_client::StreamName;

/// The deliveries that wait behind the one under way, by stream.
///
/// Invariants:
/// - A stream is a key of the map exactly while one of its deliveries is under way.
/// - The waiting deliveries of a stream are in the order of their positions.
#[derive(Debug)]
pub(crate) struct StreamQueues<D>(HashMap<StreamName, VecDeque<(u64, D)>>);

impl<D> StreamQueues<D> {
    pub(crate) fn new() -> StreamQueues<D> {
        StreamQueues(HashMap::new())
    }

    /// Adds a delivery: returns it if it may begin now. Waiting deliveries from its position on are discarded:
    /// they were handed out before the connection was lost, for example, and will come again.
    pub(crate) fn enter(&mut self, stream: &StreamName, position: u64, delivery: D) -> Option<D> {
        match self.0.get_mut(stream) {
            Some(waiting) => {
                waiting.retain(|(waits, _)| *waits < position);
                waiting.push_back((position, delivery));
                None
            }
            None => {
                self.0.insert(stream.clone(), VecDeque::new());
                Some(delivery)
            }
        }
    }

    /// Ends the delivery under way: returns the next of its stream.
    pub(crate) fn leave(&mut self, stream: &StreamName) -> Option<D> {
        let next = self.0.get_mut(stream)?.pop_front();
        if next.is_none() {
            self.0.remove(stream);
        }
        next.map(|(_, delivery)| delivery)
    }

    /// Discards the waiting deliveries.
    pub(crate) fn clear(&mut self) {
        for waiting in self.0.values_mut() {
            waiting.clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_deliveries_of_a_stream_go_one_by_one_and_in_order() {
        let [one, other] = ["a-1", "a-2"].map(|name| StreamName::new(name).expect("a name"));
        let mut stream_queues = StreamQueues::new();
        assert_eq!(stream_queues.enter(&one, 1, "first"), Some("first"));
        assert_eq!(stream_queues.enter(&one, 3, "second"), None);
        assert_eq!(stream_queues.enter(&other, 2, "beside"), Some("beside"));
        assert_eq!(stream_queues.leave(&one), Some("second"));
        assert_eq!(stream_queues.leave(&one), None);
        assert_eq!(stream_queues.enter(&one, 4, "third"), Some("third"));
    }

    #[test]
    fn what_is_handed_out_again_takes_the_place_of_what_waits() {
        let stream = StreamName::new("a-1").expect("a name");
        let mut stream_queues = StreamQueues::new();
        assert_eq!(stream_queues.enter(&stream, 1, "1"), Some("1"));
        for (position, delivery) in [(2, "2"), (3, "3"), (1, "1 again"), (2, "2 again")] {
            assert_eq!(stream_queues.enter(&stream, position, delivery), None);
        }
        let order: Vec<_> = std::iter::from_fn(|| stream_queues.leave(&stream)).collect();
        assert_eq!(order, ["1 again", "2 again"]);
    }
}
