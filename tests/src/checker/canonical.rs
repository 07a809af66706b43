//! The one log that every replica must hold, and the answer that any read of it must return.

use std::collections::HashMap;

use quorate_proto::{
    Bounds, Direction, EventId, Expectation, Position, Read, RecordedEvent, Source, StreamName,
    Version,
};

use super::Anomaly;
use super::removed::{End, Removed};
#[cfg(test)]
use crate::history::ReadAnswer;

/// The log as a full read of every replica returned it, with the removed events in their places.
///
/// Invariants: the event at place `p - 1` has position `p`; the events of a stream have the versions
/// 1, 2, 3 … in this order; no id stands twice; `recorded_at` never decreases.
pub(super) struct Canonical<'a> {
    events: &'a [RecordedEvent],
    removed: Removed,
    streams: HashMap<&'a StreamName, Vec<Position>>,
    ids: HashMap<EventId, Position>,
}

impl<'a> Canonical<'a> {
    /// Checks the invariants.
    pub(super) fn of(events: &'a [RecordedEvent]) -> Result<Canonical<'a>, Vec<Anomaly>> {
        let mut anomalies = Vec::new();
        let (streams, ids) = (HashMap::new(), HashMap::new());
        let mut canonical = Canonical { events, removed: Removed::default(), streams, ids };
        canonical.index(&mut anomalies);
        if anomalies.is_empty() {
            canonical.removed = Removed::of(events);
            return Ok(canonical);
        }
        Err(anomalies)
    }

    fn index(&mut self, anomalies: &mut Vec<Anomaly>) {
        let mut recorded_at = self.events.first().map(|event| event.recorded_at);
        for (at, event) in self.events.iter().enumerate() {
            let position = Position(at as u64 + 1);
            if event.position != position {
                let what = format!("the log goes on with position {}", event.position);
                anomalies.push(Anomaly::Hole { position, what });
                return;
            }
            let stream = self.streams.entry(&event.stream).or_default();
            stream.push(position);
            if event.version.0 != stream.len() as u64 {
                let RecordedEvent { stream: name, version, .. } = event;
                let what = format!("`{name}` has version {version} where {} is due", stream.len());
                anomalies.push(Anomaly::Hole { position, what });
            }
            if let Some(earlier) = self.ids.insert(event.event.id, position) {
                let positions = [earlier, position];
                anomalies.push(Anomaly::Duplicate { id: event.event.id, positions });
            }
            if Some(event.recorded_at) < recorded_at {
                let recorded_at = event.recorded_at;
                anomalies.push(Anomaly::TimeWentBack { position, recorded_at });
            }
            recorded_at = Some(event.recorded_at);
        }
    }

    /// The position of the last event.
    pub(super) fn end(&self) -> Position {
        Position(self.events.len() as u64)
    }

    /// Returns the events from a position on.
    pub(super) fn from(&self, position: Position) -> &'a [RecordedEvent] {
        &self.events[position.0 as usize - 1..]
    }

    /// Returns the position of an id.
    pub(super) fn position(&self, id: EventId) -> Option<Position> {
        self.ids.get(&id).copied()
    }

    /// Returns the version of a stream as of a position.
    pub(super) fn version(&self, stream: &StreamName, as_of: Position) -> Version {
        let positions = self.positions(stream);
        Version(positions.partition_point(|position| *position <= as_of) as u64)
    }

    /// Returns the position of a version of a stream; 0 for version 0.
    pub(super) fn position_of(&self, stream: &StreamName, version: Version) -> Option<Position> {
        match version.0.checked_sub(1) {
            None => Some(Position::ZERO),
            Some(at) => self.positions(stream).get(at as usize).copied(),
        }
    }

    fn positions(&self, stream: &StreamName) -> &[Position] {
        self.streams.get(stream).map_or(&[], Vec::as_slice)
    }

