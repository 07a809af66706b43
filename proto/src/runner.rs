//! Runners, that is projections and process managers, and their reports to a node on how far they are.

use std::fmt;
use std::time::Duration;

use uuid::Uuid;

use crate::Position;
use crate::invalid::Invalid;
use crate::limits::{NAME_BYTES_MAX, RUNNER_ERROR_BYTES_MAX};
use crate::name::check_bounded;

/// The interval at which a runner reports, if nothing changes before.
pub const REPORTED_EVERY: Duration = Duration::from_secs(5);
/// A runner that was not heard for longer, and has not ended, is silent: its process died, or reaches no node.
pub const SILENT_AFTER: Duration = Duration::from_secs(20);

/// The kind of a runner.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum RunnerKind {
    /// The runner makes a read model.
    Projection,
    /// The runner reacts to events by appending others.
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

    /// Returns the kind of that name.
    pub fn parse(name: &str) -> Option<RunnerKind> {
        RunnerKind::ALL.into_iter().find(|kind| kind.as_str() == name)
    }
}

impl fmt::Display for RunnerKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The activity of a runner.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum RunnerState {
    /// The runner opens its store, or asks the cluster.
    Starting,
    /// Another process does the work; this one is ready to take over from it.
    StandingBy,
    /// The runner works on events that were there before.
    CatchingUp,
    /// The runner works on events as they are appended.
    Live,
    /// The runner tries something again.
    Retrying,
    /// The runner ended without an error.
    Stopped,
    /// The runner ended by an error.
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

    /// Returns the state of that name.
    pub fn parse(name: &str) -> Option<RunnerState> {
        RunnerState::ALL.into_iter().find(|state| state.as_str() == name)
    }

    /// Returns true if the runner has ended.
    pub fn has_ended(self) -> bool {
        matches!(self, RunnerState::Stopped | RunnerState::Failed)
    }
}

impl fmt::Display for RunnerState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The report of a runner on itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunnerReport {
    /// The kind of the runner.
    pub kind: RunnerKind,
    /// The runner's name, 1 to 255 bytes. Several runners of one kind may have the same name.
    pub name: String,
    /// The random id of this start of the runner.
    pub instance: Uuid,
    /// The process and its machine, in words for a person; at most 255 bytes.
    pub place: String,
    /// The number of the report, which grows: of two reports of an instance the higher one is newer.
    pub number: u64,
    /// The activity of the runner.
    pub state: RunnerState,
    /// True if the runner makes its model anew beside the live one.
    pub rebuilds: bool,
    /// The reason why the runner tries again or failed, else empty; at most 1,024 bytes.
    pub error: String,
    /// The position up to which every event was looked at, whether it matched or not; `None` while that is not known.
    /// With several partitions, the position of the slowest.
    pub position: Option<Position>,
    /// The number of partitions that share the events.
    pub partitions: u32,
    /// The number of events handled since the start.
    pub handled: u64,
    /// The number of events parked since the start.
    pub parked: u64,
    /// The time since the start.
    pub running: Duration,
}

impl RunnerReport {
    /// Refuses a report that a node would not keep.
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

    /// Returns the report with its texts cut to the lengths that a node keeps.
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

/// A runner, as a node heard it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Runner {
    /// The newest report that was heard.
    pub report: RunnerReport,
    /// The time since a node heard the report.
    pub heard_ago: Duration,
    /// The newest position of the log that the node had when it heard the report.
    pub last_position: Position,
}

impl Runner {
    /// Returns true if the runner should have been heard again by now: its process died, or reaches no node.
    pub fn is_silent(&self) -> bool {
        !self.report.state.has_ended() && self.heard_ago > SILENT_AFTER
    }

    /// Returns the number of positions that it has not looked at yet; `None` while its position is not known. While it
    /// runs the log counts as of when it was heard, because both went on since; later, up to the position `now`.
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
        // The node that heard the runner may have less of the log than the node from which the runner reads.
        let ahead = Runner { last_position: Position(80), ..runner(RunnerState::Live, 1) };
        assert_eq!(ahead.behind(now), Some(0));
    }
}
