//! Random events with tags and correlation ids, some of them hidden, in chunks and tails: reads, conditions
//! and a look at every event must agree.

use proptest::prelude::*;
use quorate_proto::{
    Append, ChangeKind, Condition, CorrelationId, Direction, Event, EventType, Expectation,
    Invalid, Path, Position, Problem, Query, QueryItem, Read, Scope, Setting, SettingsChange,
    Source, Tag, Violation,
};
use quorate_store::{Prejudged, Reader, Verdict};

use crate::model::Model;
use crate::support::{Ask, DIRECTORY, World, category, command_of, event, id, kind, read, stream};

const STREAMS: [&str; 5] = ["order-1", "order-2", "acme/order-1", "acme/eu/bill-1", "bill"];
const TYPES: [&str; 3] = ["Opened", "Paid", "Closed"];
const TAGS: [&str; 3] = ["red", "green", "blue"];
const CORRELATIONS: [&str; 2] = ["first", "second"];

/// An event whose id is given when it is appended.
#[derive(Clone, Debug)]
struct Made {
    stream: usize,
    kind: usize,
    tags: Vec<&'static str>,
    correlation: Option<usize>,
}

fn any_made() -> impl Strategy<Value = Made> {
    // The last of each list is rare.
    let rarely = |count: usize| prop_oneof![9 => 0..count - 1, 1 => Just(count - 1)];
    let tags = proptest::sample::subsequence(TAGS.to_vec(), 0..TAGS.len());
    let correlation = proptest::option::weighted(0.3, rarely(CORRELATIONS.len()));
    (rarely(STREAMS.len()), rarely(TYPES.len()), tags, correlation)
        .prop_map(|(stream, kind, tags, correlation)| Made { stream, kind, tags, correlation })
}

fn any_item() -> impl Strategy<Value = QueryItem> {
    let scope = prop_oneof![
        3 => Just(None),
        1 => (0..STREAMS.len()).prop_map(|at| Some(Scope::Stream(stream(STREAMS[at])))),
        1 => prop::sample::select(vec!["$$order-1", "$category/order"])
            .prop_map(|name| Some(Scope::Stream(stream(name)))),
        1 => prop::sample::select(vec!["order", "bill", "none"])
            .prop_map(|name| Some(Scope::Category(category(name)))),
        1 => prop::sample::select(vec!["acme", "acme/eu", "none"])
            .prop_map(|name| Some(Scope::Path(Path::new(name).expect("a path")))),
    ];
    let tags = proptest::sample::subsequence(TAGS.to_vec(), 0..TAGS.len());
    let correlation = proptest::option::weighted(0.2, prop::sample::select(CORRELATIONS.to_vec()));
    (scope, any_types(), tags, correlation).prop_map(|(scope, types, tags, correlation)| {
        QueryItem {
            scope,
            types,
            tags: tags.into_iter().map(|name| Tag::new(name).expect("a tag")).collect(),
            correlation: correlation.map(|name| CorrelationId::new(name).expect("an id")),
        }
    })
}

fn any_types() -> impl Strategy<Value = Vec<EventType>> {
    let names = vec![TYPES[0], TYPES[1], TYPES[2], "$settings", "$deleted"];
    proptest::sample::subsequence(names, 0..3).prop_map(|all| all.into_iter().map(kind).collect())
}

fn any_query() -> impl Strategy<Value = Query> {
    proptest::collection::vec(any_item(), 0..4).prop_map(|items| Query { items })
}

fn any_read() -> impl Strategy<Value = Read> {
    let in_stream = ((0..STREAMS.len()), any_item()).prop_map(|(at, item)| {
        let QueryItem { types, tags, correlation, .. } = item;
        let source = Source::Stream { stream: stream(STREAMS[at]), types, tags, correlation };
        Read { source, ..Read::query(Query::everything()) }
    });
    let source = prop_oneof![1 => in_stream, 4 => any_query().prop_map(Read::query)];
    let limit = proptest::option::weighted(0.3, 0..8_u64);
    (source, 0..60_u64, limit, any::<bool>(), prop::bool::weighted(0.3)).prop_map(
        |(mut read, after, limit, backwards, with_system)| {
            let direction = if backwards { Direction::Backwards } else { Direction::Forwards };
            read.bounds.after = after / if limit.is_some() { 10 } else { 1 };
            Read { direction, limit, with_system, ..read }
        },
    )
}

