//! Retries within the window, and retries of events that the window has moved past.

mod chunks;

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use quorate_proto::{
    Append, Change, ChangeKind, Condition, Event, EventId, EventType, Expectation, LogId, LogIndex,
    Position, Query, Scope, SettingsChange, StreamName, Tag, Timestamp, Version, Write,
};

use crate::checkpoint::open_chunk;
use crate::chunk::rewrite;
use crate::defect::{Defect, put_back};
use crate::retention::Floors;
use crate::vfs::MemVfs;
use crate::view::{ChunkSlot, Hasher, Window};
use crate::{Entry, Options, Payload, Prejudged, Rejection, Store, Verdict, command};

fn append(name: &str, expectation: Expectation, ids: &[u8]) -> Append {
    let event = |id: &u8| {
        let id = EventId::from_bytes([*id; 16]).expect("an id");
        Event::new(id, EventType::new("Paid").expect("a type"), Bytes::new())
    };
    let stream = StreamName::new(name).expect("a name");
    Append::to(stream, expectation, ids.iter().map(event).collect())
}

/// Applies an append, and settles an answer that apply leaves open.
fn apply(store: &mut Store, append: &Append) -> Verdict {
    match apply_alone(store, append) {
        unsettled @ Verdict::Unsettled(_) => {
            store.reader().settle(append, unsettled).expect("judges")
        }
        verdict => verdict,
    }
}

fn apply_alone(store: &mut Store, append: &Append) -> Verdict {
    if store.must_wait() {
        seal(store);
    }
    let mut builder = command::Builder::new(Timestamp(1));
    builder.push(&command::encode_append(append));
    let index = store.applied().map_or(0, |id| id.index.0 + 1);
    let (log_id, payload) = (LogId::new(1, index), Payload::Command(builder.finish()));
    store.apply(Entry { log_id, payload }).expect("applies").remove(0)
}

fn change(store: &mut Store, id: u8, kind: ChangeKind) {
    let scope = Scope::Stream(StreamName::new("order-1").expect("a name"));
    let id = EventId::from_bytes([id; 16]).expect("an id");
    let change = Change { scope, expectation: Expectation::Exists, id, kind };
    let verdict = apply(store, &change.to_append().expect("a change"));
    assert!(matches!(verdict, Verdict::Appended(_)), "{verdict:?}");
    seal(store);
}

fn truncate(store: &mut Store, id: u8, before: u64) {
    let settings = SettingsChange { truncate_before: Some(before), ..SettingsChange::default() };
    change(store, id, ChangeKind::Settings(settings));
}

fn seal(store: &mut Store) {
    while let Some(seal) = store.begin_seal() {
        store.finish_seal(seal.run().expect("seals")).expect("finishes");
    }
}

/// Returns the answer that a repetition gets.
fn again(first: &Verdict) -> Verdict {
    match first {
        Verdict::Appended(first) => Verdict::Repeated(first.clone()),
        other => panic!("{other:?} is no first answer"),
    }
}

/// Lets the window begin after a position.
fn move_window(store: &mut Store, after: Position) {
    let mut window = Window::new(Hasher::new(&[1; 16]), after);
    let count = store.position().0 - after.0;
    let there = store.view.identities(after.next(), count).expect("reads");
    there.iter().for_each(|event| window.push(event.id));
    assert_eq!(there.len() as u64, count);
    *store.shared.window.write().expect("no panic") = window;
}

/// Removes the events below the floors from all chunks; from position `keep_ids_from` on their ids are kept.
fn scavenge(store: &mut Store, keep_ids_from: Position) -> u64 {
    let mut floors = Floors::at(store.point);
    let mut chunks = Vec::new();
    let mut removed = 0;
    for slot in store.view.chunks.iter() {
        let source = slot.chunk().expect("whole");
        let identity = store.options.identity(source.summary().number);
        let mut cut = |stream: &StreamName| floors.floor(&store.view, stream);
        let (vfs, directory) = (&*store.folder.vfs, &store.folder.chunks);
        let index = LogIndex(9);
        let done = rewrite(vfs, directory, &identity, source, &mut cut, keep_ids_from, index);
        removed += u64::from(done.expect("rewrites").is_some());
        let chunk = open_chunk(&store.folder, &store.options, source.summary()).expect("opens");
        chunks.push(ChunkSlot::Whole(chunk));
    }
    store.view = Arc::new(store.view.with_chunks(Arc::new(chunks)));
    removed
}

/// Returns a new store, whose chunks are so small that nearly every entry becomes one.
fn store() -> Store {
    let vfs = Arc::new(MemVfs::new());
    let options = Options {
        cluster: [1; 16],
        log: 0,
        chunk_bytes: 600,
        hash_seed: [5; 16],
        head_cache_bytes: 40,
        block_cache_bytes: 0,
        catalog_cache_bytes: 1 << 20,
        filter_bytes: 1 << 20,
    };
    Store::open(vfs, Path::new("/store"), options).expect("founds")
}

