//! The metrics of a node: where their values come from.

use std::collections::BTreeMap;
use std::sync::Arc;

use quorate_proto::wire::v1::GroupLag;
use quorate_proto::{LogIndex, Position, Runner, RunnerKind};
use quorate_raft::host::Host;
use quorate_raft::{Histogram, Role, Status};

use super::groups::Groups;
use super::health::Health;
use super::read::Live;
use super::runners::RunnerReports;

mod exposition;
mod names;

pub(crate) use exposition::CONTENT_TYPE;
use exposition::{Exposition, Value};
pub use names::{METRICS, Metric, MetricKind};

/// The sources of the metrics.
pub(crate) struct Metrics<H: Host> {
    pub(crate) live: Arc<Live<H>>,
    pub(crate) groups: Arc<Groups<H>>,
    pub(crate) runner_reports: Arc<RunnerReports>,
    pub(crate) health: Health<H>,
    /// The times that requests took on this node while it led.
    pub(crate) append_times: Arc<Histogram>,
}

impl<H: Host> Metrics<H> {
    /// Returns all metrics in the text format of Prometheus.
    pub(crate) async fn text(&self) -> String {
        let groups = self.groups.lags().await;
        let status = self.live.replica.status().borrow().clone();
        let mut shown = Exposition::default();
        let version = env!("CARGO_PKG_VERSION").to_owned();
        shown.add(names::BUILD, Value::Labelled(vec![(version, 1)]));
        shown.yes_or_no(names::READY, self.health.ready().is_ok());
        self.add_log(&mut shown, &status);
        self.add_times(&mut shown);
        add_disk(&mut shown, &status);
        add_clock(&mut shown, &status);
        shown.whole(names::SUBSCRIPTIONS, self.live.count() as u64);
        add_groups(&mut shown, &groups);
        add_runners(&mut shown, &self.runner_reports.runners(), status.position);
        shown.text()
    }

    fn add_log(&self, shown: &mut Exposition, status: &Status) {
        let replica = &self.live.replica;
        let point = replica.reader().map(|reader| reader.point()).unwrap_or_default();
        let index = |index: Option<LogIndex>| index.unwrap_or_default().0;
        shown.yes_or_no(names::IS_LEADER, status.role == Role::Leader);
        shown.yes_or_no(names::KNOWS_LEADER, status.leader.is_some());
        shown.whole(names::TERM, status.term.0);
        shown.whole(names::MEMBERS, status.members.len() as u64);
        let voters = || status.members.iter().filter(|member| member.is_voter);
        shown.whole(names::VOTERS, voters().count() as u64);
        let has_vote = voters().any(|member| Some(member.id) == status.id);
        shown.yes_or_no(names::IS_VOTER, has_vote);
        shown.whole(names::REFUSED_PEERS, status.refusals.len() as u64);
        shown.whole(names::COMMITTED_INDEX, index(status.committed));
        shown.whole(names::APPLIED_INDEX, index(point.log_id.map(|id| id.index)));
        shown.whole(names::CHECKPOINTED_INDEX, index(status.checkpointed));
        shown.whole(names::POSITION, point.position.0);
        shown.whole(names::CHECKPOINTED_POSITION, status.checkpointed_position.0);
        shown.add(names::LOG_TIME, Value::Real(point.recorded_at.0 as f64 / 1e6));
        shown.add(names::PRESSURE, Value::Real(status.pressure.into()));
        shown.whole(names::UNFLUSHED, replica.unflushed_bytes());
    }

    fn add_times(&self, shown: &mut Exposition) {
        let timings = self.live.replica.timings();
        shown.add(names::APPEND_TIME, Value::Times(self.append_times.observations()));
        shown.add(names::LOG_SYNC_TIME, Value::Times(timings.log_sync));
        shown.add(names::REPLICATION_TIME, Value::Times(timings.replication));
        shown.add(names::APPLY_TIME, Value::Times(timings.apply));
    }
}

fn add_disk(shown: &mut Exposition, status: &Status) {
    shown.whole(names::FREE_BYTES, status.free_bytes);
    shown.whole(names::RESERVE_BYTES, status.reserve_bytes);
    shown.yes_or_no(names::LOW_ON_SPACE, status.low_on_space);
    shown.whole(names::DAMAGED_CHUNKS, status.damaged.len() as u64);
    shown.whole(names::SCRUBBED_BYTES, status.scrub.verified_bytes);
    shown.yes_or_no(names::DISAGREES, status.disagreement.is_some());
}

fn add_clock(shown: &mut Exposition, status: &Status) {
    shown.yes_or_no(names::CLOCK_WRONG, status.clock.wrong.is_some());
    if let Some(ahead_ms) = status.clock.ahead_ms {
        shown.add(names::CLOCK_AHEAD, Value::Signed(ahead_ms));
    }
}

fn add_groups(shown: &mut Exposition, groups: &[GroupLag]) {
    let of_each = |value: fn(&GroupLag) -> u64| {
        let values = groups.iter().map(|group| (group.name.clone(), value(group)));
        Value::Labelled(values.collect())
    };
    shown.add(names::GROUP_LAG, of_each(|group| group.lag));
    shown.add(names::GROUP_IN_FLIGHT, of_each(|group| group.in_flight));
    shown.add(names::GROUP_FAILED, of_each(|group| group.failed));
    shown.add(names::GROUP_PARKED, of_each(|group| group.parked));
}

/// Adds how far behind the projections and process managers are whose reports this node has, without the silent ones
/// and rebuilds: of several runners of a name, the one that is least behind.
fn add_runners(shown: &mut Exposition, runners: &[Runner], last_position: Position) {
    for (kind, metric) in [
        (RunnerKind::Projection, names::PROJECTION_LAG),
        (RunnerKind::ProcessManager, names::PROCESS_MANAGER_LAG),
    ] {
        let of_kind = |runner: &&Runner| runner.report.kind == kind && !runner.is_silent();
        let mut furthest: BTreeMap<String, u64> = BTreeMap::new();
        for runner in runners.iter().filter(of_kind) {
            let behind = runner.behind(last_position).filter(|_| !runner.report.rebuilds);
            if let Some(behind) = behind {
                let known = furthest.entry(runner.report.name.clone()).or_insert(behind);
                *known = behind.min(*known);
            }
        }
        shown.add(metric, Value::Labelled(furthest.into_iter().collect()));
    }
}
