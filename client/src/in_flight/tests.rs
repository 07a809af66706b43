//! Tests of appends under way: those that are sent, held back and sent again.

use std::time::Duration;

use quorate_proto::{Event, EventId, EventType, Failure, Position, Timestamp, Version};

use super::*;

type Answer = oneshot::Receiver<Result<Done, AppendError>>;

fn push(in_flight: &mut InFlightAppends, now: Instant, stream: &str) -> Answer {
    push_expecting(in_flight, now, stream, Expectation::Any)
}

fn push_expecting(
    in_flight: &mut InFlightAppends,
    now: Instant,
    stream: &str,
    expectation: Expectation,
) -> Answer {
    push_within(in_flight, now, stream, expectation, Duration::from_secs(9))
}

fn push_within(
    in_flight: &mut InFlightAppends,
    now: Instant,
    stream: &str,
    expectation: Expectation,
    deadline: Duration,
) -> Answer {
    let id = EventId::from_bytes([7; 16]).expect("an id");
    let event = Event::new(id, EventType::new("Made").expect("a type"), "1");
    let stream = StreamName::new(stream).expect("a name");
    let append = Append::to(stream, expectation, vec![event]);
    let attempts = Attempts::new(now, now + deadline, None);
    let (caller, answer) = oneshot::channel();
    in_flight.push(InFlightAppend::new(append, attempts, caller, None));
    answer
}

fn take(in_flight: &mut InFlightAppends, now: Instant) -> Vec<u64> {
    in_flight.take(now, now, usize::MAX).into_iter().map(|append| append.number).collect()
}

fn appended(version: u64) -> Result<Appended, Problem> {
    Ok(Appended {
        versions: vec![Version(version)],
        first_position: Position(version),
        last_position: Position(version),
        recorded_at: Timestamp(0),
    })
}

fn conflict() -> Result<Appended, Problem> {
    let stream = StreamName::new("a").expect("a name");
    let failure = Failure { stream, expected: Expectation::None, actual: Version(1) };
    Err(Problem::conflict(vec![failure], Vec::new()))
}

fn lost() -> Problem {
    Problem::new(ErrorKind::Unavailable, Outcome::Unknown, "lost")
}

#[test]
fn each_append_is_sent_once_and_all_unanswered_ones_again_in_order_after_a_loss() {
    let now = Instant::now();
    let mut in_flight = InFlightAppends::default();
    let mut answers: Vec<Answer> =
        ["a", "b", "a"].iter().map(|name| push(&mut in_flight, now, name)).collect();
    assert_eq!(take(&mut in_flight, now), [1, 2, 3]);
    assert_eq!(take(&mut in_flight, now), [] as [u64; 0]);
    assert!(in_flight.answered(now, 2, appended(1)).is_ok());
    let done = answers[1].try_recv().expect("answered").expect("appended");
    assert_eq!(done.version, Version(1));
    in_flight.lost(now, &lost());
    answers.push(push(&mut in_flight, now, "a"));
    assert_eq!(take(&mut in_flight, now), [1, 3, 4]);
}

#[test]
fn a_resting_append_holds_back_its_own_streams_only() {
    let now = Instant::now();
    let mut in_flight = InFlightAppends::default();
    let mut first = push(&mut in_flight, now, "a");
    take(&mut in_flight, now);
    in_flight.lost(now, &lost());
    take(&mut in_flight, now);
    assert!(in_flight.answered(now, 1, conflict()).is_ok());
    let _rest = [push(&mut in_flight, now, "a"), push(&mut in_flight, now, "b")];
    assert_eq!(take(&mut in_flight, now), [3], "1 rests until its lost attempt is settled");
    let later = now + Duration::from_secs(5);
    assert_eq!(take(&mut in_flight, later), [1, 2]);
    assert!(in_flight.answered(later, 1, conflict()).is_ok());
    assert!(matches!(first.try_recv(), Ok(Err(AppendError::Conflict(_)))));
}

