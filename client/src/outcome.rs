//! The verdict on one append from the answers and losses of its attempts: appended, rejected or unknown.

use std::time::Duration;

use quorate_proto::{Append, Appended, ErrorKind, Expectation, Invalid, Outcome, Problem};
use tokio::time::Instant;

use crate::append::{AppendError, Done, Unresolved};

/// The rest of an append after a refusal that may pass by itself.
const REST: Duration = Duration::from_millis(50);
/// The shortest time of an attempt, unless the append ends sooner: an attempt that expires on its way to the log ends
/// the session. With less time left there is one attempt, which expires alone.
const ATTEMPT_TIME_MIN: Duration = Duration::from_millis(500);

/// The attempts of one append on the way to its verdict.
///
/// Invariants:
/// - A rejection is reported only if no attempt can be appended any more: none ended unknown, or the rejection holds
///   for ever, or it was given to an attempt that began after all attempts that ended unknown were settled: their
///   deadlines had passed, on every node.
/// - No attempt's deadline is later than `give_up_at`.
#[derive(Clone, Debug)]
pub(crate) struct Attempts {
    give_up_at: Instant,
    /// The time for one attempt: shorter than that for the append, so that a later attempt can still find out how it
    /// ended.
    attempt_time: Duration,
    running: Option<Running>,
    /// The time after which no node can propose an attempt that ended unknown any more.
    settled_at: Option<Instant>,
    last: Option<Problem>,
}

#[derive(Clone, Copy, Debug)]
struct Running {
    began_at: Instant,
    deadline: Instant,
    expires_alone: bool,
}

/// The next step of an append.
#[derive(Debug)]
pub(crate) enum Step {
    /// The append has its verdict.
    Verdict(Verdict),
    /// The append is sent again.
    Again {
        /// The earliest time for that.
        not_before: Instant,
    },
}

/// The end of an append.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It is in the log for good.
    Appended(Appended),
    /// It is not in the log, and will not be.
    Rejected(Problem),
    /// Neither is known. `settled_at` is the time after which no attempt can be appended any more.
    Unknown { problem: Problem, settled_at: Instant },
}

impl Verdict {
    /// Converts the verdict to the caller's result. Takes the append only if it must be handed back.
    pub(crate) fn into_result(self, append: &mut Append) -> Result<Done, AppendError> {
        match self {
            Verdict::Appended(appended) => Ok(appended.into()),
            Verdict::Rejected(problem) => Err(AppendError::rejected(problem, append)),
            Verdict::Unknown { problem, settled_at } => {
                let append = std::mem::take(append);
                Err(Unresolved { append, problem, settled_at }.into())
            }
        }
    }
}

impl Attempts {
    /// Returns the attempts of an append that may take until `give_up_at`. `settled_at` is that of an
    /// [`crate::UnknownAppend`] that is sent again.
    pub(crate) fn new(now: Instant, give_up_at: Instant, settled_at: Option<Instant>) -> Attempts {
        let attempt_time = give_up_at.saturating_duration_since(now) / 3;
        let attempt_time = attempt_time.max(ATTEMPT_TIME_MIN);
        Attempts { give_up_at, attempt_time, running: None, settled_at, last: None }
    }

    /// Begins an attempt. Returns its deadline, after which nothing may be proposed, and whether it expires alone.
    ///
    /// An attempt that expires alone does not end its session, which other appends use. So it must be the only attempt
    /// under way, and no other is made when its session is lost: that one would follow appends that were sent later.
    pub(crate) fn begin(&mut self, now: Instant) -> (Instant, bool) {
        let deadline = self.give_up_at.min(now + self.attempt_time);
        let is_last = self.give_up_at <= now + ATTEMPT_TIME_MIN;
        let expires_alone = is_last && !self.is_unsettled(now);
        self.running = Some(Running { began_at: now, deadline, expires_alone });
        (deadline, expires_alone)
    }

    /// Returns true if an answer says that the running attempt expired alone.
    pub(crate) fn has_expired_alone(&self, answer: &Result<Appended, Problem>) -> bool {
        let expired = |problem: &Problem| {
            problem.kind == ErrorKind::Deadline && problem.outcome == Outcome::NotAppended
        };
        self.running.is_some_and(|running| running.expires_alone)
            && answer.as_ref().is_err_and(expired)
    }