/// Returns a store whose window has moved past all its events; some of them are in a chunk.
fn store_past_its_window() -> (Store, Vec<(Append, Verdict)>) {
    let mut store = store();
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
        seal(&mut store);
    }
    assert!(store.checkpointed().is_some(), "a part is in a chunk");
    let last = store.position();
    move_window(&mut store, last);
    (store, answered)
}

#[test]
fn exactly_and_none_protect_beyond_the_window_and_any_and_exists_do_not() {
    let (mut store, answered) = store_past_its_window();
    for (append, first) in answered {
        let found = apply(&mut store, &append);
        match append.writes[0].expectation {
            Expectation::None | Expectation::Exactly(_) => assert_eq!(found, again(&first)),
            Expectation::Any | Expectation::Exists => {
                assert!(matches!(found, Verdict::Appended(_)), "{found:?}");
            }
        }
    }
}

const EXPECTATIONS: [Expectation; 6] = [
    Expectation::Any,
    Expectation::None,
    Expectation::Exists,
    Expectation::Exactly(Version(0)),
    Expectation::Exactly(Version(3)),
    Expectation::Exactly(Version(9)),
];

#[test]
fn within_the_window_an_id_is_never_written_twice_whatever_is_expected() {
    for expectation in EXPECTATIONS {
        let mut store = store();
        let first = apply(&mut store, &append("order-1", Expectation::None, &[1, 3, 7]));
        let mut send = |name, ids: &[u8]| apply(&mut store, &append(name, expectation, ids));
        assert_eq!(send("order-1", &[1, 3, 7]), again(&first), "{expectation:?}");
        let cases: [(&str, &[u8], u8); 8] = [
            ("order-1", &[7, 3, 1], 7),
            ("order-1", &[2, 7, 14], 7),
            ("order-1", &[1, 3], 1),
            ("order-1", &[3, 7], 3),
            ("order-1", &[7], 7),
            ("order-1", &[1, 3, 7, 9], 1),
            ("order-1", &[9, 1, 3, 7], 1),
            ("bill-1", &[1, 3, 7], 1),
        ];
        for (name, ids, reused) in cases {
            let reused = EventId::from_bytes([reused; 16]).expect("an id");
            let expected = Verdict::Rejected(Rejection::IdReused(reused));
            assert_eq!(send(name, ids), expected, "{expectation:?}: {name} {ids:?}");
        }
        assert_eq!(store.position(), Position(3), "{expectation:?}");
    }
}

/// The events were written in a row by three appends, each in a chunk of its own or all in the tail.
#[test]
fn what_several_appends_wrote_is_no_append() {
    for is_sealed in [false, true] {
        let mut store = store();
        let firsts = [[1, 2], [3, 4], [5, 6]].map(|ids| {
            let append = append("order-1", Expectation::Any, &ids);
            let first = apply(&mut store, &append);
            if is_sealed {
                seal(&mut store);
            }
            (append, first)
        });
        let mixed: [&[u8]; 5] = [&[1, 2, 3, 4], &[2, 3], &[1, 2, 3], &[5, 6, 7], &[4, 5, 6]];
        for ids in mixed {
            let verdict = apply(&mut store, &append("order-1", Expectation::Any, ids));
            let is_reused = matches!(verdict, Verdict::Rejected(Rejection::IdReused(_)));
            assert!(is_reused, "{ids:?}, sealed {is_sealed}: {verdict:?}");
        }
        for (append, first) in firsts {
            assert_eq!(apply(&mut store, &append), again(&first));
        }
    }
}

#[test]
fn a_repetition_across_the_edge_of_the_window_is_compared_with_what_is_stored_before_it() {
    for is_removed in [false, true] {
        let mut store = store();
        apply(&mut store, &append("bill-1", Expectation::Any, &[20]));
        let across = append("order-1", Expectation::Any, &[1, 2, 3]);
        let first = apply(&mut store, &across);
        apply(&mut store, &append("order-1", Expectation::Any, &[4]));
        seal(&mut store);
        move_window(&mut store, Position(2));
        let mut send = |ids: &[u8]| apply(&mut store, &append("order-1", Expectation::Any, ids));
        assert_eq!(send(&[1, 2, 3]), again(&first));
        let cases: [(&[u8], u8); 6] = [
            (&[30, 2, 3], 2),
            (&[2, 3], 2),
            (&[1, 2], 2),
            (&[20, 1, 2, 3], 2),
            (&[1, 2, 3, 4], 2),
            (&[31, 32, 33, 2, 3], 2),
        ];
        for (ids, reused) in cases {
            let reused = EventId::from_bytes([reused; 16]).expect("an id");
            let expected = Verdict::Rejected(Rejection::IdReused(reused));
            assert_eq!(send(ids), expected, "{ids:?}");
        }
        // The events below the floor and before the window are forgotten.
        truncate(&mut store, 99, 3);
        move_window(&mut store, Position(2));
        if is_removed {
            assert!(scavenge(&mut store, Position(3)) > 0);
        }
        let verdict = apply(&mut store, &across);
        assert_eq!(verdict, Verdict::Rejected(Rejection::Forgotten), "removed {is_removed}");
    }
}

