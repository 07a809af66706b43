//! Tests that a damaged chunk is noted, fetched from another store, and replaced only by the same chunk.

use std::path::PathBuf;

use quorate_proto::{Expectation, Read};
use quorate_store::vfs::{MemVfs, Survival, Vfs};
use quorate_store::{ChunkSource, Fault, Repair, Repaired, Store, verify};

use crate::model::Model;
use crate::support::{DIRECTORY, World, append, open, read, replay, stream};

const APPENDS: u64 = 60;

/// Two stores with the same log and some chunks.
struct Pair {
    here: World,
    there: World,
}

fn world() -> World {
    let mut world = World::new(1000);
    for at in 0..APPENDS {
        world.append(at as i64, &[nth(at)]);
    }
    world.seal();
    world
}

fn nth(at: u64) -> quorate_proto::Append {
    append(&format!("acme/order-{}", at % 7), Expectation::Any, &[at])
}

fn pair() -> Pair {
    Pair { here: world(), there: world() }
}

fn chunk(number: u64) -> PathBuf {
    PathBuf::from(format!("{DIRECTORY}/chunks/chunk-{number:010}"))
}

fn flip(vfs: &MemVfs, number: u64) {
    vfs.flip_bit(&chunk(number), 60, 2).expect("there");
}

fn try_all(store: &Store) -> Result<Vec<quorate_proto::RecordedEvent>, Fault> {
    let mut scan = store.reader().scan(&Model::all())?;
    let mut events = Vec::new();
    while let Some(page) = scan.next_page(500)? {
        events.extend(page.iter().map(|event| event.decode()));
    }
    Ok(events)
}

fn source(world: &World, number: u64) -> ChunkSource {
    world.reader().chunk_source(number).expect("whole").expect("there")
}

fn fetch(source: &ChunkSource, mut repair: Repair) -> Result<Repaired, Fault> {
    let mut offset = 0;
    loop {
        let bytes = source.read(offset, 333)?;
        if bytes.is_empty() {
            return repair.finish();
        }
        repair.put(offset, &bytes)?;
        offset += bytes.len() as u64;
    }
}

/// Asserts that both stores return the same events.
fn check(pair: &Pair) {
    let events = try_all(&pair.here.store).expect("whole");
    assert!(events == try_all(&pair.there.store).expect("whole"), "they differ");
}

fn repair(pair: &mut Pair, number: u64) {
    let repair = pair.here.store.begin_repair(number).expect("damaged");
    assert_eq!(repair.wanted(), source(&pair.there, number).summary());
    let repaired = fetch(&source(&pair.there, number), repair).expect("fetched");
    assert_eq!(repaired.number(), number);
    pair.here.store.finish_repair(repaired);
}

#[test]
fn damage_that_a_read_finds_is_answered_at_once_until_it_is_repaired() {
    let mut pair = pair();
    let whole = read(&pair.there.reader(), &Model::all(), 500);
    assert!(pair.here.store.begin_repair(2).is_none(), "it is whole");
    assert!(pair.here.store.begin_repair(999).is_none(), "there is none");
    flip(&pair.here.vfs, 2);
    let fault = try_all(&pair.here.store).expect_err("damaged");
    assert_eq!(pair.here.store.note_damage(&fault), Some(2));
    assert_eq!(pair.here.store.note_damage(&fault), Some(2), "again");
    let damaged = pair.here.store.damaged();
    assert!(matches!(&damaged[..], [(summary, known)]
        if summary.number == 2 && known.to_string() == fault.to_string()));
    assert!(pair.here.reader().chunk_source(2).is_err(), "nobody gets it from here");
    assert!(!pair.here.store.must_repair(), "its ids are in memory");

    // Everything else goes on: other chunks are read, and events are appended.
    let newest =
        Read { limit: Some(1), direction: quorate_proto::Direction::Backwards, ..Model::all() };
    assert_eq!(read(&pair.here.reader(), &newest, 500)[0].position.0, APPENDS);
    pair.here.append(99, &[nth(0), append("late-1", Expectation::None, &[999])]);

    repair(&mut pair, 2);
    assert!(pair.here.store.damaged().is_empty());
    let events = try_all(&pair.here.store).expect("whole");
    assert!(events[..whole.len()] == whole);
    assert_eq!(events.len(), whole.len() + 1, "the repetition was known as one");
    assert_eq!(pair.here.vfs.read(&chunk(2)).ok(), pair.there.vfs.read(&chunk(2)).ok());
}

