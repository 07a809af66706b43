//! The order of a session: its appends wait for an append with conditions, so that they do not overtake it.

use std::collections::{BTreeMap, BTreeSet};

use quorate_proto::StreamName;

/// The items that wait, and the streams that they wait for.
///
/// Invariants:
/// * While an item with conditions runs, until it is finished, no other item that names one of its streams runs.
/// * Items that name a common stream go on in the order in which they came.
/// * `queues` holds, for each stream, the numbers of the items in `waiting` that name it, and no empty queue.
pub(crate) struct Order<T> {
    /// The streams of the items with conditions that went on and are not finished.
    running: BTreeSet<StreamName>,
    /// The waiting items by a number that grows.
    waiting: BTreeMap<u64, Entry<T>>,
    queues: BTreeMap<StreamName, BTreeSet<u64>>,
    next: u64,
}

struct Entry<T> {
    streams: Vec<StreamName>,
    is_conditional: bool,
    item: T,
}

impl<T> Default for Order<T> {
    fn default() -> Order<T> {
        let (running, waiting) = (BTreeSet::new(), BTreeMap::new());
        Order { running, waiting, queues: BTreeMap::new(), next: 0 }
    }
}

impl<T> Order<T> {
    /// Returns true if nothing waits, and there is nothing to wait for.
    pub(crate) fn is_idle(&self) -> bool {
        self.running.is_empty() && self.waiting.is_empty()
    }

    /// Takes the next item, and returns it if it may go on at once. An item with conditions must be
    /// [finished](Order::finish) when it is answered.
    pub(crate) fn enter(
        &mut self,
        streams: Vec<StreamName>,
        is_conditional: bool,
        item: T,
    ) -> Option<T> {
        let must_wait =
            |stream: &StreamName| self.running.contains(stream) || self.queues.contains_key(stream);
        if !streams.iter().any(must_wait) {
            if is_conditional {
                self.running.extend(streams);
            }
            return Some(item);
        }
        let number = self.next;
        self.next += 1;
        for stream in &streams {
            self.queues.entry(stream.clone()).or_default().insert(number);
        }
        self.waiting.insert(number, Entry { streams, is_conditional, item });
        None
    }

    /// Finishes an item with conditions and these streams. Returns the items that may go on now, in order.
    pub(crate) fn finish(&mut self, streams: &[StreamName]) -> Vec<T> {
        for stream in streams {
            self.running.remove(stream);
        }
        let mut released = Vec::new();
        // Only the first item that waits for a freed stream may go on; when it does, others become the first.
        let mut candidates: BTreeSet<u64> =
            streams.iter().filter_map(|stream| self.first(stream)).collect();
        while let Some(number) = candidates.pop_first() {
            let Some(entry) = self.waiting.get(&number) else { continue };
            let is_free = |stream: &StreamName| {
                !self.running.contains(stream) && self.first(stream) == Some(number)
            };
            if !entry.streams.iter().all(is_free) {
                continue;
            }
            let Some(Entry { streams, is_conditional, item }) = self.waiting.remove(&number) else {
                continue;
            };
            streams.iter().for_each(|stream| self.leave(stream, number));
            if is_conditional {
                self.running.extend(streams);
            } else {
                candidates.extend(streams.iter().filter_map(|stream| self.first(stream)));
            }
            released.push(item);
        }
        released
    }

    /// Returns the number of the first item that waits for a stream.
    fn first(&self, stream: &StreamName) -> Option<u64> {
        self.queues.get(stream)?.first().copied()
    }

    fn leave(&mut self, stream: &StreamName, number: u64) {
        if let Some(queue) = self.queues.get_mut(stream) {
            queue.remove(&number);
            if queue.is_empty() {
                self.queues.remove(stream);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn streams(names: &[&str]) -> Vec<StreamName> {
        names.iter().map(|name| StreamName::new(name).expect("a name")).collect()
    }

    #[test]
    fn what_has_no_conditions_waits_for_nothing_but_conditions() {
        let mut order = Order::default();
        assert_eq!(order.enter(streams(&["a"]), false, 1), Some(1));
        assert_eq!(order.enter(streams(&["a"]), false, 2), Some(2));
        assert!(order.is_idle());
    }

    #[test]
    fn conditions_hold_back_what_names_their_streams_until_they_are_answered() {
        let mut order = Order::default();
        assert_eq!(order.enter(streams(&["a", "b"]), true, 1), Some(1));
        assert_eq!(order.enter(streams(&["b"]), false, 2), None);
        assert_eq!(order.enter(streams(&["c"]), false, 3), Some(3), "it names other streams");
        assert_eq!(order.enter(streams(&["c"]), true, 4), Some(4));
        assert_eq!(order.enter(streams(&["b", "d"]), false, 5), None);
        assert_eq!(order.enter(streams(&["d"]), false, 6), None, "5 waits and comes first");
        assert!(order.finish(&streams(&["c"])).is_empty());
        assert_eq!(order.finish(&streams(&["a", "b"])), [2, 5, 6]);
        assert!(order.is_idle());
    }

    #[test]
    fn conditions_that_waited_hold_back_in_their_turn() {
        let mut order = Order::default();
        assert_eq!(order.enter(streams(&["a"]), true, 1), Some(1));
        for number in 2..=5 {
            assert_eq!(order.enter(streams(&["a"]), number % 2 == 1, number), None);
        }
        assert_eq!(order.finish(&streams(&["a"])), [2, 3]);
        assert_eq!(order.finish(&streams(&["a"])), [4, 5]);
        assert!(order.finish(&streams(&["a"])).is_empty());
        assert!(order.is_idle());
    }

    /// With ninety thousand waiting items, a scan of all of them each time takes minutes.
    #[test]
    fn letting_go_looks_only_at_what_waits_for_the_streams_that_came_free() {
        let names: Vec<String> = (0..300).map(|number| format!("s-{number}")).collect();
        let mut order = Order::default();
        for name in &names {
            assert_eq!(order.enter(streams(&[name]), true, 0), Some(0));
        }
        for round in 1..=300 {
            for name in &names {
                assert_eq!(order.enter(streams(&[name]), true, round), None);
            }
        }
        for round in 1..=300 {
            for name in &names {
                assert_eq!(order.finish(&streams(&[name])), [round]);
            }
        }
        for name in &names {
            assert!(order.finish(&streams(&[name])).is_empty());
        }
        assert!(order.is_idle());
    }
}
