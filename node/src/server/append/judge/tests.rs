//! Tests of the judge with a log whose judgements are given by the test.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use quorate_proto::{
    Appended, Condition, ErrorKind, Event, EventId, EventType, Expectation, Outcome, Query,
    StreamName, Term, Timestamp, Version, Violation,
};
use quorate_store::command::{checked, encode_append};
use quorate_store::{Rejection, Verdict};
use tokio::sync::mpsc;

use super::super::answer::Applied;
use super::super::deadline::Due;
use super::super::proposal::EncodedRequest;
use super::super::reply::Reply;
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
    fn prejudge_in_memory(&self, _: &Append) -> Option<Prejudged> {
        None
    }

    fn prejudge_request_in_memory(&self, _: &Bytes) -> Option<Prejudged> {
        None
    }

    async fn prejudge(&self, _: Arc<Append>) -> Result<Prejudged, Problem> {
        Ok(self.checks.lock().expect("no panic").pop_front().expect("a check too many"))
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

/// Judges the append, and answers its proposals in turn; returns its answer and the proposed requests.
async fn carry_until(
    log: Fake,
    leader_term: &LeaderTerm,
    deadline: Instant,
    verdicts: Vec<Answer>,
) -> (Answer, Vec<Bytes>, Fake) {
    let (queue, mut waiting) = mpsc::unbounded_channel();
    let judge = Judge::new(log, queue);
    let (reply, answer) = Reply::channel(None);
    let (_, proposal) = EncodedRequest::from(append()).propose(due(deadline), reply);
    let carrying = judge.carry(leader_term, append(), proposal);
    let answering = async {
        let mut proposed = Vec::new();
        for verdict in verdicts {
            let (_, proposal) = waiting.recv().await.expect("something is proposed");
            proposed.push(proposal.encoded);
            proposal.reply.answer(verdict);
        }
        proposed
    };
    let ((), proposed) = tokio::join!(carrying, answering);
    assert!(waiting.try_recv().is_err(), "something was proposed too often");
    (answer.await.expect("it is answered"), proposed, judge.log)
}

async fn carry(log: Fake, verdicts: Vec<Answer>) -> (Answer, Vec<Bytes>, Fake) {
    carry_until(log, &LeaderTerm::new(Term(3)), far(), verdicts).await
}

async fn answer_in(log: Fake, leader_term: &LeaderTerm) -> Answer {
    carry_until(log, leader_term, far(), Vec::new()).await.0
}

fn due(deadline: Instant) -> Due {
    Due { came: Instant::now(), deadline, expires_alone: false }
}

fn far() -> Instant {
    Instant::now() + Duration::from_secs(3600)
}

fn holds(through: u64) -> Prejudged {
    Prejudged::Propose { checked: Position(through) }
}

fn violated() -> Problem {
    let violation = Violation { condition: 0, position: Position(4) };
    Problem::conflict(Vec::new(), vec![violation])
}

fn done() -> Answer {
    Answer::Applied(Applied::Appended(appended()))
}

fn appended() -> Appended {
    Appended {
        versions: vec![Version(1)],
        first_position: Position(9),
        last_position: Position(9),
        recorded_at: Timestamp(7),
    }
}

fn through(position: u64) -> Bytes {
    checked(&encode_append(&append()), Position(position))
}

#[tokio::test]
async fn what_holds_is_proposed_with_the_position_it_holds_through() {
    let (answer, proposed, log) = carry(log([holds(8)]), vec![done()]).await;
    assert_eq!(answer, done());
    assert_eq!(proposed, [through(8)]);
    assert_eq!(*log.caught_up.lock().expect("no panic"), 0, "no round is needed for that");
}

#[tokio::test]
async fn a_check_that_is_too_old_when_it_is_its_turn_is_made_again_and_never_answered() {
    let log = log([8, 80, 800].map(holds));
    let too_old = || Answer::from(Verdict::Rejected(Rejection::CheckTooOld));
    let (answer, proposed, _) = carry(log, vec![too_old(), too_old(), done()]).await;
    assert_eq!(answer, done());
    assert_eq!(proposed, [8, 80, 800].map(through));
}

#[tokio::test]
async fn a_violation_is_refused_without_being_proposed_once_the_end_of_the_log_was_seen() {
    let log = log([Prejudged::Violated(violated()), Prejudged::Violated(violated())]);
    let (answer, _, log) = carry(log, Vec::new()).await;
    assert_eq!(answer, Answer::Rejected(violated()));
    assert_eq!(*log.caught_up.lock().expect("no panic"), 1);
}

#[tokio::test]
async fn what_shows_at_the_end_of_the_log_counts_and_not_the_violation_seen_before() {
    let repeated = Prejudged::Answer(Verdict::Repeated(appended()));
    let log_with_the_first_attempt = log([Prejudged::Violated(violated()), repeated]);
    assert_eq!(carry(log_with_the_first_attempt, Vec::new()).await.0, done());

    let truncated_meanwhile = log([Prejudged::Violated(violated()), holds(9)]);
    let (answer, proposed, _) = carry(truncated_meanwhile, vec![done()]).await;
    assert_eq!((answer, proposed), (done(), vec![through(9)]));
}

#[tokio::test]
async fn a_violation_is_nobodys_answer_where_the_end_of_the_log_cannot_be_seen() {
    let lost = Some(ProposeError::Unavailable);
    let log = Fake { lost, ..log([Prejudged::Violated(violated())]) };
    match carry(log, Vec::new()).await.0 {
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
async fn nothing_is_checked_or_proposed_for_a_session_that_is_over() {
    let leader_term = LeaderTerm::new(Term(3));
    leader_term.end();
    match answer_in(log([]), &leader_term).await {
        Answer::Lost(problem) => assert_eq!(problem.outcome, Outcome::NotAppended),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn without_room_it_is_refused_and_with_room_again_the_session_ends() {
    let leader_term = LeaderTerm::new(Term(3));
    let full = Fake { is_full: true, ..log([holds(8)]) };
    assert_eq!(answer_in(full, &leader_term).await, Answer::NoRoom);
    assert!(!leader_term.has_ended(), "what makes room would be refused too");
    match answer_in(log([holds(8)]), &leader_term).await {
        Answer::Lost(problem) => assert_eq!(problem.outcome, Outcome::NotAppended),
        other => panic!("{other:?}"),
    }
}

#[tokio::test(start_paused = true)]
async fn no_check_begins_when_its_deadline_has_passed() {
    let leader_term = LeaderTerm::new(Term(3));
    let expired = Answer::Lost(problem::expired());
    let late = carry_until(log([]), &leader_term, Instant::now(), Vec::new()).await.0;
    assert_eq!(late, expired);

    let (queue, _waiting) = mpsc::unbounded_channel();
    let judge = Judge::new(log([]), queue);
    let _taken = judge.permits.acquire_many(CHECKS_MAX as u32).await.expect("all permits");
    let (reply, answer) = Reply::channel(None);
    let (_, proposal) = EncodedRequest::from(append()).propose(due(far()), reply);
    judge.carry(&leader_term, append(), proposal).await;
    assert_eq!(answer.await.expect("it is answered"), expired);
}
