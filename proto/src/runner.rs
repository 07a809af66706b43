//! Runners: projections and process managers, as they tell a node how far they are.

use std::fmt;
use std::time::Duration;

use uuid::Uuid;

use crate::Position;
use crate::error::Invalid;
use crate::limits::{NAME_BYTES_MAX, RUNNER_ERROR_BYTES_MAX};
use crate::name::check_bounded;

/// How often a runner tells what it does, if nothing changes before.
pub const REPORTED_EVERY: Duration = Duration::from_secs(5);
/// A runner that was not heard for longer, and has not ended, is silent: its process died, or reaches no node.
pub const SILENT_AFTER: Duration = Duration::from_secs(20);

/// What kind of work runs in an application.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum RunnerKind {
    /// It makes a read model.
    Projection,
    /// It reacts to events by appending others.
    ProcessManager,
}

impl RunnerKind {
    /// All kinds.
    pub const ALL: [RunnerKind; 2] = [RunnerKind::Projection, RunnerKind::ProcessManager];

    /// The word for it on the wire and in JSON; stable.
    pub fn as_str(self) -> &'static str {
        match self {
            RunnerKind::Projection => "projection",
            RunnerKind::ProcessManager => "process-manager",
        }
    }

    /// The kind of that name.
    pub fn parse(name: &str) -> Option<RunnerKind> {
        RunnerKind::ALL.into_iter().find(|kind| kind.as_str() == name)
    }
}

impl fmt::Display for RunnerKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What a runner does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum RunnerState {
    /// It opens its store, or asks the cluster.
    Starting,
    /// Another process does the work; this one is ready to take over.
    StandingBy,
    /// It works on what was there before.
    CatchingUp,
    /// It works on what comes.
    Live,
    /// It tries something again.
    Retrying,
    /// It ended as it was told to.
    Stopped,
    /// It ended by an error.
    Failed,
}

impl RunnerState {
    /// All states.
    pub const ALL: [RunnerState; 7] = [
        RunnerState::Starting,
        RunnerState::StandingBy,
        RunnerState::CatchingUp,
        RunnerState::Live,
        RunnerState::Retrying,
        RunnerState::Stopped,
        RunnerState::Failed,
    ];

    /// The word for it on the wire and in JSON; stable.
    pub fn as_str(self) -> &'static str {
        match self {
            RunnerState::Starting => "starting",
            RunnerState::StandingBy => "standing-by",
            RunnerState::CatchingUp => "catching-up",
            RunnerState::Live => "live",
            RunnerState::Retrying => "retrying",
            RunnerState::Stopped => "stopped",
            RunnerState::Failed => "failed",
        }
    }

    /// The state of that name.
    pub fn parse(name: &str) -> Option<RunnerState> {
        RunnerState::ALL.into_iter().find(|state| state.as_str() == name)
    }

    /// Whether nothing more comes of it.
    pub fn has_ended(self) -> bool {
        matches!(self, RunnerState::Stopped | RunnerState::Failed)
    }
}

impl fmt::Display for RunnerState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What a runner says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunnerReport {
    /// What it is.
    pub kind: RunnerKind,
    /// Its name, 1 to 255 bytes. Several runners of one kind may have the same.
    pub name: String,
    /// One start of it: a random id.
    pub instance: Uuid,
    /// Where it runs, in words for a person, at most 255 bytes: the process and its machine.
    pub place: String,
    /// Counts the reports of an instance: of two the higher one is newer.
    pub number: u64,
    /// What it does.
    pub state: RunnerState,
    /// Whether it makes its model anew beside the live one.
    pub rebuilds: bool,
    /// Why it tries again or failed, else empty; at most 1,024 bytes.
    pub error: String,
    /// Everything up to this position is looked at, whether it matched or not; `None` while that is not known. Of
    /// several partitions that of the slowest.
    pub position: Option<Position>,
    /// How many partitions share the events.
    pub partitions: u32,
    /// Events that it handled since it started.
    pub handled: u64,
    /// Events that it parked since it started.
    pub parked: u64,
    /// How long ago it started.
    pub running: Duration,
}

impl RunnerReport {
    /// Refuses what a node would not keep.
    ///
    /// # Errors
    /// A name that is empty, longer than 255 bytes or holds a control character; a place or an error that is too long;
    /// an instance without an id.
    pub fn check(&self) -> Result<(), Invalid> {
        check_bounded("name", &self.name, NAME_BYTES_MAX)?;
        at_most("place", &self.place, NAME_BYTES_MAX)?;
        at_most("error", &self.error, RUNNER_ERROR_BYTES_MAX)?;
        if self.instance.is_nil() {
            return Err(Invalid::new("instance", "is the nil UUID"));
        }
        Ok(())
    }

