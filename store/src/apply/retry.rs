//! "Was this appended?": events of one append stand at consecutive positions, so it is a comparison of ids.

use std::sync::RwLock;

use quorate_proto::{Appended, EventId, Expectation, Position, Version};

use super::Demand;
use crate::fault::Fault;
use crate::view::View;
use crate::window::Window;

/// The log as far as an append is judged by it.
#[derive(Debug)]
pub(crate) struct Log<'a> {
    pub(crate) view: &'a View,
    pub(crate) window: &'a RwLock<Window>,
    /// Nothing after this position counts.
    pub(crate) as_of: Position,
}

/// Whether an append is a repetition.
#[derive(Debug)]
pub(crate) enum Found {
    New,
    Repeated(Appended),
    Reused(EventId),
}

/// What the window says about the ids of an append.
enum InWindow {
    None,
    /// All, at consecutive positions from this one on, in order.
    InARow(Position),
    /// This one is there, but not as part of these ids in a row.
    Some(EventId),
}

impl Log<'_> {
    /// The check before all others.
    pub(crate) fn find(&self, demand: &Demand<'_>, versions: &[Version]) -> Result<Found, Fault> {
        let exact =
            demand.writes.iter().any(|one| matches!(one.expectation, Expectation::Exactly(_)));
        if exact { self.find_by_version(demand, versions) } else { self.find_by_ids(demand) }
    }

    /// A written stream with `exactly N`: its events from N+1 on tell, however old they are.
    fn find_by_version(&self, demand: &Demand<'_>, versions: &[Version]) -> Result<Found, Fault> {
        let mut anchor = None;
        for (at, (write, actual)) in demand.writes.iter().zip(versions).enumerate() {
            let Expectation::Exactly(version) = write.expectation else { continue };
            if *actual <= version {
                // Had this been appended, the stream would be above N.
                return Ok(Found::New);
            }
            anchor = anchor.or(Some((at, version.next())));
        }
        let Some((write, version)) = anchor else { return Ok(Found::New) };
        let appended = self.compare_from(demand, write, version)?;
        Ok(appended.map_or(Found::New, Found::Repeated))
    }

    /// No version to compare from: the ids are looked up among the newest positions.
    fn find_by_ids(&self, demand: &Demand<'_>) -> Result<Found, Fault> {
        match self.look_up(&demand.ids) {
            InWindow::None => Ok(Found::New),
            InWindow::Some(id) => Ok(Found::Reused(id)),
            InWindow::InARow(first) => match (self.compare(demand, first)?, demand.ids.first()) {
                (Some(appended), _) => Ok(Found::Repeated(appended)),
                (None, Some(id)) => Ok(Found::Reused(*id)),
                (None, None) => Ok(Found::New),
            },
        }
    }

    /// For an append whose ids are not in the window, and whose demands are not met: a written stream with a
    /// failing `none` is compared from its first event on. (No stream was ever deleted yet.)
    pub(crate) fn find_by_failing_none(
        &self,
        demand: &Demand<'_>,
        versions: &[Version],
    ) -> Result<Option<Appended>, Fault> {
        let writes = demand.writes.iter();
        if writes.clone().any(|write| matches!(write.expectation, Expectation::Exactly(_))) {
            // That was judged by its version already.
            return Ok(None);
        }
        let failing = writes.zip(versions).position(|(write, actual)| {
            write.expectation == Expectation::None && !write.expectation.is_met_at(*actual)
        });
        let Some(write) = failing else { return Ok(None) };
        self.compare_from(demand, write, Version(1))
    }

    /// The first answer, if the events of the write at that index begin at `version` in its stream and all
    /// other events stand where they should around them.
    fn compare_from(
        &self,
        demand: &Demand<'_>,
        write: usize,
        version: Version,
    ) -> Result<Option<Appended>, Fault> {
        let Some(anchor) = demand.writes.get(write) else { return Ok(None) };
        let before: usize = demand.writes.iter().take(write).map(|one| one.events).sum();
        let Some(id) = demand.ids.get(before) else { return Ok(None) };
        if !self.may_stand_at(*id, anchor.stream, version) {
            return Ok(None);
        }
        let Some(position) = self.view.position_of(anchor.stream, version)? else {
            return Ok(None);
        };
        match position.0.checked_sub(before as u64) {
            Some(first) if first > 0 => self.compare(demand, Position(first)),
            _ => Ok(None),
        }
    }

    /// Whether an id may be that of this version of a stream, by what is in memory. Only saves reading: most
    /// conflicts are no repetitions, and their streams' newest events are in the window.
    fn may_stand_at(
        &self,
        id: EventId,
        stream: &quorate_proto::StreamName,
        version: Version,
    ) -> bool {
        let window = self.window.read().expect(NO_PANIC);
        let is_in_tail = self
            .view
            .tails()
            .any(|tail| tail.first_version(stream).is_some_and(|first| first <= version));
        let is_in_window = window.first() == Position(1)
            || is_in_tail && self.view.tails().all(|tail| tail.first() >= window.first());
        !is_in_window || window.find(id).is_some()
    }

    /// The first answer, if exactly the append's events stand from `first` on.
    fn compare(&self, demand: &Demand<'_>, first: Position) -> Result<Option<Appended>, Fault> {
        let count = demand.ids.len() as u64;
        let last = Position(first.0 + count - 1);
        if count == 0 || last > self.as_of {
            return Ok(None);
        }
        let events = self.view.events(first, count)?;
        let streams =
            demand.writes.iter().flat_map(|write| std::iter::repeat_n(write.stream, write.events));
        let expected = demand.ids.iter().zip(streams);
        let found = events.iter().map(|event| (event.id, &event.stream));
        if !found.eq(expected.map(|(id, stream)| (*id, stream))) {
            return Ok(None);
        }
        let mut end = 0;
        let lasts = demand.writes.iter().filter_map(|write| {
            end += write.events;
            events.get(end - 1)
        });
        let versions = lasts.map(|event| event.version).collect();
        let recorded_at = events.first().map(|event| event.recorded_at).unwrap_or_default();
        let (first_position, last_position) = (first, last);
        Ok(Some(Appended { versions, first_position, last_position, recorded_at }))
    }

    fn look_up(&self, ids: &[EventId]) -> InWindow {
        let window = self.window.read().expect(NO_PANIC);
        let find = |id: &EventId| window.find(*id).filter(|position| *position <= self.as_of);
        let positions: Vec<Option<Position>> = ids.iter().map(find).collect();
        let known = ids.iter().zip(&positions).find(|(_, position)| position.is_some());
        let Some((id, _)) = known else { return InWindow::None };
        let Some(Some(first)) = positions.first().copied() else { return InWindow::Some(*id) };
        let in_a_row = (first.0..).map(|position| Some(Position(position)));
        if in_a_row.zip(&positions).all(|(expected, position)| expected == *position) {
            return InWindow::InARow(first);
        }
        InWindow::Some(*id)
    }
}

