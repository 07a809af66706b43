//! Random appends, changes, snapshots, repetitions, seals, restarts and reads: the store, another store that
//! seals at other times, and the model must agree on every answer.

use std::path::PathBuf;

use proptest::prelude::*;
use quorate_proto::{
    Append, Bounds, ChangeKind, Condition, CorrelationId, Direction, Expectation, ListRequest,
    ListTarget, Path, Position, Query, QueryItem, Read, Scope, Setting, SettingsChange, Snapshot,
    Source, Tag, Timestamp, Version,
};
use quorate_store::vfs::{MemVfs, Survival};
use quorate_store::{Payload, Prejudged, Verdict};

use crate::model::Model;
use crate::names::list;
use crate::support::{
    Ask, World, category, command_of, exactly, id, kind, open, read, require, seal_all, stream,
    write,
};
use crate::twins::{Node, files};

const STREAMS: [&str; 6] = ["order-1", "order-2", "acme/order-1", "acme/eu/bill-1", "bill", "x-9"];
const TAGS: [&str; 3] = ["red", "green", "blue"];

#[derive(Clone, Debug)]
enum Op {
    Command(i64, Vec<Wanted>),
    /// Sends an earlier append again, with the same expectations.
    Again(prop::sample::Index),
    Blank,
    Attachment(u8),
    RunSeal,
    FinishSeal,
    Restart(u64),
    Read(Box<Read>, usize),
    List(ListRequest),
    Prejudge(Asked),
}

/// One request of a command.
#[derive(Clone, Debug)]
enum Wanted {
    Append(Asked),
    Change(Scope, Expected, ChangeKind),
    /// A snapshot of a stream, at a version that is less than its newest by this much, with this schema.
    Snapshot(usize, u64, u32),
}

/// An append whose ids are made when it is sent.
#[derive(Clone, Debug)]
struct Asked {
    writes: Vec<(usize, Expected, u64)>,
    required: Vec<(usize, Expected)>,
    /// Queries, each with the distance of its `after` from the last position.
    conditions: Vec<(Query, u64)>,
    /// The distance from the last position to the position through which the conditions were checked.
    checked: u64,
    /// True if it takes the last two ids again, so that some may be in the log already.
    reuses_ids: bool,
}

#[derive(Clone, Copy, Debug)]
enum Expected {
    Any,
    None,
    Exists,
    /// The model's version plus this number.
    Near(i64),
}

fn any_expected() -> impl Strategy<Value = Expected> {
    prop_oneof![
        2 => Just(Expected::Any),
        1 => Just(Expected::None),
        1 => Just(Expected::Exists),
        4 => Just(Expected::Near(0)),
        1 => (-3..2_i64).prop_map(Expected::Near),
    ]
}

fn any_asked() -> impl Strategy<Value = Asked> {
    let streams = proptest::sample::subsequence((0..STREAMS.len()).collect::<Vec<_>>(), 1..4);
    let expected = proptest::collection::vec((any_expected(), 1..4_u64), 4);
    let condition = (any_query(), 0..20_u64);
    let conditions = prop_oneof![
        2 => Just(Vec::new()),
        1 => proptest::collection::vec(condition, 1..3),
    ];
    let writes = (streams.prop_shuffle(), expected, 1..3_usize);
    (writes, conditions, 0..20_u64, prop::bool::weighted(0.1)).prop_map(
        |((streams, expected, write_count), conditions, checked, reuses_ids)| {
            let all: Vec<_> = streams.into_iter().zip(expected).collect();
            let (writes, required) = all.split_at(write_count.min(all.len()));
            Asked {
                writes: writes
                    .iter()
                    .map(|(at, (expected, count))| (*at, *expected, *count))
                    .collect(),
                required: required.iter().map(|(at, (expected, _))| (*at, *expected)).collect(),
                conditions,
                checked,
                reuses_ids,
            }
        },
    )
}

fn any_wanted() -> impl Strategy<Value = Wanted> {
    prop_oneof![
        8 => any_asked().prop_map(Wanted::Append),
        1 => (any_scope(), any_settings()).prop_map(|(scope, settings)| {
            Wanted::Change(scope, Expected::Any, ChangeKind::Settings(settings))
        }),
        1 => ((0..STREAMS.len()), any_expected(), prop::bool::weighted(0.15)).prop_map(
            |(at, expected, is_last)| {
                let kind = if is_last { ChangeKind::Tombstone } else { ChangeKind::Delete };
                Wanted::Change(Scope::Stream(stream(STREAMS[at])), expected, kind)
            }
        ),
        1 => ((0..STREAMS.len()), 0..4_u64, 1..4_u32)
            .prop_map(|(at, less, schema)| Wanted::Snapshot(at, less, schema)),
    ]
}

