//! Chunks that an earlier build wrote: every later build must read them.

use std::env;

use super::*;
use quorate_proto::{CorrelationId, LogIndex, Tag};

fn fixture(name: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name)
}

/// Returns events that have every field.
fn events() -> Vec<StoredEvent> {
    let mut events = build(1, &[(0, 0, 10, 0), (1, 1, 0, 3), (0, 0, 300, 0), (2, 2, 7, 200)]);
    // The first format did not store where appends begin.
    events.iter_mut().for_each(|event| event.begins = true);
    let id = EventId::from_bytes([9; 16]).expect("an id");
    let full = Event {
        tags: ["customer:7", "eu"].map(|tag| Tag::new(tag).expect("a tag")).into(),
        metadata: Bytes::from_static(b"{\"by\":\"me\"}"),
        content_type: "application/json".into(),
        schema: 3,
        correlation_id: CorrelationId::new("cmd-91").ok(),
        causation_id: "evt-1".into(),
        occurred_at: Some(Timestamp(-5)),
        ..Event::new(id, EventType::new("Paid").expect("a type"), r#"{"total":50}"#)
    };
    let mut body = Vec::new();
    event::encode(&full, &mut body);
    let last = events.last().expect("the last").clone();
    let (position, version) = (last.position.next(), last.version.next());
    events.push(StoredEvent { position, version, id, body: body.into(), ..last });
    events
}

/// Returns the fixture's chunk on a disk in memory; with QUORATE_REWRITE=1 the fixture is made anew first.
fn load(name: &str, make: impl Fn() -> MemVfs) -> (MemVfs, Chunk) {
    if env::var_os("QUORATE_REWRITE").is_some() {
        let bytes = make().read(&chunk_path()).expect("made");
        std::fs::create_dir_all(fixture("")).expect("a folder");
        std::fs::write(fixture(name), bytes).expect("written");
    }
    let vfs = disk();
    let file = vfs.open(&chunk_path(), Open::Create).expect("a file");
    file.write_at(&std::fs::read(fixture(name)).expect("there"), 0).expect("written");
    let chunk = Chunk::open_any(&vfs, &chunk_path(), &IDENTITY, &BlockCache::new(0));
    (vfs, chunk.expect("readable"))
}

#[test]
fn a_chunk_of_the_first_format_is_read() {
    let events = events();
    let (_, chunk) = load("chunk-1", || written(&events).0);
    chunk.verify().expect("whole");
    assert_eq!(chunk.read(0..9, usize::MAX, &mut reads()).expect("readable"), events);
    for (key, posting) in naive(&events) {
        assert_eq!(chunk.find(&key, &mut reads()).expect("readable"), Some(posting));
        let state = chunk.key_state(&key.encode(), &mut reads()).expect("readable").expect("there");
        let is_known = state.version > Version::ZERO;
        assert_eq!(is_known, matches!(key, Key::Stream(_)), "it has no totals: {key:?}");
    }
}

#[test]
fn a_scavenged_chunk_of_the_first_format_is_read() {
    let events = events();
    let (_, chunk) = load("chunk-1-scavenged", || {
        let (vfs, _, chunk) = written(&events);
        let mut cut = |_: &StreamName| Ok(Version(42));
        let (stubs, checkpoint) = (Position(2), LogIndex(5));
        rewrite(&vfs, directory(), &IDENTITY, &chunk, &mut cut, stubs, checkpoint)
            .expect("scavenged");
        vfs
    });
    chunk.verify().expect("whole");
    assert_eq!(chunk.scavenged_at(), Some(LogIndex(5)));
    let kept: Vec<_> = events.iter().filter(|event| event.version.0 >= 42).cloned().collect();
    assert_eq!(chunk.read(0..9, usize::MAX, &mut reads()).expect("readable"), kept);
    let known: Vec<_> = events.iter().skip(1).map(StoredEvent::identity).collect();
    assert_eq!(chunk.identities(0..9, &mut reads()).expect("readable"), known);
}
