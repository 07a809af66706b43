//! The catalog over commits, copies, damage, failing disks and power cuts.

use std::collections::BTreeMap;

use bytes::Bytes;
use proptest::prelude::*;
use quorate_proto::{
    Category, LogId, Path as EventPath, Position, RecordedSnapshot, Scope, Snapshot, StreamName,
    Timestamp, Version,
};
use redb::ReadableTable;

use super::*;
use crate::Key;
use crate::format::catalog::{BLOCK_BYTES, page_offset};
use crate::format::life::{encode_record, encode_snapshot};
use crate::life::Record;
use crate::vfs::{MemVfs, Survival};
use groups::{check_groups, group_rows};

mod fixture;
mod groups;

const CACHE: usize = 32 << 20;
const FILE: &str = "/node/catalog-000001";

fn path() -> &'static Path {
    Path::new(FILE)
}

fn disk() -> MemVfs {
    let vfs = MemVfs::new();
    vfs.create_directory(Path::new("/node")).expect("a folder");
    vfs
}

fn shared(vfs: &MemVfs) -> Arc<dyn Vfs> {
    Arc::new(vfs.clone())
}

fn state(checkpoint: u64) -> CheckpointState {
    CheckpointState {
        cluster: [5; 16],
        log: 0,
        chunk_bytes: 1 << 20,
        log_id: (checkpoint > 0).then(|| LogId::new(2, checkpoint * 100)),
        attachment: Bytes::from(format!("members {checkpoint}")),
        position: Position(checkpoint * 10),
        recorded_at: Timestamp(checkpoint as i64 * 7),
        digest: u128::from(checkpoint) << 100,
        next_chunk: checkpoint + 1,
    }
}

fn chunk(number: u64) -> ChunkSummary {
    ChunkSummary {
        number,
        first_position: Position(number * 10 - 9),
        last_position: Position(number * 10),
        first_recorded_at: Timestamp(1),
        last_recorded_at: Timestamp(number as i64 * 7),
        digest: u128::from(number) << 70,
    }
}

fn key(number: u64) -> Key {
    Key::Stream(StreamName::new(format!("order-{number:05}")).expect("a name"))
}

type Keys = Vec<(Key, KeyState)>;

/// The keys of a checkpoint: every one of `count`, at a version that tells the checkpoint.
fn keys(checkpoint: u64, count: u64) -> Keys {
    let of = |number| {
        let version = Version(checkpoint * 1000 + number);
        (key(number), KeyState { last_chunk: checkpoint, version })
    };
    (0..count).map(of).collect()
}

type Records = Vec<(Scope, Option<Bytes>)>;
type Snapshots = Vec<(StreamName, Option<Bytes>)>;

fn stream(number: u64) -> StreamName {
    StreamName::new(format!("order-{number:05}")).expect("a name")
}

/// At each checkpoint some records come, the stream's of the one before goes, the category's is replaced.
fn record(truncate_before: u64) -> Record {
    Record { truncate_before, ..Record::default() }
}

fn records(checkpoint: u64) -> Records {
    let record = |what: u64| Some(encode_record(&record(checkpoint * 10 + what)));
    vec![
        (Scope::Stream(stream(checkpoint)), record(1)),
        (Scope::Stream(stream(checkpoint - 1)), None),
        (Scope::Category(Category::new("order").expect("a category")), record(2)),
        (Scope::Path(EventPath::new(format!("acme/{checkpoint}")).expect("a path")), record(3)),
    ]
}

fn snapshots(checkpoint: u64) -> Snapshots {
    let newest = snapshot(checkpoint);
    vec![(stream(checkpoint), Some(newest)), (stream(checkpoint - 1), None)]
}

fn snapshot(checkpoint: u64) -> Bytes {
    let (stream, version) = (stream(checkpoint), Version(checkpoint));
    let snapshot = Snapshot { stream, version, schema: 1, data: Bytes::from_static(b"state") };
    encode_snapshot(&RecordedSnapshot { snapshot, recorded_at: Timestamp(7) })
}

fn round(checkpoint: u64) -> Round {
    Round { target: checkpoint, after: Bytes::from(key(checkpoint).encode()) }
}

fn filter(checkpoint: u64) -> Filter {
    Filter::of(keys(checkpoint, 30 * checkpoint).iter().map(|(key, _)| hash_of(key)))
}

