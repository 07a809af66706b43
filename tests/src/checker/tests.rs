//! Tests that anomalies are caught and valid histories pass.

use quorate_proto::{
    Append, Consistency, Event, EventId, EventType, Expectation, Failure, Position, Query, Read,
    RecordedEvent, Requirement, StreamName, Timestamp, Version, Write,
};

use super::{Anomaly, Subject, Verdict, check};
use crate::history::{AppendAnswer, History, Operation, ReadAnswer};
use crate::random::Random;

mod life;
mod tiny;

fn stream(name: &str) -> StreamName {
    StreamName::new(name).unwrap()
}

fn event(number: u8) -> Event {
    let id = EventId::from_bytes([number; 16]).unwrap();
    Event::new(id, EventType::new("Noted").unwrap(), vec![number])
}

fn append(name: &str, expectation: Expectation, numbers: &[u8]) -> Append {
    Append::to(stream(name), expectation, numbers.iter().map(|number| event(*number)).collect())
}

fn recorded(position: u64, name: &str, version: u64, number: u8) -> RecordedEvent {
    RecordedEvent {
        position: Position(position),
        stream: stream(name),
        version: Version(version),
        recorded_at: Timestamp(position as i64),
        event: event(number),
    }
}

fn appended(position: u64, version: u64) -> AppendAnswer {
    let recorded_at = Timestamp(position as i64);
    AppendAnswer::Appended {
        versions: vec![Version(version)],
        position: Position(position),
        recorded_at,
    }
}

fn conflict(name: &str, expected: Expectation, actual: u64) -> AppendAnswer {
    let failure = Failure { stream: stream(name), expected, actual: Version(actual) };
    AppendAnswer::Rejected { failures: vec![failure], violations: Vec::new() }
}

fn everything(consistency: Consistency) -> Read {
    Read { consistency, ..Read::query(Query::everything()) }
}

/// Returns the answer of a correct cluster as of a position.
fn seen(log: &[RecordedEvent], read: &Read, as_of: u64) -> ReadAnswer {
    super::Canonical::of(log).unwrap().answer(read, Position(as_of))
}

/// A history written by hand, with given moments.
#[derive(Default)]
struct Script(History);

impl Script {
    fn append(
        mut self,
        times: (u64, u64),
        request: Append,
        answer: Option<AppendAnswer>,
    ) -> Script {
        let answer = answer.map(|answer| (times.1, answer));
        self.0.appends.push(Operation { client: 0, invoked: times.0, request, answer });
        self
    }

    fn read(mut self, times: (u64, u64), request: Read, answer: ReadAnswer) -> Script {
        let answer = Some((times.1, answer));
        self.0.reads.push(Operation { client: 0, invoked: times.0, request, answer });
        self
    }

    fn judge(&self, log: &[RecordedEvent]) -> Result<Verdict, Vec<Anomaly>> {
        check(&self.0, &[log.to_vec(), log.to_vec()])
    }

    fn fault(&self, log: &[RecordedEvent]) -> Anomaly {
        let mut anomalies = self.judge(log).expect_err("something is wrong");
        assert_eq!(anomalies.len(), 1, "{anomalies:?}");
        anomalies.remove(0)
    }
}

const ANY: Expectation = Expectation::Any;
const LINEARIZABLE: Consistency = Consistency::Linearizable;

fn exactly(version: u64) -> Expectation {
    Expectation::Exactly(Version(version))
}

/// Two appends to `a-1`, one after the other.
fn two() -> (Script, Vec<RecordedEvent>) {
    let script = Script::default()
        .append((1, 2), append("a-1", exactly(0), &[1]), Some(appended(1, 1)))
        .append((3, 4), append("a-1", exactly(1), &[2]), Some(appended(2, 2)));
    (script, vec![recorded(1, "a-1", 1, 1), recorded(2, "a-1", 2, 2)])
}

