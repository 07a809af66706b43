//! All events in one list, with what hides them: what queries and conditions are compared with.

use std::collections::HashMap;

use quorate_proto::{
    Append, Category, Change, ChangeKind, Condition, Direction, Position, Read, RecordedEvent,
    Scope, Setting, SettingsChange, Source, StreamName, Timestamp, Version,
};

/// A log of appends and changes that all were accepted.
#[derive(Debug, Default)]
pub(crate) struct Naive {
    pub(crate) events: Vec<RecordedEvent>,
    /// The first version of a stream that is visible.
    floors: HashMap<StreamName, u64>,
    /// The first position of a category that is visible.
    cuts: HashMap<Category, u64>,
    counts: HashMap<StreamName, u64>,
}

impl Naive {
    pub(crate) fn append(&mut self, append: &Append, at: Timestamp) {
        for write in &append.writes {
            for event in &write.events {
                self.events.push(RecordedEvent {
                    position: Position(self.events.len() as u64 + 1),
                    stream: write.stream.clone(),
                    version: self.version(&write.stream).next(),
                    recorded_at: at,
                    event: event.clone(),
                });
            }
            self.count(&write.stream);
        }
    }

    pub(crate) fn change(&mut self, change: &Change, at: Timestamp) {
        self.append(&change.to_append().expect("a change"), at);
        match (&change.scope, change.kind) {
            (
                Scope::Stream(stream),
                ChangeKind::Settings(SettingsChange { max_count, truncate_before, .. }),
            ) => {
                let next = self.version(stream).next().0;
                self.raise(stream, truncate_before.unwrap_or(0).min(next));
                match max_count {
                    Setting::Put(count) => drop(self.counts.insert(stream.clone(), count)),
                    Setting::Clear => drop(self.counts.remove(stream)),
                    Setting::Keep => {}
                }
                self.count(stream);
            }
            (Scope::Stream(stream), _) => self.raise(stream, self.version(stream).next().0),
            (Scope::Category(category), ChangeKind::Settings(settings)) => {
                let own = self.events.len() as u64;
                let cut = self.cuts.entry(category.clone()).or_default();
                *cut = (*cut).max(settings.truncate_before.unwrap_or(0).min(own));
            }
            (scope, kind) => panic!("{kind:?} of {scope:?} is not modelled"),
        }
    }

    fn version(&self, stream: &StreamName) -> Version {
        Version(self.events.iter().filter(|event| event.stream == *stream).count() as u64)
    }

    fn raise(&mut self, stream: &StreamName, floor: u64) {
        let before = self.floors.entry(stream.clone()).or_default();
        *before = (*before).max(floor);
    }

    fn count(&mut self, stream: &StreamName) {
        if let Some(count) = self.counts.get(stream).copied() {
            self.raise(stream, (self.version(stream).0 + 1).saturating_sub(count));
        }
    }

    fn is_visible(&self, event: &RecordedEvent) -> bool {
        let category = || Category::new(event.stream.category()).expect("a category");
        event.stream.is_system()
            || event.version.0 >= self.floors.get(&event.stream).copied().unwrap_or(0)
                && event.position.0 >= self.cuts.get(&category()).copied().unwrap_or(0)
    }

    /// What a read of streams or queries with lower bounds finds.
    pub(crate) fn read(&self, read: &Read) -> Vec<RecordedEvent> {
        let query = read.source.to_query();
        let matches = |event: &&RecordedEvent| {
            let place = match &read.source {
                Source::Stream { .. } => event.version.0,
                Source::Query(_) => event.position.0,
            };
            let is_match = match read.with_system {
                true => query.matches_with_system(&event.stream, &event.event),
                false => query.matches_event(event),
            };
            is_match && place > read.bounds.after
        };
        let visible = self.events.iter().filter(|event| self.is_visible(event));
        let mut events: Vec<RecordedEvent> = visible.filter(matches).cloned().collect();
        if read.direction == Direction::Backwards {
            events.reverse();
        }
        events.truncate(read.limit.unwrap_or(u64::MAX) as usize);
        events
    }

    /// The newest event that a condition forbids.
    pub(crate) fn newest(&self, condition: &Condition) -> Option<Position> {
        let mut read = Read::query(condition.query.clone());
        read.bounds.after = condition.after.0;
        self.read(&read).last().map(|event| event.position)
    }
}
