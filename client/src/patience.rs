//! The patience of a client with nodes that fail: the rests between its attempts, and the end of them.

use std::time::Duration;

use quorate_proto::{ErrorKind, Problem};
use tokio::time::{Instant, sleep_until};

use crate::trouble::{may_help_elsewhere, not_appended};

/// The rest after the second failure in a row.
const REST_MIN: Duration = Duration::from_millis(50);
/// The longest rest of an answer with a deadline.
const REST_MAX: Duration = Duration::from_millis(500);
/// The longest rest of an answer without a deadline.
const REST_MAX_ENDLESS: Duration = Duration::from_secs(2);
/// The number of times that every node may fail in a lasting way before an answer without a deadline ends.
const LASTING_ROUNDS_MAX: usize = 4;

/// The rests after failures in a row: each is twice as long as the one before, up to a longest one.
#[derive(Debug)]
pub(crate) struct Backoff {
    shortest: Duration,
    longest: Duration,
    next: Duration,
}

impl Backoff {
    pub(crate) const fn new(shortest: Duration, longest: Duration) -> Backoff {
        Backoff { shortest, longest, next: shortest }
    }

    /// Returns the rest after one more failure.
    pub(crate) fn failed(&mut self) -> Duration {
        let rest = self.next;
        self.next = (rest * 2).min(self.longest);
        rest
    }

    /// Begins anew with the shortest rest, because something worked.
    pub(crate) fn worked(&mut self) {
        self.next = self.shortest;
    }
}

/// The patience of one answer with the nodes that it is requested from.
///
/// - A failure that any other node would repeat ends the answer at once.
/// - Failures in a row that do not pass by themselves end it when there was one of each node; without a deadline, when
///   there were four of each.
/// - An answer with a deadline ends when it made no progress for that time.
/// - After the first failure another node is asked at once, and after each further one or each round of refusals there
///   is a rest, twice as long as the one before.
/// - Progress makes all failures forgotten. So does the end: a caller that goes on all the same begins anew.
#[derive(Debug)]
pub(crate) struct Patience {
    deadline: Option<Duration>,
    backoff: Backoff,
    /// The time since which there was no progress.
    since: Option<Instant>,
    /// The end of the rest; `None` if nothing failed since the last progress.
    not_before: Option<Instant>,
    /// The number of failures in a row that do not pass by themselves.
    lasting: usize,
}

impl Patience {
    /// Returns the patience of an answer that makes progress within the deadline again and again, or ends.
    pub(crate) fn within(deadline: Duration) -> Patience {
        Patience::new(Some(deadline))
    }

    /// Returns the patience of an answer that may wait for as long as it takes.
    pub(crate) fn endless() -> Patience {
        Patience::new(None)
    }

    fn new(deadline: Option<Duration>) -> Patience {
        let longest = if deadline.is_some() { REST_MAX } else { REST_MAX_ENDLESS };
        let backoff = Backoff::new(REST_MIN, longest);
        Patience { deadline, backoff, since: None, not_before: None, lasting: 0 }
    }

    pub(crate) fn is_endless(&self) -> bool {
        self.deadline.is_none()
    }

    /// Forgets the failures: the answer made progress.
    pub(crate) fn progressed(&mut self) {
        *self = Patience::new(self.deadline);
    }

    /// Notes that a node works on the answer, though nothing has come of that yet.
    pub(crate) fn worked(&mut self) {
        self.since = None;
    }

    /// Notes that a node served the answer for so long: a node that served a while without a deadline worked, and the
    /// failures before are no reason to rest.
    pub(crate) fn served_for(&mut self, time: Duration) {
        if self.is_endless() && time > REST_MAX_ENDLESS {
            self.progressed();
        }
    }

    /// Returns the time at which the answer ends if there is no progress until then.
    pub(crate) fn give_up_at(&mut self) -> Option<Instant> {
        let since = *self.since.get_or_insert_with(Instant::now);
        self.deadline.map(|deadline| since + deadline)
    }

    /// Notes the failure of one of so many nodes. Fails if no node can do better.
    pub(crate) fn failed(&mut self, problem: &Problem, nodes: usize) -> Result<(), Problem> {
        // Only an answer without a deadline waits until a cluster is founded.
        let passes = problem.kind.is_transient()
            || (problem.kind == ErrorKind::NotReady && self.is_endless());
        self.lasting = if passes { 0 } else { self.lasting + 1 };
        let rounds = if self.is_endless() { LASTING_ROUNDS_MAX } else { 1 };
        if !may_help_elsewhere(problem.kind) || self.lasting >= rounds * nodes {
            return Err(self.end(problem));
        }
        Ok(())
    }

    /// Rests longer before the next search. Fails if there is no time for a search after that.
    pub(crate) fn rest_longer(&mut self, last: &Problem) -> Result<(), Problem> {
        let rest = if self.not_before.is_some() { self.backoff.failed() } else { Duration::ZERO };
        let not_before = Instant::now() + rest;
        self.not_before = Some(not_before);
        match self.give_up_at() {
            Some(give_up_at) if give_up_at <= not_before => Err(self.end(last)),
            _ => Ok(()),
        }
    }

    fn end(&mut self, problem: &Problem) -> Problem {
        self.progressed();
        not_appended(problem.clone())
    }

    /// Rests for as long as the failures demand. Cancelling the future does not begin the rest anew.
    pub(crate) async fn rest(&self) {
        if let Some(not_before) = self.not_before {
            sleep_until(not_before).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use quorate_proto::Outcome;

    use super::*;

    fn problem(kind: ErrorKind) -> Problem {
        Problem::new(kind, Outcome::NotAppended, "it failed")
    }

    #[test]
    fn failures_in_a_row_that_do_not_pass_end_an_answer_once_each_node_had_them() {
        use ErrorKind::{Damaged, Invalid, NotReady, Unavailable};
        let bounded = || Patience::within(Duration::from_secs(10));
        for (name, mut patience, kinds, ends) in [
            ("a verdict", bounded(), vec![Invalid], true),
            ("one of two nodes", bounded(), vec![Damaged], false),
            ("each of two nodes", bounded(), vec![Damaged, NotReady], true),
            ("one passes", bounded(), vec![Damaged, Unavailable, Damaged], false),
            ("no cluster yet", Patience::endless(), vec![NotReady; 20], false),
            ("each node seven times", Patience::endless(), vec![Damaged; 7], false),
            ("each node four times", Patience::endless(), vec![Damaged; 8], true),
        ] {
            let mut ended = Ok(());
            for kind in kinds {
                assert_eq!(ended, Ok(()), "{name}");
                ended = patience.failed(&problem(kind), 2);
            }
            assert_eq!(ended.is_err(), ends, "{name}");
        }
    }

    #[tokio::test]
    async fn rests_grow_until_there_is_progress_or_no_time_left() {
        let lost = problem(ErrorKind::Unavailable);
        let mut patience = Patience::within(Duration::from_millis(400));
        for rest_ms in [0, 50, 100, 200] {
            let failed_at = Instant::now();
            assert_eq!(patience.rest_longer(&lost), Ok(()));
            let rest = patience.not_before.map(|until| until.duration_since(failed_at).as_millis());
            assert!(rest.is_some_and(|rest| (rest_ms..rest_ms + 50).contains(&rest)), "{rest:?}");
        }
        assert_eq!(patience.rest_longer(&lost), Err(lost.clone()));
        assert_eq!(patience.rest_longer(&lost), Ok(()), "the end makes a new beginning");
        patience.progressed();
        assert_eq!(patience.not_before, None);
    }
}
