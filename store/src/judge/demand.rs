//! An append as it is judged: its ids, and the streams with their expectations.

use quorate_proto::{Append, EventId, Expectation, StreamName};

/// An append that is being judged.
#[derive(Debug)]
pub(crate) struct Demand<'a> {
    pub(super) append: &'a Append,
    /// The ids of the events of all writes, in their order.
    pub(super) ids: Vec<EventId>,
}

impl<'a> Demand<'a> {
    pub(crate) fn of(append: &'a Append) -> Demand<'a> {
        let events = append.writes.iter().flat_map(|write| &write.events);
        Demand { append, ids: events.map(|event| event.id).collect() }
    }

    /// Returns the streams with their expectations: the written ones, then the required ones.
    pub(crate) fn streams(&self) -> impl Iterator<Item = (&'a StreamName, Expectation)> + use<'a> {
        let writes = self.append.writes.iter().map(|write| (&write.stream, write.expectation));
        writes.chain(self.append.requirements.iter().map(|one| (&one.stream, one.expectation)))
    }

    /// Returns the number of these streams, from the first on, that must not be closed: the written ones, and
    /// the stream that a change is about, which the change requires.
    pub(crate) fn open_count(&self) -> usize {
        let writes = &self.append.writes;
        let is_change = writes.iter().any(|write| write.stream.is_system());
        writes.len() + if is_change { self.append.requirements.len() } else { 0 }
    }
}