    /// The same with its words cut to what a node keeps.
    #[must_use]
    pub fn bounded(self) -> RunnerReport {
        let place = cut(self.place, NAME_BYTES_MAX);
        let error = cut(self.error, RUNNER_ERROR_BYTES_MAX);
        RunnerReport { place, error, ..self }
    }
}

fn at_most(field: &'static str, text: &str, bytes_max: usize) -> Result<(), Invalid> {
    match text.len() {
        length if length > bytes_max => {
            let why = format!("has {length} bytes; at most {bytes_max} are allowed");
            Err(Invalid::limit(field, why, bytes_max as u64))
        }
        _ => Ok(()),
    }
}

fn cut(mut text: String, bytes_max: usize) -> String {
    if text.len() > bytes_max {
        let end = (0..=bytes_max).rev().find(|at| text.is_char_boundary(*at));
        text.truncate(end.unwrap_or_default());
    }
    text
}

/// A runner as a node heard of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Runner {
    /// What it said last.
    pub report: RunnerReport,
    /// How long ago a node heard it.
    pub heard_ago: Duration,
    /// The newest position of the log that the node had then.
    pub last_position: Position,
}

impl Runner {
    /// Whether it should have been heard again by now: its process died, or reaches no node.
    pub fn is_silent(&self) -> bool {
        !self.report.state.has_ended() && self.heard_ago > SILENT_AFTER
    }

    /// How many positions of the log it has not looked at yet; `None` while its position is not known. While it runs
    /// that is as of when it was heard, because it went on since as the log did; later, of a log that has come to `now`.
    pub fn behind(&self, now: Position) -> Option<u64> {
        let runs = !self.report.state.has_ended() && !self.is_silent();
        let last = if runs { self.last_position } else { now.max(self.last_position) };
        Some(last.0.saturating_sub(self.report.position?.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report() -> RunnerReport {
        RunnerReport {
            kind: RunnerKind::Projection,
            name: "orders".to_owned(),
            instance: Uuid::from_u128(1),
            place: "process 7 on a".to_owned(),
            number: 1,
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

    #[test]
    fn a_report_with_too_many_words_is_refused_and_can_be_bounded() {
        assert_eq!(report().check(), Ok(()));
        for name in ["", "a\nb", &"n".repeat(256)] {
            let refused = RunnerReport { name: name.to_owned(), ..report() }.check();
            assert_eq!(refused.expect_err(name).field, "name");
        }
        let nobody = RunnerReport { instance: Uuid::nil(), ..report() };
        assert_eq!(nobody.check().expect_err("nobody").field, "instance");
        let long = RunnerReport { place: "ä".repeat(200), error: "ä".repeat(1_000), ..report() };
        assert_eq!(long.check().expect_err("too long").field, "place");
        let error = RunnerReport { error: "e".repeat(1_025), ..report() };
        assert_eq!(error.check().expect_err("too long").field, "error");
        let bounded = long.bounded();
        assert_eq!(
            (bounded.check(), bounded.place.len(), bounded.error.len()),
            (Ok(()), 254, 1_024)
        );
    }

    #[test]
    fn who_ended_is_not_silent() {
        let heard_ago = SILENT_AFTER + Duration::from_millis(1);
        let last_position = Position(0);
        let runner =
            |state| Runner { report: RunnerReport { state, ..report() }, heard_ago, last_position };
        assert!(runner(RunnerState::Live).is_silent());
        assert!(!runner(RunnerState::Stopped).is_silent());
        assert!(!Runner { heard_ago: SILENT_AFTER, ..runner(RunnerState::Live) }.is_silent());
    }

    #[test]
    fn who_runs_is_as_far_behind_as_when_it_was_heard_and_who_does_not_falls_back() {
        let runner = |state, seconds| Runner {
            report: RunnerReport { state, position: Some(Position(90)), ..report() },
            heard_ago: Duration::from_secs(seconds),
            last_position: Position(92),
        };
        let now = Position(5_000);
        assert_eq!(runner(RunnerState::Live, 5).behind(now), Some(2));
        assert_eq!(runner(RunnerState::Live, 60).behind(now), Some(4_910), "it is silent");
        assert_eq!(runner(RunnerState::Failed, 1).behind(now), Some(4_910));
        // The node that heard it may have less than the one that it reads from.
        let ahead = Runner { last_position: Position(80), ..runner(RunnerState::Live, 1) };
        assert_eq!(ahead.behind(now), Some(0));
    }
}