#[test]
fn a_valid_history_passes_and_is_counted() {
    let (script, log) = two();
    let read = everything(LINEARIZABLE);
    let script = script
        .append((5, 6), append("a-1", exactly(1), &[3]), Some(conflict("a-1", exactly(1), 2)))
        .append((7, 0), append("a-1", exactly(9), &[4]), None)
        .read((8, 9), read.clone(), seen(&log, &read, 2));
    let counted = Verdict {
        events: 2,
        acknowledged: 2,
        conflicts: 1,
        resolved_present: 0,
        resolved_absent: 1,
        reads: 1,
        ..Verdict::default()
    };
    assert_eq!(script.judge(&log), Ok(counted));
}

#[test]
fn an_append_over_several_streams_passes() {
    let request = Append {
        writes: vec![
            Write { stream: stream("a-1"), expectation: Expectation::None, events: vec![event(1)] },
            Write { stream: stream("b-1"), expectation: ANY, events: vec![event(2), event(3)] },
        ],
        requirements: vec![Requirement { stream: stream("c-1"), expectation: Expectation::None }],
        ..Append::default()
    };
    let versions = vec![Version(1), Version(2)];
    let (position, recorded_at) = (Position(3), Timestamp(3));
    let answer = AppendAnswer::Appended { versions, position, recorded_at };
    let log = [recorded(1, "a-1", 1, 1), recorded(2, "b-1", 1, 2), recorded(3, "b-1", 2, 3)];
    let script = Script::default().append((1, 2), request, Some(answer));
    assert!(script.judge(&log).is_ok());
    let read = Read::stream(stream("b-1"));
    let torn = script.read((3, 4), read.clone(), seen(&log, &read, 2));
    assert!(
        matches!(torn.fault(&log), Anomaly::WrongRead { read: 0, what } if what.contains("middle"))
    );
}

#[test]
fn a_lost_append_is_caught() {
    let (script, log) = two();
    assert_eq!(script.fault(&log[..1]), Anomaly::LostAppend { append: 1 });
}

#[test]
fn diverging_replicas_are_caught() {
    let (script, log) = two();
    let mut other = log.clone();
    other[1].recorded_at = Timestamp(7);
    let anomalies = check(&script.0, &[log.clone(), log.clone(), other]).unwrap_err();
    assert_eq!(anomalies, [Anomaly::Divergence { replica: 2, position: Position(2) }]);
    let anomalies = check(&script.0, &[log.clone(), log[..1].to_vec()]).unwrap_err();
    assert_eq!(anomalies, [Anomaly::Divergence { replica: 1, position: Position(2) }]);
}

#[test]
fn holes_in_positions_and_versions_are_caught() {
    let (script, log) = two();
    let mut shifted = log.clone();
    shifted[1].position = Position(3);
    assert!(matches!(script.fault(&shifted), Anomaly::Hole { position: Position(2), .. }));
    let mut skipped = log;
    skipped[1].version = Version(3);
    assert!(matches!(script.fault(&skipped), Anomaly::Hole { position: Position(2), .. }));
}

#[test]
fn a_duplicate_is_caught() {
    let (script, mut log) = two();
    log.push(recorded(3, "a-1", 3, 1));
    let positions = [Position(1), Position(3)];
    assert_eq!(script.fault(&log), Anomaly::Duplicate { id: event(1).id, positions });
}

#[test]
fn a_stamp_that_goes_back_is_caught() {
    let (script, mut log) = two();
    log[1].recorded_at = Timestamp(0);
    let due = Anomaly::TimeWentBack { position: Position(2), recorded_at: Timestamp(0) };
    assert_eq!(script.fault(&log), due);
}

#[test]
fn an_event_of_nobody_is_caught() {
    let (script, mut log) = two();
    log.push(recorded(3, "a-1", 3, 9));
    assert_eq!(script.fault(&log), Anomaly::Phantom { position: Position(3) });
}