fn put(
    catalog: &Catalog,
    state: &CheckpointState,
    new_chunk: Option<&ChunkSummary>,
    keys: &[(Key, KeyState)],
) -> Result<(), Fault> {
    let checkpoint = state.next_chunk - 1;
    let (records, snapshots) = (records(checkpoint), snapshots(checkpoint));
    let keys = keys.iter().map(|(key, state)| (key.encode(), *state)).collect();
    // The chunk before is indexed, this one is not; and a round is left open.
    let through = checkpoint.saturating_sub(1);
    let fold = &Fold { keys, indexed: Indexed { through, round: Some(round(checkpoint)) } };
    let (records, snapshots) = (&*records, &*snapshots);
    let filter = Arc::new(filter(checkpoint));
    let new_chunk = new_chunk.map(|chunk| (chunk, &filter));
    let groups = &group_rows(checkpoint);
    catalog.commit(&Commit { state, new_chunk, fold, records, snapshots, groups })
}

fn commit(catalog: &Catalog, checkpoint: u64, count: u64) -> Result<(), Fault> {
    put(catalog, &state(checkpoint), Some(&chunk(checkpoint)), &keys(checkpoint, count))
}

/// The catalog must be exactly at a checkpoint.
fn check(catalog: &CatalogExport, checkpoint: u64, count: u64) {
    assert_eq!(catalog.state(), &state(checkpoint));
    assert_eq!(catalog.chunks(), (1..=checkpoint).map(chunk).collect::<Vec<_>>());
    for (key, expected) in keys(checkpoint, count) {
        let expected = (checkpoint > 0).then_some(expected);
        assert_eq!(catalog.key(&key).expect("readable"), expected, "{key:?}");
    }
    assert_eq!(catalog.key(&key(count)).expect("readable"), None);
    for number in 0..checkpoint + 2 {
        let is_newest = checkpoint > 0 && number == checkpoint;
        let kept = catalog.record(&Scope::Stream(stream(number))).expect("readable");
        let expected = is_newest.then(|| encode_record(&record(checkpoint * 10 + 1)));
        assert_eq!(kept, expected, "{number}");
        let kept = catalog.snapshot(&stream(number)).expect("readable");
        assert_eq!(kept, is_newest.then(|| snapshot(checkpoint)));
    }
    let others = catalog.records_of_scopes().expect("readable");
    assert_eq!(others.len() as u64, if checkpoint > 0 { 1 + checkpoint } else { 0 });
    for (scope, record) in others {
        assert_eq!(
            catalog.record_of_scope(&scope).map(|record| encode_record(&record)),
            Some(record.clone())
        );
        assert_eq!(catalog.record(&scope).expect("readable"), Some(record));
    }
    let contents = catalog.contents();
    assert_eq!(contents.stream_records, u64::from(checkpoint > 0));
    assert_eq!(contents.snapshots.rows, u64::from(checkpoint > 0));
    if checkpoint > 0 {
        let round = Some(round(checkpoint));
        assert_eq!(contents.indexed, Indexed { through: checkpoint - 1, round });
        assert_eq!(catalog.filters(), [(checkpoint, Arc::new(filter(checkpoint)))]);
        assert_eq!(contents.filters.rows, 1);
    }
}

fn verified(vfs: &MemVfs) -> Result<(CatalogExport, BTreeMap<Key, KeyState>), Fault> {
    let export = verify(vfs, path())?;
    let keys = export.keys()?.collect::<Result<_, _>>()?;
    Ok((export, keys))
}

/// A catalog with some checkpoints, closed.
fn with_checkpoints(checkpoints: u64, count: u64) -> MemVfs {
    let vfs = disk();
    let catalog = Catalog::create(&shared(&vfs), path(), &state(0), CACHE).expect("created");
    for checkpoint in 1..=checkpoints {
        commit(&catalog, checkpoint, count).expect("committed");
    }
    drop(catalog);
    vfs
}

