//! Readers who stop take a bounded number of bytes each, however many events are still to come.

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use quorate_proto::{
    Append, Category, Change, ChangeKind, Direction, Event, EventId, EventType, Expectation, LogId,
    Query, QueryItem, Read, Scope, Setting, SettingsChange, StreamName, Timestamp, Write,
};
use quorate_store::vfs::MemVfs;
use quorate_store::{Entry, Options, Payload, Scan, Store, command};

use super::{allocated, alone};

const STREAMS: u64 = 5_000;
const EVENTS_PER_APPEND: u64 = 20;
const EVENTS: u64 = 110_000;

fn id(number: u64) -> EventId {
    EventId::from_bytes((u128::from(number) + 1).to_be_bytes()).expect("not nil")
}

fn category() -> Category {
    Category::new("order").expect("a category")
}

fn apply(store: &mut Store, append: &Append) {
    let mut builder = command::Builder::new(Timestamp(1));
    builder.push(&command::encode_append(append));
    let log_id = LogId::new(1, store.applied().map_or(0, |id| id.index.0 + 1));
    let payload = Payload::Command(builder.finish());
    store.apply(Entry { log_id, payload }).expect("applies");
    while let Some(seal) = store.begin_seal() {
        store.finish_seal(seal.run().expect("seals")).expect("finishes");
    }
}

/// One category of many streams in a chunk and a tail, more than 40,000 events each, under a limit that hides nothing yet.
fn store() -> Store {
    let options = Options {
        cluster: [7; 16],
        log: 0,
        chunk_bytes: 16 << 20,
        hash_seed: [5; 16],
        head_cache_bytes: 1600,
        block_cache_bytes: 16 << 20,
        catalog_cache_bytes: 1 << 20,
        filter_bytes: 1 << 10,
    };
    let mut store =
        Store::open(Arc::new(MemVfs::new()), Path::new("/store"), options).expect("founds");
    let max_count = Setting::Put(1_000_000);
    let kind = ChangeKind::Settings(SettingsChange { max_count, ..Default::default() });
    let scope = Scope::Category(category());
    let change = Change { scope, expectation: Expectation::Any, id: id(EVENTS), kind };
    apply(&mut store, &change.to_append().expect("a change"));
    let numbers: Vec<u64> = (0..EVENTS).collect();
    for numbers in numbers.chunks(EVENTS_PER_APPEND as usize) {
        let write = |number: &u64| Write {
            stream: StreamName::new(format!("order-{}", number % STREAMS)).expect("a name"),
            expectation: Expectation::Any,
            events: vec![Event::new(
                id(*number),
                EventType::new("Paid").expect("a type"),
                Bytes::new(),
            )],
        };
        let writes = numbers.iter().map(write).collect();
        apply(&mut store, &Append { writes, ..Append::default() });
    }
    assert!(store.damaged().is_empty() && store.checkpointed().is_some());
    store
}

/// Reads, and so many readers of each: ten thousand in all, most of them where it costs the least to begin.
fn reads() -> Vec<(Read, usize)> {
    let of_category = QueryItem { scope: Some(Scope::Category(category())), ..Default::default() };
    let types = vec![EventType::new("Paid").expect("a type")];
    let of_type = QueryItem { types, ..of_category.clone() };
    let queries = [
        (Query { items: vec![of_category] }, [500, 6_000]),
        (Query { items: vec![of_type] }, [250, 250]),
        (Query::everything(), [1_000, 2_000]),
    ];
    let both = [Direction::Forwards, Direction::Backwards];
    let reads = queries.into_iter().flat_map(|(query, counts)| {
        let read = |direction| Read { direction, ..Read::query(query.clone()) };
        both.map(read).into_iter().zip(counts).collect::<Vec<_>>()
    });
    reads.collect()
}

#[test]
fn ten_thousand_readers_who_stop_in_a_dense_category_stay_within_what_is_stated() {
    let _alone = alone();
    let store = store();
    let (reader, reads) = (store.reader(), reads());
    assert_eq!(reads.iter().map(|(_, count)| count).sum::<usize>(), 10_000);
    let mut stopped: Vec<Scan> = Vec::with_capacity(10_000);
    for (read, count) in &reads {
        // Data unpacked for the first scan is there for all.
        let mut scan = reader.scan(read).expect("begins");
        while scan.next_page(1 << 20).expect("reads").is_some() {}
        drop(scan);
        let before = allocated();
        for begun in 1..=*count {
            let mut scan = reader.scan(read).expect("begins");
            assert!(scan.next_page(20 << 10).expect("reads").is_some());
            stopped.push(scan);
            let taken = allocated() - before;
            let most = (Scan::BYTES_MAX * begun) as isize;
            assert!(taken <= most, "{taken} bytes for {begun} of {read:?}");
        }
    }
    // And they go on where they stopped.
    let mut at = 0;
    for (read, count) in reads {
        let mut left = 0;
        while let Some(page) = stopped[at].next_page(1 << 20).expect("reads") {
            left += page.len() as u64;
        }
        assert!(left > EVENTS - 5_000 && left < EVENTS, "{left} of {read:?}");
        at += count;
    }
}
