//! A model of the store in the plainest form: all events are in one list, and every question is a search.

use std::collections::{BTreeMap, HashMap, HashSet};

use quorate_proto::limits::{EMPTY_ENTRY_BYTES, KEY_BYTES};
use quorate_proto::{
    Append, Appended, Category, Change, ChangeKind, Direction, Event, EventId, Expectation,
    Failure, ListEntry, ListRequest, ListTarget, ListedStream, Path, Position, Query, Read,
    RecordedEvent, RecordedSnapshot, Scope, Setting, Snapshot, Source, StreamName, Timestamp,
    Version, Violation, Write,
};
use quorate_store::{Payload, Rejection, Verdict};

use crate::group_model::GroupsModel;
use crate::support::Ask;

#[derive(Clone, Debug, Default)]
pub(crate) struct Model {
    pub(crate) events: Vec<RecordedEvent>,
    /// The indexes in `events` at which appends begin.
    begins: HashSet<usize>,
    pub(crate) groups: GroupsModel,
    snapshots: HashMap<StreamName, RecordedSnapshot>,
    time: Timestamp,
    /// The position at the last boundary; `bytes` are those of the entries since.
    boundary: Position,
    bytes: u64,
    /// The number of keys of the events of the command that is not counted yet.
    keys: u64,
}

/// Returns the number of index keys that a request would add if it were accepted.
fn keys(ask: &Ask) -> u64 {
    let Ask::Append(append, _) = ask else { return 1 };
    let of_write = |write: &Write| -> usize {
        let name = write.stream.as_str();
        let of_event = |event: &Event| match name.starts_with('$') {
            true => 2,
            false => {
                let correlation = usize::from(event.correlation_id.is_some());
                3 + name.matches('/').count() + event.tags.len() + correlation
            }
        };
        write.events.iter().map(of_event).sum()
    };
    let of_events: usize = append.writes.iter().map(of_write).sum();
    (of_events + append.requirements.len()) as u64
}

/// The state of a stream by which requests are judged.
#[derive(Clone, Copy, Debug, Default)]
struct Head {
    version: Version,
    deleted: Version,
    closed: bool,
}

/// The limits in force at one moment: the greatest count and age of each scope.
type Limits = HashMap<Scope, Limit>;
type Limit = (Option<u64>, Option<u64>);

impl Model {
    pub(crate) fn version(&self, stream: &StreamName) -> Version {
        Version(self.events.iter().filter(|event| event.stream == *stream).count() as u64)
    }

    pub(crate) fn command(&mut self, at: i64, appends: &[Append]) -> Vec<Verdict> {
        let asks: Vec<Ask> = appends.iter().cloned().map(Ask::of).collect();
        self.ask(at, &asks)
    }

    pub(crate) fn ask(&mut self, at: i64, asks: &[Ask]) -> Vec<Verdict> {
        self.time = self.time.max(Timestamp(at));
        self.keys += asks.iter().map(keys).sum::<u64>();
        let answer = |ask: &Ask| match ask {
            Ask::Append(append, checked) => self.append(append, *checked),
            Ask::Snapshot(snapshot) => self.snapshot(snapshot),
        };
        asks.iter().map(answer).collect()
    }

    /// Counts an entry towards the next boundary.
    pub(crate) fn count(&mut self, payload: &Payload, chunk_bytes: u64) {
        self.bytes += match payload {
            Payload::Command(command) => command.len() as u64,
            _ => EMPTY_ENTRY_BYTES,
        };
        self.bytes += std::mem::take(&mut self.keys) * KEY_BYTES;
        if self.bytes > chunk_bytes {
            (self.bytes, self.boundary) = (0, Position(self.events.len() as u64));
        }
    }

    fn append(&mut self, append: &Append, checked: Position) -> Verdict {
        let wanted: Vec<(EventId, &StreamName)> = (append.writes.iter())
            .flat_map(|write| write.events.iter().map(|event| (event.id, &write.stream)))
            .collect();
        if let Some(verdict) = self.first_answer(append, &wanted) {
            return verdict;
        }
        if let Some(rejection) = self.refuse(append, checked) {
            return Verdict::Rejected(rejection);
        }
        let first = self.events.len();
        self.begins.insert(first);
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
        if let Ok(Some(Change { scope: Scope::Stream(stream), kind, .. })) =
            Change::of_append(append)
            && !matches!(kind, ChangeKind::Settings(_))
        {
            self.snapshots.remove(&stream);
        }
        Verdict::Appended(self.answer(append, &wanted, first).expect("just appended"))
    }

