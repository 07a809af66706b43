//! The consumers of a group: the events that each holds, and the choice of the next consumer.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::ops::Bound;

use quorate_proto::{Position, Strategy, StreamName};

/// A consumer, for as long as its stream lives; ids grow and are not used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct ConsumerId(pub(crate) u64);

/// The relation of a consumer to the delivery of a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Seen {
    /// The consumer held this event until now.
    Held(Position),
    /// The consumer held the delivery once.
    Before,
    /// The consumer never received a delivery of this number.
    Never,
}

/// One consumer.
///
/// Invariant: it holds no more events than its window.
#[derive(Debug)]
pub(crate) struct Consumer {
    pub(crate) name: String,
    pub(crate) window: u32,
    /// The events that it holds, by the number of the delivery.
    held: BTreeMap<u64, Position>,
    /// The number of the last delivery.
    given: u64,
    /// The number of events that it settled since it joined.
    pub(crate) settled: u64,
    /// True if it takes events at the moment.
    is_open: bool,
    /// True if it reports when it begins an event.
    tells_begun: bool,
}

impl Consumer {
    /// Returns the number of events that it holds.
    pub(crate) fn in_flight(&self) -> u32 {
        u32::try_from(self.held.len()).unwrap_or(u32::MAX)
    }

    fn find_delivery(&self, number: u64) -> Seen {
        match self.held.get(&number) {
            Some(position) => Seen::Held(*position),
            None if (1..=self.given).contains(&number) => Seen::Before,
            None => Seen::Never,
        }
    }

    fn has_room(&self) -> bool {
        self.is_open && self.in_flight() < self.window
    }
}

/// All consumers of a group.
///
/// Invariant: `available` has exactly the consumers that have room and are open.
#[derive(Debug, Default)]
pub(crate) struct Consumers {
    all: BTreeMap<ConsumerId, Consumer>,
    available: BTreeSet<ConsumerId>,
    joined: u64,
    /// The consumer that received the last event.
    last: Option<ConsumerId>,
    in_flight: u64,
}

impl Consumers {
    pub(crate) fn count(&self) -> usize {
        self.all.len()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Consumer> {
        self.all.values()
    }

    pub(super) fn in_flight(&self) -> u64 {
        self.in_flight
    }

    pub(super) fn join(&mut self, name: String, window: u32, tells_begun: bool) -> ConsumerId {
        self.joined += 1;
        let id = ConsumerId(self.joined);
        let name = if name.is_empty() { format!("consumer-{}", id.0) } else { name };
        let held = BTreeMap::new();
        let (given, settled, is_open) = (0, 0, true);
        let consumer = Consumer { name, window, held, given, settled, is_open, tells_begun };
        self.all.insert(id, consumer);
        self.note(id);
        id
    }

    /// Removes a consumer; returns its name and the events that it held.
    pub(super) fn leave(&mut self, id: ConsumerId) -> Option<(String, BTreeMap<u64, Position>)> {
        let Consumer { name, held, .. } = self.all.remove(&id)?;
        self.available.remove(&id);
        self.in_flight -= held.len() as u64;
        Some((name, held))
    }

    pub(super) fn set_open(&mut self, id: ConsumerId, is_open: bool) {
        if let Some(consumer) = self.all.get_mut(&id) {
            consumer.is_open = is_open;
            self.note(id);
        }
    }

    /// Gives a consumer an event; returns the number of the delivery.
    pub(super) fn give(&mut self, id: ConsumerId, position: Position) -> u64 {
        let Some(consumer) = self.all.get_mut(&id) else { return 0 };
        consumer.given += 1;
        let number = consumer.given;
        consumer.held.insert(number, position);
        self.in_flight += 1;
        self.last = Some(id);
        self.note(id);
        number
    }

    pub(super) fn tells_begun(&self, id: ConsumerId) -> bool {
        self.all.get(&id).is_some_and(|consumer| consumer.tells_begun)
    }

    /// Returns the consumer's relation to a delivery, without a change.
    pub(super) fn find_delivery(&self, id: ConsumerId, number: u64) -> Seen {
        self.all.get(&id).map_or(Seen::Before, |consumer| consumer.find_delivery(number))
    }

    /// Takes an event from a consumer; `settled` is true if the consumer itself reported the outcome.
    pub(super) fn release(&mut self, id: ConsumerId, number: u64, settled: bool) -> Seen {
        let Some(consumer) = self.all.get_mut(&id) else { return Seen::Before };
        let seen = consumer.find_delivery(number);
        if consumer.held.remove(&number).is_none() {
            return seen;
        }
        consumer.settled += u64::from(settled);
        self.in_flight -= 1;
        self.note(id);
        seen
    }

    /// Returns the consumer of the next event, which is of `stream` if streams go to one consumer at a time.
    pub(super) fn choose(
        &self,
        strategy: Strategy,
        stream: Option<&StreamName>,
        except: Option<ConsumerId>,
    ) -> Option<ConsumerId> {
        let is_meant = |id: &ConsumerId| Some(*id) != except;
        match (strategy, stream) {
            (Strategy::Single, _) => {
                let first = self.all.keys().next()?;
                self.available.get(first).copied().filter(is_meant)
            }
            (Strategy::ByStream, Some(stream)) => {
                let preferred = self.preferred(stream).filter(is_meant);
                preferred.or_else(|| self.next_in_turn(except))
            }
            _ => self.next_in_turn(except),
        }
    }

    fn next_in_turn(&self, except: Option<ConsumerId>) -> Option<ConsumerId> {
        let after = self.last.map_or(Bound::Unbounded, Bound::Excluded);
        let next = self.available.range((after, Bound::Unbounded));
        next.chain(&self.available).copied().find(|id| Some(*id) != except)
    }

    /// Returns the consumer for a stream, if it has room: always the same one while the consumers are the same,
    /// and few streams change theirs when a consumer joins or leaves (rendezvous hashing).
    fn preferred(&self, stream: &StreamName) -> Option<ConsumerId> {
        if self.available.is_empty() {
            return None;
        }
        let weight = |id: &ConsumerId| {
            let mut hasher = DefaultHasher::new();
            (stream.as_str(), id.0).hash(&mut hasher);
            hasher.finish()
        };
        let preferred = self.all.keys().copied().max_by_key(weight)?;
        self.available.get(&preferred).copied()
    }

    fn note(&mut self, id: ConsumerId) {
        if self.all.get(&id).is_some_and(Consumer::has_room) {
            self.available.insert(id);
        } else {
            self.available.remove(&id);
        }
    }
}
