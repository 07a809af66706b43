//! Random appends, repetitions, seals, restarts and reads: store and model must agree on every answer.

use proptest::prelude::*;
use quorate_proto::{
    Append, Bounds, Direction, Expectation, Path, Query, QueryItem, Read, Scope, Source, Timestamp,
};
use quorate_store::vfs::Survival;
use quorate_store::{Payload, Verdict};

use crate::model::Model;
use crate::support::{World, category, exactly, kind, read, require, stream, write};

const STREAMS: [&str; 6] = ["order-1", "order-2", "acme/order-1", "acme/eu/bill-1", "bill", "x-9"];

#[derive(Clone, Debug)]
enum Op {
    Command(i64, Vec<Asked>),
    /// Sends an earlier append again, with the same expectations.
    Again(prop::sample::Index),
    Blank,
    Attachment(u8),
    RunSeal,
    FinishSeal,
    Restart(u64),
    Read(Box<Read>, usize),
    JudgeEarly(Asked),
}

/// An append whose ids are made when it is sent.
#[derive(Clone, Debug)]
struct Asked {
    writes: Vec<(usize, Expected, u64)>,
    required: Vec<(usize, Expected)>,
    /// Takes ids from the start again, so that some are in the log already.
    reuses_ids: bool,
}

#[derive(Clone, Copy, Debug)]
enum Expected {
    Any,
    None,
    Exists,
    /// The version that the model is at, and so much more or less.
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
    (streams.prop_shuffle(), expected, 1..3_usize, prop::bool::weighted(0.1)).prop_map(
        |(streams, expected, write_count, reuses_ids)| {
            let all: Vec<_> = streams.into_iter().zip(expected).collect();
            let (writes, required) = all.split_at(write_count.min(all.len()));
            Asked {
                writes: writes
                    .iter()
                    .map(|(at, (expected, count))| (*at, *expected, *count))
                    .collect(),
                required: required.iter().map(|(at, (expected, _))| (*at, *expected)).collect(),
                reuses_ids,
            }
        },
    )
}

fn any_query() -> impl Strategy<Value = Query> {
    let scope = prop_oneof![
        Just(None),
        (0..STREAMS.len()).prop_map(|at| Some(Scope::Stream(stream(STREAMS[at])))),
        prop::sample::select(vec!["order", "bill", "none"])
            .prop_map(|name| Some(Scope::Category(category(name)))),
        prop::sample::select(vec!["acme", "acme/eu", "none"])
            .prop_map(|name| Some(Scope::Path(Path::new(name).expect("a path")))),
    ];
    let item = (scope, any_types()).prop_map(|(scope, types)| QueryItem {
        scope,
        types,
        ..QueryItem::default()
    });
    proptest::collection::vec(item, 0..3).prop_map(|items| Query { items })
}

fn any_types() -> impl Strategy<Value = Vec<quorate_proto::EventType>> {
    let names = vec!["Opened", "Paid", "Closed", "Unheard"];
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
    (source, bound(), bound(), time(), time(), any::<bool>(), limit).prop_map(
        |(source, after, before, from, until, backwards, limit)| Read {
            source,
            bounds: Bounds {
                after: after.unwrap_or(0),
                before,
                from: from.map(Timestamp),
                until: until.map(Timestamp),
            },
            direction: if backwards { Direction::Backwards } else { Direction::Forwards },
            limit,
            ..Model::all()
        },
    )
}

fn any_op() -> impl Strategy<Value = Op> {
    prop_oneof![
        12 => (0..1000_i64, proptest::collection::vec(any_asked(), 1..4))
            .prop_map(|(at, asked)| Op::Command(at, asked)),
        3 => any::<prop::sample::Index>().prop_map(Op::Again),
        1 => Just(Op::Blank),
        1 => any::<u8>().prop_map(Op::Attachment),
        3 => Just(Op::RunSeal),
        3 => Just(Op::FinishSeal),
        1 => any::<u64>().prop_map(Op::Restart),
        8 => (any_read(), prop::sample::select(vec![1, 50, 300, 100_000]))
            .prop_map(|(read, budget)| Op::Read(Box::new(read), budget)),
        2 => any_asked().prop_map(Op::JudgeEarly),
    ]
}

