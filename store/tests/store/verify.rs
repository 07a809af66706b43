//! Tests that verifying a stopped store finds damage and its place, and changes nothing.

use std::path::{Path, PathBuf};

use quorate_proto::{
    Change, ChangeKind, Expectation, Read, RecordedEvent, Scope, Setting, SettingsChange, Snapshot,
    Timestamp, Version,
};
use quorate_store::vfs::{MemVfs, Open, Survival, Vfs};
use quorate_store::{Fault, Payload, Report, ScavengeStep, command, verify};

use crate::model::Model;
use crate::support::{DIRECTORY, World, append, category, id, open, options, stream};

/// Returns the disk of a stopped store with some chunks.
fn stopped() -> MemVfs {
    let mut world = World::new(3000);
    for at in 0..40 {
        let stream = format!("acme/order-{}", at % 7);
        world.append(at, &[append(&stream, Expectation::Any, &[at as u64])]);
    }
    world.seal();
    let vfs = world.vfs.clone();
    drop(world);
    vfs.restart(Survival::Everything);
    vfs
}

fn verified(vfs: &MemVfs) -> Result<Report, Vec<Fault>> {
    verify(vfs, Path::new(DIRECTORY))
}

fn files(vfs: &MemVfs, directory: &Path) -> Vec<PathBuf> {
    let names = vfs.list(directory).expect("listed");
    names.into_iter().map(|name| directory.join(name)).collect()
}

fn chunks(vfs: &MemVfs) -> Vec<PathBuf> {
    files(vfs, &Path::new(DIRECTORY).join("chunks"))
}

fn path_of(fault: &Fault) -> &Path {
    match fault {
        Fault::Damaged { path, .. } | Fault::Io { path, .. } | Fault::Foreign { path, .. } => path,
        Fault::Command { .. } | Fault::Removed { .. } => panic!("{fault}"),
    }
}

#[test]
fn a_whole_store_is_counted_and_left_as_it_is() {
    let vfs = stopped();
    let before = vfs.counters();
    let report = verified(&vfs).expect("whole");
    assert_eq!(report.chunks, chunks(&vfs).len() as u64);
    assert!(report.chunks > 2 && report.events == report.position.0 && report.keys > 9);
    assert!(report.checkpoint.is_some() && report.leftovers.is_empty());
    assert_eq!(vfs.counters(), before);
}

#[test]
fn an_empty_folder_is_whole_and_so_is_a_founded_store() {
    assert_eq!(verified(&MemVfs::new()).expect("whole"), Report::default());
    let world = World::new(1000);
    let report = verified(&world.vfs.fork()).expect("whole");
    assert_eq!((report.chunks, report.checkpoint), (0, None));
}

#[test]
fn a_flipped_bit_in_any_chunk_or_in_current_is_found_and_its_file_named() {
    let vfs = stopped();
    let current = Path::new(DIRECTORY).join("CURRENT");
    for path in chunks(&vfs).into_iter().chain([current]) {
        for byte in 0..vfs.read(&path).expect("there").len() as u64 {
            if byte % 5 == 0 || byte < 50 {
                let vfs = vfs.fork();
                vfs.flip_bit(&path, byte, (byte % 7) as u8).expect("there");
                let faults = verified(&vfs).expect_err("found");
                assert!(faults.iter().any(|fault| path_of(fault) == path), "{faults:?}");
            }
        }
    }
}

#[test]
fn what_unfinished_work_left_is_named_and_no_fault() {
    let vfs = stopped();
    let folder = Path::new(DIRECTORY);
    let names = [
        "CURRENT.new",
        "catalog-0000000009",
        "chunks/chunk-0000000002.new",
        "chunks/repair-0000000001",
    ];
    for name in names {
        vfs.open(&folder.join(name), Open::Create).expect("created");
    }
    vfs.open(&folder.join("identity"), Open::Create).expect("not the store's");
    let report = verified(&vfs).expect("whole");
    assert_eq!(report.leftovers, names.map(|name| folder.join(name)));
}

