//! Tests of conditions with a log whose checks are given by the test.

use std::collections::VecDeque;
use std::sync::Mutex;
use std::time::Duration;

use quorate_proto::{
    Appended, Condition, ErrorKind, Event, EventId, EventType, Expectation, Query, StreamName,
    Term, Timestamp, Version, Violation,
};
use quorate_store::command::encode_append;
use quorate_store::{Rejection, Verdict};

use super::*;

#[derive(Default)]
struct Fake {
    checks: Mutex<VecDeque<Prejudged>>,
    /// The error of catching up.
    lost: Option<ProposeError>,
    is_full: bool,
    caught_up: Mutex<u32>,
}

impl Log for Fake {
    async fn prejudge(&self, _: Arc<Append>) -> Result<Prejudged, Problem> {
        Ok(self.checks.lock().expect("no panic").pop_front().expect("a look too many"))
    }

    fn has_room(&self) -> bool {
        !self.is_full
    }

    async fn catch_up(&self, _: Instant) -> Result<(), Problem> {
        *self.caught_up.lock().expect("no panic") += 1;
        self.lost.map_or(Ok(()), |lost| Err(problem::of_lost_read(lost)))
    }
}

fn log(checks: impl IntoIterator<Item = Prejudged>) -> Fake {
    Fake { checks: Mutex::new(checks.into_iter().collect()), ..Fake::default() }
}

fn append() -> Append {
    let id = EventId::from_bytes([7; 16]).expect("an id");
    let event = Event::new(id, EventType::new("Enrolled").expect("a type"), "");
    let stream = StreamName::new("enrolment-1").expect("a name");
    let condition = Condition { query: Query::everything(), after: Position(3) };
    Append { conditions: vec![condition], ..Append::to(stream, Expectation::Any, vec![event]) }
}

fn conditional(leader_term: &LeaderTerm) -> Conditional {
    let append = append();
    let encoded = encode_append(&append);
    let deadline = Instant::now() + Duration::from_secs(3600);
    let permits = Arc::new(Semaphore::new(1));
    Conditional {
        append: Arc::new(append),
        encoded,
        deadline,
        leader_term: leader_term.clone(),
        permits,
    }
}

fn holds(through: u64) -> Prejudged {
    Prejudged::Propose { checked: Position(through) }
}

fn violated() -> Problem {
    let violation = Violation { condition: 0, position: Position(4) };
    Problem::conflict(Vec::new(), vec![violation])
}

fn appended() -> Appended {
    Appended {
        versions: vec![Version(1)],
        first_position: Position(9),
        last_position: Position(9),
        recorded_at: Timestamp(7),
    }
}

/// Answers the proposals in turn; returns the final answer and the proposed requests.
async fn carry(log: &Fake, verdicts: Vec<Answer>) -> (Answer, Vec<Bytes>) {
    let (queue, mut waiting) = mpsc::unbounded_channel::<Pending>();
    let carrying = conditional(&LeaderTerm::new(Term(3))).carry(log, &queue);
    let answering = async {
        let mut proposed = Vec::new();
        for verdict in verdicts {
            let pending = waiting.recv().await.expect("something is proposed");
            proposed.push(pending.encoded);
            pending.reply.answer(verdict);
        }
        proposed
    };
    let (answer, proposed) = tokio::join!(carrying, answering);
    assert!(waiting.try_recv().is_err(), "something was proposed too often");
    (answer, proposed)
}

fn through(position: u64) -> Bytes {
    checked(&encode_append(&append()), Position(position))
}

#[tokio::test]
async fn what_holds_is_proposed_with_the_position_it_holds_through() {
    let log = log([holds(8)]);
    let (answer, proposed) = carry(&log, vec![Answer::Appended(appended())]).await;
    assert_eq!(answer, Answer::Appended(appended()));
    assert_eq!(proposed, [through(8)]);
    assert_eq!(*log.caught_up.lock().expect("no panic"), 0, "no round is needed for that");
}

