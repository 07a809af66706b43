//! Chunks against a naive model, with foreign names, unknown sections and power cuts.

mod ahead;
mod damage;
mod fixture;
mod rewrite;

use std::collections::BTreeMap;
use std::path::Path;

use bytes::Bytes;
use proptest::prelude::*;
use quorate_proto::{Event, EventId, EventType, Position, StreamName, Timestamp, Version};

use super::*;
use crate::files::{BlockCache, ReadCounters};
use crate::format::Key;
use crate::format::catalog::KeyState;
use crate::format::chunk::{ChunkIdentity, ChunkSummary};
use crate::format::chunk::{
    FOOTER, Footer, HEADER_BYTES, SectionEntry, TRAILER_BYTES, encode_trailer, frame,
};
use crate::format::codec::Packer;
use crate::format::{Identity, Output, event};
use crate::vfs::{MemVfs, Open, Survival, Vfs};
use crate::{Fault, StoredEvent};

const IDENTITY: ChunkIdentity = ChunkIdentity { cluster: [3; 16], log: 0, number: 9 };

/// An event in short: stream, type, bytes of data, microseconds since the one before.
type Small = (u8, u8, usize, u8);

fn build(first_position: u64, small: &[Small]) -> Vec<StoredEvent> {
    let mut versions: BTreeMap<u8, u64> = BTreeMap::new();
    let mut recorded_at = 1_000;
    let build = |(at, (stream, kind, size, elapsed)): (usize, &Small)| {
        let version = versions.entry(*stream).or_insert(40);
        *version += 1;
        recorded_at += i64::from(*elapsed);
        let position = first_position + at as u64;
        let stream = match stream % 4 {
            0 => format!("order-{stream}"),
            1 => format!("acme/eu/order-{stream}"),
            2 => format!("acme/invoice-{stream}"),
            _ => format!("invoice-{stream}"),
        };
        stored(position, &stream, *version, recorded_at, &format!("Type{}", kind % 3), *size)
    };
    small.iter().enumerate().map(build).collect()
}

fn stored(
    position: u64,
    stream: &str,
    version: u64,
    recorded_at: i64,
    kind: &str,
    size: usize,
) -> StoredEvent {
    let id = EventId::from_bytes((u128::from(position) << 64 | 5).to_be_bytes()).expect("an id");
    let data: Vec<u8> = (0..size).map(|at| (at as u64 * 31 + position) as u8).collect();
    let mut body = Vec::new();
    event::encode(&Event::new(id, EventType::new(kind).expect("a type"), data), &mut body);
    let stream = StreamName::new(stream).expect("a name");
    let (position, version) = (Position(position), Version(version));
    let recorded_at = Timestamp(recorded_at);
    let begins = position.0 % 3 != 2;
    let identity = Identity { position, stream, version, recorded_at, id, begins };
    StoredEvent::new(identity, Bytes::from(body)).expect("a body")
}

fn reads() -> ReadCounters {
    ReadCounters::default()
}

fn some_events() -> Vec<StoredEvent> {
    build(101, &[(0, 0, 10, 0), (1, 1, 0, 3), (0, 0, 30, 0), (2, 2, 7, 200), (1, 0, 1, 1)])
}

fn directory() -> &'static Path {
    Path::new("/chunks")
}

fn disk() -> MemVfs {
    let vfs = MemVfs::new();
    vfs.create_directory(directory()).expect("a folder");
    vfs
}

/// Returns the chunk that last held a key, made up from the key.
fn made_up_previous(key: &Key) -> Option<u64> {
    Some(key.name().len() as u64 % 9).filter(|number| *number > 0)
}

/// The number of earlier events with a key that is no stream, if a chunk has it; for some it is not known.
const MADE_UP_TOTAL: u64 = 100;

fn made_up_state(key: &Key) -> Option<KeyState> {
    let version = if key.name().len().is_multiple_of(2) { MADE_UP_TOTAL } else { 0 };
    let version = Version(version);
    made_up_previous(key).map(|last_chunk| KeyState { last_chunk, version })
}

/// Returns the number of events that were recorded with a key by the end of the chunk.
fn total(key: &Key, in_chunk: usize) -> Version {
    match made_up_state(key) {
        Some(KeyState { version: Version::ZERO, .. }) => Version::ZERO,
        before => before
            .unwrap_or(KeyState { last_chunk: 0, version: Version::ZERO })
            .version
            .plus(in_chunk as u64),
    }
}

fn key_events<'a>((key, posting): (&'a Key, &'a Posting)) -> KeyEvents<'a> {
    let (name, first_version) = (key.name(), posting.first_version);
    KeyEvents { kind: key.kind(), name, first_version, ordinals: &posting.ordinals }
}

/// A chunk that was written.
struct Written {
    summary: ChunkSummary,
    /// The keys of which it was asked where they were last seen.
    keys: Vec<Key>,
}

