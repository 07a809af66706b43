//! The board of runners: a bounded number of reports that a node received, and the merge of those of several nodes.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::time::Duration;

use quorate_proto::limits::RUNNERS_MAX;
use quorate_proto::{Position, Runner, RunnerKind, RunnerReport, RunnerState};
use tokio::time::Instant;
use uuid::Uuid;

/// A runner that did not report for longer is forgotten …
const FORGOTTEN_AFTER: Duration = Duration::from_secs(24 * 60 * 60);
/// … and one that was stopped, sooner.
const STOPPED_FORGOTTEN_AFTER: Duration = Duration::from_secs(60 * 60);

/// The newest report of each runner that reported to this node.
#[derive(Debug, Default)]
pub(super) struct Board {
    reports: BTreeMap<Uuid, Received>,
}

#[derive(Debug)]
struct Received {
    report: RunnerReport,
    at: Instant,
    /// The newest position of the log on this node at that time.
    last_position: Position,
}

impl Board {
    /// Keeps a report, unless a newer one of its instance came before. If there is no room, it replaces the report
    /// of the runner that did not report for the longest.
    pub(super) fn receive(&mut self, report: RunnerReport, now: Instant, last_position: Position) {
        let before = self.reports.get(&report.instance);
        if before.is_some_and(|before| before.report.number >= report.number) {
            return;
        }
        if before.is_none() && self.reports.len() >= RUNNERS_MAX {
            let longest = self.reports.iter().min_by_key(|(_, received)| received.at);
            if let Some(instance) = longest.map(|(instance, _)| *instance) {
                self.reports.remove(&instance);
            }
        }
        self.reports.insert(report.instance, Received { report, at: now, last_position });
    }

    /// Returns all runners that are not forgotten.
    pub(super) fn runners(&mut self, now: Instant) -> Vec<Runner> {
        self.reports.retain(|_, received| {
            let forgotten_after = match received.report.state {
                RunnerState::Stopped => STOPPED_FORGOTTEN_AFTER,
                _ => FORGOTTEN_AFTER,
            };
            now.saturating_duration_since(received.at) <= forgotten_after
        });
        let runner = |received: &Received| Runner {
            report: received.report.clone(),
            heard_ago: now.saturating_duration_since(received.at),
            last_position: received.last_position,
        };
        self.reports.values().map(runner).collect()
    }
}

/// Merges the runners of several nodes into one list, by name, and counts the runners without room in it.
///
/// If an instance reported to several nodes, its newest report counts. A runner that ended or is silent is left out if
/// one of the same kind and name was started since, which replaces it. A rebuild does not replace the live runner.
pub(super) fn merged(runners: Vec<Runner>) -> (Vec<Runner>, u64) {
    let mut newest: BTreeMap<Uuid, Runner> = BTreeMap::new();
    for runner in runners {
        let is_newer = |known: &Runner| {
            let age = |runner: &Runner| (runner.report.number, Reverse(runner.heard_ago));
            age(&runner) > age(known)
        };
        let instance = runner.report.instance;
        if newest.get(&instance).is_none_or(is_newer) {
            newest.insert(instance, runner);
        }
    }
    let mut starts = Starts::default();
    newest.values().for_each(|runner| starts.count(runner));
    let mut left: Vec<Runner> =
        newest.into_values().filter(|runner| !starts.is_replaced(runner)).collect();
    left.sort_by_key(|runner| runner.heard_ago);
    let left_out = left.len().saturating_sub(RUNNERS_MAX) as u64;
    left.truncate(RUNNERS_MAX);
    left.sort_by(|one, other| order(&one.report).cmp(&order(&other.report)));
    (left, left_out)
}

fn order(report: &RunnerReport) -> (&str, RunnerKind, Uuid) {
    (&report.name, report.kind, report.instance)
}

/// The time since the newest runner of each kind and name was started, with rebuilds apart.
#[derive(Default)]
struct Starts(BTreeMap<(RunnerKind, String, bool), Duration>);

impl Starts {
    fn count(&mut self, Runner { report, heard_ago, .. }: &Runner) {
        let started_ago = heard_ago.saturating_add(report.running);
        let key = (report.kind, report.name.clone(), report.rebuilds);
        let newest = self.0.entry(key).or_insert(Duration::MAX);
        *newest = started_ago.min(*newest);
    }

    fn is_replaced(&self, runner: &Runner) -> bool {
        let Runner { report, heard_ago, .. } = runner;
        let started_since = |rebuilds: bool| {
            let newest = self.0.get(&(report.kind, report.name.clone(), rebuilds));
            newest.is_some_and(|newest| newest < heard_ago)
        };
        let is_over = report.state.has_ended() || runner.is_silent();
        is_over && (started_since(false) || (report.rebuilds && started_since(true)))
    }
}

#[cfg(test)]
mod tests {
    use quorate_proto::SILENT_AFTER;

    use super::*;

    const HERE: Position = Position(7);

    fn report(instance: usize, number: u64) -> RunnerReport {
        RunnerReport {
            kind: RunnerKind::Projection,
            name: "orders".to_owned(),
            instance: Uuid::from_u128(instance as u128 + 1),
            place: String::new(),
            number,
            state: RunnerState::Live,
            rebuilds: false,
            error: String::new(),
            position: None,
            partitions: 1,
            handled: 0,
            parked: 0,
            running: Duration::ZERO,
        }
    }