#[tokio::test]
async fn a_look_that_is_too_old_when_it_is_its_turn_is_taken_again_and_never_told() {
    let log = log([8, 80, 800].map(holds));
    let too_old = || Answer::from(Verdict::Rejected(Rejection::CheckTooOld));
    let verdicts = vec![too_old(), too_old(), Answer::Appended(appended())];
    let (answer, proposed) = carry(&log, verdicts).await;
    assert_eq!(answer, Answer::Appended(appended()));
    assert_eq!(proposed, [8, 80, 800].map(through));
}

#[tokio::test]
async fn a_violation_is_refused_without_being_proposed_once_the_end_of_the_log_was_seen() {
    let log = log([Prejudged::Violated(violated()), Prejudged::Violated(violated())]);
    let (answer, _) = carry(&log, Vec::new()).await;
    assert_eq!(answer, Answer::Rejected(violated()));
    assert_eq!(*log.caught_up.lock().expect("no panic"), 1);
}

#[tokio::test]
async fn what_shows_at_the_end_of_the_log_counts_and_not_the_violation_seen_before() {
    let repeated = Answer::Appended(appended());
    let log_with_the_first_attempt =
        log([Prejudged::Violated(violated()), Prejudged::Answer(Verdict::Repeated(appended()))]);
    assert_eq!(carry(&log_with_the_first_attempt, Vec::new()).await.0, repeated);

    let truncated_meanwhile = log([Prejudged::Violated(violated()), holds(9)]);
    let (answer, proposed) = carry(&truncated_meanwhile, vec![repeated.clone()]).await;
    assert_eq!((answer, proposed), (repeated, vec![through(9)]));
}

#[tokio::test]
async fn a_violation_is_nobodys_answer_where_the_end_of_the_log_cannot_be_seen() {
    let log =
        Fake { lost: Some(ProposeError::Unavailable), ..log([Prejudged::Violated(violated())]) };
    match carry(&log, Vec::new()).await.0 {
        Answer::Lost(problem) => {
            assert_eq!(
                (problem.kind, problem.outcome),
                (ErrorKind::Unavailable, Outcome::NotAppended)
            );
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn nothing_is_looked_at_or_proposed_for_a_session_that_is_over() {
    let leader_term = LeaderTerm::new(Term(3));
    leader_term.end();
    let (queue, _waiting) = mpsc::unbounded_channel();
    match conditional(&leader_term).carry(&log([]), &queue).await {
        Answer::Lost(problem) => assert_eq!(problem.outcome, Outcome::NotAppended),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn without_room_it_is_refused_and_with_room_again_the_session_ends() {
    let leader_term = LeaderTerm::new(Term(3));
    let (queue, _waiting) = mpsc::unbounded_channel();
    let full = Fake { is_full: true, ..log([holds(8)]) };
    assert_eq!(conditional(&leader_term).carry(&full, &queue).await, Answer::NoRoom);
    assert!(!leader_term.has_ended(), "what makes room would be refused too");
    match conditional(&leader_term).carry(&log([holds(8)]), &queue).await {
        Answer::Lost(problem) => assert_eq!(problem.outcome, Outcome::NotAppended),
        other => panic!("{other:?}"),
    }
}

#[tokio::test(start_paused = true)]
async fn no_look_begins_when_its_deadline_has_passed() {
    let leader_term = LeaderTerm::new(Term(3));
    let (queue, _waiting) = mpsc::unbounded_channel();
    let late = Conditional { deadline: Instant::now(), ..conditional(&leader_term) };
    match late.carry(&log([]), &queue).await {
        Answer::Lost(problem) => assert_eq!(problem, problem::expired()),
        other => panic!("{other:?}"),
    }
    let waiting = conditional(&leader_term);
    let _taken = waiting.permits.clone().acquire_owned().await.expect("a place");
    match waiting.carry(&log([]), &queue).await {
        Answer::Lost(problem) => assert_eq!(problem, problem::expired()),
        other => panic!("{other:?}"),
    }
}
