//! Tests of following that need no cluster: matching events to subscriptions, and mailboxes.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use proptest::prelude::*;
use quorate_proto::limits::CHUNK_BYTES_DEFAULT;
use quorate_proto::{
    Append, Category, CorrelationId, ErrorKind, Event, EventId, EventType, Expectation, LogId,
    Outcome, Path as StreamPath, Position, Problem, Query, QueryItem, Read, Scope, StreamName, Tag,
    Timestamp, Version,
};
use quorate_store::vfs::MemVfs;
use quorate_store::{Entry, Options, Payload, Store, StoredEvent, command};

use super::cursor::Cursor;
use super::mailbox::{Delivery, Mailbox};
use super::matching::{Filter, MatchInput, SubscriptionIndex};

const STREAMS: [&str; 5] = ["order-1", "order-2", "acme/order-1", "acme/eu/bill-1", "bill-2"];
const TYPES: [&str; 3] = ["Paid", "Sent", "Lost"];
const TAGS: [&str; 3] = ["red", "owner:7", "blue"];
const IDS: [&str; 2] = ["cmd-1", "cmd-2"];

fn stream(index: usize) -> StreamName {
    StreamName::new(STREAMS[index]).expect("a name")
}

fn store() -> Store {
    let options = Options {
        cluster: [7; 16],
        log: 0,
        chunk_bytes: CHUNK_BYTES_DEFAULT,
        hash_seed: [5; 16],
        head_cache_bytes: 400,
        block_cache_bytes: 0,
        catalog_cache_bytes: 1 << 20,
        filter_bytes: 1 << 20,
    };
    Store::open(Arc::new(MemVfs::new()), Path::new("/store"), options).expect("a store")
}

/// Returns the events that a store gives out after these appends of one event each.
fn applied(events: Vec<(StreamName, Event)>) -> Vec<StoredEvent> {
    let mut store = store();
    let mut builder = command::Builder::new(Timestamp(1));
    for (stream, event) in events {
        builder.push(&command::encode_append(&Append::to(stream, Expectation::Any, vec![event])));
    }
    let payload = Payload::Command(builder.finish());
    store.apply(Entry { log_id: LogId::new(1, 0), payload }).expect("applied");
    store.reader().recent(Position::ZERO, usize::MAX).expect("in memory")
}

prop_compose! {
    fn event()(
        stream in 0..STREAMS.len(),
        kind in prop::sample::select(&TYPES[..]),
        tags in prop::sample::subsequence(&TAGS[..], 0..3),
        correlation in prop::option::of(prop::sample::select(&IDS[..])),
        id in 1..u128::MAX,
    ) -> (usize, Event) {
        let id = EventId::from_bytes(id.to_be_bytes()).expect("an id");
        let event = Event::new(id, EventType::new(kind).expect("a type"), "{}");
        let tags = tags.into_iter().map(|tag| Tag::new(tag).expect("a tag")).collect();
        let correlation_id = correlation.map(|id| CorrelationId::new(id).expect("an id"));
        (stream, Event { tags, correlation_id, ..event })
    }
}

fn scope() -> impl Strategy<Value = Option<Scope>> {
    let scopes = vec![
        None,
        Some(Scope::Stream(stream(0))),
        Some(Scope::Stream(stream(2))),
        Some(Scope::Category(Category::new("order").expect("a name"))),
        Some(Scope::Path(StreamPath::new("acme").expect("a name"))),
    ];
    prop::sample::select(scopes)
}

