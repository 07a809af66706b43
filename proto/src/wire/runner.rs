//! Runners on the wire.

use std::time::Duration;

use uuid::Uuid;

use super::v1;
use crate::{Invalid, Position, Runner, RunnerKind, RunnerReport, RunnerState};

impl From<RunnerReport> for v1::RunnerReport {
    fn from(report: RunnerReport) -> v1::RunnerReport {
        v1::RunnerReport {
            kind: report.kind.as_str().to_owned(),
            name: report.name,
            instance: report.instance.into_bytes().to_vec().into(),
            place: report.place,
            number: report.number,
            state: report.state.as_str().to_owned(),
            rebuilds: report.rebuilds,
            error: report.error,
            position: report.position.map(|position| position.0),
            partitions: report.partitions,
            handled: report.handled,
            parked: report.parked,
            running_ms: milliseconds(report.running),
        }
    }
}

impl TryFrom<Option<v1::RunnerReport>> for RunnerReport {
    type Error = Invalid;

    /// Converts a report; the result passed [`RunnerReport::check`].
    fn try_from(report: Option<v1::RunnerReport>) -> Result<RunnerReport, Invalid> {
        let wire = report.ok_or_else(|| Invalid::new("report", "is missing"))?;
        let kind = RunnerKind::parse(&wire.kind).ok_or_else(|| {
            let known = RunnerKind::ALL.map(RunnerKind::as_str).join(", ");
            Invalid::new("kind", format!("is none of {known}"))
        })?;
        let state = RunnerState::parse(&wire.state).ok_or_else(|| {
            let known = RunnerState::ALL.map(RunnerState::as_str).join(", ");
            Invalid::new("state", format!("is none of {known}"))
        })?;
        let instance = Uuid::from_slice(&wire.instance)
            .map_err(|_| Invalid::new("instance", "has not 16 bytes"))?;
        let report = RunnerReport {
            kind,
            name: wire.name,
            instance,
            place: wire.place,
            number: wire.number,
            state,
            rebuilds: wire.rebuilds,
            error: wire.error,
            position: wire.position.map(Position),
            partitions: wire.partitions.max(1),
            handled: wire.handled,
            parked: wire.parked,
            running: Duration::from_millis(wire.running_ms),
        };
        report.check()?;
        Ok(report)
    }
}

impl From<Runner> for v1::Runner {
    fn from(runner: Runner) -> v1::Runner {
        let heard_ms_ago = milliseconds(runner.heard_ago);
        let last_position = runner.last_position.0;
        v1::Runner { report: Some(runner.report.into()), heard_ms_ago, last_position }
    }
}

impl TryFrom<v1::Runner> for Runner {
    type Error = Invalid;

    fn try_from(runner: v1::Runner) -> Result<Runner, Invalid> {
        let heard_ago = Duration::from_millis(runner.heard_ms_ago);
        let last_position = Position(runner.last_position);
        Ok(Runner { report: runner.report.try_into()?, heard_ago, last_position })
    }
}

fn milliseconds(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_comes_back_as_it_was_sent_and_what_is_none_is_refused() {
        let report = RunnerReport {
            kind: RunnerKind::ProcessManager,
            name: "shop".to_owned(),
            instance: Uuid::from_u128(1 << 64),
            place: "process 7 on a".to_owned(),
            number: 3,
            state: RunnerState::Retrying,
            rebuilds: true,
            error: "locked".to_owned(),
            position: Some(Position(9)),
            partitions: 4,
            handled: 5,
            parked: 1,
            running: Duration::from_millis(1_500),
        };
        let wire = v1::RunnerReport::from(report.clone());
        assert_eq!(RunnerReport::try_from(Some(wire.clone())), Ok(report));
        let refused = |change: fn(&mut v1::RunnerReport)| {
            let mut wrong = wire.clone();
            change(&mut wrong);
            RunnerReport::try_from(Some(wrong)).expect_err("it is none").field
        };
        assert_eq!(refused(|wrong| wrong.kind = "subscription".to_owned()), "kind");
        assert_eq!(refused(|wrong| wrong.state.clear()), "state");
        assert_eq!(refused(|wrong| wrong.instance.clear()), "instance");
        assert_eq!(refused(|wrong| wrong.name = "n".repeat(256)), "name");
        assert_eq!(RunnerReport::try_from(None).expect_err("nothing").field, "report");
    }
}