    /// Returns the answer to an append that repeats or reuses ids; the window holds all ids of the log.
    fn first_answer(&self, append: &Append, wanted: &[(EventId, &StreamName)]) -> Option<Verdict> {
        let place = |id: EventId| self.events.iter().position(|event| event.event.id == id);
        let (id, first) = (wanted.iter().enumerate())
            .find_map(|(nth, (id, _))| Some((*id, place(*id)?.checked_sub(nth))))?;
        let repeated = first.filter(|first| {
            let end = first + wanted.len();
            let ends = end == self.events.len() || self.begins.contains(&end);
            let holds_one = (first + 1..end).all(|at| !self.begins.contains(&at));
            self.begins.contains(first) && ends && holds_one
        });
        let appended = repeated.and_then(|first| self.answer(append, wanted, first));
        let reused = Verdict::Rejected(Rejection::IdReused(id));
        Some(appended.map_or(reused, Verdict::Repeated))
    }

    fn refuse(&self, append: &Append, checked: Position) -> Option<Rejection> {
        let writes = append.writes.iter().map(|write| (&write.stream, write.expectation));
        let required = append.requirements.iter().map(|one| (&one.stream, one.expectation));
        let is_change = append.writes[0].stream.is_system();
        let must_be_open = writes.clone().chain(required.clone().filter(|_| is_change));
        if let Some((stream, _)) = { must_be_open }.find(|(stream, _)| self.head(stream).closed) {
            return Some(Rejection::StreamClosed(stream.clone()));
        }
        let mut failures = Vec::new();
        for (stream, expected) in writes.chain(required) {
            let Head { version: actual, deleted, .. } = self.head(stream);
            let is_met = match expected {
                Expectation::Any => true,
                Expectation::None => actual == deleted,
                Expectation::Exists => actual > deleted,
                Expectation::Exactly(version) => actual == version,
            };
            if !is_met {
                failures.push(Failure { stream: stream.clone(), expected, actual });
            }
        }
        let mut violations = Vec::new();
        for (index, condition) in append.conditions.iter().enumerate() {
            let after = condition.after.max(checked);
            if after >= self.boundary {
                let position = self.newest_match(&condition.query, after);
                violations
                    .extend(position.map(|position| Violation { condition: index, position }));
            } else if failures.is_empty() {
                return Some(Rejection::CheckTooOld);
            }
        }
        let is_met = failures.is_empty() && violations.is_empty();
        (!is_met).then_some(Rejection::Conflict { failures, violations })
    }

    /// Returns the newest visible event after a position that a query matches, by looking at all events.
    pub(crate) fn newest_match(&self, query: &Query, after: Position) -> Option<Position> {
        let events = self.events.iter().rev().filter(|event| event.position > after);
        let mut matching = events.filter(|event| query.matches_event(event));
        matching.find(|event| self.is_visible(event)).map(|event| event.position)
    }

    fn snapshot(&mut self, snapshot: &Snapshot) -> Verdict {
        let head = self.head(&snapshot.stream);
        if head.closed {
            return Verdict::Rejected(Rejection::StreamClosed(snapshot.stream.clone()));
        }
        if snapshot.version > head.version || snapshot.version <= head.deleted {
            let is_there = head.version > head.deleted;
            let at_version = Expectation::Exactly(snapshot.version);
            let expected = if is_there { at_version } else { Expectation::Exists };
            let stream = snapshot.stream.clone();
            let failures = vec![Failure { stream, expected, actual: head.version }];
            return Verdict::Rejected(Rejection::Conflict { failures, violations: Vec::new() });
        }
        let stored = self.stored_snapshot(&snapshot.stream).map(|stored| &stored.snapshot);
        let stored = stored.map(|stored| (stored.version, stored.schema));
        if let Some((stored, _)) =
            stored.filter(|stored| *stored > (snapshot.version, snapshot.schema))
        {
            return Verdict::SnapshotStored(stored);
        }
        let recorded = RecordedSnapshot { snapshot: snapshot.clone(), recorded_at: self.time };
        self.snapshots.insert(snapshot.stream.clone(), recorded);
        Verdict::SnapshotStored(snapshot.version)
    }

