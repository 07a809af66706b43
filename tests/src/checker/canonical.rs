//! The one log that every replica must hold, and what any read of it must return.

use std::collections::HashMap;

use quorate_proto::{
    Bounds, Direction, EventId, Position, Read, RecordedEvent, Source, StreamName, Version,
};

use super::Anomaly;
use crate::history::ReadAnswer;

/// The log as a full read of every replica gave it.
///
/// Invariants: the event at place `p - 1` has position `p`; the events of a stream have the versions
/// 1, 2, 3 … in this order; no id stands twice; `recorded_at` never decreases.
pub(super) struct Canonical<'a> {
    events: &'a [RecordedEvent],
    streams: HashMap<&'a StreamName, Vec<Position>>,
    ids: HashMap<EventId, Position>,
}

impl<'a> Canonical<'a> {
    /// Compares the replicas and checks the invariants.
    pub(super) fn of(replicas: &'a [Vec<RecordedEvent>]) -> Result<Canonical<'a>, Vec<Anomaly>> {
        let (first, others) = replicas.split_first().expect("there is a replica");
        let mut anomalies = Vec::new();
        for (at, other) in others.iter().enumerate() {
            if first != other {
                let same = first.iter().zip(other).take_while(|(one, two)| one == two).count();
                let position = Position(same as u64 + 1);
                anomalies.push(Anomaly::Divergence { replica: at + 1, position });
            }
        }
        let mut canonical =
            Canonical { events: first, streams: HashMap::new(), ids: HashMap::new() };
        canonical.index(&mut anomalies);
        if anomalies.is_empty() { Ok(canonical) } else { Err(anomalies) }
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

    /// The events from one position on.
    pub(super) fn from(&self, position: Position) -> &'a [RecordedEvent] {
        &self.events[position.0 as usize - 1..]
    }

    /// Where an id stands.
    pub(super) fn position(&self, id: EventId) -> Option<Position> {
        self.ids.get(&id).copied()
    }

    /// The version a stream is at, as of a position.
    pub(super) fn version(&self, stream: &StreamName, as_of: Position) -> Version {
        let positions = self.positions(stream);
        Version(positions.partition_point(|position| *position <= as_of) as u64)
    }

    /// The position of a version of a stream; 0 for version 0.
    pub(super) fn position_of(&self, stream: &StreamName, version: Version) -> Option<Position> {
        match version.0.checked_sub(1) {
            None => Some(Position::ZERO),
            Some(at) => self.positions(stream).get(at as usize).copied(),
        }
    }

    fn positions(&self, stream: &StreamName) -> &[Position] {
        self.streams.get(stream).map_or(&[], Vec::as_slice)
    }

    /// What the read must return as of a position that the log reaches.
    pub(super) fn read(&self, read: &Read, as_of: Position) -> ReadAnswer {
        let Read { source, bounds, direction, limit, .. } = read;
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
        let matching = |place: &usize| matches(read, &self.events[*place]);
        let places = places.iter().copied().filter(matching);
        let pick = |place: usize| self.events[place].clone();
        let events = match direction {
            Direction::Forwards => places.take(limit).map(pick).collect(),
            Direction::Backwards => places.rev().take(limit).map(pick).collect(),
        };
        ReadAnswer { as_of, version, events }
    }
}

/// The places between two exclusive bounds, of things numbered from 1 to `end`.
fn window(bounds: &Bounds, end: u64) -> (usize, usize) {
    let end = bounds.before.map_or(end, |before| end.min(before.saturating_sub(1)));
    (bounds.after.min(end) as usize, end as usize)
}

fn matches(read: &Read, event: &RecordedEvent) -> bool {
    let Bounds { from, until, .. } = read.bounds;
    let kind = &event.event.kind;
    let matching = match &read.source {
        Source::Stream { types, .. } => types.is_empty() || types.contains(kind),
        Source::Query(query) => query.matches_event(event),
    };
    matching
        && from.is_none_or(|from| event.recorded_at >= from)
        && until.is_none_or(|until| event.recorded_at <= until)
}