/// A node once stopped when a seal looked for its keys in a chunk in which bits had flipped.
#[test]
fn a_seal_that_meets_a_damaged_chunk_is_run_again_after_the_repair() {
    let mut pair = pair();
    let number = last_chunk(&pair.there);
    let mut at = APPENDS;
    while !pair.here.store.seal_due() {
        pair.here.append(at as i64, &[nth(at)]);
        pair.there.append(at as i64, &[nth(at)]);
        at += 1;
    }
    let length = pair.here.vfs.read(&chunk(number)).expect("there").len() as u64;
    for byte in (64..length).step_by(16) {
        pair.here.vfs.flip_bit(&chunk(number), byte, 3).expect("there");
    }
    let fault = pair.here.store.begin_seal().expect("due").run().expect_err("its keys are damaged");
    assert_eq!(pair.here.store.note_damage(&fault), Some(number));
    assert!(pair.here.store.begin_seal().is_none(), "it is under way");

    repair(&mut pair, number);
    let sealed = pair.here.store.begin_seal_again().expect("under way").run().expect("repaired");
    drop(pair.here.store.finish_seal(sealed).expect("finishes"));
    assert!(pair.here.store.begin_seal_again().is_none(), "it is done");
    assert_eq!(pair.there.seal(), 1);
    check(&pair);
    let new = chunk(number + 1);
    assert_eq!(
        pair.here.vfs.read(&new).expect("sealed"),
        pair.there.vfs.read(&new).expect("sealed")
    );
}

/// Returns the number of the newest chunk.
fn last_chunk(world: &World) -> u64 {
    let there = (1..).take_while(|number| world.vfs.read(&chunk(*number)).is_ok());
    there.last().expect("some chunks")
}

#[test]
fn a_fault_that_is_no_damage_of_a_chunk_marks_nothing() {
    let mut pair = pair();
    let not_ours = PathBuf::from("/elsewhere/chunk-0000000001");
    let busy = std::io::Error::from(std::io::ErrorKind::PermissionDenied);
    for fault in [
        Fault::damaged(&not_ours, 0, "it is"),
        Fault::damaged(&chunk(999), 0, "it is"),
        Fault::io("open", &chunk(1))(busy),
        Fault::Command { index: 1, why: "unknown".into() },
    ] {
        assert_eq!(pair.here.store.note_damage(&fault), None, "{fault}");
    }
    assert!(pair.here.store.damaged().is_empty());
    try_all(&pair.here.store).expect("whole");
}

#[test]
fn chunks_that_are_damaged_or_missing_at_the_start_are_repaired_before_anything_is_applied() {
    let mut pair = pair();
    pair.here.vfs.restart(Survival::Nothing);
    flip(&pair.here.vfs, 1);
    pair.here.vfs.remove(&chunk(3)).expect("there");
    pair.here.store = open(&pair.here.vfs, &pair.here.options).expect("opens");
    let numbers: Vec<u64> = pair.here.store.damaged().iter().map(|(one, _)| one.number).collect();
    assert!(numbers.contains(&3) && numbers.len() <= 2, "{numbers:?}");
    assert!(pair.here.store.must_repair(), "ids are missing");
    let first = pair.there.append(99, &[nth(0)]);
    let entry = pair.there.log.last().expect("an entry").clone();
    assert!(matches!(pair.here.store.apply(entry), Err(Fault::Command { .. })));

    repair(&mut pair, 3);
    if let Err(fault) = try_all(&pair.here.store) {
        pair.here.store.note_damage(&fault);
        repair(&mut pair, 1);
    }
    assert!(!pair.here.store.must_repair());
    replay(&mut pair.here.store, &pair.there.log[..pair.there.log.len() - 1]).expect("applies");
    let entry = pair.there.log.last().expect("an entry").clone();
    assert_eq!(pair.here.store.apply(entry).expect("applies"), first, "a repetition is known");
    check(&pair);
}