    pub(crate) fn stored_snapshot(&self, stream: &StreamName) -> Option<&RecordedSnapshot> {
        self.snapshots.get(stream)
    }

    /// Returns the changes in the log, with the events that record them.
    fn changes(&self) -> impl Iterator<Item = (Scope, ChangeKind, &RecordedEvent)> {
        self.events.iter().filter_map(|event| {
            let scope = Scope::changed_by(&event.stream)?;
            Some((scope, ChangeKind::of_event(&event.event).expect("a change"), event))
        })
    }

    fn head(&self, stream: &StreamName) -> Head {
        let mut head = Head { version: self.version(stream), ..Head::default() };
        for (scope, kind, event) in self.changes() {
            if scope == Scope::Stream(stream.clone()) && !matches!(kind, ChangeKind::Settings(_)) {
                head.deleted = self.version_at(stream, event.position);
                head.closed |= kind == ChangeKind::Tombstone;
            }
        }
        head
    }

    fn version_at(&self, stream: &StreamName, position: Position) -> Version {
        let up_to = self.events.iter().take_while(|event| event.position <= position);
        Version(up_to.filter(|event| event.stream == *stream).count() as u64)
    }

    pub(crate) fn is_visible(&self, event: &RecordedEvent) -> bool {
        event.version >= self.floor(&event.stream)
    }

    /// Returns the first visible version of a stream: the highest floor that anything in the log ever set,
    /// even if it was cleared later.
    pub(crate) fn floor(&self, stream: &StreamName) -> Version {
        let mut floor = Version(1);
        if stream.is_system() {
            return floor;
        }
        let scopes = scopes(stream);
        let mut limits = Limits::new();
        for (scope, kind, event) in self.changes().filter(|(scope, ..)| scopes.contains(scope)) {
            let before = Position(event.position.0 - 1);
            floor = floor.max(self.limited(stream, &limits, before, event.recorded_at));
            let version = self.version_at(stream, before);
            let ChangeKind::Settings(settings) = kind else {
                floor = floor.max(version.next());
                continue;
            };
            let set = |value: &mut Option<u64>, setting| match setting {
                Setting::Keep => {}
                Setting::Clear => *value = None,
                Setting::Put(put) => *value = Some(put),
            };
            let (count, age) = limits.entry(scope.clone()).or_default();
            set(count, settings.max_count);
            set(age, settings.max_age_us);
            let first = settings.truncate_before.unwrap_or(0);
            floor = floor.max(match scope {
                Scope::Stream(_) => Version(first).min(version.next()),
                _ => self.first_from(stream, Position(first).min(event.position)),
            });
        }
        let last = Position(self.events.len() as u64);
        floor.max(self.limited(stream, &limits, last, self.time))
    }

    /// Returns the floor by the limits of the moment: count and age each from the nearest scope that has one.
    fn limited(
        &self,
        stream: &StreamName,
        limits: &Limits,
        at: Position,
        time: Timestamp,
    ) -> Version {
        let scopes = scopes(stream);
        let nearest = |of: fn(&Limit) -> Option<u64>| {
            scopes.iter().find_map(|scope| limits.get(scope).and_then(of))
        };
        let version = self.version_at(stream, at);
        let by_count = nearest(|(count, _)| *count)
            .map_or(Version(1), |count| Version((version.0 + 1).saturating_sub(count)));
        let by_age = nearest(|(_, age)| *age).map_or(Version(1), |age| {
            let young =
                |event: &&RecordedEvent| event.recorded_at.0 >= time.0.saturating_sub_unsigned(age);
            let first = self.events.iter().find(young).map(|event| event.position);
            self.first_from(stream, first.unwrap_or(at.next()).min(at.next()))
        });
        by_count.max(by_age)
    }