#[test]
fn a_catalog_is_opened_as_it_was_committed() {
    let vfs = disk();
    let catalog = Catalog::create(&shared(&vfs), path(), &state(0), CACHE).expect("created");
    check(&catalog.newest(), 0, 3);
    for checkpoint in 1..4 {
        commit(&catalog, checkpoint, 300).expect("committed");
        check(&catalog.newest(), checkpoint, 300);
        check_groups(&catalog.newest(), checkpoint);
    }
    drop(catalog);
    let catalog = Catalog::open(&shared(&vfs), path(), CACHE).expect("opened");
    check(&catalog.newest(), 3, 300);
    check_groups(&catalog.newest(), 3);
    drop(catalog);
    let (_, found) = verified(&vfs).expect("whole");
    assert_eq!(found.into_iter().collect::<Keys>(), keys(3, 300));
}

#[test]
fn a_checkpoint_without_events_changes_the_state_alone() {
    let vfs = with_checkpoints(1, 5);
    let catalog = Catalog::open(&shared(&vfs), path(), CACHE).expect("opened");
    let state = CheckpointState { log_id: Some(LogId::new(3, 999)), ..state(1) };
    put(&catalog, &state, None, &[]).expect("committed");
    assert_eq!(catalog.state(), state);
    assert_eq!(catalog.chunks(), [chunk(1)]);
}

#[test]
fn a_pinned_checkpoint_stays_as_it_is_also_when_the_catalog_is_gone() {
    let vfs = with_checkpoints(1, 300);
    let catalog = Catalog::open(&shared(&vfs), path(), CACHE).expect("opened");
    let pinned = catalog.export().expect("pinned");
    for checkpoint in 2..6 {
        commit(&catalog, checkpoint, 300).expect("committed");
    }
    check(&pinned, 1, 300);
    check_groups(&pinned, 1);
    drop(catalog);
    vfs.remove(path()).expect("removed");
    check(&pinned, 1, 300);
}

#[test]
fn what_is_exported_is_imported() {
    let vfs = with_checkpoints(2, 20_000);
    let export =
        Catalog::open(&shared(&vfs), path(), CACHE).expect("opened").export().expect("pinned");
    let other = disk();
    let mut import = CatalogImport::new(
        &shared(&other),
        path(),
        export.state(),
        export.contents(),
        export.chunks(),
        CACHE,
    )
    .expect("new");
    let pages: Vec<Bytes> = export.pages().collect::<Result<_, _>>().expect("readable");
    assert!(pages.len() > 1);
    for page in &pages {
        import.put(page).expect("taken");
    }
    let imported = import.finish().expect("durable").newest();
    check(&imported, 2, 20_000);
    check_groups(&imported, 2);
    drop(imported);
    other.restart(Survival::Nothing);
    check(&Catalog::open(&shared(&other), path(), CACHE).expect("opened").newest(), 2, 20_000);
    verified(&other).expect("whole");
}

#[test]
fn a_damaged_or_repeated_page_from_another_node_is_refused() {
    let vfs = with_checkpoints(1, 50);
    let export =
        Catalog::open(&shared(&vfs), path(), CACHE).expect("opened").export().expect("pinned");
    let page = export.pages().next().expect("a page").expect("readable");
    let import = || {
        let disk = shared(&disk());
        let (state, contents) = (export.state(), export.contents());
        CatalogImport::new(&disk, path(), state, contents, export.chunks(), CACHE).expect("new")
    };
    for byte in (0..page.len()).step_by(97) {
        let mut flipped = page.to_vec();
        flipped[byte] ^= 4;
        assert!(import().put(&Bytes::from(flipped)).is_err(), "byte {byte}");
    }
    let mut import = import();
    import.put(&page).expect("taken");
    assert!(matches!(import.put(&page), Err(Fault::Damaged { .. })));
}

#[test]
fn a_catalog_that_comes_short_or_changed_from_another_node_is_refused() {
    let vfs = with_checkpoints(2, 20_000);
    let export =
        Catalog::open(&shared(&vfs), path(), CACHE).expect("opened").export().expect("pinned");
    let pages: Vec<Bytes> = export.pages().collect::<Result<_, _>>().expect("readable");
    for left_out in 0..=pages.len() {
        let (state, contents) = (export.state(), export.contents());
        let disk = shared(&disk());
        let import = CatalogImport::new(&disk, path(), state, contents, export.chunks(), CACHE);
        let mut import = import.expect("new");
        for (at, page) in pages.iter().enumerate() {
            if at != left_out {
                import.put(page).expect("each is whole");
            }
        }
        assert_eq!(import.finish().is_ok(), left_out == pages.len(), "without page {left_out}");
    }
    let mut other = export.contents().clone();
    other.records.sum ^= 1;
    let disk = shared(&disk());
    let import = CatalogImport::new(&disk, path(), export.state(), &other, export.chunks(), CACHE);
    let mut import = import.expect("new");
    pages.iter().for_each(|page| import.put(page).expect("taken"));
    assert!(matches!(import.finish(), Err(Fault::Damaged { .. })));
}

