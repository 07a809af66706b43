//! The reads that it takes to judge an append by events of long ago, in a stream of many chunks.

use std::sync::atomic::Ordering;

use quorate_proto::Setting;

use super::*;

/// Returns a store of 200 chunks, all of them before the window. Of each hundred in a row, `share` hold an
/// event of order-1.
fn store_of_many_chunks(share: u8) -> Store {
    let mut store = store();
    for id in 1..=200 {
        let name = if id % 100 < share { "order-1" } else { "bill-1" };
        let mut append = append(name, Expectation::Any, &[id]);
        append.writes[0].events[0].data = Bytes::from_static(&[7; 600]);
        apply(&mut store, &append);
        seal(&mut store);
    }
    assert_eq!(store.view.chunks.len(), 200);
    let last = store.position();
    move_window(&mut store, last);
    store
}

/// Counts the blocks of events and the pieces of the index that `work` looks into.
fn count_pieces<T>(store: &mut Store, work: impl FnOnce(&mut Store) -> T) -> (T, u64) {
    let cache = store.folder.cache.clone();
    let before = cache.requests.load(Ordering::Relaxed);
    let done = work(store);
    (done, cache.requests.load(Ordering::Relaxed) - before)
}

#[test]
fn apply_walks_no_chunks_for_a_failing_none_or_an_old_version_of_a_stream_in_many() {
    for share in [100, 50] {
        let mut store = store_of_many_chunks(share);
        for expectation in [Expectation::None, exactly(0), exactly(9), exactly(15)] {
            let append = append("order-1", expectation, &[201]);
            let (verdict, pieces) = count_pieces(&mut store, |store| apply_alone(store, &append));
            assert!(pieces <= 2, "{expectation:?}: {pieces}, its newest chunk is enough");
            assert!(matches!(verdict, Verdict::Unsettled(_)), "{verdict:?}");
            let settle = |store: &mut Store| store.reader().settle(&append, verdict);
            let (verdict, pieces) = count_pieces(&mut store, settle);
            let is_conflict = matches!(verdict, Ok(Verdict::Rejected(Rejection::Conflict { .. })));
            assert!(is_conflict, "{expectation:?}: {verdict:?}");
            assert!(pieces <= 60, "{share} of 100, {expectation:?}: {pieces} pieces");
        }
    }
}

#[test]
fn what_a_limit_of_long_ago_hides_of_a_stream_in_many_chunks_is_found_in_a_few_of_them() {
    let mut store = store();
    let limit = |store: &mut Store, id: u8, max_count: u64| {
        let max_count = Setting::Put(max_count);
        let kind = ChangeKind::Settings(SettingsChange { max_count, ..Default::default() });
        change(store, id, kind);
    };
    for id in 1..=200 {
        let mut append = append("order-1", Expectation::Any, &[id]);
        append.writes[0].events[0].data = Bytes::from_static(&[7; 600]);
        apply(&mut store, &append);
        seal(&mut store);
        match id {
            10 => limit(&mut store, 201, 3),
            20 => limit(&mut store, 202, 1_000),
            _ => {}
        }
    }
    let order = StreamName::new("order-1").expect("a name");
    let floor = |store: &mut Store| Floors::at(store.point).floor(&store.view, &order);
    let (floor, pieces) = count_pieces(&mut store, floor);
    assert_eq!(floor.expect("reads"), Version(18));
    assert!(pieces <= 60, "{pieces} pieces");
}

#[test]
fn before_it_is_proposed_an_append_is_judged_without_a_look_at_the_disk() {
    let mut store = store_of_many_chunks(100);
    let sent = append("order-1", exactly(200), &[210]);
    let first = apply(&mut store, &sent);
    let early = |store: &mut Store, append: &Append| {
        let judge = |store: &mut Store| store.reader().prejudge_in_memory(append);
        let (early, pieces) = count_pieces(store, judge);
        assert_eq!(pieces, 0, "{append:?}");
        // The encoded request is judged in the same way.
        let request = crate::command::encode_append(append);
        assert_eq!(store.reader().prejudge_request_in_memory(&request), early, "{append:?}");
        early
    };
    for expectation in [Expectation::None, Expectation::Exists, exactly(201), exactly(300)] {
        let append = append("order-1", expectation, &[211]);
        let checked = store.position();
        let propose = Some(Prejudged::Propose { checked });
        assert_eq!(early(&mut store, &append), propose, "{expectation:?}");
    }
    // The stream is above this N by an event that is in the window, and the window does not know this id.
    let conflict = early(&mut store, &append("order-1", exactly(200), &[212]));
    let Some(Prejudged::Answer(conflict)) = conflict else { panic!("{conflict:?}") };
    assert!(matches!(conflict, Verdict::Rejected(Rejection::Conflict { .. })), "{conflict:?}");
    // An append that the window knows, and one that may be older than the window, need a read beside apply.
    let mut old = append("order-1", exactly(3), &[4]);
    old.writes[0].events[0].data = Bytes::from_static(&[7; 600]);
    let mut first_of = |append: &Append| {
        assert_eq!(early(&mut store, append), None);
        store.reader().prejudge(append).expect("judges")
    };
    assert_eq!(first_of(&sent), Prejudged::Answer(again(&first)));
    let answer = first_of(&old);
    let is_first = matches!(&answer, Prejudged::Answer(Verdict::Repeated(old)) if old.versions == [Version(4)]);
    assert!(is_first, "{answer:?}");
}