#[test]
fn only_the_whole_chunk_of_that_number_is_put_in_place() {
    let mut pair = pair();
    flip(&pair.here.vfs, 2);
    let fault = try_all(&pair.here.store).expect_err("damaged");
    pair.here.store.note_damage(&fault);
    let before = pair.here.vfs.read(&chunk(2)).expect("there");
    let begin = || pair.here.store.begin_repair(2).expect("damaged");

    assert!(matches!(begin().finish(), Err(Fault::Damaged { .. })), "nothing was put");
    assert!(fetch(&source(&pair.there, 1), begin()).is_err(), "another number");
    let mut other = World::new(1000);
    for at in 0..APPENDS {
        other.append(at as i64, &[append("order-1", Expectation::Any, &[at])]);
    }
    other.seal();
    assert!(fetch(&source(&other, 2), begin()).is_err(), "another history");
    let whole = pair.there.vfs.read(&chunk(2)).expect("there");
    for at in 0..whole.len() {
        let mut changed = whole.clone();
        changed[at] ^= 1 << (at % 8);
        let mut repair = begin();
        repair.put(0, &changed).expect("puts");
        let refused = repair.finish().expect_err("changed on the way");
        assert!(refused.is_damage(), "byte {at}: {refused}");
    }
    let mut cut = begin();
    cut.put(0, &whole[..whole.len() - 1]).expect("puts");
    assert!(cut.finish().is_err(), "the end is missing");
    assert_eq!(pair.here.vfs.read(&chunk(2)).expect("there"), before);
    repair(&mut pair, 2);
    try_all(&pair.here.store).expect("whole");
}

#[test]
fn a_power_cut_at_any_operation_of_a_repair_leaves_the_damaged_file_or_the_whole_one() {
    let prepare = || {
        let mut pair = pair();
        flip(&pair.here.vfs, 2);
        let fault = try_all(&pair.here.store).expect_err("damaged");
        pair.here.store.note_damage(&fault);
        pair
    };
    let run = |pair: &mut Pair| {
        let begun = pair.here.store.begin_repair(2).expect("damaged");
        let repaired = fetch(&source(&pair.there, 2), begun)?;
        pair.here.store.finish_repair(repaired);
        Ok::<(), Fault>(())
    };
    let mut pair = prepare();
    let before = pair.here.vfs.counters().changes;
    let damaged = pair.here.vfs.read(&chunk(2)).expect("there");
    run(&mut pair).expect("runs without a cut");
    let changes = pair.here.vfs.counters().changes - before;
    let whole = pair.here.vfs.read(&chunk(2)).expect("there");
    let mut repaired = 0;
    for cut in 0..changes {
        for survival in [Survival::Nothing, Survival::Everything, Survival::Seeded(cut)] {
            let mut pair = prepare();
            pair.here.vfs.cut_after(cut);
            assert!(run(&mut pair).is_err(), "the cut after {cut} operations was not noticed");
            pair.here.vfs.restart(survival);
            let left = pair.here.vfs.read(&chunk(2)).expect("there");
            assert!(left == damaged || left == whole, "cut {cut}, {survival:?}");
            repaired += usize::from(left == whole);
            pair.here.store = open(&pair.here.vfs, &pair.here.options).expect("opens");
            let names = pair.here.vfs.list(chunk(1).parent().expect("a folder")).expect("lists");
            assert!(names.iter().all(|name| name.starts_with("chunk-")), "{names:?}");
            if let Err(fault) = try_all(&pair.here.store) {
                pair.here.store.note_damage(&fault);
                run(&mut pair).expect("repairs");
            }
            replay(&mut pair.here.store, &pair.here.log).expect("applies");
            check(&pair);
        }
    }
    assert!(repaired > 0, "no cut came after the rename");
    verify(&pair.here.vfs, std::path::Path::new(DIRECTORY)).expect("whole");
}

#[test]
fn a_source_is_read_as_it_was_opened_whatever_happens_to_the_name() {
    let pair = pair();
    let source = source(&pair.there, 1);
    let whole = pair.there.vfs.read(&chunk(1)).expect("there");
    pair.there.vfs.remove(&chunk(1)).expect("there");
    assert_eq!(source.read(0, usize::MAX).expect("reads"), whole);
    assert_eq!(source.read(10, 5).expect("reads"), whole[10..15]);
    assert!(source.read(whole.len() as u64, 5).expect("reads").is_empty());
    assert!(source.read(u64::MAX, 5).expect("reads").is_empty());
    assert!(pair.there.reader().chunk_source(99).expect("no fault").is_none());
    assert_eq!(pair.there.reader().version(&stream("acme/order-1")).expect("reads").0, 9);
}