    fn instances(runners: &[Runner]) -> Vec<u128> {
        runners.iter().map(|runner| runner.report.instance.as_u128() - 1).collect()
    }

    /// Returns a runner that reported `seconds_ago`, when it had run for `running` seconds.
    fn runner(instance: usize, state: RunnerState, seconds_ago: u64, running: u64) -> Runner {
        let running = Duration::from_secs(running);
        let report = RunnerReport { state, running, ..report(instance, 1) };
        Runner { report, heard_ago: Duration::from_secs(seconds_ago), last_position: HERE }
    }

    #[test]
    fn a_thousand_runners_are_stored_and_one_more_replaces_the_one_that_reported_longest_ago() {
        let (mut board, begun) = (Board::default(), Instant::now());
        let at = |second: usize| begun + Duration::from_secs(second as u64);
        for instance in 0..RUNNERS_MAX {
            board.receive(report(instance, 1), at(instance), HERE);
        }
        board.receive(report(0, 2), at(RUNNERS_MAX), HERE);
        let now = at(RUNNERS_MAX + 1);
        for instance in RUNNERS_MAX..RUNNERS_MAX + 3 {
            board.receive(report(instance, 1), now, HERE);
        }
        let stored = instances(&board.runners(now));
        assert_eq!(stored.len(), RUNNERS_MAX);
        assert!(stored.contains(&0), "it reported again");
        assert!((1..=3).all(|gone| !stored.contains(&gone)) && stored.contains(&4));
    }

    #[test]
    fn a_report_that_was_held_up_does_not_undo_a_newer_one() {
        let (mut board, now) = (Board::default(), Instant::now());
        board.receive(RunnerReport { state: RunnerState::Stopped, ..report(0, 3) }, now, HERE);
        board.receive(report(0, 2), now + Duration::from_secs(1), HERE);
        let runners = board.runners(now + Duration::from_secs(2));
        assert_eq!(runners[0].report.state, RunnerState::Stopped);
        assert_eq!(runners[0].heard_ago, Duration::from_secs(2));
    }

    #[test]
    fn a_runner_that_does_not_report_is_shown_as_silent_and_forgotten_after_a_day() {
        let (mut board, now) = (Board::default(), Instant::now());
        board.receive(report(0, 1), now, HERE);
        board.receive(RunnerReport { state: RunnerState::Stopped, ..report(1, 1) }, now, HERE);
        assert!(!board.runners(now + SILENT_AFTER)[0].is_silent());
        let later = now + Duration::from_secs(180);
        let runners = board.runners(later);
        assert!(runners[0].is_silent() && !runners[1].is_silent());
        assert_eq!(runners[0].heard_ago, Duration::from_secs(180));
        assert_eq!(instances(&board.runners(now + STOPPED_FORGOTTEN_AFTER)), [0, 1]);
        let later = now + STOPPED_FORGOTTEN_AFTER + Duration::from_secs(1);
        assert_eq!(instances(&board.runners(later)), [0]);
        let later = now + FORGOTTEN_AFTER + Duration::from_secs(1);
        assert_eq!(instances(&board.runners(later)), [0; 0]);
    }

    #[test]
    fn of_an_instance_that_reported_to_several_nodes_the_newest_report_counts() {
        let numbered = |number, seconds_ago| {
            let report = report(0, number);
            Runner { report, heard_ago: Duration::from_secs(seconds_ago), last_position: HERE }
        };
        let (left, _) = merged(vec![numbered(4, 9), numbered(5, 7), numbered(3, 1)]);
        assert_eq!((left.len(), left[0].report.number, left[0].heard_ago.as_secs()), (1, 5, 7));
    }

    #[test]
    fn what_ended_or_fell_silent_is_shown_until_it_is_started_again() {
        use RunnerState::{Failed, Live, Stopped};
        for (state, seconds_ago) in [(Failed, 100), (Stopped, 100), (Live, 100)] {
            // The live runner was started before the other reported last.
            let beside = vec![runner(0, state, seconds_ago, 50), runner(1, Live, 1, 200)];
            assert_eq!(instances(&merged(beside).0), [0, 1], "{state}");
            let again = vec![runner(0, state, seconds_ago, 50), runner(1, Live, 1, 60)];
            assert_eq!(instances(&merged(again).0), [1], "{state}");
        }
        // Two runners that run are both shown.
        let both = vec![runner(0, Live, 4, 50), runner(1, Live, 1, 1)];
        assert_eq!(instances(&merged(both).0), [0, 1]);

        let mut rebuild = runner(1, Live, 1, 60);
        rebuild.report.rebuilds = true;
        let beside = vec![runner(0, Failed, 100, 50), rebuild.clone()];
        assert_eq!(instances(&merged(beside).0), [0, 1], "a rebuild keeps no model up to date");
        let again = vec![Runner { heard_ago: Duration::from_secs(99), ..rebuild.clone() }, rebuild];
        assert_eq!(merged(again).0.len(), 1);
    }

    #[test]
    fn a_list_has_at_most_a_thousand_runners_those_that_reported_last_and_says_what_it_left_out() {
        let all: Vec<Runner> = (0..RUNNERS_MAX + 5)
            .map(|at| runner(at, RunnerState::Live, at as u64, 10_000))
            .collect();
        let (left, left_out) = merged(all);
        assert_eq!((left.len(), left_out), (RUNNERS_MAX, 5));
        assert!(!instances(&left).contains(&(RUNNERS_MAX as u128)));
    }
}