    /// Returns the event at a position of the log.
    pub(super) fn event(&self, position: Position) -> Option<&'a RecordedEvent> {
        self.events.get(position.0.checked_sub(1)? as usize)
    }

    /// Returns true if the event at `position` is visible as of another position.
    pub(super) fn is_there(&self, position: Position, as_of: Position) -> bool {
        let removed_at = self.removed.at(position);
        position <= as_of && removed_at.is_none_or(|removed_at| removed_at > as_of)
    }

    /// Returns the last end of a stream's life as of a position.
    pub(super) fn end_of(&self, stream: &StreamName, as_of: Position) -> Option<End> {
        self.removed.end_of(stream, as_of)
    }

    /// Returns true if a stream meets an expectation as of a position; after its end it counts as empty.
    pub(super) fn meets(
        &self,
        stream: &StreamName,
        expected: Expectation,
        as_of: Position,
    ) -> bool {
        let version = self.version(stream, as_of);
        let deleted = self.end_of(stream, as_of).map_or(Version::ZERO, |end| end.version);
        match expected {
            Expectation::None => version == deleted,
            Expectation::Exists => version > deleted,
            Expectation::Any | Expectation::Exactly(_) => expected.is_met_at(version),
        }
    }

    /// Returns what the read must return as of a position that the log reaches, if it begins with the
    /// snapshot of `snapshot`'s version.
    pub(super) fn read(
        &self,
        read: &Read,
        as_of: Position,
        snapshot: Option<Version>,
    ) -> (Option<Version>, Vec<RecordedEvent>) {
        let Read { source, direction, limit, .. } = read;
        let mut bounds = read.bounds;
        bounds.after = snapshot.map_or(bounds.after, |version| version.0);
        let bounds = &bounds;
        let limit = limit.unwrap_or(u64::MAX) as usize;
        let (version, places) = match source {
            Source::Stream { stream, .. } => {
                let version = self.version(stream, as_of);
                let places = self.positions(stream);
                let places = &places[..version.0 as usize];
                let (first, end) = window(bounds, version.0);
                let places = places.get(first..end).unwrap_or(&[]);
                (Some(version), places.iter().map(|position| position.0 as usize - 1).collect())
            }
            Source::Query(_) => {
                let (first, end) = window(bounds, as_of.0);
                (None, (first..end).collect::<Vec<usize>>())
            }
        };
        let matching = |place: &usize| {
            let event = &self.events[*place];
            self.is_there(event.position, as_of) && matches(read, event)
        };
        let places = places.iter().copied().filter(matching);
        let pick = |place: usize| self.events[place].clone();
        let events = match direction {
            Direction::Forwards => places.take(limit).map(pick).collect(),
            Direction::Backwards => places.rev().take(limit).map(pick).collect(),
        };
        (version, events)
    }

    /// Returns the answer that a read without a snapshot must get as of a position.
    #[cfg(test)]
    pub(super) fn answer(&self, read: &Read, as_of: Position) -> ReadAnswer {
        let (version, events) = self.read(read, as_of, None);
        ReadAnswer { as_of, version, snapshot: None, events }
    }
}

/// Returns the places between two exclusive bounds, for things numbered from 1 to `end`.
fn window(bounds: &Bounds, end: u64) -> (usize, usize) {
    let end = bounds.before.map_or(end, |before| end.min(before.saturating_sub(1)));
    (bounds.after.min(end) as usize, end as usize)
}

fn matches(read: &Read, event: &RecordedEvent) -> bool {
    let Bounds { from, until, .. } = read.bounds;
    let kind = &event.event.kind;
    let matching = match &read.source {
        Source::Stream { types, .. } => types.is_empty() || types.contains(kind),
        Source::Query(query) if read.with_system => {
            query.matches_with_system(&event.stream, &event.event)
        }
        Source::Query(query) => query.matches_event(event),
    };
    matching
        && from.is_none_or(|from| event.recorded_at >= from)
        && until.is_none_or(|until| event.recorded_at <= until)
}