/// A change of the log.
#[derive(Clone, Debug)]
enum Op {
    Append(Vec<Made>),
    Change(Scope, ChangeKind),
    Seal,
}

fn any_op() -> impl Strategy<Value = Op> {
    let any_stream = || (0..STREAMS.len()).prop_map(|at| Scope::Stream(stream(STREAMS[at])));
    let settings = |settings: SettingsChange| ChangeKind::Settings(settings);
    let truncate = (any_stream(), 1..12_u64).prop_map(move |(scope, before)| {
        let truncate_before = Some(before);
        Op::Change(scope, settings(SettingsChange { truncate_before, ..SettingsChange::default() }))
    });
    let count =
        (any_stream(), prop_oneof![Just(Setting::Clear), (1..4_u64).prop_map(Setting::Put)]);
    let count = count.prop_map(move |(scope, max_count)| {
        Op::Change(scope, settings(SettingsChange { max_count, ..SettingsChange::default() }))
    });
    let cut = (prop::sample::select(vec!["order", "bill"]), 1..60_u64);
    let cut = cut.prop_map(move |(name, before)| {
        let change = SettingsChange { truncate_before: Some(before), ..SettingsChange::default() };
        Op::Change(Scope::Category(category(name)), settings(change))
    });
    prop_oneof![
        20 => proptest::collection::vec(any_made(), 1..6).prop_map(Op::Append),
        10 => Just(Op::Seal),
        1 => truncate,
        1 => count,
        1 => cut,
        1 => any_stream().prop_map(|scope| Op::Change(scope, ChangeKind::Delete)),
    ]
}

fn write(number: u64, made: &Made) -> Append {
    let tags = made.tags.iter().map(|tag| Tag::new(tag).expect("a tag")).collect();
    let correlation_id = made.correlation.and_then(|at| CorrelationId::new(CORRELATIONS[at]).ok());
    let event = Event { tags, correlation_id, ..event(number, TYPES[made.kind]) };
    Append::to(stream(STREAMS[made.stream]), Expectation::Any, vec![event])
}

/// Returns a store to which all operations were applied, and its model.
fn filled(ops: &[Op], chunk_bytes: u64) -> (World, Model) {
    let (mut world, mut model) = (World::new(chunk_bytes), Model::default());
    for op in ops {
        let number = model.events.len() as u64;
        let asks: Vec<Ask> = match op {
            Op::Append(made) => {
                (number..).zip(made).map(|(number, made)| Ask::of(write(number, made))).collect()
            }
            Op::Change(scope, kind) => {
                vec![Ask::change(scope.clone(), Expectation::Any, id(number), *kind)]
            }
            Op::Seal => {
                world.seal();
                continue;
            }
        };
        let verdicts = world.apply(command_of(1, &asks));
        assert_eq!(verdicts, model.ask(1, &asks));
        assert!(verdicts.iter().all(|one| matches!(one, Verdict::Appended(_))), "{verdicts:?}");
    }
    (world, model)
}

