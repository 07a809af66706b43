//! The metrics of a node, with the names under which they are scraped: all names stand here.

use std::collections::BTreeMap;
use std::fmt::{Display, Write};
use std::sync::Arc;

use quorate_proto::wire::v1::GroupLag;
use quorate_proto::{Position, Runner, RunnerKind};
use quorate_raft::Role;
use quorate_raft::host::Host;

use super::groups::Groups;
use super::read::Live;
use super::runners::RunnerReports;

/// The sources of the metrics.
pub(crate) struct Metrics<H: Host> {
    pub(crate) live: Arc<Live<H>>,
    pub(crate) groups: Arc<Groups<H>>,
    pub(crate) runner_reports: Arc<RunnerReports>,
}

impl<H: Host> Metrics<H> {
    /// Returns all metrics in the text format of Prometheus.
    pub(crate) async fn text(&self) -> String {
        let replica = &self.live.replica;
        let (leads, clock) = {
            let status = replica.status();
            let status = status.borrow();
            (status.role == Role::Leader, status.clock.clone())
        };
        let point = replica.reader().map(|reader| reader.point()).unwrap_or_default();
        let groups = self.groups.lags().await;
        let mut text = Text::default();
        text.number("quorate_is_leader", "Whether this node leads.", u8::from(leads));
        let position = point.position.0;
        text.number("quorate_position", "The position of the newest event applied here.", position);
        let applied = point.log_id.unwrap_or_default().index.0;
        text.number("quorate_applied_index", "The newest log index applied here.", applied);
        let help = "Whether the clock of this node is not to be relied on.";
        text.number("quorate_clock_wrong", help, u8::from(clock.wrong.is_some()));
        if let Some(ahead_ms) = clock.ahead_ms {
            let help = "Milliseconds that the clock of this node is ahead of the median of the voters' clocks.";
            text.number("quorate_clock_ahead_milliseconds", help, ahead_ms);
        }
        let subscriptions = self.live.count() as u64;
        let help = "Readers that follow what is applied here, groups included.";
        text.number("quorate_subscriptions", help, subscriptions);
        let help = "Positions of the log that a group is behind: no fewer than what is to be done.";
        text.of_groups("quorate_group_lag", help, &groups, |group| group.lag);
        let help = "Events with consumers of a group; 0 where this node does not lead.";
        text.of_groups("quorate_group_in_flight", help, &groups, |group| group.in_flight);
        let help = "Events of a group that failed and are to be tried again.";
        text.of_groups("quorate_group_failed", help, &groups, |group| group.failed);
        let help = "Parked events of a group.";
        text.of_groups("quorate_group_parked", help, &groups, |group| group.parked);
        text.of_runners(&self.runner_reports.runners(), point.position);
        text.0
    }
}

/// The text as it grows; all values are gauges.
#[derive(Default)]
struct Text(String);

impl Text {
    fn head(&mut self, name: &str, help: &str) {
        self.line(format_args!("# HELP {name} {help}"));
        self.line(format_args!("# TYPE {name} gauge"));
    }

    fn number(&mut self, name: &str, help: &str, value: impl Display) {
        self.head(name, help);
        self.line(format_args!("{name} {value}"));
    }

    fn of_groups(
        &mut self,
        name: &str,
        help: &str,
        groups: &[GroupLag],
        value: impl Fn(&GroupLag) -> u64,
    ) {
        self.head(name, help);
        for group in groups {
            let (label, value) = (escaped(&group.name), value(group));
            self.line(format_args!("{name}{{group=\"{label}\"}} {value}"));
        }
    }

    /// Writes how far behind the projections and process managers are whose reports this node has, without the silent
    /// ones and rebuilds: of several runners of a name, the one that is least behind.
    fn of_runners(&mut self, runners: &[Runner], last_position: Position) {
        for (kind, what) in [
            (RunnerKind::Projection, "projection"),
            (RunnerKind::ProcessManager, "process_manager"),
        ] {
            let of_kind = |runner: &&Runner| runner.report.kind == kind && !runner.is_silent();
            let mut furthest: BTreeMap<&str, u64> = BTreeMap::new();
            for runner in runners.iter().filter(of_kind) {
                let behind = runner.behind(last_position).filter(|_| !runner.report.rebuilds);
                if let Some(behind) = behind {
                    let known = furthest.entry(&runner.report.name).or_insert(behind);
                    *known = behind.min(*known);
                }
            }
            let name = format!("quorate_{what}_lag");
            self.head(
                &name,
                "Positions of the log that it had not looked at when it told this node.",
            );
            for (one, behind) in furthest {
                let label = escaped(one);
                self.line(format_args!("{name}{{{what}=\"{label}\"}} {behind}"));
            }
        }
    }

    fn line(&mut self, line: impl Display) {
        writeln!(self.0, "{line}").expect("a string takes everything");
    }
}

/// Returns a name as the value of a label; names have no line ends.
fn escaped(name: &str) -> String {
    name.replace('\\', "\\\\").replace('"', "\\\"")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_group_has_a_line_with_its_name_escaped() {
        let group = |name: &str, lag| GroupLag { name: name.into(), lag, ..GroupLag::default() };
        let mut text = Text::default();
        let groups = [group("billing", 7), group("a\"b\\c", 0)];
        text.of_groups("quorate_group_lag", "Lag.", &groups, |group| group.lag);
        assert_eq!(
            text.0,
            "# HELP quorate_group_lag Lag.\n# TYPE quorate_group_lag gauge\n\
             quorate_group_lag{group=\"billing\"} 7\nquorate_group_lag{group=\"a\\\"b\\\\c\"} 0\n"
        );
    }
}
