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
use crate::format::catalog::{
    BLOCK_BYTES, Contents, Indexed, KeyState, MergeRound, TableSum, page_offset,
};
use crate::format::retention::{Record, encode_record, encode_snapshot};
use crate::vfs::{MemVfs, Survival};
use groups::{check_groups, group_rows};

mod damage;
mod fixture;
mod groups;
mod power;
mod transfer;

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

/// Returns the keys of a checkpoint: every one of `count`, at a version that identifies the checkpoint.
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

fn record(truncate_before: u64) -> Record {
    Record { truncate_before, ..Record::default() }
}

/// Each checkpoint adds records, removes the stream's of the one before, and replaces the category's.
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

fn round(checkpoint: u64) -> MergeRound {
    MergeRound { target: checkpoint, after: Bytes::from(key(checkpoint).encode()) }
}

fn filter(checkpoint: u64) -> Filter {
    Filter::of(keys(checkpoint, 30 * checkpoint).iter().map(|(key, _)| hash_of(&key.encode())))
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
    let fold = &KeyMerge { keys, indexed: Indexed { through, round: Some(round(checkpoint)) } };
    let (records, snapshots) = (&*records, &*snapshots);
    let filter = Arc::new(filter(checkpoint));
    let new_chunk = new_chunk.map(|chunk| (chunk, &filter));
    let groups = &group_rows(checkpoint);
    catalog.commit(&Commit { state, new_chunk, fold, records, snapshots, groups })
}

fn commit(catalog: &Catalog, checkpoint: u64, count: u64) -> Result<(), Fault> {
    put(catalog, &state(checkpoint), Some(&chunk(checkpoint)), &keys(checkpoint, count))
}

/// Checks that the catalog is exactly at a checkpoint.
fn check(catalog: &CatalogExport, checkpoint: u64, count: u64) {
    assert_eq!(catalog.state(), &state(checkpoint));
    assert_eq!(catalog.chunks(), (1..=checkpoint).map(chunk).collect::<Vec<_>>());
    for (key, expected) in keys(checkpoint, count) {
        let expected = (checkpoint > 0).then_some(expected);
        assert_eq!(catalog.key(&key.encode()).expect("readable"), expected, "{key:?}");
    }
    assert_eq!(catalog.key(&key(count).encode()).expect("readable"), None);
    for number in 0..checkpoint + 2 {
        let is_newest = checkpoint > 0 && number == checkpoint;
        let stored = catalog.record(&Scope::Stream(stream(number))).expect("readable");
        let expected = is_newest.then(|| encode_record(&record(checkpoint * 10 + 1)));
        assert_eq!(stored, expected, "{number}");
        let stored = catalog.snapshot(&stream(number)).expect("readable");
        assert_eq!(stored, is_newest.then(|| snapshot(checkpoint)));
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

/// Returns the disk of a catalog with some checkpoints, closed.
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
            prop_assert_eq!(catalog.newest().key(&key(number).encode()).expect("readable"), expected);
        }
        drop(catalog);
        prop_assert_eq!(verified(&vfs).expect("whole").1, model);
    }
}
