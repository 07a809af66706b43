//! The requests of a client: drawn from its seed, so that they are likely to race with those of others.

use std::collections::HashSet;
use std::time::Duration;

use quorate_proto::{
    Append, Category, Change, ChangeKind, Condition, Consistency, Direction, Event, EventId,
    EventType, Expectation, Position, Query, QueryItem, Read, RecordedEvent, Requirement, Scope,
    Setting, SettingsChange, Snapshot, StreamName, Tag, Version, Write,
};

use super::{MORTAL_CATEGORY, MORTAL_STREAMS, STREAMS, Session};
use crate::random::Random;

/// The type of the events that register a name.
const REGISTERED: &str = "Registered";
/// The time for which all clients try to register the same names.
const NAMES_LAST: Duration = Duration::from_millis(400);

impl Session {
    /// Draws an append that others are likely to race with or, if `calm`, one that nothing can refuse.
    pub(super) fn draw_append(&mut self, calm: bool) -> Append {
        let first = *self.worker.random.pick(&STREAMS);
        let expectation = if calm { Expectation::Any } else { self.draw_expectation(first) };
        let mut append = Append::to(stream(first), expectation, self.draw_events());
        let second = *self.worker.random.pick(&STREAMS);
        if second != first && !calm {
            let expectation = self.draw_expectation(second);
            let stream = stream(second);
            match self.worker.random.below(10) {
                0 => {
                    let events = self.draw_events();
                    append.writes.push(Write { stream, expectation, events });
                }
                1 => append.requirements.push(Requirement { stream, expectation }),
                _ => {}
            }
        }
        append
    }

    fn draw_expectation(&mut self, name: &'static str) -> Expectation {
        let known = self.known.get(name).copied().unwrap_or_default();
        let random = &mut self.worker.random;
        match random.below(100) {
            0..70 => Expectation::Exactly(Version(known)),
            70..74 => Expectation::Exactly(Version(known.saturating_sub(1))),
            74..77 => Expectation::Exactly(Version(known + 1)),
            77..80 => Expectation::None,
            80..87 => Expectation::Exists,
            _ => Expectation::Any,
        }
    }

    fn draw_events(&mut self) -> Vec<Event> {
        let random = &mut self.worker.random;
        let count = if random.chance(80) { 1 } else { random.between(2, 4) };
        let event = |_| {
            let id = draw_id(random);
            let kind = kind(random.pick::<&str>(&["Opened", "Changed", "Closed"]));
            let size = if random.chance(40) { random.below(4_000) } else { random.below(100) };
            let data: Vec<u8> = (0..size).map(|_| random.next() as u8).collect();
            Event::new(id, kind, data)
        };
        (0..count).map(event).collect()
    }

    /// Draws an append to a stream whose events may be removed meanwhile.
    pub(super) fn draw_mortal_append(&mut self) -> Append {
        let name = *self.worker.random.pick(&MORTAL_STREAMS);
        let expectation = self.draw_expectation(name);
        Append::to(stream(name), expectation, self.draw_events())
    }

    /// Draws the registration of a name that others try to register at the same time.
    pub(super) fn draw_registration(&mut self) -> Append {
        let now = turmoil::sim_elapsed().unwrap_or_default();
        let name = now.as_millis() / NAMES_LAST.as_millis();
        let tag = format!("name:{name}-{}", self.worker.random.below(2));
        let tag = Tag::new(tag).expect("a tag");
        let mut event = Event::new(draw_id(&mut self.worker.random), kind(REGISTERED), "");
        event.tags.push(tag.clone());
        let item =
            QueryItem { types: vec![kind(REGISTERED)], tags: vec![tag], ..QueryItem::default() };
        let own = stream(&format!("registry-{}", self.worker.number));
        let mut append = Append::to(own, Expectation::Any, vec![event]);
        let query = Query { items: vec![item] };
        append.conditions.push(Condition { query, after: Position::ZERO });
        append
    }

