//! What the store must be like, in the plainest words: all events in one list, every question a search.

use quorate_proto::{
    Append, Appended, Direction, EventId, Expectation, Failure, Position, Query, Read,
    RecordedEvent, Source, StreamName, Timestamp, Version,
};
use quorate_store::{Rejection, Verdict};

#[derive(Clone, Debug, Default)]
pub(crate) struct Model {
    pub(crate) events: Vec<RecordedEvent>,
    time: Timestamp,
}

impl Model {
    pub(crate) fn version(&self, stream: &StreamName) -> Version {
        Version(self.events.iter().filter(|event| event.stream == *stream).count() as u64)
    }

    pub(crate) fn command(&mut self, at: i64, appends: &[Append]) -> Vec<Verdict> {
        self.time = self.time.max(Timestamp(at));
        appends.iter().map(|append| self.append(append)).collect()
    }

    fn append(&mut self, append: &Append) -> Verdict {
        let wanted: Vec<(EventId, &StreamName)> = (append.writes.iter())
            .flat_map(|write| write.events.iter().map(|event| (event.id, &write.stream)))
            .collect();
        let has_exactly =
            append.writes.iter().any(|write| matches!(write.expectation, Expectation::Exactly(_)));
        if has_exactly {
            if let Some(first) = self.start_by_version(append)
                && let Some(appended) = self.answer(append, &wanted, first)
            {
                return Verdict::Appended(appended);
            }
        } else {
            let place = |id: EventId| self.events.iter().rposition(|event| event.event.id == id);
            if let Some((id, _)) = wanted.iter().find(|(id, _)| place(*id).is_some()) {
                let first = place(wanted[0].0);
                let in_a_row = first.is_some_and(|first| {
                    wanted.iter().enumerate().all(|(n, (id, _))| place(*id) == Some(first + n))
                });
                return match first.and_then(|first| self.answer(append, &wanted, first)) {
                    Some(appended) if in_a_row => Verdict::Appended(appended),
                    _ => {
                        let named = if in_a_row { wanted[0].0 } else { *id };
                        Verdict::Rejected(Rejection::IdReused(named))
                    }
                };
            }
        }
        let writes = append.writes.iter().map(|write| (&write.stream, write.expectation));
        let required = append.requirements.iter().map(|one| (&one.stream, one.expectation));
        let failures: Vec<Failure> = writes
            .chain(required)
            .map(|(stream, expected)| (stream, expected, self.version(stream)))
            .filter(|(_, expected, actual)| !expected.is_met_at(*actual))
            .map(|(stream, expected, actual)| Failure { stream: stream.clone(), expected, actual })
            .collect();
        if !failures.is_empty() {
            let violations = Vec::new();
            return Verdict::Rejected(Rejection::Conflict { failures, violations });
        }
        let first = self.events.len();
        for write in &append.writes {
            for event in &write.events {
                self.events.push(RecordedEvent {
                    position: Position(self.events.len() as u64 + 1),
                    stream: write.stream.clone(),
                    version: self.version(&write.stream).next(),
                    recorded_at: self.time,
                    event: event.clone(),
                });
            }
        }
        Verdict::Appended(self.answer(append, &wanted, first).expect("just appended"))
    }

    /// Where the append would begin, if it was appended: told by the first write with `exactly N`.
    fn start_by_version(&self, append: &Append) -> Option<usize> {
        let mut start = None;
        let mut before = 0;
        for write in &append.writes {
            if let Expectation::Exactly(version) = write.expectation {
                let at = |event: &RecordedEvent| {
                    event.stream == write.stream && event.version == version.next()
                };
                let position = self.events.iter().position(at)?;
                start = start.or(Some(position.checked_sub(before)));
            }
            before += write.events.len();
        }
        start.flatten()
    }

    fn answer(
        &self,
        append: &Append,
        wanted: &[(EventId, &StreamName)],
        first: usize,
    ) -> Option<Appended> {
        let found = self.events.get(first..first + wanted.len())?;
        if !found.iter().map(|event| (event.event.id, &event.stream)).eq(wanted.iter().copied()) {
            return None;
        }
        let mut end = 0;
        let mut last = |count| {
            end += count;
            found[end - 1].version
        };
        Some(Appended {
            versions: append.writes.iter().map(|write| last(write.events.len())).collect(),
            first_position: found[0].position,
            last_position: found[found.len() - 1].position,
            recorded_at: found[0].recorded_at,
        })
    }

    pub(crate) fn read(&self, read: &Read) -> Vec<RecordedEvent> {
        let bounds = read.bounds;
        let matches = |event: &&RecordedEvent| {
            let (is_in, at) = match &read.source {
                Source::Stream { .. } => {
                    (read.source.to_query().matches_event(event), event.version.0)
                }
                Source::Query(query) => (query.matches_event(event), event.position.0),
            };
            is_in
                && at > bounds.after
                && bounds.before.is_none_or(|before| at < before)
                && bounds.from.is_none_or(|from| event.recorded_at >= from)
                && bounds.until.is_none_or(|until| event.recorded_at <= until)
        };
        let mut events: Vec<RecordedEvent> = self.events.iter().filter(matches).cloned().collect();
        if read.direction == Direction::Backwards {
            events.reverse();
        }
        events.truncate(read.limit.unwrap_or(u64::MAX) as usize);
        events
    }

    pub(crate) fn all() -> Read {
        Read::query(Query::everything())
    }
}
