//! The removed events, and their removals: all settings and ends of life, applied over the whole log.

use std::cmp::Reverse;
use std::collections::HashMap;

use quorate_proto::{
    ChangeKind, Position, RecordedEvent, Scope, Setting, SettingsChange, StreamName, Version,
};

/// The events that changes removed. Ages are not applied, as log time is not a function of positions.
#[derive(Default)]
pub(super) struct Removed {
    /// For each position, the position at which its event was removed.
    at: Vec<Option<Position>>,
    lives: HashMap<StreamName, Life>,
    scopes: HashMap<Scope, Option<u64>>,
}

/// A delete or a tombstone.
#[derive(Clone, Copy, Debug)]
pub(super) struct End {
    position: Position,
    /// The version that the stream was at.
    pub(super) version: Version,
    /// True if the name was closed.
    pub(super) closed: bool,
}

#[derive(Default)]
struct Life {
    /// The positions of its events.
    positions: Vec<Position>,
    /// The number of its events that are removed.
    gone: u64,
    max_count: Option<u64>,
    ends: Vec<End>,
}

impl Life {
    fn end(&mut self, at: Position, closed: bool) {
        let version = Version(self.positions.len() as u64);
        self.ends.push(End { position: at, version, closed });
    }
}

impl Removed {
    /// Applies the whole log.
    pub(super) fn of(events: &[RecordedEvent]) -> Removed {
        let mut removed = Removed { at: vec![None; events.len()], ..Removed::default() };
        for event in events {
            match Scope::changed_by(&event.stream).zip(ChangeKind::of_event(&event.event).ok()) {
                Some((scope, change)) => removed.change(&scope, &change, event.position),
                None => {
                    let life = removed.lives.entry(event.stream.clone()).or_default();
                    life.positions.push(event.position);
                    removed.limit(&event.stream, event.position);
                }
            }
        }
        removed
    }

    /// Returns the position at which the event at a position was removed.
    pub(super) fn at(&self, position: Position) -> Option<Position> {
        self.at[position.0 as usize - 1]
    }

    /// Returns the last end of a stream's life as of a position.
    pub(super) fn end_of(&self, stream: &StreamName, as_of: Position) -> Option<End> {
        let ends = &self.lives.get(stream)?.ends;
        ends.iter().rfind(|end| end.position <= as_of).copied()
    }

    fn change(&mut self, scope: &Scope, change: &ChangeKind, at: Position) {
        if let Scope::Stream(stream) = scope {
            // A stream may have settings before it has an event.
            self.lives.entry(stream.clone()).or_default();
        }
        let streams = self.lives.keys().filter(|stream| scope.holds(stream));
        let streams: Vec<StreamName> = streams.cloned().collect();
        if let (Scope::Category(_) | Scope::Path(_), ChangeKind::Settings(change)) = (scope, change)
        {
            let max_count = self.scopes.entry(scope.clone()).or_default();
            set(max_count, change);
        }
        for stream in &streams {
            let life = self.lives.get_mut(stream).expect("it is one of them");
            let count = life.positions.len() as u64;
            let gone = match (scope, change) {
                (_, ChangeKind::Delete | ChangeKind::Tombstone) => {
                    life.end(at, *change == ChangeKind::Tombstone);
                    count
                }
                (Scope::Stream(_), ChangeKind::Settings(change)) => {
                    set(&mut life.max_count, change);
                    change.truncate_before.unwrap_or_default().saturating_sub(1).min(count)
                }
                (_, ChangeKind::Settings(change)) => {
                    let before = Position(change.truncate_before.unwrap_or_default());
                    life.positions.partition_point(|position| *position < before) as u64
                }
            };
            self.remove(stream, gone, at);
            self.limit(stream, at);
        }
    }

    /// Removes events above the nearest `max_count` that is set.
    fn limit(&mut self, stream: &StreamName, at: Position) {
        let own = self.lives[stream].max_count;
        let mut above: Vec<_> =
            self.scopes.iter().filter(|(scope, _)| scope.holds(stream)).collect();
        above.sort_by_key(|(scope, _)| {
            (matches!(scope, Scope::Path(_)), Reverse(scope.as_str().len()))
        });
        let nearest = own.or_else(|| above.iter().find_map(|(_, max_count)| **max_count));
        if let Some(max_count) = nearest {
            let count = self.lives[stream].positions.len() as u64;
            self.remove(stream, count.saturating_sub(max_count), at);
        }
    }

    /// Removes the first `gone` events of a stream, from a position on.
    fn remove(&mut self, stream: &StreamName, gone: u64, at: Position) {
        let life = self.lives.get_mut(stream).expect("it is one of them");
        for version in life.gone..gone {
            let position = life.positions[version as usize];
            self.at[position.0 as usize - 1] = Some(at);
        }
        life.gone = life.gone.max(gone);
    }
}

fn set(max_count: &mut Option<u64>, change: &SettingsChange) {
    assert_eq!(change.max_age_us, Setting::Keep, "ages are not played");
    match change.max_count {
        Setting::Keep => {}
        Setting::Clear => *max_count = None,
        Setting::Put(count) => *max_count = Some(count),
    }
}