/// A fault is allowed, another answer is not; also a whole older checkpoint is none.
fn ask_everything(vfs: &MemVfs, checkpoint: u64, count: u64) {
    let Ok(catalog) = Catalog::open(&shared(vfs), path(), CACHE) else { return };
    assert_eq!(catalog.state(), state(checkpoint));
    for (key, expected) in keys(checkpoint, count) {
        if let Ok(found) = catalog.newest().key(&key) {
            assert_eq!(found, Some(expected));
        }
    }
}

#[test]
fn a_flipped_bit_anywhere_is_never_served_and_is_found_where_it_matters() {
    let vfs = with_checkpoints(3, 200);
    let length = vfs.read(path()).expect("there").len() as u64;
    let (mut noticed, mut harmless) = (0, 0);
    for byte in (0..length).step_by(59) {
        let vfs = vfs.fork();
        vfs.flip_bit(path(), byte, (byte % 8) as u8).expect("there");
        match verified(&vfs) {
            Err(Fault::Damaged { .. }) => noticed += 1,
            Err(fault) => panic!("byte {byte}: {fault}"),
            Ok((export, found)) => {
                harmless += 1;
                assert_eq!(export.state(), &state(3), "byte {byte}");
                assert_eq!(found.into_iter().collect::<Keys>(), keys(3, 200), "byte {byte}");
            }
        }
        if vfs.read(path()).expect("there")[byte as usize] != 0 {
            ask_everything(&vfs, 3, 200);
        }
    }
    assert!(noticed > 50 && harmless > 0, "{noticed} noticed, {harmless} harmless");
}

#[test]
fn each_copy_of_the_header_is_enough() {
    let vfs = with_checkpoints(1, 10);
    let catalog = Catalog::open(&shared(&vfs), path(), CACHE).expect("opened");
    commit(&catalog, 2, 10).expect("committed");
    // The power goes right after the commit.
    vfs.cut_after(0);
    drop(catalog);
    vfs.restart(Survival::Nothing);
    for offset in [100, BLOCK_BYTES + 100] {
        let vfs = vfs.fork();
        vfs.flip_bit(path(), offset, 3).expect("there");
        check(&Catalog::open(&shared(&vfs), path(), CACHE).expect("opened").newest(), 2, 10);
    }
    vfs.flip_bit(path(), 100, 3).expect("there");
    vfs.flip_bit(path(), BLOCK_BYTES + 100, 3).expect("there");
    assert!(matches!(Catalog::open(&shared(&vfs), path(), CACHE), Err(Fault::Damaged { .. })));
}

#[test]
fn a_value_that_was_changed_behind_its_checksum_is_found() {
    let vfs = with_checkpoints(1, 10);
    let catalog = Catalog::open(&shared(&vfs), path(), CACHE).expect("opened");
    let transaction = begin(&catalog.database, path()).expect("begun");
    {
        let mut table = transaction.open_table(KEYS).expect("opened");
        let encoded = key(3).encode();
        let mut value = table.get(&*encoded).expect("read").expect("there").value().to_vec();
        value[0] ^= 1;
        table.insert(&*encoded, &*value).expect("inserted");
    }
    transaction.commit().expect("committed");
    drop(catalog);
    let catalog = Catalog::open(&shared(&vfs), path(), CACHE).expect("opened");
    assert!(matches!(catalog.newest().key(&key(3)), Err(Fault::Damaged { .. })));
    assert!(catalog.newest().key(&key(4)).expect("whole").is_some());
    drop(catalog);
    assert!(verified(&vfs).expect_err("found").to_string().contains("order-00003"));
}