/// Names in a store's folder that are not the store's, though they are similar to its names.
const NOT_OURS: [&str; 8] = [
    "catalog-notes.txt",
    "CURRENT.bak",
    "chunks/NOTES.txt",
    "chunks/chunk-0000000001.bak",
    "chunks/chunk-one",
    "chunks/install-",
    "chunks/repair-0000000001.part",
    "chunks/.nfs0000000001",
];

#[test]
fn files_that_are_not_the_stores_are_left_alone_and_no_leftovers() {
    let vfs = stopped();
    let folder = Path::new(DIRECTORY);
    let leftover = folder.join("chunks/seal-0000000099");
    for name in NOT_OURS {
        vfs.open(&folder.join(name), Open::Create).expect("created");
    }
    vfs.open(&leftover, Open::Create).expect("created");
    assert_eq!(verified(&vfs).expect("whole").leftovers, [leftover.as_path()]);
    drop(open(&vfs, &options(3000)).expect("opens"));
    for name in NOT_OURS {
        assert!(vfs.exists(&folder.join(name)).expect("looked"), "{name}");
    }
    assert!(!vfs.exists(&leftover).expect("looked"), "it is the store's own");
}

#[test]
fn a_new_folder_may_hold_files_that_are_not_the_stores() {
    let vfs = MemVfs::new();
    vfs.create_directory(&Path::new(DIRECTORY).join("chunks")).expect("a folder");
    for name in NOT_OURS {
        vfs.open(&Path::new(DIRECTORY).join(name), Open::Create).expect("created");
    }
    assert_eq!(verified(&vfs).expect("whole"), Report::default());
    drop(open(&vfs, &options(3000)).expect("opens"));
}

#[test]
fn all_that_is_wrong_is_reported_at_once() {
    let vfs = stopped();
    let chunks = chunks(&vfs);
    vfs.flip_bit(&chunks[0], 100, 1).expect("there");
    vfs.remove(&chunks[1]).expect("there");
    let faults = verified(&vfs).expect_err("found");
    let paths: Vec<&Path> = faults.iter().map(path_of).collect();
    assert_eq!(paths, [&chunks[0], &chunks[1]]);
}

#[test]
fn chunks_are_checked_for_themselves_where_the_catalog_is_damaged() {
    let vfs = stopped();
    let folder = Path::new(DIRECTORY);
    let chunks = chunks(&vfs);
    let is_catalog = |path: &PathBuf| path.to_string_lossy().contains("catalog-");
    let catalog = files(&vfs, folder).into_iter().find(is_catalog).expect("a catalog");
    for broken in [catalog, folder.join("CURRENT")] {
        let vfs = vfs.fork();
        vfs.truncate(&broken, 5).expect("there");
        let faults = verified(&vfs).expect_err("found");
        assert!(matches!(&faults[..], [one] if path_of(one) == broken), "{faults:?}");
        let misnamed = folder.join("chunks/chunk-0000000007");
        vfs.flip_bit(&chunks[0], 70, 1).expect("there");
        vfs.truncate(&chunks[1], 3).expect("there");
        vfs.rename(&chunks[2], &misnamed).expect("there");
        let faults = verified(&vfs).expect_err("found");
        let paths: Vec<&Path> = faults.iter().map(path_of).collect();
        assert_eq!(paths, [&broken, &chunks[0], &chunks[1], &misnamed]);
    }
}

#[test]
fn chunks_without_current_are_not_taken_for_an_empty_store() {
    let vfs = stopped();
    vfs.remove(&Path::new(DIRECTORY).join("CURRENT")).expect("there");
    assert!(matches!(verified(&vfs).expect_err("found")[..], [Fault::Damaged { .. }]));
}

/// Each chunk is whole, but one is the chunk of another history.
#[test]
fn a_catalog_that_does_not_belong_to_the_chunks_is_found() {
    let vfs = stopped();
    let mut other = World::new(3000);
    for at in 0..40 {
        let stream = format!("acme/order-{}", at % 6);
        other.append(at, &[append(&stream, Expectation::Any, &[at as u64])]);
    }
    other.seal();
    other.vfs.restart(Survival::Everything);
    let path = &chunks(&vfs)[0];
    let bytes = other.vfs.read(path).expect("there");
    vfs.truncate(path, 0).expect("there");
    let file = vfs.open(path, quorate_store::vfs::Open::Write).expect("there");
    file.write_at(&bytes, 0).expect("written");
    let faults = verified(&vfs).expect_err("found");
    assert_eq!(path_of(&faults[0]), path);
}

