//! Deliveries waiting for their turn: of each stream one is under way at a time, in order.

use std::collections::{HashMap, VecDeque};

use quorate_client::StreamName;

/// What waits behind the delivery under way, by stream.
///
/// Invariants:
/// - A stream is in here exactly while one of its deliveries is under way.
/// - What waits goes up in position.
#[derive(Debug)]
pub(crate) struct Lanes<D>(HashMap<StreamName, VecDeque<(u64, D)>>);

impl<D> Lanes<D> {
    pub(crate) fn new() -> Lanes<D> {
        Lanes(HashMap::new())
    }

    /// A delivery came: returns it if it may begin now. What waits and comes after it in the stream was
    /// handed out before the connection was lost, say, and will come again.
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

    /// The one under way is over: returns the next of its stream.
    pub(crate) fn leave(&mut self, stream: &StreamName) -> Option<D> {
        let next = self.0.get_mut(stream)?.pop_front();
        if next.is_none() {
            self.0.remove(stream);
        }
        next.map(|(_, delivery)| delivery)
    }

    /// Gives up what waits.
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
        let mut lanes = Lanes::new();
        assert_eq!(lanes.enter(&one, 1, "first"), Some("first"));
        assert_eq!(lanes.enter(&one, 3, "second"), None);
        assert_eq!(lanes.enter(&other, 2, "beside"), Some("beside"));
        assert_eq!(lanes.leave(&one), Some("second"));
        assert_eq!(lanes.leave(&one), None);
        assert_eq!(lanes.enter(&one, 4, "third"), Some("third"));
    }

    #[test]
    fn what_is_handed_out_again_takes_the_place_of_what_waits() {
        let stream = StreamName::new("a-1").expect("a name");
        let mut lanes = Lanes::new();
        assert_eq!(lanes.enter(&stream, 1, "1"), Some("1"));
        for (position, delivery) in [(2, "2"), (3, "3"), (1, "1 again"), (2, "2 again")] {
            assert_eq!(lanes.enter(&stream, position, delivery), None);
        }
        let order: Vec<_> = std::iter::from_fn(|| lanes.leave(&stream)).collect();
        assert_eq!(order, ["1 again", "2 again"]);
    }
}