    /// Notes the answer to the running attempt.
    pub(crate) fn answered(
        &mut self,
        now: Instant,
        answer: Result<Appended, Problem>,
    ) -> Option<Step> {
        let has_expired_alone = self.has_expired_alone(&answer);
        let running = self.running.take()?;
        let problem = match answer {
            Ok(appended) => return Some(Step::Verdict(Verdict::Appended(appended))),
            Err(problem) => problem,
        };
        if problem.kind == ErrorKind::Forgotten {
            // A removed event stays removed: no later attempt can learn more.
            let settled_at = self.settled_at.unwrap_or(now);
            return Some(Step::Verdict(Verdict::Unknown { problem, settled_at }));
        }
        if problem.outcome == Outcome::Unknown {
            return Some(self.ended_unknown(now, running, problem));
        }
        if has_expired_alone {
            return Some(Step::Verdict(self.verdict_at_the_end(problem)));
        }
        let settled = self.settled_at.is_none_or(|settled_at| settled_at < running.began_at);
        let is_verdict = problem.is_verdict();
        if is_verdict && (settled || never_becomes_true_again(&problem)) {
            return Some(Step::Verdict(Verdict::Rejected(problem)));
        }
        let not_before = match self.settled_at {
            Some(settled_at) if is_verdict => settled_at + Duration::from_millis(1),
            _ => now + REST,
        };
        Some(self.again(not_before, problem))
    }

    /// Notes that the session ended before the running attempt was answered.
    pub(crate) fn lost(&mut self, now: Instant, problem: &Problem) -> Option<Step> {
        let running = self.running.take()?;
        Some(self.ended_unknown(now, running, problem.clone()))
    }

    /// Returns true if an earlier attempt may still be appended: then a rejection may not be the last word.
    pub(crate) fn is_unsettled(&self, now: Instant) -> bool {
        self.settled_at.is_some_and(|settled_at| now <= settled_at)
    }

    pub(crate) fn is_running(&self) -> bool {
        self.running.is_some()
    }

    /// Returns true if the running attempt should have been answered by now. Nothing is proposed any more after its
    /// deadline, but what was proposed before may still be answered.
    pub(crate) fn is_overdue(&self, now: Instant) -> bool {
        self.running.is_some_and(|running| running.deadline < now)
    }

    /// Returns the verdict if the append's time is up. `trouble` is the reason why there was no session lately.
    pub(crate) fn expired(&mut self, now: Instant, trouble: Option<&Problem>) -> Option<Verdict> {
        if now < self.give_up_at {
            return None;
        }
        if let Some(running) = self.running.take() {
            self.note_unknown(running);
        }
        let problem = self.last.take().or_else(|| trouble.cloned()).unwrap_or_else(|| {
            let message = "no answer came within the deadline";
            Problem::new(ErrorKind::Deadline, Outcome::Unknown, message)
        });
        Some(self.verdict_at_the_end(problem))
    }

    /// Returns the verdict if no further attempt is made.
    fn verdict_at_the_end(&self, problem: Problem) -> Verdict {
        match self.settled_at {
            Some(settled_at) => {
                let problem = Problem { outcome: Outcome::Unknown, ..problem };
                Verdict::Unknown { problem, settled_at }
            }
            None => Verdict::Rejected(Problem { outcome: Outcome::NotAppended, ..problem }),
        }
    }

    /// Returns the verdict on an append that no task works on any more.
    pub(crate) fn abandoned(&mut self) -> Verdict {
        let give_up_at = self.give_up_at;
        self.expired(give_up_at, None).expect("its time is up at that instant")
    }

    fn ended_unknown(&mut self, now: Instant, running: Running, problem: Problem) -> Step {
        self.note_unknown(running);
        if running.expires_alone {
            return Step::Verdict(self.verdict_at_the_end(problem));
        }
        self.again(now, problem)
    }

    /// Notes when an unknown attempt is settled. No node's deadline is later than ours as long as clocks run at the
    /// same rate, but for a thousandth (see `deadline_ms`). The tenth is for a clock that is being set right meanwhile,
    /// and runs too fast or too slow.
    fn note_unknown(&mut self, running: Running) {
        let settled_at = running.deadline + self.attempt_time / 10;
        self.settled_at = self.settled_at.max(Some(settled_at));
    }

    fn again(&mut self, not_before: Instant, problem: Problem) -> Step {
        self.last = Some(problem);
        Step::Again { not_before }
    }
}