/// An append and one behind it in its stream were both sent again after a loss. The conflict of the first one
/// was not final: sent once more, its expectation was met because the second one had overtaken it.
#[test]
fn after_a_loss_nothing_is_judged_before_an_append_that_may_be_sent_once_more() {
    let now = Instant::now();
    let mut in_flight = InFlightAppends::default();
    let exists = Expectation::Exists;
    let _first = push_expecting(&mut in_flight, now, "a", exists);
    let _rest = [push(&mut in_flight, now, "a"), push(&mut in_flight, now, "b")];
    assert_eq!(take(&mut in_flight, now), [1, 2, 3], "before any loss all go at once");
    in_flight.lost(now, &lost());
    assert_eq!(take(&mut in_flight, now), [1, 3]);
    assert!(take(&mut in_flight, now).is_empty());
    assert!(in_flight.answered(now, 1, conflict()).is_ok());
    assert!(take(&mut in_flight, now).is_empty(), "1 rests, and 2 behind it");
    let later = now + Duration::from_secs(5);
    assert_eq!(take(&mut in_flight, later), [1, 2]);
}

#[test]
fn an_answer_that_is_no_verdict_ends_the_session() {
    let now = Instant::now();
    let mut in_flight = InFlightAppends::default();
    let _answer = push(&mut in_flight, now, "a");
    take(&mut in_flight, now);
    let busy = Problem::new(ErrorKind::Overloaded, Outcome::NotAppended, "busy");
    assert_eq!(in_flight.answered(now, 1, Err(busy.clone())), Err(busy));
}

fn push_hasty(in_flight: &mut InFlightAppends, now: Instant, stream: &str) -> Answer {
    push_within(in_flight, now, stream, Expectation::Any, Duration::from_millis(300))
}

#[test]
fn an_append_that_expires_alone_leaves_the_session_to_the_appends_behind_it() {
    let now = Instant::now();
    let mut in_flight = InFlightAppends::default();
    let mut hasty = push_hasty(&mut in_flight, now, "a");
    let mut behind = push(&mut in_flight, now, "a");
    let sent = in_flight.take(now, now, usize::MAX);
    assert!(sent[0].expires_alone && !sent[1].expires_alone);
    let late = Problem::new(ErrorKind::Deadline, Outcome::NotAppended, "late");
    assert_eq!(in_flight.answered(now, 1, Err(late.clone())), Ok(()));
    assert!(matches!(hasty.try_recv(), Ok(Err(AppendError::Rejected(_)))));
    assert_eq!(in_flight.answered(now, 1, Err(late)), Ok(()), "it is not sent again");
    assert_eq!(in_flight.answered(now, 2, appended(1)), Ok(()));
    assert_eq!(behind.try_recv().expect("answered").expect("appended").version, Version(1));
}

/// The appends behind it may be in the log when its session is lost: sent again, it would come after them.
#[test]
fn an_append_that_may_have_expired_alone_is_not_sent_again_when_its_session_is_lost() {
    let now = Instant::now();
    let mut in_flight = InFlightAppends::default();
    let mut hasty = push_hasty(&mut in_flight, now, "a");
    let _behind = push(&mut in_flight, now, "a");
    assert_eq!(take(&mut in_flight, now), [1, 2]);
    in_flight.lost(now, &lost());
    assert!(matches!(hasty.try_recv(), Ok(Err(AppendError::Unknown(_)))));
    assert_eq!(take(&mut in_flight, now), [2]);
    // It is sent again after a node refused it and proposed nothing behind it.
    let _again = push_hasty(&mut in_flight, now, "b");
    assert_eq!(take(&mut in_flight, now), [3]);
    let busy = Problem::new(ErrorKind::Overloaded, Outcome::NotAppended, "busy");
    assert_eq!(in_flight.answered(now, 3, Err(busy.clone())), Err(busy.clone()));
    in_flight.lost(now, &busy);
    assert!(take(&mut in_flight, now + Duration::from_millis(100)).contains(&3));
}

