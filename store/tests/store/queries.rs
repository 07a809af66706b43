//! Random events with tags and correlation ids, in chunks and tails: reads, conditions and a look at every
//! event agree.

use proptest::prelude::*;
use quorate_proto::{
    Append, Condition, CorrelationId, Direction, Event, Expectation, Path, Position, Query,
    QueryItem, Read, RecordedEvent, Scope, Tag, Violation, Write,
};
use quorate_store::{Checked, Reader};

use crate::model::Model;
use crate::support::{DIRECTORY, World, category, event, id, kind, read, stream};

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
    // The last of each is rare.
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
        1 => prop::sample::select(vec!["order", "bill", "none"])
            .prop_map(|name| Some(Scope::Category(category(name)))),
        1 => prop::sample::select(vec!["acme", "acme/eu", "none"])
            .prop_map(|name| Some(Scope::Path(Path::new(name).expect("a path")))),
    ];
    let types = proptest::sample::subsequence(TYPES.to_vec(), 0..TYPES.len());
    let tags = proptest::sample::subsequence(TAGS.to_vec(), 0..TAGS.len());
    let correlation = proptest::option::weighted(0.2, prop::sample::select(CORRELATIONS.to_vec()));
    (scope, types, tags, correlation).prop_map(|(scope, types, tags, correlation)| QueryItem {
        scope,
        types: types.into_iter().map(kind).collect(),
        tags: tags.into_iter().map(|name| Tag::new(name).expect("a tag")).collect(),
        correlation: correlation.map(|name| CorrelationId::new(name).expect("an id")),
    })
}

fn any_query() -> impl Strategy<Value = Query> {
    proptest::collection::vec(any_item(), 0..4).prop_map(|items| Query { items })
}

fn write(number: u64, made: &Made) -> Append {
    let tags = made.tags.iter().map(|tag| (*tag).to_owned()).collect();
    let correlation_id = made.correlation.map_or("", |at| CORRELATIONS[at]).to_owned();
    let event = Event { tags, correlation_id, ..event(number, TYPES[made.kind]) };
    Append::to(stream(STREAMS[made.stream]), Expectation::Any, vec![event])
}

/// A store that took the events, sealing now and then, and what it took.
fn filled(commands: &[(Vec<Made>, bool)], chunk_bytes: u64) -> (World, Vec<RecordedEvent>) {
    let (mut world, mut model) = (World::new(chunk_bytes), Model::default());
    for (made, is_sealed) in commands {
        let first = model.events.len() as u64;
        let appends: Vec<Append> =
            (first..).zip(made).map(|(number, made)| write(number, made)).collect();
        assert_eq!(world.append(1, &appends), model.command(1, &appends));
        if *is_sealed {
            world.seal();
        }
    }
    (world, model.events)
}

/// What a condition is violated by, found by looking at every event.
fn newest(events: &[RecordedEvent], condition: &Condition) -> Option<Position> {
    let forbids = |event: &&RecordedEvent| {
        event.position > condition.after && condition.query.matches_event(event)
    };
    events.iter().rev().find(forbids).map(|event| event.position)
}

fn check(reader: &Reader, events: &[RecordedEvent], conditions: Vec<Condition>) {
    let violations: Vec<Violation> = (0..)
        .zip(&conditions)
        .filter_map(|(condition, one)| {
            newest(events, one).map(|position| Violation { condition, position })
        })
        .collect();
    let at = Position(events.len() as u64);
    let expected = match violations.is_empty() {
        true => Checked::Through(at),
        false => Checked::Violated { violations, at },
    };
    let writes = Vec::<Write>::new();
    let append = Append { writes, conditions, ..Append::default() };
    assert_eq!(reader.check_conditions(&append).expect("reads"), expected);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn a_query_finds_what_a_look_at_every_event_finds(
        commands in proptest::collection::vec(
            (proptest::collection::vec(any_made(), 1..6), any::<bool>()), 1..30),
        chunk_bytes in 100..1500_u64,
        queries in proptest::collection::vec((any_query(), 0..60_u64, any::<bool>()), 8),
        budget in prop_oneof![Just(1_usize), Just(300), Just(100_000)],
    ) {
        let (world, events) = filled(&commands, chunk_bytes);
        let reader = world.reader();
        for (query, after, backwards) in &queries {
            let direction = if *backwards { Direction::Backwards } else { Direction::Forwards };
            let mut asked = Read { direction, ..Read::query(query.clone()) };
            asked.bounds.after = *after;
            let mut expected: Vec<RecordedEvent> = events
                .iter()
                .filter(|event| event.position.0 > *after && query.matches_event(event))
                .cloned()
                .collect();
            if *backwards {
                expected.reverse();
            }
            prop_assert_eq!(read(&reader, &asked, budget), expected, "{:?}", asked);
        }
        let condition =
            |(query, after, _): &(Query, u64, bool)| Condition { query: query.clone(), after: Position(*after) };
        check(&reader, &events, queries.iter().map(condition).collect());
        for query in &queries {
            check(&reader, &events, vec![condition(query)]);
        }
    }
}

/// 4,000 events in about 40 chunks: every 500th is `Rare`, `hot` is on all, `cold` on every 100th.
fn large() -> World {
    let mut world = World::new(20_000);
    for number in 0..4000_u64 {
        let name = if number % 500 == 3 { "Rare" } else { "Common" };
        let mut event = Event::new(id(number), kind(name), vec![number as u8; 100]);
        event.tags = vec!["hot".to_owned()];
        if number % 100 == 3 {
            event.tags.push("cold".to_owned());
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
        let source = quorate_proto::Source::Stream { stream, types, tags, correlation };
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
        world.reader().check_conditions(&Append { conditions, ..Append::default() })
    };
    let rare = QueryItem { types: vec![kind("Rare")], ..QueryItem::default() };
    assert_eq!(check(rare.clone(), after).expect("no chunk"), Checked::Through(after));
    // Nor does one whose newest match is there, wherever it begins.
    let violated = check(tags(&["hot"]), Position(0)).expect("no chunk");
    assert!(matches!(violated, Checked::Violated { .. }));
    assert!(check(rare, Position(3000)).is_err(), "the chunks cannot be read");
}