#[test]
fn half_an_append_is_caught() {
    let script = Script::default().append((1, 0), append("a-1", ANY, &[1, 2]), None);
    let half = [recorded(1, "a-1", 1, 1)];
    let anomalies = script.judge(&half).unwrap_err();
    assert!(matches!(anomalies[0], Anomaly::Torn { append: 0, .. }), "{anomalies:?}");
    let turned = [recorded(1, "a-1", 1, 2), recorded(2, "a-1", 2, 1)];
    let anomalies = script.judge(&turned).unwrap_err();
    assert!(matches!(anomalies[0], Anomaly::Torn { append: 0, .. }), "{anomalies:?}");
    let mut altered = vec![recorded(1, "a-1", 1, 1), recorded(2, "a-1", 2, 2)];
    altered[1].event.schema = 2;
    let anomalies = script.judge(&altered).unwrap_err();
    assert!(matches!(anomalies[0], Anomaly::Torn { append: 0, .. }), "{anomalies:?}");
}

#[test]
fn a_rejected_append_in_the_log_is_caught() {
    let request = append("a-1", exactly(1), &[1]);
    let answer = conflict("a-1", exactly(1), 0);
    let script = Script::default().append((1, 2), request, Some(answer));
    let anomalies = script.judge(&[recorded(1, "a-1", 1, 1)]).unwrap_err();
    let due = Anomaly::RejectedYetPresent { append: 0, position: Position(1) };
    assert_eq!(anomalies[0], due);
}

#[test]
fn two_winners_of_one_race_are_caught() {
    let (script, mut log) = two();
    log.push(recorded(3, "a-1", 3, 3));
    let request = append("a-1", exactly(1), &[3]);
    let script = script.append((3, 6), request, Some(appended(3, 3)));
    let due = Anomaly::DemandNotMet {
        append: 2,
        stream: stream("a-1"),
        expected: exactly(1),
        actual: Version(2),
    };
    assert_eq!(script.fault(&log), due);
}

#[test]
fn an_answer_that_names_the_wrong_place_is_caught() {
    let log = [recorded(1, "a-1", 1, 1)];
    for answer in [appended(2, 1), appended(1, 2), conflict("b-1", ANY, 0)] {
        let script = Script::default().append((1, 2), append("a-1", ANY, &[1]), Some(answer));
        let anomalies = script.judge(&log).unwrap_err();
        let caught = |one: &Anomaly| {
            matches!(one, Anomaly::WrongAnswer { .. } | Anomaly::RejectedYetPresent { .. })
        };
        assert!(anomalies.iter().all(caught), "{anomalies:?}");
    }
}

#[test]
fn a_conflict_that_never_was_is_caught() {
    let (script, log) = two();
    for (expected, actual) in [(exactly(5), 3), (exactly(2), 2), (Expectation::Exists, 1)] {
        let (script, request) = (Script(script.0.clone()), append("a-1", expected, &[3]));
        let script = script.append((5, 6), request, Some(conflict("a-1", expected, actual)));
        let fault = script.fault(&log);
        assert!(matches!(fault, Anomaly::WrongAnswer { append: 2, .. }), "{fault:?}");
    }
}

#[test]
fn a_stale_conflict_is_caught_where_it_does_not_last() {
    let (script, log) = two();
    let stale = |expected: Expectation, actual| {
        let script = Script(script.0.clone());
        let request = append("a-1", expected, &[3]);
        script.append((5, 6), request, Some(conflict("a-1", expected, actual))).judge(&log)
    };
    assert!(stale(exactly(0), 1).is_ok(), "refused for good, whatever came after");
    assert!(stale(exactly(2), 1).is_err(), "the stream was at 2 by then");
    assert!(stale(Expectation::Exists, 0).is_err(), "the stream existed by then");
    assert!(stale(Expectation::None, 1).is_err(), "the stream was at 2 by then");
}

#[test]
fn a_stale_read_is_caught_only_if_it_is_linearizable() {
    let (script, log) = two();
    let read = everything(LINEARIZABLE);
    let stale = Script(script.0.clone()).read((5, 6), read.clone(), seen(&log, &read, 1));
    let due = Anomaly::Stale {
        operation: Subject::Read(0, Position(1)),
        before: Subject::Append(1, Position(2)),
    };
    assert_eq!(stale.fault(&log), due);
    let local = everything(Consistency::Local);
    let stale = Script(script.0.clone()).read((5, 6), local.clone(), seen(&log, &local, 1));
    assert!(stale.judge(&log).is_ok());
    let least = everything(Consistency::AtLeast(Position(2)));
    let stale = script.read((5, 6), least.clone(), seen(&log, &least, 1));
    assert!(matches!(stale.fault(&log), Anomaly::WrongRead { read: 0, .. }));
}

