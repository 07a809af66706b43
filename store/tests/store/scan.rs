//! Tests that a scan sees one moment, whatever happens meanwhile.

use std::sync::atomic::{AtomicBool, Ordering};

use quorate_proto::{Direction, Expectation, Query, QueryItem, Read, RecordedEvent, Scope};
use quorate_store::{Payload, Scan};

use crate::model::Model;
use crate::support::{World, append, category, exactly, stream};

fn rest(mut scan: Scan, mut seen: Vec<RecordedEvent>) -> Vec<RecordedEvent> {
    while let Some(page) = scan.next_page(1).expect("reads") {
        seen.extend(page.iter().map(|event| event.decode()));
    }
    seen
}

fn orders() -> Read {
    let scope = Some(Scope::Category(category("order")));
    Read::query(Query { items: vec![QueryItem { scope, ..QueryItem::default() }] })
}

#[test]
fn an_open_scan_sees_the_moment_it_began_while_appends_and_seals_go_on() {
    let mut world = World::new(900);
    let mut model = Model::default();
    let mut open = Vec::new();
    for at in 0..60 {
        let appends = [
            append("order-1", exactly(at), &[at * 2]),
            append(&format!("order-{}", at + 100), Expectation::None, &[at * 2 + 1]),
        ];
        assert_eq!(world.append(at as i64, &appends), model.command(at as i64, &appends));
        match at % 5 {
            1 => drop(world.run_seal()),
            3 => drop(world.finish_seal()),
            _ => {}
        }
        for direction in [Direction::Forwards, Direction::Backwards] {
            for read in [orders(), Read::stream(stream("order-1"))] {
                let read = Read { direction, ..read };
                let mut scan = world.reader().scan(&read).expect("begins");
                assert_eq!(scan.as_of().0, model.events.len() as u64);
                let first = scan.next_page(1).expect("reads").unwrap_or_default();
                let first = first.iter().map(|event| event.decode()).collect();
                open.push((scan, first, model.read(&read)));
            }
        }
    }
    for (scan, first, expected) in open {
        assert_eq!(rest(scan, first), expected);
    }
}

#[test]
fn a_scan_shows_its_moment_and_the_streams_version_also_when_it_finds_nothing() {
    let mut world = World::new(400);
    world.append(1, &[append("order-1", Expectation::Any, &[1, 2, 3])]);
    world.apply(Payload::Blank);
    world.seal();
    world.append(2, &[append("order-2", Expectation::Any, &[4])]);
    for (name, version) in [("order-1", 3), ("order-2", 1), ("order-3", 0)] {
        let read = Read { limit: Some(0), ..Read::stream(stream(name)) };
        let mut scan = world.reader().scan(&read).expect("begins");
        assert_eq!((scan.as_of().0, scan.version().map(|at| at.0)), (4, Some(version)), "{name}");
        assert_eq!(scan.next_page(1000).expect("reads"), None);
    }
    let scan = world.reader().scan(&Model::all()).expect("begins");
    assert_eq!(scan.version(), None);
}

#[test]
fn a_read_after_the_last_event_costs_no_look_into_the_chunks() {
    let mut world = World::new(400);
    for at in 0..40 {
        world.append(1, &[append("order-1", Expectation::Any, &[at])]);
    }
    world.seal();
    world.append(1, &[append("order-1", Expectation::Any, &[100])]);
    let mut read = Read { ..orders() };
    read.bounds.after = 40;
    let mut scan = world.reader().scan(&read).expect("begins");
    // If the scan had walked the chunks, the first page would still be empty.
    let page = scan.next_page(usize::MAX).expect("reads").expect("a page");
    assert_eq!(page.len(), 1);
    assert_eq!(scan.next_page(usize::MAX).expect("reads"), None);
}

#[test]
fn readers_in_other_threads_see_whole_entries_in_order() {
    let mut world = World::new(2000);
    let reader = world.reader();
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let follow = scope.spawn(|| {
            let mut seen = 0;
            loop {
                let is_last = done.load(Ordering::Acquire);
                let mut read = Model::all();
                read.bounds.after = seen;
                let mut scan = reader.scan(&read).expect("begins");
                // Each entry has two events.
                assert_eq!(scan.as_of().0 % 2, 0);
                while let Some(page) = scan.next_page(500).expect("reads") {
                    for event in page {
                        seen += 1;
                        assert_eq!(event.position.0, seen);
                        assert_eq!(event.version.0, seen.div_ceil(2));
                    }
                }
                if is_last {
                    return seen;
                }
            }
        });
        for at in 0..400 {
            let appends =
                [append("a-1", exactly(at), &[at * 2]), append("a-2", exactly(at), &[at * 2 + 1])];
            world.append(at as i64, &appends);
            if at % 9 == 0 {
                world.seal();
            }
        }
        done.store(true, Ordering::Release);
        assert_eq!(follow.join().expect("follows"), 800);
    });
}