#[test]
fn other_content_under_known_ids_is_no_repetition() {
    let mut store = store();
    let mut paid = append("order-1", Expectation::None, &[1, 2]);
    paid.writes[0].events[1].data = Bytes::from_static(b"50");
    let first = apply(&mut store, &paid);
    let edits: [fn(&mut Event); 3] = [
        |event| event.data = Bytes::from_static(b"51"),
        |event| event.metadata = Bytes::from_static(b"m"),
        |event| event.kind = EventType::new("Sent").expect("a type"),
    ];
    for is_sealed in [false, true] {
        if is_sealed {
            let many: Vec<u8> = (5..60).collect();
            apply(&mut store, &append("order-1", Expectation::Any, &many));
            seal(&mut store);
            assert!(store.checkpointed().is_some());
        }
        let judge = |append: &Append| store.reader().settle(append, again(&first)).expect("judges");
        assert_eq!(judge(&paid), again(&first));
        for edit in edits {
            let mut other = paid.clone();
            edit(&mut other.writes[0].events[1]);
            let reused = other.writes[0].events[1].id;
            assert_eq!(judge(&other), Verdict::Rejected(Rejection::IdReused(reused)));
        }
    }
    let mut tagged = paid.clone();
    tagged.writes[0].events[0].tags.push(Tag::new("eu").expect("a tag"));
    assert_eq!(apply(&mut store, &tagged), again(&first), "apply compares ids alone");
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

fn exactly(version: u64) -> Expectation {
    Expectation::Exactly(Version(version))
}

/// Returns a store whose order-1 has the ids 1 to 10 at the versions 1 to 10, truncated before version 4.
fn truncated_store() -> (Store, Vec<(Append, Verdict)>) {
    let (mut store, answered) = store_past_its_window();
    truncate(&mut store, 99, 4);
    let last = store.position();
    move_window(&mut store, last);
    (store, answered)
}

#[test]
fn what_is_old_and_below_the_floor_is_forgotten_where_it_is_removed_and_where_it_is_not() {
    for is_removed in [false, true] {
        let (mut store, _) = truncated_store();
        if is_removed {
            assert!(scavenge(&mut store, Position(u64::MAX)) > 0);
        }
        let cases: [(&str, Expectation, &[u8], &str); 12] = [
            ("the first answer", Expectation::None, &[1, 2], "forgotten"),
            ("never there", Expectation::None, &[30, 31], "forgotten"),
            ("all below the floor", exactly(0), &[1], "forgotten"),
            ("the end is known and fits", exactly(2), &[3, 4], "forgotten"),
            ("the end is known and fits not", exactly(2), &[3, 30], "conflict"),
            ("only the end fits", exactly(2), &[30, 4], "forgotten"),
            ("known, behind what is forgotten", exactly(0), &[1, 2, 3, 4, 5], "forgotten"),
            ("longer than the stream", exactly(8), &[9, 10, 30], "conflict"),
            ("above the floor", exactly(4), &[5, 6], "repeated"),
            ("above the floor, other ids", exactly(4), &[30, 31], "conflict"),
            ("no such version yet", exactly(11), &[30], "conflict"),
            ("at its version", exactly(10), &[40], "appended"),
        ];
        for (what, expectation, ids, expected) in cases {
            let verdict = apply(&mut store, &append("order-1", expectation, ids));
            let found = match &verdict {
                Verdict::Appended(_) => "appended",
                Verdict::Repeated(_) => "repeated",
                Verdict::Rejected(Rejection::Conflict { .. }) => "conflict",
                Verdict::Rejected(Rejection::Forgotten) => "forgotten",
                _ => "something else",
            };
            assert_eq!(found, expected, "{what}, removed {is_removed}: {verdict:?}");
        }
    }
}

#[test]
fn what_is_removed_but_in_the_window_still_gets_its_first_answer() {
    let (mut store, answered) = truncated_store();
    move_window(&mut store, Position(0));
    assert!(scavenge(&mut store, Position(1)) > 0);
    for (append, first) in answered {
        assert_eq!(apply(&mut store, &append), again(&first));
    }
}

/// A part of a transaction may be forgotten while another part is known.
#[test]
fn a_transaction_of_which_a_part_is_forgotten_is_judged_by_the_rest() {
    let two = |first: u8, second: u8, expectation| {
        let mut two = append("order-1", exactly(0), &[first]);
        let bill = append("bill-1", expectation, &[second]);
        two.writes.extend(bill.writes);
        two
    };
    for is_removed in [false, true] {
        let mut store = store();
        let first = apply(&mut store, &two(1, 2, exactly(0)));
        seal(&mut store);
        apply(&mut store, &append("order-1", Expectation::Any, &[3]));
        truncate(&mut store, 99, 2);
        apply(&mut store, &append("order-1", Expectation::Any, &[4]));
        seal(&mut store);
        let last = store.position();
        move_window(&mut store, last);
        if is_removed {
            assert!(scavenge(&mut store, Position(u64::MAX)) > 0);
        }
        assert!(matches!(first, Verdict::Appended(_)));
        for (append, expected) in [
            // The bill's event is known, so the position of the order's event is known too.
            (two(1, 2, exactly(0)), Some(Rejection::Forgotten)),
            (two(9, 2, exactly(0)), Some(Rejection::Forgotten)),
            (two(1, 9, exactly(0)), None),
            // No expectation names a version, so the events cannot be looked for.
            (two(1, 9, Expectation::Any), Some(Rejection::Forgotten)),
        ] {
            let Verdict::Rejected(found) = apply(&mut store, &append) else {
                panic!("{append:?} was appended")
            };
            let is_right = match &expected {
                Some(expected) => found == *expected,
                None => matches!(found, Rejection::Conflict { .. }),
            };
            assert!(is_right, "removed {is_removed}: {append:?}: {found:?}");
        }
    }
}

#[test]
fn after_a_deletion_a_failing_none_is_compared_from_the_version_after_it() {
    let mut store = store();
    apply(&mut store, &append("order-1", Expectation::None, &[1, 2]));
    change(&mut store, 99, ChangeKind::Delete);
    let anew = append("order-1", Expectation::None, &[11, 12]);
    let first = apply(&mut store, &anew);
    assert!(matches!(&first, Verdict::Appended(done) if done.versions == [Version(4)]));
    seal(&mut store);
    let last = store.position();
    move_window(&mut store, last);
    assert_eq!(apply(&mut store, &anew), again(&first));
    let other = apply(&mut store, &append("order-1", Expectation::None, &[11, 13]));
    assert!(matches!(other, Verdict::Rejected(Rejection::Conflict { .. })), "{other:?}");
    // Events before the deletion are not compared: `any` and `none` protect only within the window.
    let older = apply(&mut store, &append("order-1", Expectation::None, &[1, 2]));
    assert!(matches!(older, Verdict::Rejected(Rejection::Conflict { .. })), "{older:?}");
}

#[test]
fn a_repetition_comes_before_a_closed_stream() {
    let mut store = store();
    let append_first = append("order-1", Expectation::Any, &[1]);
    let first = apply(&mut store, &append_first);
    change(&mut store, 99, ChangeKind::Tombstone);
    assert_eq!(apply(&mut store, &append_first), again(&first));
    let stream = StreamName::new("order-1").expect("a name");
    let mut other = append("bill-1", Expectation::Any, &[2]);
    let events = append("x", Expectation::Any, &[3]).writes.remove(0).events;
    other.writes.push(Write { stream: stream.clone(), expectation: exactly(9), events });
    let closed = Verdict::Rejected(Rejection::StreamClosed(stream));
    assert_eq!(apply(&mut store, &other), closed);
    let early = |append| store.reader().prejudge(append).expect("judges");
    assert_eq!(early(&other), Prejudged::Answer(closed));
    assert_eq!(early(&append_first), Prejudged::Answer(again(&first)));
}

#[test]
fn a_replica_with_another_outcome_has_another_digest_from_there_on() {
    let (mut sound, mut odd) = (store(), store());
    for id in 1..20 {
        let append = append(&format!("order-{}", id % 3), Expectation::Any, &[id]);
        apply(&mut sound, &append);
        put_back((id == 10).then_some(Defect::FlippedOutcome));
        apply(&mut odd, &append);
        assert_eq!(sound.point.digest == odd.point.digest, id < 10, "{id}");
    }
}

#[test]
fn numbers_that_no_log_reaches_are_judged_like_any_others() {
    let mut store = store();
    let farthest = append("order-1", Expectation::Exactly(Version(u64::MAX)), &[1]);
    let verdict = apply(&mut store, &farthest);
    assert!(matches!(verdict, Verdict::Rejected(Rejection::Conflict { .. })), "{verdict:?}");
    let condition = Condition { query: Query::everything(), after: Position(u64::MAX) };
    let mut never = append("order-1", Expectation::Any, &[2]);
    never.conditions.push(condition);
    assert!(matches!(apply(&mut store, &never), Verdict::Appended(_)));
}