fn any_scope() -> impl Strategy<Value = Scope> {
    prop_oneof![
        (0..STREAMS.len()).prop_map(|at| Scope::Stream(stream(STREAMS[at]))),
        prop::sample::select(vec!["order", "bill", "none"])
            .prop_map(|name| Scope::Category(category(name))),
        prop::sample::select(vec!["acme", "acme/eu", "none"])
            .prop_map(|name| Scope::Path(Path::new(name).expect("a path"))),
    ]
}

fn any_settings() -> impl Strategy<Value = SettingsChange> {
    let setting = |max: u64| {
        prop_oneof![
            3 => Just(Setting::Keep),
            1 => Just(Setting::Clear),
            3 => (1..max).prop_map(Setting::Put),
        ]
    };
    let truncate_before = proptest::option::weighted(0.3, 0..80_u64);
    (setting(8), setting(500), truncate_before)
        .prop_map(|(max_count, max_age_us, truncate_before)| SettingsChange {
            max_count,
            max_age_us,
            truncate_before,
        })
        .prop_filter("changes something", |settings| settings.check().is_ok())
}

fn any_query() -> impl Strategy<Value = Query> {
    let scope = prop_oneof![1 => Just(None), 3 => any_scope().prop_map(Some)];
    let tags = proptest::sample::subsequence(TAGS.to_vec(), 0..TAGS.len());
    let correlation = proptest::option::weighted(0.1, Just("cmd-1"));
    let item =
        (scope, any_types(), tags, correlation).prop_map(|(scope, types, tags, correlation)| {
            QueryItem {
                scope,
                types,
                tags: tags.into_iter().map(|tag| Tag::new(tag).expect("a tag")).collect(),
                correlation: correlation.map(|name| CorrelationId::new(name).expect("an id")),
            }
        });
    proptest::collection::vec(item, 0..3).prop_map(|items| Query { items })
}

fn any_types() -> impl Strategy<Value = Vec<quorate_proto::EventType>> {
    let names = vec!["Opened", "Paid", "Closed", "Unheard", "$settings", "$deleted"];
    proptest::sample::subsequence(names, 0..3)
        .prop_map(|names| names.into_iter().map(kind).collect())
}

fn any_read() -> impl Strategy<Value = Read> {
    let of_stream = ((0..STREAMS.len()), any_types()).prop_map(|(at, types)| Source::Stream {
        stream: stream(STREAMS[at]),
        types,
        tags: Vec::new(),
        correlation: None,
    });
    let source = prop_oneof![of_stream, any_query().prop_map(Source::Query)];
    let bound = || proptest::option::weighted(0.3, 0..60_u64);
    let time = || proptest::option::weighted(0.2, 0..1000_i64);
    let limit = proptest::option::weighted(0.4, 0..12_u64);
    let bounds = (bound(), bound(), time(), time());
    (source, bounds, any::<bool>(), limit, any::<bool>()).prop_map(
        |(source, (after, before, from, until), backwards, limit, with_system)| Read {
            source,
            bounds: Bounds {
                after: after.unwrap_or(0),
                before,
                from: from.map(Timestamp),
                until: until.map(Timestamp),
            },
            direction: if backwards { Direction::Backwards } else { Direction::Forwards },
            limit,
            with_system,
            ..Model::all()
        },
    )
}

fn any_list() -> impl Strategy<Value = ListRequest> {
    let listed = prop_oneof![
        3 => Just(ListTarget::Streams),
        1 => prop::sample::select(vec!["order", "bill", "none"])
            .prop_map(|name| ListTarget::StreamsOf(category(name))),
        1 => prop::sample::select(vec!["acme", "acme/eu", "none"])
            .prop_map(|name| ListTarget::StreamsIn(Path::new(name).expect("a path"))),
        1 => Just(ListTarget::Categories),
        1 => Just(ListTarget::Paths),
        1 => Just(ListTarget::Types),
    ];
    let prefix = prop_oneof![
        6 => Just(""), 4 => prop::sample::select(vec!["order", "order-2", "acme/", "$", "$$o", "P", "z"])
    ];
    let after = prop_oneof![
        6 => Just(""), 4 => prop::sample::select(vec!["acme", "b", "order-1", "$$", "%", "Paid"])
    ];
    let limit = proptest::option::weighted(0.3, 0..5_u64);
    (listed, prefix, after, limit, any::<bool>(), any::<bool>()).prop_map(
        |(listed, prefix, after, limit, with_system, with_removed)| ListRequest {
            prefix: prefix.to_owned(),
            after: after.to_owned(),
            limit,
            with_system,
            with_removed,
            ..ListRequest::of(listed)
        },
    )
}