const NO_PANIC: &str = "nobody panics while holding the lock";

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::sync::Arc;

    use bytes::Bytes;
    use quorate_proto::{Append, Event, EventType, LogId, StreamName, Timestamp};

    use super::*;
    use crate::vfs::MemVfs;
    use crate::{Entry, Options, Payload, Rejection, Store, Verdict, command};

    fn append(name: &str, expectation: Expectation, ids: &[u8]) -> Append {
        let event = |id: &u8| {
            let id = EventId::from_bytes([*id; 16]).expect("an id");
            Event::new(id, EventType::new("Paid").expect("a type"), Bytes::new())
        };
        let stream = StreamName::new(name).expect("a name");
        Append::to(stream, expectation, ids.iter().map(event).collect())
    }

    fn apply(store: &mut Store, append: &Append) -> Verdict {
        let mut builder = command::Builder::new(Timestamp(1));
        builder.push(&command::encode_append(append));
        let index = store.applied().map_or(0, |id| id.index.0 + 1);
        let (log_id, payload) = (LogId::new(1, index), Payload::Command(builder.finish()));
        store.apply(Entry { log_id, payload }).expect("applies").remove(0)
    }

    /// A store whose window has moved past all that it holds; some of it is in a chunk.
    fn store_past_its_window() -> (Store, Vec<(Append, Verdict)>) {
        let vfs = Arc::new(MemVfs::new());
        let options = Options {
            cluster: [1; 16],
            log: 0,
            chunk_bytes: 300,
            head_cache: 1,
            block_cache_bytes: 0,
            catalog_cache_bytes: 1 << 20,
            filter_bytes: 1 << 20,
        };
        let mut store = Store::open(vfs, Path::new("/store"), options).expect("founds");
        let mut answered = Vec::new();
        for (expectation, ids) in [
            (Expectation::None, [1, 2]),
            (Expectation::Exactly(Version(2)), [3, 4]),
            (Expectation::Any, [5, 6]),
            (Expectation::Exactly(Version(6)), [7, 8]),
            (Expectation::Exists, [9, 10]),
        ] {
            let append = append("order-1", expectation, &ids);
            let verdict = apply(&mut store, &append);
            answered.push((append, verdict));
            while let Some(seal) = store.begin_seal() {
                store.finish_seal(seal.run().expect("seals")).expect("finishes");
            }
        }
        assert!(store.checkpointed().is_some(), "a part is in a chunk");
        let window = Window::new([1; 16], store.position());
        *store.shared.window.write().expect("no panic") = window;
        (store, answered)
    }

    #[test]
    fn exactly_and_none_protect_beyond_the_window_and_any_and_exists_do_not() {
        let (mut store, answered) = store_past_its_window();
        for (append, first) in answered {
            let again = apply(&mut store, &append);
            match append.writes[0].expectation {
                Expectation::None | Expectation::Exactly(_) => assert_eq!(again, first),
                Expectation::Any | Expectation::Exists => assert_ne!(again, first),
            }
        }
    }

    #[test]
    fn a_failing_none_with_other_ids_beyond_the_window_is_a_conflict() {
        let (mut store, _) = store_past_its_window();
        for ids in [[3, 4], [1, 3], [11, 12]] {
            let verdict = apply(&mut store, &append("order-1", Expectation::None, &ids));
            let conflict = matches!(verdict, Verdict::Rejected(Rejection::Conflict { .. }));
            assert!(conflict, "{ids:?}: {verdict:?}");
        }
    }

    #[test]
    fn a_write_that_passed_its_version_with_other_ids_beyond_the_window_is_a_conflict() {
        let (mut store, _) = store_past_its_window();
        for version in [0, 1, 2, 5, 8] {
            let expectation = Expectation::Exactly(Version(version));
            let verdict = apply(&mut store, &append("order-1", expectation, &[20]));
            let conflict = matches!(verdict, Verdict::Rejected(Rejection::Conflict { .. }));
            assert!(conflict, "{version}: {verdict:?}");
        }
    }
}