prop_compose! {
    fn item()(
        scope in scope(),
        types in prop::sample::subsequence(&TYPES[..], 0..3),
        tags in prop::sample::subsequence(&TAGS[..], 0..3),
        correlation in prop::option::of(prop::sample::select(&IDS[..])),
    ) -> QueryItem {
        QueryItem {
            scope,
            types: types.into_iter().map(|name| EventType::new(name).expect("a type")).collect(),
            tags: tags.into_iter().map(|name| Tag::new(name).expect("a tag")).collect(),
            correlation: correlation.map(|id| CorrelationId::new(id).expect("an id")),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..Default::default() })]

    #[test]
    fn an_event_is_handed_to_exactly_those_whose_query_it_matches(
        events in prop::collection::vec(event(), 1..12),
        queries in prop::collection::vec(prop::collection::vec(item(), 0..3), 1..8),
    ) {
        let events = events.into_iter().map(|(at, event)| (stream(at), event)).collect();
        let filters: Vec<Filter> = queries
            .into_iter()
            .map(|items| Filter::of(&Read::query(Query { items })))
            .collect();
        let mut index = SubscriptionIndex::default();
        for (number, filter) in filters.iter().enumerate() {
            index.add(number as u64, filter);
        }
        for stored in applied(events) {
            let input = MatchInput::new(&stored);
            let mut found = Vec::new();
            index.visit(&stored, |number| {
                if filters[number as usize].matches(&input) {
                    found.push(number as usize);
                }
            });
            let decoded = stored.decode();
            let expected: Vec<usize> = (0..filters.len())
                .filter(|number| filters[*number].query().matches_event(&decoded))
                .collect();
            let each_once: BTreeSet<usize> = found.iter().copied().collect();
            prop_assert_eq!(found.len(), each_once.len(), "somebody was visited twice");
            prop_assert_eq!(each_once.into_iter().collect::<Vec<_>>(), expected);
        }
        for (number, filter) in filters.iter().enumerate() {
            index.remove(number as u64, filter);
        }
        prop_assert!(index.is_empty(), "who left is still waited on");
    }
}

fn numbered(count: u128, bytes: usize) -> Vec<StoredEvent> {
    let events = (1..=count).map(|number| {
        let id = EventId::from_bytes(number.to_be_bytes()).expect("an id");
        let kind = EventType::new("Paid").expect("a type");
        (stream(0), Event::new(id, kind, vec![b'x'; bytes]))
    });
    applied(events.collect())
}

fn at(position: u64) -> Cursor {
    Cursor { position: Position(position), version: Some(Version(position)) }
}

fn put_all(mailbox: &Mailbox, events: &[StoredEvent]) -> usize {
    events.iter().filter(|event| mailbox.put(event, at(event.position.0))).count()
}

#[tokio::test]
async fn a_mailbox_gives_out_what_came_in_order_and_reports_how_far_that_is() {
    let mailbox = Mailbox::new(Cursor::default());
    let events = numbered(4, 10);
    assert_eq!(put_all(&mailbox, &events), 4);
    let Delivery::Events { events: first, through } = mailbox.take(1).await.expect("a delivery")
    else {
        panic!("events are there");
    };
    assert_eq!((first.len(), through), (1, at(1)), "the budget ends it after one");
    let delivery = mailbox.take(usize::MAX).await.expect("a delivery");
    let Delivery::Events { events: rest, through } = delivery else { panic!("events are there") };
    assert_eq!((&rest[..], through), (&events[1..], at(4)));
    mailbox.report_progress(Cursor { position: Position(9), version: None });
    let delivery = mailbox.take(1).await.expect("a delivery");
    let Delivery::Nothing { through } = delivery else { panic!("nothing came") };
    assert_eq!(through, Cursor { position: Position(9), version: Some(Version(4)) });
}

/// A stopped subscription must neither use memory nor be cut off: it finds the rest in the store.
#[tokio::test]
async fn a_mailbox_that_is_full_takes_nothing_more_and_says_so_behind_what_it_holds() {
    let mailbox = Mailbox::new(Cursor::default());
    let events = numbered(40, 100_000);
    let taken = put_all(&mailbox, &events);
    assert!((5..20).contains(&taken), "a mailbox held {taken} events of 100 kB");
    let mut given_out = 0;
    loop {
        match mailbox.take(150_000).await.expect("a delivery") {
            Delivery::Events { events, through } => {
                given_out += events.len();
                assert_eq!(through, at(given_out as u64));
            }
            Delivery::Overrun => break,
            Delivery::Nothing { .. } => panic!("it was overrun"),
        }
    }
    assert_eq!(given_out, taken);
}

#[tokio::test]
async fn a_mailbox_that_is_ended_returns_its_problem() {
    let mailbox = Mailbox::new(Cursor::default());
    mailbox.end(Problem::new(ErrorKind::Unavailable, Outcome::NotAppended, "lost"));
    let problem = mailbox.take(1).await.expect_err("an end");
    assert_eq!(problem.kind, ErrorKind::Unavailable);
}