fn check(reader: &Reader, model: &Model, conditions: Vec<Condition>) {
    let violation = |(condition, one): (usize, &Condition)| {
        Some(Violation { condition, position: model.newest_match(&one.query, one.after)? })
    };
    let violations: Vec<Violation> = (0..).zip(&conditions).filter_map(violation).collect();
    let end = Position(model.events.len() as u64);
    let expected = match conditions.iter().map(|condition| condition.after).max() {
        _ if !violations.is_empty() => {
            Prejudged::Violated(Problem::conflict(Vec::new(), violations))
        }
        Some(after) if after > end => {
            let why = format_args!("the log ends at position {end}; nothing was appended");
            Prejudged::Violated(Invalid::from_the_future(after.0, why).into())
        }
        _ => Prejudged::Propose { checked: end },
    };
    let append = Append { conditions, ..Append::default() };
    assert_eq!(reader.prejudge(&append).expect("reads"), expected);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn a_query_finds_what_a_look_at_every_event_finds(
        ops in proptest::collection::vec(any_op(), 1..60),
        chunk_bytes in 100..1500_u64,
        reads in proptest::collection::vec(any_read(), 8),
        conditions in proptest::collection::vec((any_query(), 0..60_u64), 4),
        budget in prop_oneof![Just(1_usize), Just(300), Just(100_000)],
    ) {
        let (world, model) = filled(&ops, chunk_bytes);
        let reader = world.reader();
        for asked in &reads {
            prop_assert_eq!(read(&reader, asked, budget), model.read(asked), "{:?}", asked);
        }
        let conditions = conditions.into_iter().map(|(query, after)| {
            let after = Position(after);
            Condition { query, after }
        });
        let conditions: Vec<Condition> = conditions.collect();
        for condition in &conditions {
            check(&reader, &model, vec![condition.clone()]);
        }
        check(&reader, &model, conditions);
    }
}

/// 4,000 events in about 40 chunks: every 500th is `Rare`, `hot` is on all, `cold` on every 100th.
fn large() -> World {
    let mut world = World::new(20_000);
    for number in 0..4000_u64 {
        let name = if number % 500 == 3 { "Rare" } else { "Common" };
        let mut event = Event::new(id(number), kind(name), vec![number as u8; 100]);
        event.tags = vec![Tag::new("hot").expect("a tag")];
        if number % 100 == 3 {
            event.tags.push(Tag::new("cold").expect("a tag"));
        }
        let name = format!("order-{}", number % 50);
        world.append(1, &[Append::to(stream(&name), Expectation::Any, vec![event])]);
        world.seal();
    }
    world
}

fn tags(names: &[&str]) -> QueryItem {
    let tags = names.iter().map(|name| Tag::new(*name).expect("a tag")).collect();
    QueryItem { tags, ..QueryItem::default() }
}

fn of(items: Vec<QueryItem>) -> Read {
    Read::query(Query { items })
}

#[test]
fn a_rare_query_looks_into_no_block_without_a_match() {
    let world = large();
    let rare = QueryItem { types: vec![kind("Rare")], ..QueryItem::default() };
    let in_stream = |name: &str, types: &[&str]| {
        let types = types.iter().map(|name| kind(name)).collect();
        let (tags, correlation) = (Vec::new(), None);
        let stream = stream(name);
        let source = Source::Stream { stream, types, tags, correlation };
        Read { source, ..of(vec![]) }
    };
    for (asked, matches) in [
        (of(vec![rare.clone()]), 8),
        (of(vec![tags(&["cold"])]), 40),
        (of(vec![tags(&["hot", "cold"])]), 40),
        (of(vec![QueryItem { types: rare.types.clone(), ..tags(&["hot", "cold"]) }]), 8),
        (of(vec![rare, tags(&["cold"])]), 40),
        (in_stream("order-3", &["Rare"]), 8),
        (in_stream("order-4", &["Rare"]), 0),
        (in_stream("order-4", &[]), 80),
    ] {
        for direction in [Direction::Forwards, Direction::Backwards] {
            let asked = Read { direction, ..asked.clone() };
            let mut scan = world.reader().scan(&asked).expect("begins");
            let mut found = 0;
            while let Some(page) = scan.next_page(1000).expect("reads") {
                found += page.len() as u64;
            }
            assert_eq!(found, matches, "{asked:?}");
            let counters = scan.counters();
            assert!(counters.blocks <= matches, "{asked:?}: {counters:?}");
        }
    }
}

#[test]
fn the_rarest_key_of_an_item_leads() {
    let world = large();
    let chunks =
        world.store.export().expect("exports").expect("a checkpoint").chunks().len() as u64;
    let asked = of(vec![QueryItem { types: vec![kind("Rare")], ..tags(&["hot"]) }]);
    let mut scan = world.reader().scan(&asked).expect("begins");
    while scan.next_page(100_000).expect("reads").is_some() {}
    // Two keys in each of the 8 chunks that hold a match, and one look where the walk begins.
    let counters = scan.counters();
    assert!(counters.pages <= 18, "{counters:?} in {chunks} chunks");
    assert!(chunks > 30, "{chunks}");
}