#[test]
fn two_reads_that_disagree_on_the_order_are_caught() {
    let (script, log) = (Script::default(), [recorded(1, "a-1", 1, 1)]);
    let read = everything(LINEARIZABLE);
    let script = script
        .append((1, 9), append("a-1", ANY, &[1]), Some(appended(1, 1)))
        .read((2, 3), read.clone(), seen(&log, &read, 1))
        .read((4, 5), read.clone(), seen(&log, &read, 0));
    let due = Anomaly::Stale {
        operation: Subject::Read(1, Position(0)),
        before: Subject::Read(0, Position(1)),
    };
    assert_eq!(script.fault(&log), due);
}

#[test]
fn a_read_of_what_was_not_yet_written_is_caught_at_any_consistency() {
    let log = [recorded(1, "a-1", 1, 1)];
    for consistency in [LINEARIZABLE, Consistency::Local, Consistency::AtLeast(Position(0))] {
        let read = everything(consistency);
        let script = Script::default().read((1, 2), read.clone(), seen(&log, &read, 1)).append(
            (3, 4),
            append("a-1", ANY, &[1]),
            Some(appended(1, 1)),
        );
        assert!(matches!(script.fault(&log), Anomaly::Stale { .. }));
    }
}

#[test]
fn a_read_of_what_is_gone_later_is_caught() {
    let (script, log) = two();
    let local = everything(Consistency::Local);
    let answer = seen(&log, &local, 2);
    let mut script = script.read((3, 6), local, answer);
    script.0.appends[1].answer = None;
    assert!(script.judge(&log).is_ok());
    assert!(matches!(script.fault(&log[..1]), Anomaly::WrongRead { read: 0, .. }));
}

#[test]
fn a_read_that_skips_repeats_or_reorders_is_caught() {
    let (script, log) = two();
    let read = Read::stream(stream("a-1"));
    let whole = seen(&log, &read, 2);
    let mut wrong: Vec<ReadAnswer> = vec![whole.clone(); 4];
    wrong[0].events.remove(0);
    wrong[1].events.swap(0, 1);
    wrong[2].events.push(log[1].clone());
    wrong[3].version = Some(Version(1));
    for answer in wrong {
        let script = Script(script.0.clone()).read((5, 6), read.clone(), answer);
        assert!(matches!(script.fault(&log), Anomaly::WrongRead { read: 0, .. }));
    }
    assert!(script.read((5, 6), read, whole).judge(&log).is_ok());
}

#[test]
fn a_repeated_append_has_one_effect_within_its_first_and_last_attempt() {
    let (script, log) = two();
    let read = everything(LINEARIZABLE);
    let mut script = script
        .append((5, 6), append("a-1", exactly(1), &[2]), Some(appended(2, 2)))
        .read((5, 6), read.clone(), seen(&log, &read, 2));
    assert!(script.judge(&log).is_ok());
    script.0.appends[1].answer = None;
    let early = everything(LINEARIZABLE);
    let before = seen(&log, &early, 1);
    assert!(script.read((7, 8), early, before).judge(&log).is_err());
}

#[test]
fn a_hundred_thousand_appends_are_judged_at_once() {
    let mut history = History::default();
    let mut log = Vec::new();
    for number in 1..=100_000_u64 {
        let id = EventId::from_bytes(u128::from(number).to_be_bytes()).unwrap();
        let event = Event::new(id, EventType::new("Noted").unwrap(), Vec::new());
        let name = stream(&format!("a-{}", number % 100));
        let request = Append::to(name.clone(), ANY, vec![event.clone()]);
        let begun = history.begin_append(0, request);
        let version = Version((number - 1) / 100 + 1);
        history.end_append(begun, appended(number, version.0));
        let (position, recorded_at) = (Position(number), Timestamp(number as i64));
        log.push(RecordedEvent { position, stream: name, version, recorded_at, event });
    }
    assert_eq!(check(&history, &[log]).unwrap().acknowledged, 100_000);
}