    pub(super) fn draw_change(&mut self) -> Change {
        let name = *self.worker.random.pick(&MORTAL_STREAMS);
        let expectation = match self.worker.random.below(4) {
            0 => self.draw_expectation(name),
            _ => Expectation::Any,
        };
        let version = self.known.get(name).copied().unwrap_or_default();
        let (name, seen, random) = (stream(name), self.seen, &mut self.worker.random);
        let id = draw_id(random);
        let count = |random: &mut Random| match random.below(4) {
            0 => Setting::Clear,
            _ => Setting::Put(random.between(1, 12)),
        };
        let mut settings = SettingsChange::default();
        if name.category() == MORTAL_CATEGORY && random.chance(60) {
            match random.below(4) {
                0 => settings.truncate_before = Some(seen.saturating_sub(random.below(40))),
                _ => settings.max_count = count(random),
            }
            let scope = Scope::Category(Category::new(MORTAL_CATEGORY).expect("a name"));
            let (expectation, kind) = (Expectation::Any, ChangeKind::Settings(settings));
            return Change { scope, expectation, id, kind };
        }
        match random.below(2) {
            0 if name.category() != MORTAL_CATEGORY => settings.max_count = count(random),
            _ => settings.truncate_before = Some((version + 2).saturating_sub(random.below(4))),
        }
        let kind = match random.below(100) {
            0..40 => ChangeKind::Settings(settings),
            // A closed name is of no further use.
            40..43 => ChangeKind::Tombstone,
            _ => ChangeKind::Delete,
        };
        Change { scope: Scope::Stream(name), expectation, id, kind }
    }

    /// Draws a snapshot of a stream at a version that this client knows; `None` if it knows no event.
    pub(super) fn draw_snapshot(&mut self) -> Option<Snapshot> {
        let name = self.draw_name();
        let known = self.known.get(name).copied().unwrap_or_default();
        let version = Version(known.saturating_sub(self.worker.random.below(3)));
        let schema = 1 + u32::from(known % 2 == 0);
        let data = format!("{name} at {version}").into();
        (version > Version::ZERO).then(|| Snapshot { stream: stream(name), version, schema, data })
    }

    pub(super) fn draw_read(&mut self, consistency: Consistency) -> Read {
        let name = self.draw_name();
        let random = &mut self.worker.random;
        let mut read = match random.below(8) {
            0 => Read::query(Query::everything()),
            1 => Read { with_system: true, ..Read::query(Query::everything()) },
            2 => {
                let types = vec![kind(REGISTERED)];
                Read::query(Query { items: vec![QueryItem { types, ..QueryItem::default() }] })
            }
            3 => return Read { with_snapshot: true, consistency, ..Read::stream(stream(name)) },
            _ => Read::stream(stream(name)),
        };
        read.consistency = consistency;
        read.limit = random.chance(30).then(|| random.between(1, 20));
        if random.chance(20) {
            read.direction = Direction::Backwards;
        }
        read
    }

    fn draw_name(&mut self) -> &'static str {
        let random = &mut self.worker.random;
        let names: &[&str] = if random.chance(50) { &STREAMS } else { &MORTAL_STREAMS };
        names[random.below(names.len() as u64) as usize]
    }
}

/// Returns a name that is registered more than once.
pub(in super::super) fn registered_twice(log: &[RecordedEvent]) -> Option<Tag> {
    let mut names = HashSet::new();
    let registered = log.iter().filter(|one| one.event.kind.as_str() == REGISTERED);
    registered.flat_map(|one| &one.event.tags).find(|name| !names.insert(*name)).cloned()
}

fn stream(name: &str) -> StreamName {
    StreamName::new(name).expect("a name")
}

fn kind(name: &str) -> EventType {
    EventType::new(name).expect("a type")
}

fn draw_id(random: &mut Random) -> EventId {
    EventId::from_bytes(random.wide().to_be_bytes()).expect("hardly ever nil")
}
