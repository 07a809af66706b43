//! Which appends of a session wait for one with conditions, so that they do not overtake it.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use quorate_proto::StreamName;

/// What waits, and for what.
///
/// Invariants:
/// * Of all that names a stream, what has conditions and was let go on is alone until it is finished.
/// * What names a common stream goes on in the order in which it came.
pub(crate) struct Order<T> {
    /// The streams of what has conditions, went on and is not finished.
    running: BTreeSet<StreamName>,
    waiting: VecDeque<Entry<T>>,
    /// How many of those that wait name a stream.
    waited_for: BTreeMap<StreamName, usize>,
}

struct Entry<T> {
    streams: Vec<StreamName>,
    is_conditional: bool,
    item: T,
}

impl<T> Default for Order<T> {
    fn default() -> Order<T> {
        Order { running: BTreeSet::new(), waiting: VecDeque::new(), waited_for: BTreeMap::new() }
    }
}

impl<T> Order<T> {
    /// Whether nothing waits, and there is nothing to wait for.
    pub(crate) fn is_idle(&self) -> bool {
        self.running.is_empty() && self.waiting.is_empty()
    }

    /// Takes what comes next; gives it back if it may go on at once. What has conditions is to be
    /// [finished](Order::finish) when it is answered.
    pub(crate) fn enter(
        &mut self,
        streams: Vec<StreamName>,
        is_conditional: bool,
        item: T,
    ) -> Option<T> {
        let must_wait = |stream: &StreamName| {
            self.running.contains(stream) || self.waited_for.contains_key(stream)
        };
        if !streams.iter().any(must_wait) {
            if is_conditional {
                self.running.extend(streams);
            }
            return Some(item);
        }
        for stream in &streams {
            *self.waited_for.entry(stream.clone()).or_default() += 1;
        }
        self.waiting.push_back(Entry { streams, is_conditional, item });
        None
    }

    /// What has conditions and went on with these streams is answered. Returns what may go on now, in order.
    pub(crate) fn finish(&mut self, streams: &[StreamName]) -> Vec<T> {
        for stream in streams {
            self.running.remove(stream);
        }
        let mut released = Vec::new();
        let mut held: BTreeSet<StreamName> = BTreeSet::new();
        for entry in std::mem::take(&mut self.waiting) {
            let must_wait =
                |stream: &StreamName| self.running.contains(stream) || held.contains(stream);
            if entry.streams.iter().any(must_wait) {
                held.extend(entry.streams.iter().cloned());
                self.waiting.push_back(entry);
                continue;
            }
            for stream in &entry.streams {
                if let Some(count) = self.waited_for.get_mut(stream) {
                    *count -= 1;
                    if *count == 0 {
                        self.waited_for.remove(stream);
                    }
                }
            }
            if entry.is_conditional {
                self.running.extend(entry.streams);
            }
            released.push(entry.item);
        }
        released
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
}