#[test]
fn a_session_that_does_not_answer_is_given_up_and_in_the_end_so_is_the_append() {
    let now = Instant::now();
    let mut in_flight = InFlightAppends::default();
    let mut answer = push(&mut in_flight, now, "a");
    take(&mut in_flight, now);
    assert!(in_flight.tick(now).is_ok());
    let overdue = now + Duration::from_secs(4);
    let problem = in_flight.tick(overdue).expect_err("overdue");
    in_flight.lost(overdue, &problem);
    assert!(in_flight.tick(now + Duration::from_secs(9)).is_ok() && in_flight.is_empty());
    assert!(matches!(answer.try_recv(), Ok(Err(AppendError::Unknown(_)))));
}

/// An overdue append with a short deadline once ended the session of all callers.
#[test]
fn an_append_that_is_overdue_leaves_the_session_to_the_others_while_they_are_answered() {
    let now = Instant::now();
    let mut in_flight = InFlightAppends::default();
    let mut hasty = push(&mut in_flight, now, "a");
    let mut behind = push(&mut in_flight, now, "a");
    take(&mut in_flight, now);
    let second = Duration::from_secs(1);
    for number in 3..=8 {
        let _other = push(&mut in_flight, now, "b");
        let at = now + second * (number as u32 - 2);
        assert_eq!(take(&mut in_flight, at), [number], "what is overdue is not sent twice");
        assert!(in_flight.tick(at).is_ok());
        assert!(in_flight.answered(at, number, appended(number)).is_ok());
    }
    let at = now + second * 7;
    assert!(in_flight.answered(at, 1, appended(1)).is_ok());
    assert_eq!(hasty.try_recv().expect("answered").expect("it came late").version, Version(1));
    assert!(in_flight.tick(now + second * 9).is_err(), "silent for two seconds");
    assert!(matches!(behind.try_recv(), Ok(Err(AppendError::Unknown(_)))));
}

#[test]
fn a_session_is_given_up_although_what_it_owed_has_run_out_of_time() {
    let now = Instant::now();
    let mut in_flight = InFlightAppends::default();
    let _first = push(&mut in_flight, now, "a");
    take(&mut in_flight, now);
    let end = now + Duration::from_secs(9);
    assert!(in_flight.tick(now + Duration::from_secs(1)).is_ok(), "it is not overdue yet");
    assert!(in_flight.tick(end).is_err() && in_flight.is_empty());
}

#[test]
fn a_caller_is_answered_even_if_nobody_works_on_its_append_any_more() {
    let now = Instant::now();
    let mut in_flight = InFlightAppends::default();
    let mut unsent = push(&mut in_flight, now, "a");
    take(&mut in_flight, now);
    let mut sent = unsent;
    unsent = push(&mut in_flight, now, "b");
    drop(in_flight);
    assert!(matches!(sent.try_recv(), Ok(Err(AppendError::Unknown(_)))));
    assert!(matches!(unsent.try_recv(), Ok(Err(AppendError::Rejected(_)))));
}

#[test]
fn deadlines_are_counted_from_the_first_message_of_the_session() {
    let since = Instant::now();
    let now = since + Duration::from_secs(20);
    let mut in_flight = InFlightAppends::default();
    let _answer = push(&mut in_flight, now, "a");
    assert!(!in_flight.has_sent());
    let appends = in_flight.take(now, since, usize::MAX);
    assert_eq!(appends[0].deadline_ms, deadline_ms(Duration::from_secs(20 + 3)));
    assert!(in_flight.has_sent());
}

#[test]
fn one_message_takes_about_as_many_bytes_as_it_is_told() {
    let now = Instant::now();
    let mut in_flight = InFlightAppends::default();
    let _answers: Vec<Answer> = (0..3).map(|_| push(&mut in_flight, now, "a")).collect();
    assert_eq!(in_flight.take(now, now, 1).len(), 1);
    assert_eq!(in_flight.take(now, now, usize::MAX).len(), 2);
}