#[test]
fn the_first_event_of_a_key_that_all_chunks_hold_costs_a_few_pages() {
    let mut world = World::new(600);
    let mut costs = Vec::new();
    for round in 0..3 {
        for number in round * 700..(round + 1) * 700 {
            let to = stream(&format!("order-{}", number % 300));
            world.append(1, &[Append::to(to, Expectation::Any, vec![event(number, "Common")])]);
        }
        world.seal();
        for scope in [Scope::Category(category("order")), Scope::Stream(stream("order-0"))] {
            let of_scope = QueryItem { scope: Some(scope), ..QueryItem::default() };
            let asked = Read { limit: Some(1), ..of(vec![of_scope]) };
            let mut scan = world.reader().scan(&asked).expect("begins");
            let first = scan.next_page(1000).expect("reads").expect("an event");
            assert_eq!(first[0].position, Position(1));
            costs.push(scan.counters().pages);
        }
    }
    let export = world.store.export().expect("exports").expect("a checkpoint");
    let chunks = export.chunks().len() as u64;
    assert!(chunks > 100 && costs.iter().all(|pages| *pages <= 8), "{costs:?} in {chunks} chunks");
}

#[test]
fn a_read_forwards_of_all_that_a_key_has_looks_into_each_chunk_once() {
    let world = large();
    let chunks =
        world.store.export().expect("exports").expect("a checkpoint").chunks().len() as u64;
    let mut scan = world.reader().scan(&of(vec![tags(&["hot"])])).expect("begins");
    while scan.next_page(100_000).expect("reads").is_some() {}
    let counters = scan.counters();
    assert!(counters.pages <= chunks + 1, "{counters:?} in {chunks} chunks");
}

#[test]
fn a_damaged_chunk_hinders_only_the_reads_whose_keys_it_holds() {
    let world = large();
    let path = format!("{DIRECTORY}/chunks/chunk-{:010}", 2);
    world.vfs.truncate(std::path::Path::new(&path), 0).expect("is there");
    let read_all = |item: QueryItem| {
        let mut scan = world.reader().scan(&of(vec![item])).expect("begins");
        let mut found = 0;
        while let Some(page) = scan.next_page(1000)? {
            found += page.len();
        }
        Ok::<usize, quorate_store::Fault>(found)
    };
    let rare = QueryItem { types: vec![kind("Rare")], ..QueryItem::default() };
    assert_eq!(read_all(rare).expect("the chunk has none"), 8);
    assert!(read_all(tags(&["hot"])).is_err(), "the chunk has some");
}

#[test]
fn a_condition_that_begins_in_the_tail_costs_nothing_on_disk() {
    let mut world = large();
    world
        .append(1, &[Append::to(stream("order-1"), Expectation::Any, vec![event(5000, "Common")])]);
    let after = world.store.position();
    for chunk in world.store.export().expect("exports").expect("a checkpoint").chunks() {
        let path = format!("{DIRECTORY}/chunks/chunk-{:010}", chunk.number);
        world.vfs.truncate(std::path::Path::new(&path), 0).expect("is there");
    }
    let check = |item: QueryItem, after: Position| {
        let conditions = vec![Condition { query: Query { items: vec![item] }, after }];
        world.reader().prejudge(&Append { conditions, ..Append::default() })
    };
    let rare = QueryItem { types: vec![kind("Rare")], ..QueryItem::default() };
    let holds = Prejudged::Propose { checked: after };
    assert_eq!(check(rare.clone(), after).expect("no chunk"), holds);
    // A condition whose newest match is in the tail costs nothing on disk either, wherever it begins.
    let violated = check(tags(&["hot"]), Position(0)).expect("no chunk");
    assert!(matches!(violated, Prejudged::Violated(_)));
    assert!(check(rare, Position(3000)).is_err(), "the chunks cannot be read");
}