/// A world, its model, and what was sent so far.
struct Pair {
    world: World,
    model: Model,
    sent: Vec<Append>,
    next_id: u64,
}

impl Pair {
    fn make(&mut self, asked: &Asked, model: &Model) -> Append {
        if asked.reuses_ids {
            self.next_id = self.next_id.saturating_sub(2);
        }
        let expectation = |at: usize, expected| match expected {
            Expected::Any => Expectation::Any,
            Expected::None => Expectation::None,
            Expected::Exists => Expectation::Exists,
            Expected::Near(by) => {
                exactly(model.version(&stream(STREAMS[at])).0.saturating_add_signed(by))
            }
        };
        let mut append = Append::default();
        for (at, expected, count) in &asked.writes {
            let numbers: Vec<u64> = (self.next_id..self.next_id + count).collect();
            self.next_id += count;
            append.writes.push(write(STREAMS[*at], expectation(*at, *expected), &numbers));
        }
        for (at, expected) in &asked.required {
            append.requirements.push(require(STREAMS[*at], expectation(*at, *expected)));
        }
        append
    }

    fn run(&mut self, op: Op) -> Result<(), TestCaseError> {
        match op {
            Op::Command(at, asked) => {
                let model = self.model.clone();
                let appends: Vec<Append> = asked.iter().map(|one| self.make(one, &model)).collect();
                self.sent.extend(appends.clone());
                self.send(at, &appends)?;
            }
            Op::Again(index) if !self.sent.is_empty() => {
                let append = index.get(&self.sent).clone();
                self.send(0, &[append])?;
            }
            Op::Again(_) => {}
            Op::Blank => drop(self.world.apply(Payload::Blank)),
            Op::Attachment(byte) => {
                self.world.apply(Payload::Attachment(vec![byte].into()));
                prop_assert_eq!(&self.world.store.attachment()[..], &[byte]);
            }
            Op::RunSeal => drop(self.world.run_seal()),
            Op::FinishSeal => drop(self.world.finish_seal()),
            Op::Restart(seed) => {
                let attachment = self.world.store.attachment().clone();
                self.world.restart(Survival::Seeded(seed));
                prop_assert_eq!(self.world.store.attachment(), &attachment);
                prop_assert_eq!(self.world.store.position().0, self.model.events.len() as u64);
            }
            Op::Read(asked, budget) => {
                let found = read(&self.world.reader(), &asked, budget);
                prop_assert_eq!(found, self.model.read(&asked), "{:?}", asked);
            }
            Op::JudgeEarly(asked) => {
                let append = self.make(&asked, &self.model.clone());
                let early = self.world.reader().judge_early(&append).expect("judges");
                if let Some(early) = early {
                    prop_assert_eq!(vec![early], self.model.clone().command(0, &[append]));
                }
            }
        }
        Ok(())
    }

    fn send(&mut self, at: i64, appends: &[Append]) -> Result<(), TestCaseError> {
        let expected = self.model.command(at, appends);
        let found: Vec<Verdict> = self.world.append(at, appends);
        prop_assert_eq!(found, expected, "{:?}", appends);
        for name in STREAMS {
            let version = self.world.reader().version(&stream(name)).expect("reads");
            prop_assert_eq!(version, self.model.version(&stream(name)));
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
        let (world, model) = (World::new(chunk_bytes), Model::default());
        let mut pair = Pair { world, model, sent: Vec::new(), next_id: 0 };
        for op in ops {
            pair.run(op)?;
        }
        let everything = read(&pair.world.reader(), &Model::all(), 1000);
        prop_assert_eq!(everything, pair.model.events);
    }
}