fn any_op() -> impl Strategy<Value = Op> {
    prop_oneof![
        12 => (0..1000_i64, proptest::collection::vec(any_wanted(), 1..4))
            .prop_map(|(at, wanted)| Op::Command(at, wanted)),
        3 => any::<prop::sample::Index>().prop_map(Op::Again),
        1 => Just(Op::Blank),
        1 => any::<u8>().prop_map(Op::Attachment),
        3 => Just(Op::RunSeal),
        3 => Just(Op::FinishSeal),
        1 => any::<u64>().prop_map(Op::Restart),
        8 => (any_read(), prop::sample::select(vec![1, 50, 300, 100_000]))
            .prop_map(|(read, budget)| Op::Read(Box::new(read), budget)),
        3 => any_list().prop_map(Op::List),
        2 => any_asked().prop_map(Op::Prejudge),
    ]
}

/// A store, its model, a store of the same log that seals at once and remembers all heads, and the requests sent so far.
struct Pair {
    world: World,
    model: Model,
    other: Node,
    sent: Vec<Ask>,
    next_id: u64,
}

impl Pair {
    fn new(chunk_bytes: u64) -> Pair {
        let (world, model) = (World::new(chunk_bytes), Model::default());
        let mut other = Node::new(chunk_bytes);
        other.options.head_cache_bytes = 10_000;
        other.store = open(&other.vfs, &other.options).expect("opens");
        Pair { world, model, other, sent: Vec::new(), next_id: 0 }
    }

    fn make(&mut self, wanted: &Wanted) -> Ask {
        match wanted {
            Wanted::Append(asked) => self.make_append(asked),
            Wanted::Change(scope, expected, kind) => {
                self.next_id += 1;
                let expectation = match scope {
                    Scope::Stream(stream) => self.expectation(stream.as_str(), *expected),
                    _ => Expectation::Any,
                };
                Ask::change(scope.clone(), expectation, id(self.next_id - 1), *kind)
            }
            Wanted::Snapshot(at, less, schema) => {
                let stream = stream(STREAMS[*at]);
                let version = self.model.version(&stream).0.saturating_sub(*less).max(1);
                let (version, schema) = (Version(version), *schema);
                let data = format!("{stream} at {version}").into();
                Ask::Snapshot(Snapshot { stream, version, schema, data })
            }
        }
    }

    fn expectation(&self, name: &str, expected: Expected) -> Expectation {
        match expected {
            Expected::Any => Expectation::Any,
            Expected::None => Expectation::None,
            Expected::Exists => Expectation::Exists,
            Expected::Near(by) => {
                exactly(self.model.version(&stream(name)).0.saturating_add_signed(by))
            }
        }
    }

    fn make_append(&mut self, asked: &Asked) -> Ask {
        if asked.reuses_ids {
            self.next_id = self.next_id.saturating_sub(2);
        }
        let mut append = Append::default();
        for (at, expected, count) in &asked.writes {
            let numbers: Vec<u64> = (self.next_id..self.next_id + count).collect();
            self.next_id += count;
            let expectation = self.expectation(STREAMS[*at], *expected);
            let mut write = write(STREAMS[*at], expectation, &numbers);
            for (number, event) in numbers.iter().zip(&mut write.events) {
                let tags = TAGS.iter().enumerate().filter(|(at, _)| number >> at & 3 == 0);
                event.tags = tags.map(|(_, tag)| Tag::new(tag).expect("a tag")).collect();
                event.correlation_id = CorrelationId::new("cmd-1").ok().filter(|_| number % 5 == 0);
            }
            append.writes.push(write);
        }
        for (at, expected) in &asked.required {
            let expectation = self.expectation(STREAMS[*at], *expected);
            append.requirements.push(require(STREAMS[*at], expectation));
        }
        let end = self.model.events.len() as u64;
        let from_end = |back: u64| Position(end.saturating_sub(back));
        for (query, back) in &asked.conditions {
            let (query, after) = (query.clone(), from_end(*back));
            append.conditions.push(Condition { query, after });
        }
        Ask::Append(append, from_end(asked.checked))
    }