fn write_to(vfs: &MemVfs, events: &[StoredEvent]) -> Result<Written, Fault> {
    let draft = directory().join("draft");
    let model = naive(events);
    let of_keys: Vec<_> = model.iter().map(key_events).collect();
    let mut keys = Vec::new();
    let previous = &mut |key: &[u8]| {
        let key = Key::decode(key).expect("a key");
        keys.push(key.clone());
        Ok(made_up_state(&key))
    };
    let summary =
        write(vfs, &draft, &IDENTITY, events.iter().map(StoredEvent::parts), &of_keys, previous)?;
    let written = Written { summary, keys };
    vfs.rename(&draft, &chunk_path()).map_err(Fault::io("rename", &draft))?;
    vfs.sync_directory(directory()).map_err(Fault::io("sync", directory()))?;
    Ok(written)
}

fn chunk_path() -> std::path::PathBuf {
    crate::files::chunk_path(directory(), IDENTITY.number)
}

fn open(vfs: &MemVfs, written: &Written) -> Result<Chunk, Fault> {
    open_over(vfs, written, 5000)
}

fn open_over(vfs: &MemVfs, written: &Written, cache_bytes: usize) -> Result<Chunk, Fault> {
    Chunk::open(vfs, &chunk_path(), &IDENTITY, &written.summary, &BlockCache::new(cache_bytes))
}

#[test]
fn a_read_of_very_much_leaves_half_of_the_cache_to_others() {
    let events = build(1, &[(0, 0, 2_000, 0); 400]);
    let (vfs, written, _) = written(&events);
    let chunk = open_over(&vfs, &written, 200_000).expect("a chunk");
    let of_last = || {
        let mut reads = reads();
        let found = chunk.read(395..400, usize::MAX, &mut reads).expect("readable");
        (found == events[395..], reads.hits > 0)
    };
    assert_eq!((of_last(), of_last()), ((true, false), (true, true)));
    assert_eq!(chunk.read(0..395, usize::MAX, &mut reads()).expect("readable"), events[..395]);
    assert_eq!(of_last(), (true, true), "800,000 bytes went by");
    let mut again = reads();
    chunk.read(0..395, usize::MAX, &mut again).expect("readable");
    assert!(again.hits > 2, "what was read first is kept");
}

fn written(events: &[StoredEvent]) -> (MemVfs, Written, Chunk) {
    let vfs = disk();
    let written = write_to(&vfs, events).expect("written");
    let chunk = open(&vfs, &written).expect("opened");
    (vfs, written, chunk)
}

/// Returns the postings that a chunk of these events must return for each of their keys.
fn naive(events: &[StoredEvent]) -> BTreeMap<Key, Posting> {
    let mut postings: BTreeMap<Key, Posting> = BTreeMap::new();
    for (ordinal, event) in events.iter().enumerate() {
        for key in event.keys() {
            let first_version = matches!(key, Key::Stream(_)).then_some(event.version);
            let previous = made_up_previous(&key);
            let posting = postings.entry(key).or_insert(Posting {
                ordinals: Vec::new(),
                first_version,
                previous,
            });
            posting.ordinals.push(ordinal as u32);
        }
    }
    postings
}

fn check_against_model(events: &[StoredEvent]) {
    let (_, written, chunk) = written(events);
    let model = naive(events);
    for (key, posting) in &model {
        assert_eq!(
            chunk.find(key, &mut reads()).expect("readable").as_ref(),
            Some(posting),
            "{key:?}"
        );
        let found = chunk
            .read(posting.ordinals.iter().copied(), usize::MAX, &mut reads())
            .expect("readable");
        let expected: Vec<_> =
            posting.ordinals.iter().map(|ordinal| events[*ordinal as usize].clone()).collect();
        assert_eq!(found, expected, "{key:?}");
    }
    for absent in ["order", "order-", "order-99", "zzz-1", "$a-1"] {
        let key = Key::Stream(StreamName::new(absent).expect("a name"));
        assert_eq!(chunk.find(&key, &mut reads()).expect("readable"), model.get(&key).cloned());
    }
    assert_eq!(chunk.read(0..u32::MAX, usize::MAX, &mut reads()).expect("readable"), events);
    let ids: Vec<_> = events.iter().map(|event| event.id).collect();
    assert_eq!(chunk.ids_from(0).expect("readable"), ids);
    let keys: Vec<_> = model.keys().cloned().collect();
    assert_eq!(written.keys, keys);
    chunk.verify().expect("whole");
    let verified: Vec<ChunkKey> = chunk.keys().collect::<Result<_, _>>().expect("readable");
    for (key, verified) in written.keys.iter().zip(&verified) {
        let last =
            events.iter().rfind(|event| event.keys().any(|own| own == *key)).expect("its event");
        let stream = matches!(key, Key::Stream(_));
        let expected = if stream { last.version } else { total(key, model[key].ordinals.len()) };
        let state = Some(KeyState { last_chunk: 9, version: expected });
        assert_eq!(chunk.key_state(&key.encode(), &mut reads()).expect("readable"), state);
        assert_eq!((&verified.key, verified.last_version), (key, expected));
        assert_eq!(verified.first_version, model[key].first_version);
        assert_eq!(verified.previous, made_up_previous(key));
    }
    assert_eq!(verified.len(), keys.len());
    check_finder(&chunk, &keys);
}