#[test]
fn looking_does_not_change_the_file() {
    let vfs = with_checkpoints(2, 100);
    let before = (vfs.read(path()).expect("there"), vfs.counters());
    verified(&vfs).expect("whole");
    assert!(before == (vfs.read(path()).expect("there"), vfs.counters()));
}

#[test]
fn a_truncated_catalog_does_not_lie() {
    let vfs = with_checkpoints(2, 200);
    let length = vfs.read(path()).expect("there").len() as u64;
    for len in (0..length).step_by(30_011).chain([length - 1]) {
        let vfs = vfs.fork();
        vfs.truncate(path(), len).expect("there");
        assert!(verified(&vfs).is_err(), "cut at {len}");
        ask_everything(&vfs, 2, 200);
    }
}

#[test]
fn after_a_failed_commit_nothing_is_committed_any_more() {
    let vfs = with_checkpoints(1, 10);
    let catalog = Catalog::open(&shared(&vfs), path(), CACHE).expect("opened");
    vfs.fail_sync_after(0);
    assert!(commit(&catalog, 2, 10).is_err());
    assert!(commit(&catalog, 2, 10).is_err());
    assert!(catalog.export().is_err());
    drop(catalog);
    vfs.restart(Survival::Nothing);
    check(&Catalog::open(&shared(&vfs), path(), CACHE).expect("opened").newest(), 1, 10);
}

#[test]
fn a_full_disk_fails_the_commit_and_keeps_the_checkpoint() {
    let vfs = with_checkpoints(1, 10);
    let catalog = Catalog::open(&shared(&vfs), path(), CACHE).expect("opened");
    vfs.set_capacity(Some(vfs.read(path()).expect("there").len() as u64));
    assert!(put(&catalog, &state(2), Some(&chunk(2)), &keys(2, 100_000)).is_err());
    drop(catalog);
    vfs.set_capacity(None);
    vfs.restart(Survival::Everything);
    check(&Catalog::open(&shared(&vfs), path(), CACHE).expect("opened").newest(), 1, 10);
}

/// Runs commits with the power cut after so many changes, and looks at what every kind of cut leaves.
fn cut_power(base: &MemVfs, changes: u64, count: u64) -> bool {
    let vfs = base.fork();
    vfs.cut_after(changes);
    let mut acknowledged = 2;
    let catalog = Catalog::open(&shared(&vfs), path(), CACHE);
    if let Ok(catalog) = &catalog {
        while acknowledged < 4 && commit(catalog, acknowledged + 1, count).is_ok() {
            acknowledged += 1;
        }
    }
    drop(catalog);
    let survivals = [Survival::Nothing, Survival::Everything].into_iter();
    for survival in survivals.chain((0..6).map(|seed| Survival::Seeded(seed * 1009 + changes))) {
        let left = vfs.fork();
        left.restart(survival);
        let what = format!("{survival:?} after {changes} changes");
        let (export, _) = verified(&left).unwrap_or_else(|fault| panic!("{what}: {fault}"));
        let there = export.state().next_chunk - 1;
        assert!(there == acknowledged || there == acknowledged + 1, "{what}: {there}");
        let catalog = Catalog::open(&shared(&left), path(), CACHE).expect(&what);
        check(&catalog.newest(), there, count);
        scrubbed(&catalog).expect(&what);
        commit(&catalog, there + 1, count).expect(&what);
        check(&catalog.newest(), there + 1, count);
        scrubbed(&catalog).expect(&what);
    }
    acknowledged == 4
}

#[test]
fn a_power_cut_at_any_moment_leaves_the_old_checkpoint_or_the_new_one() {
    let base = with_checkpoints(2, 300);
    let mut changes = 0;
    while !cut_power(&base, changes, 300) {
        changes += 1;
    }
    assert!(changes > 10, "only {changes} moments");
}

/// Scrubs a catalog; how many bytes were looked at.
fn scrubbed(catalog: &Catalog) -> Result<u64, Fault> {
    let (mut scrub, mut bytes) = (catalog.scrub(), 0);
    loop {
        match scrub.step(1 << 16)? {
            0 => return Ok(bytes),
            more => bytes += more,
        }
    }
}

