//! Tests of removed events, conditions and aggregate snapshots.

use quorate_proto::{
    Change, ChangeKind, Condition, Scope, Setting, SettingsChange, Snapshot, Violation,
};

use super::*;

fn change(number: u8, kind: ChangeKind) -> Append {
    let (scope, expectation) = (Scope::Stream(stream("a-1")), ANY);
    Change { scope, expectation, id: event(number).id, kind }.to_append().unwrap()
}

fn keep(count: u64) -> ChangeKind {
    let max_count = Setting::Put(count);
    ChangeKind::Settings(SettingsChange { max_count, ..SettingsChange::default() })
}

/// Two appends to `a-1` and then a change of it, with the log before any event is removed.
fn changed(kind: ChangeKind) -> (Script, Vec<RecordedEvent>) {
    let (script, mut log) = two();
    let request = change(7, kind);
    log.push(RecordedEvent {
        event: request.writes[0].events[0].clone(),
        ..recorded(3, request.writes[0].stream.as_str(), 1, 7)
    });
    (script.append((5, 6), request, Some(appended(3, 1))), log)
}

#[test]
fn what_was_removed_must_be_gone_and_nothing_else() {
    for (kind, gone) in [(ChangeKind::Delete, 2), (keep(1), 1), (keep(2), 0)] {
        let (script, log) = changed(kind);
        let verdict = script.judge(&log[gone..]).unwrap();
        assert_eq!(verdict.removed, gone as u64, "{kind:?}");
        if gone > 0 {
            let fault = script.judge(&log).unwrap_err().remove(0);
            assert_eq!(fault, Anomaly::Undead { position: Position(1) }, "{kind:?}");
        }
        let fault = script.judge(&log[gone + 1..]).unwrap_err().remove(0);
        assert!(
            matches!(fault, Anomaly::Vanished { .. } | Anomaly::LostAppend { .. }),
            "{fault:?}"
        );
    }
}

#[test]
fn a_read_shows_what_was_there_at_its_point() {
    let (script, log) = changed(ChangeKind::Delete);
    let read = Read::stream(stream("a-1"));
    let (before, after) = (seen(&log, &read, 2), seen(&log, &read, 3));
    assert_eq!((before.events.len(), after.events.len()), (2, 0));
    assert_eq!(after.version, Some(Version(2)));
    let reads = script.read((5, 6), read.clone(), before.clone()).read((7, 8), read.clone(), after);
    assert!(reads.judge(&log[2..]).is_ok());
    let stale = reads.read((9, 10), read, before);
    assert!(matches!(stale.fault(&log[2..]), Anomaly::Stale { .. }));
}

#[test]
fn a_deleted_stream_is_empty_and_a_closed_one_is_not_written() {
    for (kind, is_closed) in [(ChangeKind::Delete, false), (ChangeKind::Tombstone, true)] {
        let (script, mut log) = changed(kind);
        log.push(recorded(4, "a-1", 3, 3));
        let request = append("a-1", Expectation::None, &[3]);
        let script = script.append((7, 8), request, Some(appended(4, 3)));
        let judged = script.judge(&log[2..]);
        assert_eq!(judged.is_err(), is_closed, "{judged:?}");
    }
}

#[test]
fn an_append_that_a_condition_forbids_is_caught() {
    let (script, mut log) = two();
    log.push(recorded(3, "b-1", 1, 3));
    for (after, is_wrong) in [(1, true), (2, false)] {
        let mut request = append("b-1", ANY, &[3]);
        request.conditions = vec![Condition { query: Query::everything(), after: Position(after) }];
        let script = Script(script.0.clone()).append((5, 6), request, Some(appended(3, 1)));
        let judged = script.judge(&log);
        let due = Anomaly::ConditionViolated { append: 2, position: Position(2) };
        assert_eq!(judged.err(), is_wrong.then_some(vec![due]));
    }
}

#[test]
fn a_violation_that_is_none_is_caught() {
    let (script, log) = two();
    for (position, is_wrong) in [(1, true), (2, false), (3, true)] {
        let mut request = append("b-1", ANY, &[3]);
        request.conditions = vec![Condition { query: Query::everything(), after: Position(1) }];
        let violations = vec![Violation { condition: 0, position: Position(position) }];
        let answer = AppendAnswer::Rejected { failures: Vec::new(), violations };
        let script = Script(script.0.clone()).append((5, 6), request, Some(answer));
        assert_eq!(script.judge(&log).is_err(), is_wrong, "{position}");
    }
}

#[test]
fn a_snapshot_that_is_too_old_or_of_nobody_is_caught() {
    let snapshot = |version| Snapshot {
        stream: stream("a-1"),
        version: Version(version),
        schema: 1,
        data: vec![7].into(),
    };
    let (mut script, log) = two();
    for (version, times) in [(1, (5, 6)), (2, (7, 8))] {
        let (request, answer) = (snapshot(version), Some((times.1, Version(version))));
        let put = Operation { client: 0, invoked: times.0, request, answer };
        script.0.snapshots.push(put);
    }
    let read = Read { with_snapshot: true, ..Read::stream(stream("a-1")) };
    let other = Snapshot { schema: 2, ..snapshot(2) };
    for (found, is_wrong) in
        [(Some(snapshot(2)), false), (Some(snapshot(1)), true), (None, true), (Some(other), true)]
    {
        let after = found.as_ref().map_or(0, |found| found.version.0);
        let answer = ReadAnswer {
            events: log[after as usize..].to_vec(),
            snapshot: found,
            ..seen(&log, &read, 2)
        };
        let script = Script(script.0.clone()).read((9, 10), read.clone(), answer);
        assert_eq!(script.judge(&log).is_err(), is_wrong);
    }
}