/// Returns the disk of a store that has all kinds of rows, and chunks that were scavenged.
fn lived_in() -> MemVfs {
    let mut world = World::new(900);
    for at in 0..40 {
        let stream = format!("acme/order-{}", at % 5);
        world.append(at, &[append(&stream, Expectation::Any, &[at as u64])]);
    }
    let stream = stream("acme/order-1");
    let snapshot =
        Snapshot { stream: stream.clone(), version: Version(4), schema: 1, data: "state".into() };
    let few = SettingsChange { max_count: Setting::Put(2), ..SettingsChange::default() };
    let change = |scope, number| {
        let kind = ChangeKind::Settings(few);
        let change = Change { scope, expectation: Expectation::Any, id: id(number), kind };
        command::encode_append(&change.to_append().expect("a change"))
    };
    let mut builder = command::Builder::new(Timestamp(50));
    builder.push(&change(Scope::Stream(stream), 900));
    builder.push(&change(Scope::Category(category("order")), 901));
    builder.push(&command::encode_snapshot(&snapshot));
    world.apply(Payload::Command(builder.finish()));
    let before = world.store.checkpointed();
    while world.store.checkpointed() == before {
        world.apply(Payload::Blank);
        world.seal();
    }
    let mut scavenge = world.store.begin_scavenge().expect("chunks");
    let mut rewritten = 0;
    loop {
        match scavenge.step().expect("steps") {
            ScavengeStep::Done => break,
            ScavengeStep::Kept(_) => {}
            ScavengeStep::Rewritten(scavenged) => {
                world.store.put_scavenged(scavenged);
                rewritten += 1;
            }
        }
    }
    assert!(rewritten > 2);
    let vfs = world.vfs.clone();
    drop(world);
    vfs.restart(Survival::Everything);
    vfs
}

/// Returns the answers of a store, if it gives any.
fn answers(vfs: &MemVfs) -> Result<Vec<RecordedEvent>, Fault> {
    let store = open(vfs, &options(900))?;
    let reader = store.reader();
    let mut events = Vec::new();
    for read in [Model::all(), Read::stream(stream("acme/order-1"))] {
        let mut scan = reader.scan(&read)?;
        while let Some(page) = scan.next_page(1000)? {
            events.extend(page.iter().map(|event| event.decode()));
        }
    }
    reader.snapshot(&stream("acme/order-1"))?.expect("stored");
    Ok(events)
}

#[test]
fn a_flipped_bit_anywhere_is_named_or_changes_no_answer() {
    let vfs = lived_in();
    verified(&vfs).expect("whole");
    let whole = answers(&vfs.fork()).expect("answers");
    let folder = Path::new(DIRECTORY);
    let catalog = files(&vfs, folder).into_iter().filter(|path| {
        path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("catalog-"))
    });
    for path in chunks(&vfs).into_iter().chain(catalog).chain([folder.join("CURRENT")]) {
        let length = vfs.read(&path).expect("there").len() as u64;
        // In a long file only about a thousand bytes are flipped.
        let step = (length / 1000).max(1) as usize;
        let mut named = 0;
        for byte in (0..length).step_by(step) {
            let vfs = vfs.fork();
            vfs.flip_bit(&path, byte, (byte % 8) as u8).expect("there");
            match verified(&vfs) {
                Err(faults) => {
                    assert!(faults.iter().any(|fault| path_of(fault) == path), "{faults:?}");
                    named += 1;
                }
                Ok(_) => assert!(
                    answers(&vfs).is_ok_and(|answers| answers == whole),
                    "byte {byte} of {} is not named and changes an answer",
                    path.display()
                ),
            }
        }
        assert!(named > 0, "nothing was found in {}", path.display());
    }
}