#[test]
fn a_scrub_tells_damage_from_what_a_power_cut_tore() {
    let count = 300;
    let (mut torn, mut found, mut unused) = (0, 0, 0);
    for changes in (3..24).step_by(3) {
        let vfs = with_checkpoints(2, count);
        let catalog = Catalog::open(&shared(&vfs), path(), CACHE).expect("opened");
        vfs.cut_after(changes);
        let is_cut = commit(&catalog, 3, count).is_err();
        drop(catalog);
        vfs.restart(Survival::Seeded(changes));
        // Before anything is written over it.
        let whole = verified(&vfs).expect("a checkpoint").0.state().clone();
        let fails = fails_its_checksum(&vfs);
        torn += usize::from(is_cut && !fails.is_empty());
        let catalog = Catalog::open(&shared(&vfs), path(), CACHE).expect("opened");
        assert!(scrubbed(&catalog).expect("nothing in use is damaged") > 0);
        assert_eq!(catalog.state(), whole);
        // More of it is found, unless nothing uses the page. What is in memory does not hide it.
        let pages = catalog.pages.state().checksums.len() as u64;
        for page in (1 + changes % 13..pages).step_by(13) {
            vfs.flip_bit(path(), page_offset(page) + 7, 3).expect("there");
            match (scrubbed(&catalog), verified(&vfs)) {
                (Err(Fault::Damaged { .. }), Err(_)) => found += 1,
                (Ok(_), Ok(_)) => unused += 1,
                (scrubbed, _) => panic!("page {page} after {changes} changes: {scrubbed:?}"),
            }
            vfs.flip_bit(path(), page_offset(page) + 7, 3).expect("there");
        }
    }
    assert!(found > 5 && unused > 5, "{found} found, {unused} unused");
    assert!(torn > 0, "no power cut tore a page");
}

/// The pages that are not what their checksums say.
fn fails_its_checksum(vfs: &MemVfs) -> Vec<u64> {
    let file = shared(vfs).open(path(), Open::Read).expect("there");
    let pages = Pages::open(file, path()).expect("opened");
    let count = pages.state().checksums.len() as u64;
    let fails = |page: &u64| {
        let mut bytes = vec![0; BLOCK_BYTES as usize];
        redb::StorageBackend::read(&pages, page * BLOCK_BYTES, &mut bytes).is_err()
    };
    (1..count).filter(fails).collect()
}

#[test]
fn a_power_cut_while_a_catalog_is_created_leaves_one_that_can_be_replaced() {
    for changes in 0.. {
        let vfs = disk();
        vfs.cut_after(changes);
        let done = Catalog::create(&shared(&vfs), path(), &state(0), CACHE).is_ok();
        for seed in 0..4 {
            let left = vfs.fork();
            left.restart(Survival::Seeded(seed));
            if done {
                check(
                    &Catalog::open(&shared(&left), path(), CACHE).expect("opened").newest(),
                    0,
                    1,
                );
            }
            let again = Catalog::create(&shared(&left), path(), &state(0), CACHE).expect("created");
            check(&again.newest(), 0, 1);
        }
        if done {
            break;
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..Default::default() })]

    #[test]
    fn a_catalog_answers_as_a_map_does(
        rounds in prop::collection::vec(
            prop::collection::btree_map(0..500_u64, any::<u32>(), 0..200), 1..8),
        reopen in any::<bool>(),
    ) {
        let vfs = disk();
        let mut catalog = Catalog::create(&shared(&vfs), path(), &state(0), CACHE).expect("created");
        let mut model = BTreeMap::new();
        for (checkpoint, round) in (1..).zip(rounds) {
            let of = |(number, version)| {
                let version = Version(u64::from(version));
                (key(number), KeyState { last_chunk: checkpoint, version })
            };
            let keys: Keys = round.into_iter().map(of).collect();
            model.extend(keys.iter().cloned());
            put(&catalog, &state(checkpoint), Some(&chunk(checkpoint)), &keys).expect("committed");
            if reopen {
                drop(catalog);
                catalog = Catalog::open(&shared(&vfs), path(), CACHE).expect("opened");
            }
        }
        for number in 0..500 {
            let expected = model.get(&key(number)).copied();
            prop_assert_eq!(catalog.newest().key(&key(number)).expect("readable"), expected);
        }
        drop(catalog);
        prop_assert_eq!(verified(&vfs).expect("whole").1, model);
    }
}