/// A finder must find what a single look finds, whichever keys it is asked for and whichever it passes over.
fn check_finder(chunk: &Chunk, keys: &[Key]) {
    let absent = ["a-0", "acme/eu/order-1x", "order-", "zzz-1"];
    let absent = absent.map(|name| Key::Stream(StreamName::new(name).expect("a name")));
    let mut wanted: Vec<_> = keys.iter().chain(&absent).map(Key::encode).collect();
    wanted.sort();
    for step in 1..5 {
        let mut finder = chunk.finder();
        for key in wanted.iter().step_by(step) {
            let expected = chunk.key_state(key, &mut reads()).expect("readable");
            assert_eq!(finder.find(key).expect("readable"), expected, "{key:?}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..Default::default() })]

    #[test]
    fn a_chunk_answers_as_a_naive_model_does(
        first in 1..u64::MAX / 2,
        small in prop::collection::vec((any::<u8>(), any::<u8>(), 0..3000_usize, any::<u8>()), 1..120),
    ) {
        check_against_model(&build(first, &small));
    }

    #[test]
    fn any_ascending_ordinals_are_read_within_the_budget(
        small in prop::collection::vec((0..9_u8, any::<u8>(), 0..6000_usize, any::<u8>()), 1..60),
        wanted in prop::collection::btree_set(0..70_u32, 0..40),
        budget in 0..20_000_usize,
    ) {
        let events = build(1, &small);
        let (_, _, chunk) = written(&events);
        let mut expected = Vec::new();
        let mut size = 0;
        for event in wanted.iter().filter_map(|ordinal| events.get(*ordinal as usize)) {
            expected.push(event.clone());
            size += event.size();
            if size >= budget {
                break;
            }
        }
        prop_assert_eq!(chunk.read(wanted.iter().copied(), budget, &mut reads()).expect("readable"), expected);
    }

    #[test]
    fn what_was_recorded_between_two_times_lies_in_the_ordinals_returned(
        small in prop::collection::vec((0..9_u8, any::<u8>(), 0..9000_usize, 0..4_u8), 1..60),
        from in 990..1200_i64,
        length in 0..100_i64,
    ) {
        let events = build(1, &small);
        let (_, _, chunk) = written(&events);
        let (from, until) = (Timestamp(from), Timestamp(from + length));
        let ordinals = chunk.ordinals_between(Some(from), Some(until));
        for (ordinal, event) in events.iter().enumerate() {
            let inside = event.recorded_at >= from && event.recorded_at <= until;
            prop_assert!(!inside || ordinals.contains(&(ordinal as u32)));
        }
        let all = 0..events.len() as u32;
        prop_assert_eq!(chunk.ordinals_between(None, None), all);
    }
}

#[test]
fn many_events_of_one_key_and_many_keys_are_found() {
    let one_stream: Vec<Small> = (0..20_000).map(|at| (0, at as u8, 3, 0)).collect();
    check_against_model(&build(1, &one_stream));
    let many: Vec<StoredEvent> = (1..3_000)
        .map(|at| stored(at, &format!("acme/eu/customer-{}", at * 7919 % 3001), 1, 5, "T", 0))
        .collect();
    let (_, _, chunk) = written(&many);
    for event in &many {
        let key = Key::Stream(event.stream.clone());
        let posting = chunk.find(&key, &mut reads()).expect("readable").expect("there");
        assert_eq!(
            chunk.read(posting.ordinals, 0, &mut reads()).expect("readable"),
            std::slice::from_ref(event)
        );
    }
    chunk.verify().expect("whole");
}

#[test]
fn an_event_of_the_largest_size_is_kept() {
    check_against_model(&build(7, &[(0, 0, 5, 0), (1, 0, 1024 * 1024, 0), (0, 0, 5, 0)]));
}

#[test]
fn another_chunk_under_the_name_is_refused() {
    let (vfs, written, _) = written(&some_events());
    for identity in [
        ChunkIdentity { cluster: [4; 16], ..IDENTITY },
        ChunkIdentity { log: 1, ..IDENTITY },
        ChunkIdentity { number: 8, ..IDENTITY },
    ] {
        let fault =
            Chunk::open(&vfs, &chunk_path(), &identity, &written.summary, &BlockCache::new(0));
        assert!(matches!(fault, Err(Fault::Foreign { .. })));
    }
    let summary = ChunkSummary { digest: 1, ..written.summary };
    let fault = Chunk::open(&vfs, &chunk_path(), &IDENTITY, &summary, &BlockCache::new(0));
    assert!(matches!(fault, Err(Fault::Damaged { .. })));
}

#[test]
fn equal_events_make_equal_digests_whatever_the_chunk() {
    let events = some_events();
    let (_, one, _) = written(&events);
    let identity = ChunkIdentity { cluster: [9; 16], ..IDENTITY };
    let path = crate::files::chunk_path(directory(), identity.number);
    let model = naive(&events);
    let keys: Vec<_> = model.iter().map(key_events).collect();
    let other =
        write(&disk(), &path, &identity, events.iter().map(StoredEvent::parts), &keys, &mut |_| {
            Ok(None)
        });
    assert_eq!(one.summary.digest, other.expect("written").digest);
    let (_, moved, _) = written(&build(102, &[(0, 0, 10, 0)]));
    let (_, not_moved, _) = written(&build(101, &[(0, 0, 10, 0)]));
    assert_ne!(moved.summary.digest, not_moved.summary.digest);
}

/// Adds to the file a section that no build knows.
fn with_unknown_section(vfs: &MemVfs, chunk: &Chunk, critical: bool) -> ChunkSummary {
    let bytes = vfs.read(&chunk_path()).expect("there");
    let (footer, end) = chunk.file.footer().expect("readable");
    let mut bytes = bytes[..end as usize].to_vec();
    let packer = &mut Packer::new();
    frame::encode(&IDENTITY, end, 77, b"news", packer, &mut bytes);
    let range = end..bytes.len() as u64;
    let mut sections = footer.sections.clone();
    sections.push(SectionEntry { number: 77, critical, range: range.clone() });
    let footer = Footer { sections, ..footer };
    frame::encode(&IDENTITY, range.end, FOOTER, &footer.encode(), packer, &mut bytes);
    let trailer = encode_trailer(&IDENTITY, bytes.len() as u64, range.end);
    assert_eq!(trailer.len() as u64, TRAILER_BYTES);
    bytes.put(&trailer);
    let file = vfs.open(&chunk_path(), Open::Write).expect("there");
    file.write_at(&bytes, 0).expect("written");
    chunk.summary.clone()
}

#[test]
fn an_unknown_section_is_passed_over_if_optional_and_refused_if_critical() {
    let events = some_events();
    for critical in [false, true] {
        let (vfs, _, chunk) = written(&events);
        let summary = with_unknown_section(&vfs, &chunk, critical);
        match Chunk::open(&vfs, &chunk_path(), &IDENTITY, &summary, &BlockCache::new(0)) {
            Ok(chunk) => {
                assert!(!critical);
                assert_eq!(chunk.read(0..9, usize::MAX, &mut reads()).expect("readable"), events);
                chunk.verify().expect("whole");
            }
            Err(fault) => assert!(critical && matches!(fault, Fault::Foreign { .. }), "{fault}"),
        }
    }
}

#[test]
fn a_power_cut_at_any_moment_of_the_writing_leaves_a_whole_chunk_or_none() {
    let events = some_events();
    let survivals = || {
        [Survival::Nothing, Survival::Everything].into_iter().chain((0..8).map(Survival::Seeded))
    };
    let (mut whole, mut none) = (0, 0);
    for changes in 0.. {
        let vfs = disk();
        vfs.cut_after(changes);
        let done = write_to(&vfs, &events);
        for survival in survivals() {
            let vfs = vfs.fork();
            vfs.restart(survival);
            let there = vfs.exists(&chunk_path()).expect("power");
            assert!(there || done.is_err(), "what was acknowledged is lost");
            if there {
                let chunk = Chunk::open_any(&vfs, &chunk_path(), &IDENTITY, &BlockCache::new(0))
                    .expect("whole");
                chunk.verify().expect("whole");
                whole += 1;
            } else {
                none += 1;
            }
            // The file that is left does not prevent writing the chunk again.
            let again = write_to(&vfs, &events).expect("written");
            open(&vfs, &again).expect("opened").verify().expect("whole");
        }
        if done.is_ok() {
            break;
        }
    }
    assert!(whole > 0 && none > 0);
}

#[test]
fn a_disk_that_fails_or_fills_up_is_a_fault_and_leaves_no_chunk() {
    for prepare in
        [|vfs: &MemVfs| vfs.fail_sync_after(0), |vfs: &MemVfs| vfs.set_capacity(Some(99))]
    {
        let vfs = disk();
        prepare(&vfs);
        assert!(matches!(write_to(&vfs, &some_events()), Err(Fault::Io { .. })));
        assert!(!vfs.exists(&chunk_path()).expect("power"));
    }
}