    fn run(&mut self, op: Op) -> Result<(), TestCaseError> {
        match op {
            Op::Command(at, wanted) => {
                let asks: Vec<Ask> = wanted.iter().map(|one| self.make(one)).collect();
                self.sent.extend(asks.clone());
                self.send(at, &asks)?;
            }
            Op::Again(index) if !self.sent.is_empty() => {
                let ask = index.get(&self.sent).clone();
                self.send(0, &[ask])?;
            }
            Op::Again(_) => {}
            Op::Blank => {
                self.apply(Payload::Blank)?;
                self.model.count(&Payload::Blank, self.world.options.chunk_bytes);
            }
            Op::Attachment(byte) => {
                let payload = Payload::Attachment(vec![byte].into());
                self.apply(payload.clone())?;
                self.model.count(&payload, self.world.options.chunk_bytes);
                prop_assert_eq!(&self.world.store.attachment()[..], &[byte]);
            }
            Op::RunSeal => drop(self.world.run_seal()),
            Op::FinishSeal => drop(self.world.finish_seal()),
            Op::Restart(seed) => {
                let attachment = self.world.store.attachment().clone();
                let point = self.world.reader().point();
                self.world.restart(Survival::Seeded(seed));
                self.other.restart(Survival::Seeded(seed), &self.world.log);
                prop_assert_eq!(self.world.store.attachment(), &attachment);
                prop_assert_eq!(self.world.reader().point(), point);
                prop_assert_eq!(self.world.store.position().0, self.model.events.len() as u64);
            }
            Op::Read(asked, budget) => {
                let found = read(&self.world.reader(), &asked, budget);
                prop_assert_eq!(found, self.model.read(&asked), "{:?}", asked);
            }
            Op::List(request) => {
                let expected = self.model.names(&request);
                for reader in [self.world.reader(), self.other.store.reader()] {
                    prop_assert_eq!(&list(&reader, &request), &expected, "{:?}", request);
                }
            }
            Op::Prejudge(asked) => self.prejudge(&asked)?,
        }
        Ok(())
    }

    fn prejudge(&mut self, asked: &Asked) -> Result<(), TestCaseError> {
        let ask = self.make_append(asked);
        let Ask::Append(append, _) = &ask else { return Ok(()) };
        let prejudged = self.world.reader().prejudge(append).expect("judges");
        let expected = self.model.clone().ask(0, std::slice::from_ref(&ask)).remove(0);
        let is_violated = append
            .conditions
            .iter()
            .any(|condition| self.model.newest_match(&condition.query, condition.after).is_some());
        match prejudged {
            // A final rejection comes before the conditions.
            Prejudged::Answer(Verdict::Rejected(early)) => {
                let Verdict::Rejected(expected) = expected else {
                    return Err(TestCaseError::fail(format!("{early:?}, but {expected:?}")));
                };
                prop_assert!(
                    early.is_final() && expected.is_final(),
                    "{:?}, {:?}",
                    early,
                    expected
                );
            }
            Prejudged::Answer(answer) => prop_assert_eq!(answer, expected),
            // Streams closed long ago are not looked for on the disk: apply decides.
            Prejudged::Propose { checked } => {
                prop_assert!(!is_violated && checked.0 == self.model.events.len() as u64);
            }
            Prejudged::Violated(_) => prop_assert!(is_violated),
        }
        Ok(())
    }

    /// Applies an entry to both stores.
    fn apply(&mut self, payload: Payload) -> Result<Vec<Verdict>, TestCaseError> {
        let verdicts = self.world.apply(payload);
        let entry = self.world.log.last().expect("just applied").clone();
        let other = self.other.apply(&entry);
        prop_assert_eq!(&other, &verdicts);
        prop_assert_eq!(self.other.store.reader().point(), self.world.reader().point());
        seal_all(&mut self.other.store).expect("seals");
        Ok(verdicts)
    }

    fn send(&mut self, at: i64, asks: &[Ask]) -> Result<(), TestCaseError> {
        let expected = self.model.ask(at, asks);
        let payload = command_of(at, asks);
        let found = self.apply(payload.clone())?;
        self.model.count(&payload, self.world.options.chunk_bytes);
        prop_assert_eq!(found, expected, "{:?}", asks);
        for name in STREAMS {
            let stream = stream(name);
            let reader = self.world.reader();
            prop_assert_eq!(reader.version(&stream).expect("reads"), self.model.version(&stream));
            let stored = reader.snapshot(&stream).expect("reads");
            prop_assert_eq!(stored.as_ref(), self.model.stored_snapshot(&stream));
        }
        Ok(())
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn a_store_answers_as_a_plain_list_of_events_would(
        ops in proptest::collection::vec(any_op(), 1..80), chunk_bytes in 400..3000_u64
    ) {
        let mut pair = Pair::new(chunk_bytes);
        for op in ops {
            pair.run(op)?;
        }
        let everything = read(&pair.world.reader(), &Model::all(), 1000);
        prop_assert_eq!(everything, pair.model.read(&Model::all()));
        pair.world.seal();
        let chunks = |vfs: &MemVfs| {
            let read = |path: PathBuf| (vfs.read(&path).expect("reads"), path);
            files(vfs).into_iter().map(read).collect::<Vec<_>>()
        };
        prop_assert!(chunks(&pair.world.vfs) == chunks(&pair.other.vfs), "the chunks differ");
    }
}
