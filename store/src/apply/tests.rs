//! Retries when the window has moved past what is asked for.

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use quorate_proto::{
    Append, Event, EventId, EventType, Expectation, LogId, StreamName, Timestamp, Version,
};

use crate::vfs::MemVfs;
use crate::window::Window;
use crate::{Entry, Options, Payload, Rejection, Store, Verdict, command};

fn append(name: &str, expectation: Expectation, ids: &[u8]) -> Append {
    let event = |id: &u8| {
        let id = EventId::from_bytes([*id; 16]).expect("an id");
        Event::new(id, EventType::new("Paid").expect("a type"), Bytes::new())
    };
    let stream = StreamName::new(name).expect("a name");
    Append::to(stream, expectation, ids.iter().map(event).collect())
}

fn apply(store: &mut Store, append: &Append) -> Verdict {
    let mut builder = command::Builder::new(Timestamp(1));
    builder.push(&command::encode_append(append));
    let index = store.applied().map_or(0, |id| id.index.0 + 1);
    let (log_id, payload) = (LogId::new(1, index), Payload::Command(builder.finish()));
    store.apply(Entry { log_id, payload }).expect("applies").remove(0)
}

/// A store whose window has moved past all that it holds; some of it is in a chunk.
fn store_past_its_window() -> (Store, Vec<(Append, Verdict)>) {
    let vfs = Arc::new(MemVfs::new());
    let options = Options {
        cluster: [1; 16],
        log: 0,
        chunk_bytes: 300,
        head_cache: 1,
        block_cache_bytes: 0,
        catalog_cache_bytes: 1 << 20,
        filter_bytes: 1 << 20,
    };
    let mut store = Store::open(vfs, Path::new("/store"), options).expect("founds");
    let mut answered = Vec::new();
    for (expectation, ids) in [
        (Expectation::None, [1, 2]),
        (Expectation::Exactly(Version(2)), [3, 4]),
        (Expectation::Any, [5, 6]),
        (Expectation::Exactly(Version(6)), [7, 8]),
        (Expectation::Exists, [9, 10]),
    ] {
        let append = append("order-1", expectation, &ids);
        let verdict = apply(&mut store, &append);
        answered.push((append, verdict));
        while let Some(seal) = store.begin_seal() {
            store.finish_seal(seal.run().expect("seals")).expect("finishes");
        }
    }
    assert!(store.checkpointed().is_some(), "a part is in a chunk");
    let window = Window::new([1; 16], store.position());
    *store.shared.window.write().expect("no panic") = window;
    (store, answered)
}

#[test]
fn exactly_and_none_protect_beyond_the_window_and_any_and_exists_do_not() {
    let (mut store, answered) = store_past_its_window();
    for (append, first) in answered {
        let again = apply(&mut store, &append);
        match append.writes[0].expectation {
            Expectation::None | Expectation::Exactly(_) => assert_eq!(again, first),
            Expectation::Any | Expectation::Exists => assert_ne!(again, first),
        }
    }
}

#[test]
fn a_failing_none_with_other_ids_beyond_the_window_is_a_conflict() {
    let (mut store, _) = store_past_its_window();
    for ids in [[3, 4], [1, 3], [11, 12]] {
        let verdict = apply(&mut store, &append("order-1", Expectation::None, &ids));
        let conflict = matches!(verdict, Verdict::Rejected(Rejection::Conflict { .. }));
        assert!(conflict, "{ids:?}: {verdict:?}");
    }
}

#[test]
fn a_write_that_passed_its_version_with_other_ids_beyond_the_window_is_a_conflict() {
    let (mut store, _) = store_past_its_window();
    for version in [0, 1, 2, 5, 8] {
        let expectation = Expectation::Exactly(Version(version));
        let verdict = apply(&mut store, &append("order-1", expectation, &[20]));
        let conflict = matches!(verdict, Verdict::Rejected(Rejection::Conflict { .. }));
        assert!(conflict, "{version}: {verdict:?}");
    }
}
