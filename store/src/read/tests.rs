//! Tests that stalled readers keep no events in memory.

use std::path::Path;
use std::sync::{Arc, Weak};

use bytes::Bytes;
use quorate_proto::{
    Append, Direction, Event, EventId, EventType, Expectation, LogId, Query, QueryItem, Read,
    StreamName, Timestamp,
};

use super::Scan;
use crate::vfs::MemVfs;
use crate::view::Tail;
use crate::{Entry, Export, Installed, Options, Payload, Store, command};

const EVENTS: u64 = 400;

fn founded() -> Store {
    let options = Options {
        cluster: [1; 16],
        log: 0,
        chunk_bytes: 3000,
        hash_seed: [5; 16],
        head_cache_bytes: 160,
        block_cache_bytes: 10_000,
        catalog_cache_bytes: 1 << 20,
        filter_bytes: 1 << 16,
    };
    Store::open(Arc::new(MemVfs::new()), Path::new("/store"), options).expect("founds")
}

fn stream(number: u64) -> StreamName {
    StreamName::new(format!("order-{}", number % 3)).expect("a name")
}

/// The entry that holds the event at this position.
fn entry(position: u64) -> Entry {
    let id = EventId::from_bytes(u128::from(position).to_be_bytes()).expect("an id");
    let kind = EventType::new(["Opened", "Paid"][position as usize % 2]).expect("a type");
    let event = Event::new(id, kind, Bytes::from(vec![position as u8; 50]));
    let append = Append::to(stream(position), Expectation::Any, vec![event]);
    let mut builder = command::Builder::new(Timestamp(position as i64));
    builder.push(&command::encode_append(&append));
    Entry { log_id: LogId::new(1, position - 1), payload: Payload::Command(builder.finish()) }
}

fn seal(store: &mut Store) {
    while let Some(seal) = store.begin_seal() {
        store.finish_seal(seal.run().expect("seals")).expect("finishes");
    }
}

/// Reads of all kinds, with the positions that they should find in the first `events` events.
fn reads(events: u64) -> Vec<(Read, Vec<u64>)> {
    let paid =
        QueryItem { types: vec![EventType::new("Paid").expect("a type")], ..QueryItem::default() };
    let plain = [
        (Read::query(Query::everything()), (1..=events).collect::<Vec<u64>>()),
        (Read::query(Query { items: vec![paid] }), (1..=events).filter(|at| at % 2 == 1).collect()),
        (Read::stream(stream(1)), (1..=events).filter(|at| at % 3 == 1).collect()),
    ];
    let backwards = plain.clone().map(|(read, mut found)| {
        found.reverse();
        (Read { direction: Direction::Backwards, ..read }, found)
    });
    plain.into_iter().chain(backwards).collect()
}

/// Scans that were begun, some of them read a little, and then left alone.
struct Stalled {
    scans: Vec<(Scan, Vec<u64>, Vec<u64>)>,
    tails: Vec<Weak<Tail>>,
}

impl Stalled {
    fn new() -> Stalled {
        Stalled { scans: Vec::new(), tails: Vec::new() }
    }

    fn begin(&mut self, store: &Store) {
        for (at, (read, expected)) in reads(store.position().0).into_iter().enumerate() {
            let mut scan = store.reader().scan(&read).expect("begins");
            let mut seen = Vec::new();
            for _ in 0..at {
                let page = scan.next_page(1).expect("reads").unwrap_or_default();
                seen.extend(page.iter().map(|event| event.position.0));
            }
            self.scans.push((scan, seen, expected));
        }
        self.tails.extend(store.view.tails().map(Arc::downgrade));
    }

    /// The number of tails that a scan began with and that are still in memory.
    fn tails_in_memory(&self) -> usize {
        let mut tails: Vec<_> = self.tails.iter().filter(|tail| tail.strong_count() > 0).collect();
        tails.sort_by_key(|tail| tail.as_ptr());
        tails.dedup_by_key(|tail| tail.as_ptr());
        tails.len()
    }

    /// Reads all to their ends, but not at once: seals go on meanwhile.
    fn finish(self) {
        for (mut scan, mut seen, expected) in self.scans {
            while let Some(page) = scan.next_page(100).expect("reads") {
                seen.extend(page.iter().map(|event| event.position.0));
            }
            assert_eq!(seen, expected);
        }
    }
}

#[test]
fn however_many_readers_stall_two_tails_are_in_memory_and_nothing_is_missed() {
    let mut store = founded();
    let mut stalled = Stalled::new();
    for position in 1..=EVENTS {
        store.apply(entry(position)).expect("applies");
        if position % 7 == 0 {
            stalled.begin(&store);
        }
        if position % 5 == 0 {
            seal(&mut store);
        }
        assert!(stalled.tails_in_memory() <= 2, "at {position}");
    }
    let chunks = store.view.chunks.len();
    assert!(chunks > 10, "{chunks}");
    stalled.finish();
}

#[test]
fn a_reader_goes_on_over_a_tail_that_is_sealed_between_its_pages() {
    let mut store = founded();
    let mut scans = Vec::new();
    for position in 1..=EVENTS {
        store.apply(entry(position)).expect("applies");
        if position % 50 == 0 {
            let begun = reads(position).into_iter().map(|(read, expected)| {
                (store.reader().scan(&read).expect("begins"), Vec::new(), expected)
            });
            scans.extend(begun);
        }
        for (scan, seen, _) in &mut scans {
            let page = scan.next_page(1).expect("reads").unwrap_or_default();
            seen.extend(page.iter().map(|event| event.position.0));
        }
        seal(&mut store);
    }
    Stalled { scans, tails: Vec::new() }.finish();
}

fn fetch(export: &Export, target: &Store) -> Installed {
    let mut install = target.installer().begin(&export.manifest()).expect("begins");
    for chunk in install.missing() {
        let mut offset = 0;
        loop {
            let bytes = export.read_chunk(chunk.number, offset, 100_000).expect("reads");
            if bytes.is_empty() {
                break install.finish_chunk(chunk.number).expect("is whole");
            }
            install.put_chunk(chunk.number, offset, &bytes).expect("writes");
            offset += bytes.len() as u64;
        }
    }
    for page in export.catalog_pages() {
        install.put_catalog(&page.expect("reads")).expect("writes");
    }
    install.finish().expect("is whole")
}

#[test]
fn after_an_install_no_old_tail_is_in_memory_and_nothing_is_missed() {
    let (mut source, mut target) = (founded(), founded());
    let mut stalled = Stalled::new();
    for position in 1..=EVENTS {
        source.apply(entry(position)).expect("applies");
        seal(&mut source);
        if position <= EVENTS / 2 {
            target.apply(entry(position)).expect("applies");
            if position % 3 == 0 {
                seal(&mut target);
            }
        }
    }
    stalled.begin(&target);
    let export = source.export().expect("exports").expect("a checkpoint");
    let installed = fetch(&export, &target);
    target.finish_install(installed).expect("installs");
    assert_eq!(stalled.tails_in_memory(), 0);
    stalled.finish();
}