/// Returns true if a rejection holds for every later moment too, so that no earlier attempt can be appended after it.
/// None was appended *before* it: the check for repeated appends comes first.
///
/// A violated condition does not hold for ever: the event that violates it may be removed, and then an earlier attempt
/// that is still under way is appended after all. Nor does a condition that begins in the future: the log may come
/// there.
fn never_becomes_true_again(problem: &Problem) -> bool {
    match problem.kind {
        ErrorKind::Invalid => problem.field != Invalid::FUTURE,
        ErrorKind::TooLarge | ErrorKind::StreamClosed => true,
        ErrorKind::Conflict => problem.failures.iter().any(
            |failure| matches!(failure.expected, Expectation::Exactly(version) if failure.actual > version),
        ),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use quorate_proto::{Failure, Position, StreamName, Timestamp, Version, Violation};

    use super::*;

    const WHOLE_MS: u64 = 9_000;
    const ATTEMPT_MS: u64 = WHOLE_MS / 3;
    const SETTLED_MS: u64 = ATTEMPT_MS + ATTEMPT_MS / 10;

    fn conflict(expected: Expectation, actual: u64) -> Problem {
        let stream = StreamName::new("order-1").expect("a name");
        Problem::conflict(vec![Failure { stream, expected, actual: Version(actual) }], Vec::new())
    }

    fn problem(kind: ErrorKind, outcome: Outcome) -> Problem {
        Problem::new(kind, outcome, "a reason")
    }

    fn appended() -> Appended {
        Appended {
            versions: vec![Version(1)],
            first_position: Position(1),
            last_position: Position(1),
            recorded_at: Timestamp(1),
        }
    }

    /// An event in the life of an append, at a millisecond.
    enum Happens {
        Sent,
        Lost,
        Answered(Result<Appended, Problem>),
    }

    /// The expected state after the last event.
    #[derive(Debug, PartialEq)]
    enum Then {
        Appended,
        Rejected,
        Unknown,
        /// The append is sent again, not before this millisecond.
        Again(u64),
    }

    type Case = (&'static str, Vec<(u64, Happens)>, Then);

    fn play(story: Vec<(u64, Happens)>) -> Then {
        let start = Instant::now();
        let at = |millisecond| start + Duration::from_millis(millisecond);
        let mut attempts = Attempts::new(start, at(WHOLE_MS), None);
        let lost = problem(ErrorKind::Unavailable, Outcome::Unknown);
        let mut last = None;
        for (millisecond, happens) in story {
            let now = at(millisecond);
            last = match happens {
                Happens::Sent => {
                    assert!(attempts.begin(now).0 <= at(WHOLE_MS));
                    None
                }
                Happens::Lost => attempts.lost(now, &lost),
                Happens::Answered(answer) => attempts.answered(now, answer),
            };
        }
        match last.expect("the story ends with an answer or a loss") {
            Step::Verdict(Verdict::Appended(_)) => Then::Appended,
            Step::Verdict(Verdict::Rejected(_)) => Then::Rejected,
            Step::Verdict(Verdict::Unknown { .. }) => Then::Unknown,
            Step::Again { not_before } => Then::Again((not_before - start).as_millis() as u64),
        }
    }

    #[test]
    fn answers_and_losses_amount_to_what_the_rules_say() {
        use Happens::{Answered, Lost, Sent};
        let exactly = |version| Expectation::Exactly(Version(version));
        let never = || Answered(Err(conflict(exactly(1), 2)));
        let passing = || Answered(Err(conflict(Expectation::None, 2)));
        let violation = Violation { condition: 0, position: Position(9) };
        let violated = || Answered(Err(Problem::conflict(Vec::new(), vec![violation])));
        let future = || Answered(Err(Invalid::from_the_future(9, "the log ends before").into()));
        let refused = |kind| Answered(Err(problem(kind, Outcome::NotAppended)));
        let unknown = |kind| Answered(Err(problem(kind, Outcome::Unknown)));
        let settled = SETTLED_MS + 1;
        let cases: Vec<Case> = vec![
            ("appended", vec![(0, Sent), (5, Answered(Ok(appended())))], Then::Appended),
            ("a first rejection counts", vec![(0, Sent), (5, passing())], Then::Rejected),
            ("a loss is repeated at once", vec![(0, Sent), (5, Lost)], Then::Again(5)),
            (
                "the answer to a repetition counts",
                vec![(0, Sent), (5, Lost), (9, Sent), (10, Answered(Ok(appended())))],
                Then::Appended,
            ),
            (
                "a rejection for good counts after a loss",
                vec![(0, Sent), (5, Lost), (9, Sent), (10, never())],
                Then::Rejected,
            ),
            (
                "a stream still too low may yet get there",
                vec![(0, Sent), (5, Lost), (9, Sent), (10, Answered(Err(conflict(exactly(2), 1))))],
                Then::Again(settled),
            ),
            (
                "a passing rejection waits for the lost attempt's deadline",
                vec![(0, Sent), (5, Lost), (9, Sent), (10, passing())],
                Then::Again(settled),
            ),
            (
                "the log may come to what is from the future",
                vec![(0, Sent), (5, Lost), (9, Sent), (10, future())],
                Then::Again(settled),
            ),
            (
                "reused ids may be the lost attempt's own rivals",
                vec![(0, Sent), (5, Lost), (9, Sent), (10, refused(ErrorKind::IdReused))],
                Then::Again(settled),
            ),
            (
                "a passing rejection counts of an attempt sent after that deadline",
                vec![(0, Sent), (5, Lost), (settled, Sent), (settled + 9, passing())],
                Then::Rejected,
            ),
            (
                "the latest lost attempt's deadline is what counts",
                vec![
                    (0, Sent),
                    (5, Lost),
                    (1_000, Sent),
                    (1_500, Lost),
                    (settled, Sent),
                    (settled + 9, passing()),
                ],
                Then::Again(1_000 + settled),
            ),
            (
                "a limit holds for ever",
                vec![(0, Sent), (5, Lost), (9, Sent), (10, refused(ErrorKind::TooLarge))],
                Then::Rejected,
            ),
            (
                "a stream is closed for ever",
                vec![(0, Sent), (5, Lost), (9, Sent), (10, refused(ErrorKind::StreamClosed))],
                Then::Rejected,
            ),
            (
                "what violates a condition may be removed before a lost attempt is judged",
                vec![(0, Sent), (5, Lost), (9, Sent), (10, violated())],
                Then::Again(settled),
            ),
            (
                "a violated condition counts of an attempt sent after that deadline",
                vec![(0, Sent), (5, Lost), (settled, Sent), (settled + 9, violated())],
                Then::Rejected,
            ),
            (
                "what is forgotten stays unknown, whoever is asked",
                vec![(0, Sent), (5, Lost), (9, Sent), (10, unknown(ErrorKind::Forgotten))],
                Then::Unknown,
            ),
            (
                "full disks may get room again",
                vec![(0, Sent), (5, refused(ErrorKind::NoSpace))],
                Then::Again(55),
            ),
            (
                "a node's trouble is no verdict",
                vec![(0, Sent), (5, refused(ErrorKind::Overloaded))],
                Then::Again(55),
            ),
            (
                "refused before it was proposed is not unknown",
                vec![(0, Sent), (5, refused(ErrorKind::Unavailable)), (60, Sent), (70, passing())],
                Then::Rejected,
            ),
            (
                "an unknown answer is a loss",
                vec![(0, Sent), (5, unknown(ErrorKind::Deadline)), (9, Sent), (10, passing())],
                Then::Again(settled),
            ),
        ];
        for (name, story, then) in cases {
            assert_eq!(play(story), then, "{name}");
        }
    }

    #[test]
    fn at_the_end_what_was_never_lost_is_rejected_and_all_else_unknown() {
        let start = Instant::now();
        let end = start + Duration::from_millis(WHOLE_MS);
        let mut never_sent = Attempts::new(start, end, None);
        assert!(never_sent.expired(start, None).is_none());
        assert!(matches!(never_sent.expired(end, None), Some(Verdict::Rejected(_))));

        let mut running = Attempts::new(start, end, None);
        running.begin(start);
        let overdue_at = start + Duration::from_millis(ATTEMPT_MS);
        assert!(running.is_overdue(overdue_at + REST) && !running.is_overdue(overdue_at));
        let settled_at = start + Duration::from_millis(SETTLED_MS);
        match running.expired(end, None) {
            Some(Verdict::Unknown { settled_at: returned, problem }) => {
                assert_eq!((returned, problem.outcome), (settled_at, Outcome::Unknown));
            }
            other => panic!("{other:?}"),
        }

        let mut repeated = Attempts::new(start, end, Some(settled_at));
        assert!(matches!(repeated.expired(end, None), Some(Verdict::Unknown { .. })));
    }

    #[test]
    fn an_answer_without_an_attempt_is_ignored() {
        let start = Instant::now();
        let mut attempts = Attempts::new(start, start + REST, None);
        assert!(attempts.answered(start, Ok(appended())).is_none());
    }
}
