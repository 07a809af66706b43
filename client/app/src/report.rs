//! The reports of a projection or a process manager: it reports its progress to the cluster, beside its work.

use std::sync::Arc;
use std::time::Duration;

use quorate_client::{Position, REPORTED_EVERY, RunnerKind, RunnerReport, RunnerState};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};
use uuid::Uuid;

use crate::source::EventSource;
use crate::status::{State, Status};

/// The shortest time between two reports, however often the state changes; only the last one comes at once.
const GAP: Duration = Duration::from_millis(250);
/// The longest wait for the last report of a runner that ends.
const LAST_WORD_WITHIN: Duration = Duration::from_millis(500);

/// The reports of one start, sent by a task of their own, which ends when the runner does. A report that fails is no
/// error of the runner.
#[derive(Debug)]
pub(crate) struct Reports(JoinHandle<()>);

impl Reports {
    /// Begins to report a runner's status.
    pub(crate) fn begin<E: EventSource>(
        source: Arc<E>,
        kind: RunnerKind,
        name: String,
        status: watch::Receiver<Status>,
    ) -> Reports {
        let (instance, place) = (new_instance(), place());
        let runner = Runner { kind, name, instance, place, began: Instant::now() };
        Reports(tokio::spawn(send_reports(source, runner, status)))
    }

    /// Waits, for a moment, until the cluster knows how the runner ended: its process may be about to end.
    pub(crate) async fn last_word(self) {
        // A failure changes nothing: the runner has ended either way.
        let _ = timeout(LAST_WORD_WITHIN, self.0).await;
    }
}

/// The part that is the same in all reports of one start.
struct Runner {
    kind: RunnerKind,
    name: String,
    instance: Uuid,
    place: String,
    began: Instant,
}

async fn send_reports<E: EventSource>(
    source: Arc<E>,
    runner: Runner,
    mut status: watch::Receiver<Status>,
) {
    for number in 1.. {
        // Checked first: the status of a runner that is gone does not change any more.
        let is_gone = status.has_changed().is_err();
        let now = status.borrow_and_update().clone();
        let report = runner.report(number, &now, is_gone);
        let has_ended = report.state.has_ended();
        if let Err(problem) = source.report(report).await {
            tracing::debug!(runner = runner.name, %problem, "the cluster took no report of how far it is");
        }
        if has_ended {
            return;
        }
        let has_ended = |then: &Status| state(&then.state).0.has_ended();
        drop(timeout(GAP, status.wait_for(has_ended)).await);
        let differs = |then: &Status| then.state != now.state || then.rebuilds != now.rebuilds;
        drop(timeout(REPORTED_EVERY - GAP, status.wait_for(differs)).await);
    }
}

impl Runner {
    fn report(&self, number: u64, now: &Status, is_gone: bool) -> RunnerReport {
        let (state, error) = match state(&now.state) {
            (state, _) if is_gone && !state.has_ended() => (RunnerState::Stopped, ""),
            known => known,
        };
        RunnerReport {
            kind: self.kind,
            name: self.name.clone(),
            instance: self.instance,
            place: self.place.clone(),
            number,
            state,
            rebuilds: now.rebuilds,
            error: error.to_owned(),
            position: (now.partitions > 0).then_some(Position(now.position)),
            partitions: now.partitions.max(1),
            handled: now.applied,
            parked: now.parked,
            running: self.began.elapsed(),
        }
    }
}

/// Returns the state on the wire, and the error.
fn state(state: &State) -> (RunnerState, &str) {
    match state {
        State::Starting => (RunnerState::Starting, ""),
        State::StandingBy => (RunnerState::StandingBy, ""),
        State::CatchingUp => (RunnerState::CatchingUp, ""),
        State::Live => (RunnerState::Live, ""),
        State::Retrying(why) => (RunnerState::Retrying, why),
        State::Stopped => (RunnerState::Stopped, ""),
        State::Failed(why) => (RunnerState::Failed, why),
    }
}

/// Returns a random id for this start. Randomness is banned only in code whose runs the simulation must repeat.
#[allow(clippy::disallowed_methods)]
fn new_instance() -> Uuid {
    Uuid::now_v7()
}

