//! An append as it is judged: its ids, and the streams with their expectations.

use std::borrow::Cow;

use quorate_proto::{Append, EventId, Expectation, StreamName};

use crate::format::command::{Aim, ParsedAppend, Parts};

/// An append that is being judged.
#[derive(Debug)]
pub(crate) struct Demand<'a> {
    aims: Cow<'a, [Aim<'a>]>,
    /// The ids of the events of all writes, in their order.
    pub(super) ids: Cow<'a, [EventId]>,
}

impl<'a> Demand<'a> {
    pub(crate) fn of(append: &'a Append) -> Demand<'a> {
        let writes = append.writes.iter().map(|write| Aim {
            stream: write.stream.as_str(),
            expectation: write.expectation,
            events: write.events.len(),
        });
        let requirements = append.requirements.iter().map(|one| Aim {
            stream: one.stream.as_str(),
            expectation: one.expectation,
            events: 0,
        });
        let events = append.writes.iter().flat_map(|write| &write.events);
        let ids = events.map(|event| event.id).collect();
        Demand { aims: writes.chain(requirements).collect(), ids }
    }

    /// Returns the demand of an append of a command.
    pub(crate) fn of_parsed(append: &ParsedAppend, parts: &'a Parts<'a>) -> Demand<'a> {
        let (aims, ids) = (parts.aims_of(append), parts.ids_of(append));
        Demand { aims: Cow::Borrowed(aims), ids: Cow::Borrowed(ids) }
    }

    /// Returns the streams with their expectations: the written ones, then the required ones.
    pub(crate) fn streams(&self) -> impl Iterator<Item = (&str, Expectation)> {
        self.aims.iter().map(|aim| (aim.stream, aim.expectation))
    }

    /// Returns the written streams, each with the number of its events.
    pub(super) fn writes(&self) -> impl Iterator<Item = &Aim<'a>> {
        self.aims.iter().take_while(|aim| aim.is_written())
    }

    /// Returns the number of these streams, from the first on, that must not be closed: the written ones, and
    /// the stream that a change is about, which the change requires.
    pub(crate) fn open_count(&self) -> usize {
        let is_change = self.writes().any(Aim::is_system);
        if is_change { self.aims.len() } else { self.writes().count() }
    }
}

/// Returns a name that was checked with its append.
pub(super) fn name_of(stream: &str) -> StreamName {
    StreamName::new(stream).expect("checked with the append")
}
