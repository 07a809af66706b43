//! Tests that a scrub reads all bytes, finds damage and its place, and goes on after it.

use std::path::{Path, PathBuf};

use quorate_proto::Expectation;
use quorate_store::vfs::{MemVfs, Vfs};
use quorate_store::{Fault, Scrub, ScrubStep, Store, verify};

use crate::support::{DIRECTORY, World, append};

/// Returns a store with some chunks.
fn sealed() -> World {
    let mut world = World::new(1000);
    for at in 0..60 {
        let stream = format!("acme/order-{}", at % 7);
        world.append(at, &[append(&stream, Expectation::Any, &[at as u64])]);
    }
    world.seal();
    world
}

fn chunk(number: u64) -> PathBuf {
    PathBuf::from(format!("/store/chunks/chunk-{number:010}"))
}

fn catalog(vfs: &MemVfs) -> PathBuf {
    let names = vfs.list(Path::new(DIRECTORY)).expect("lists");
    let name = names.iter().find(|name| name.starts_with("catalog-")).expect("a catalog");
    Path::new(DIRECTORY).join(name)
}

fn chunks(store: &Store) -> u64 {
    store.export().expect("exports").map_or(0, |export| export.chunks().len() as u64)
}

/// Runs a scrub; returns the bytes that are whole, the number of steps, and the damaged chunks.
fn run(mut scrub: Scrub, budget_bytes: u64) -> (u64, u64, Vec<(u64, Fault)>) {
    let (mut bytes, mut steps, mut damaged) = (0, 0, Vec::new());
    loop {
        match scrub.step(budget_bytes).expect("scrubs") {
            ScrubStep::Whole(more) => bytes += more,
            ScrubStep::Damaged { number, fault } => damaged.push((number, fault)),
            ScrubStep::Done => return (bytes, steps, damaged),
        }
        steps += 1;
    }
}

#[test]
fn a_scrub_of_a_whole_store_reads_every_byte_of_its_chunks_in_steps_of_the_budget() {
    let world = sealed();
    let length = |number| world.vfs.read(&chunk(number)).expect("there").len() as u64;
    let all: u64 = (1..=chunks(&world.store)).map(length).sum();
    let before = world.vfs.counters();
    // All of the catalog is read but its head and the checksums of its pages.
    let catalog = world.vfs.read(&catalog(&world.vfs)).expect("there").len() as u64 - 3 * 4096;
    let (bytes, many, damaged) = run(world.store.scrub(), 1);
    assert_eq!((bytes, damaged.len()), (all + catalog, 0));
    let (bytes, few, damaged) = run(world.store.scrub(), 1 << 30);
    assert_eq!((bytes, few, damaged.len()), (all + catalog, chunks(&world.store) + 1, 0));
    assert!(many > 3 * few, "{many} steps of one byte, {few} of a GiB");
    assert_eq!(world.vfs.counters(), before, "a scrub changes nothing");
}

#[test]
fn a_flipped_bit_anywhere_is_found_and_the_rest_is_looked_at_all_the_same() {
    let world = sealed();
    let length = world.vfs.read(&chunk(2)).expect("there").len() as u64;
    for byte in 0..length {
        world.vfs.flip_bit(&chunk(2), byte, (byte % 8) as u8).expect("there");
        let (_, _, damaged) = run(world.store.scrub(), 300);
        let [(2, Fault::Damaged { path, .. } | Fault::Foreign { path, .. })] = &damaged[..] else {
            panic!("byte {byte}: {damaged:?}")
        };
        assert_eq!(*path, chunk(2));
        world.vfs.flip_bit(&chunk(2), byte, (byte % 8) as u8).expect("there");
    }
}

#[test]
fn chunks_that_are_missing_or_cut_off_are_damaged() {
    let world = sealed();
    world.vfs.remove(&chunk(1)).expect("there");
    let length = world.vfs.read(&chunk(3)).expect("there").len() as u64;
    world.vfs.truncate(&chunk(3), length / 2).expect("there");
    let (_, _, damaged) = run(world.store.scrub(), 1 << 20);
    let numbers: Vec<u64> = damaged.iter().map(|(number, _)| *number).collect();
    assert_eq!(numbers, [1, 3]);
}

#[test]
fn a_flipped_bit_in_the_catalog_ends_the_scrub_whatever_is_in_memory_if_the_page_is_in_use() {
    let world = sealed();
    let path = catalog(&world.vfs);
    let length = world.vfs.read(&path).expect("there").len() as u64;
    // The first two pages are copies of the catalog's head; of the checksums, only used ones are flipped.
    let pages = length / 4096 - 3;
    let (mut damaged, mut unused) = (0, 0);
    for byte in (8192..8192 + pages * 4).chain((12288..length).step_by(509)) {
        world.vfs.flip_bit(&path, byte, (byte % 8) as u8).expect("there");
        let mut scrub = world.store.scrub();
        let found = loop {
            match scrub.step(1 << 20) {
                Ok(ScrubStep::Whole(_)) => {}
                found => break found,
            }
        };
        match &found {
            Ok(ScrubStep::Done) => unused += 1,
            Err(Fault::Damaged { path: at, .. }) if *at == path => damaged += 1,
            found => panic!("byte {byte}: {found:?}"),
        }
        let verified = verify(&world.vfs, Path::new(DIRECTORY));
        assert_eq!(verified.is_ok(), matches!(found, Ok(ScrubStep::Done)), "byte {byte}");
        world.vfs.flip_bit(&path, byte, (byte % 8) as u8).expect("there");
    }
    assert!(damaged > 50 && unused > 0, "{damaged} in use, {unused} unused");
}