/// Returns the process and its machine, in the form that a person looks for.
fn place() -> String {
    let process = std::process::id();
    #[cfg(unix)]
    let place = {
        let system = rustix::system::uname();
        format!("process {process} on {}", system.nodename().to_string_lossy())
    };
    #[cfg(not(unix))]
    let place = format!("process {process}");
    place
}

#[cfg(test)]
mod tests {
    use std::sync::{Mutex, PoisonError};

    use quorate_client::{ErrorKind, Outcome, Problem, Query, RecordedEvent, Subscription};

    use super::*;
    use crate::status::Board;

    /// A cluster that notes the reports that it gets, and refuses them.
    #[derive(Default)]
    struct Deaf(Mutex<Vec<RunnerReport>>);

    impl Deaf {
        fn received(&self) -> Vec<RunnerReport> {
            self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
        }

        fn states(&self) -> Vec<RunnerState> {
            self.received().iter().map(|report| report.state).collect()
        }
    }

    fn refused() -> Problem {
        Problem::new(ErrorKind::Unavailable, Outcome::NotAppended, "a test says so")
    }

    impl EventSource for Deaf {
        type Subscription = Subscription;

        fn follow(&self, _: &Query, _: u64) -> Subscription {
            unreachable!("nothing is followed here")
        }

        async fn cluster(&self) -> Result<String, Problem> {
            Err(refused())
        }

        async fn head(&self) -> Result<u64, Problem> {
            Err(refused())
        }

        async fn event(&self, _: &str, _: u64) -> Result<Option<RecordedEvent>, Problem> {
            Err(refused())
        }

        async fn report(&self, report: RunnerReport) -> Result<(), Problem> {
            self.0.lock().unwrap_or_else(PoisonError::into_inner).push(report);
            Err(refused())
        }
    }

    fn begin(source: &Arc<Deaf>, board: &Board) -> Reports {
        let (source, name) = (Arc::clone(source), "orders".to_owned());
        Reports::begin(source, RunnerKind::Projection, name, board.watch())
    }

    #[tokio::test(start_paused = true)]
    async fn changes_of_state_are_reported_soon_and_nothing_new_every_five_seconds() {
        let (source, board) = (Arc::new(Deaf::default()), Board::new());
        let reports = begin(&source, &board);
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert_eq!(source.states(), [RunnerState::Starting]);
        board.go_on(&[7, 4]);
        board.caught_up(4);
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert_eq!(source.states(), [RunnerState::Starting, RunnerState::Live]);
        for position in 5..500 {
            board.moved(1, position, 1);
        }
        tokio::time::sleep(Duration::from_secs(10)).await;
        let received = source.received();
        assert_eq!(received.len(), 4, "a position alone is no change of state");
        let [first, .., last] = &received[..] else { panic!("four") };
        assert_eq!((first.position, last.position), (None, Some(Position(7))));
        assert_eq!((last.partitions, last.handled, last.number), (2, 495, 4));
        assert_eq!(last.instance, first.instance);
        assert!(last.running >= Duration::from_secs(10) && last.place.starts_with("process "));

        board.enter(State::Failed("oh no".to_owned()));
        reports.last_word().await;
        let received = source.received();
        let last = received.last().expect("a report");
        assert_eq!((last.state, last.error.as_str()), (RunnerState::Failed, "oh no"));
        tokio::time::sleep(Duration::from_secs(60)).await;
        assert_eq!(source.received().len(), received.len(), "it has ended");
    }

    #[tokio::test(start_paused = true)]
    async fn states_that_change_all_the_time_are_reported_four_times_a_second() {
        let (source, board) = (Arc::new(Deaf::default()), Board::new());
        let reports = begin(&source, &board);
        for attempt in 0..1_000 {
            board.enter(State::Retrying(attempt.to_string()));
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        board.enter(State::Stopped);
        reports.last_word().await;
        let states = source.states();
        assert!(states.len() <= 6, "{states:?}");
        assert_eq!(states.last(), Some(&RunnerState::Stopped));
    }

    #[tokio::test(start_paused = true)]
    async fn a_runner_that_was_dropped_is_reported_as_stopped() {
        let (source, board) = (Arc::new(Deaf::default()), Board::new());
        let reports = begin(&source, &board);
        board.go_on(&[3]);
        drop(board);
        reports.last_word().await;
        assert_eq!(source.states().last(), Some(&RunnerState::Stopped));
    }
}