    /// Returns the version of the stream's first event at a position or later, or of its next event.
    fn first_from(&self, stream: &StreamName, position: Position) -> Version {
        self.version_at(stream, Position(position.0.saturating_sub(1))).next()
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
        let streams: HashSet<&StreamName> = self.events.iter().map(|event| &event.stream).collect();
        let floors: HashMap<&StreamName, Version> =
            streams.into_iter().map(|stream| (stream, self.floor(stream))).collect();
        let matches = |event: &&RecordedEvent| {
            let (is_in, at) = match &read.source {
                Source::Stream { .. } => {
                    (read.source.to_query().matches_event(event), event.version.0)
                }
                Source::Query(query) if read.with_system => {
                    (query.matches_with_system(&event.stream, &event.event), event.position.0)
                }
                Source::Query(query) => (query.matches_event(event), event.position.0),
            };
            is_in
                && at > bounds.after
                && bounds.before.is_none_or(|before| at < before)
                && bounds.from.is_none_or(|from| event.recorded_at >= from)
                && bounds.until.is_none_or(|until| event.recorded_at <= until)
                && event.version >= floors[&event.stream]
        };
        let mut events: Vec<RecordedEvent> = self.events.iter().filter(matches).cloned().collect();
        if read.direction == Direction::Backwards {
            events.reverse();
        }
        events.truncate(read.limit.unwrap_or(u64::MAX) as usize);
        events
    }

    /// Returns a whole list, up to its limit, by counting every event under its names.
    pub(crate) fn names(&self, request: &ListRequest) -> Vec<ListEntry> {
        let mut counts: BTreeMap<String, u64> = BTreeMap::new();
        for event in &self.events {
            for name in names_of(event, &request.listed) {
                *counts.entry(name).or_default() += 1;
            }
        }
        let is_stream = !matches!(
            request.listed,
            ListTarget::Categories | ListTarget::Paths | ListTarget::Types
        );
        let with_system = request.with_system || request.prefix.starts_with('$');
        let named = |(name, count): (String, u64)| {
            if !is_stream {
                return Some(ListEntry { name, events: Some(count), stream: None });
            }
            let stream = StreamName::new(&name).expect("a name");
            let (version, first_version) = (Version(count), self.floor(&stream));
            let events = count + 1 - first_version.0;
            let closed = self.head(&stream).closed;
            let stream = Some(ListedStream { version, first_version, closed });
            (events > 0 || request.with_removed).then_some(ListEntry {
                name,
                events: Some(events),
                stream,
            })
        };
        let wanted = |name: &str| {
            name.starts_with(&request.prefix)
                && *name > *request.after
                && (with_system || !name.starts_with('$'))
        };
        let counts = counts.into_iter().filter(|(name, _)| wanted(name));
        let limit = request.limit.unwrap_or(u64::MAX) as usize;
        counts.filter_map(named).take(limit).collect()
    }

    pub(crate) fn all() -> Read {
        Read::query(Query::everything())
    }
}

/// Returns the names under which a list counts an event.
fn names_of(event: &RecordedEvent, listed: &ListTarget) -> Vec<String> {
    let RecordedEvent { stream, event, .. } = event;
    let is_within = |scope: Scope| scope.holds(stream).then(|| stream.to_string());
    let ours = !stream.is_system();
    match listed {
        ListTarget::Streams => vec![stream.to_string()],
        ListTarget::StreamsOf(category) => {
            is_within(Scope::Category(category.clone())).into_iter().collect()
        }
        ListTarget::StreamsIn(path) => is_within(Scope::Path(path.clone())).into_iter().collect(),
        ListTarget::Categories => ours.then(|| stream.category().to_owned()).into_iter().collect(),
        ListTarget::Paths => stream.paths().filter(|_| ours).map(str::to_owned).collect(),
        ListTarget::Types => vec![event.kind.to_string()],
    }
}

/// Returns the scopes of a stream, the nearest first.
fn scopes(stream: &StreamName) -> Vec<Scope> {
    let mut scopes: Vec<Scope> =
        stream.paths().map(|path| Scope::Path(Path::new(path).expect("a path"))).collect();
    scopes.push(Scope::Category(Category::new(stream.category()).expect("a category")));
    scopes.push(Scope::Stream(stream.clone()));
    scopes.reverse();
    scopes
}
