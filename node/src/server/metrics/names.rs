//! The names of all metrics, their types, labels and meanings: the one place where they stand.

/// The type of a metric, in the sense of Prometheus.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MetricKind {
    /// A number that goes up and down.
    Gauge,
    /// A number that only grows while the process runs.
    Counter,
    /// A distribution of times in seconds, scraped as `…_bucket`, `…_sum` and `…_count`.
    Histogram,
}

impl MetricKind {
    /// Returns the type's name, as Prometheus writes it.
    pub fn as_str(self) -> &'static str {
        match self {
            MetricKind::Gauge => "gauge",
            MetricKind::Counter => "counter",
            MetricKind::Histogram => "histogram",
        }
    }
}

/// A metric: a name and what it means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Metric {
    /// The name under which it is scraped.
    pub name: &'static str,
    /// The type.
    pub kind: MetricKind,
    /// The label that tells its values apart; none if it has one value.
    pub label: Option<&'static str>,
    /// The meaning, with the unit.
    pub help: &'static str,
}

/// Declares each metric as a constant, and all of them as [`METRICS`]: one that is not listed cannot be used.
macro_rules! metrics {
    (@label) => { None };
    (@label $label:literal) => { Some($label) };
    ($($constant:ident = $kind:ident $name:literal $([$label:literal])?: $help:literal;)*) => {
        $(
            pub(super) const $constant: Metric = Metric {
                name: $name,
                kind: MetricKind::$kind,
                label: metrics!(@label $($label)?),
                help: $help,
            };
        )*

        /// All metrics, in the order in which they are scraped.
        pub const METRICS: &[Metric] = &[$($constant),*];
    };
}

metrics! {
    BUILD = Gauge "quorate_build_info" ["version"]: "1; the label is the version of the program.";
    READY = Gauge "quorate_ready": "1 if this node can answer a linearizable read, as of at most 10 s ago; else 0.";
    IS_LEADER = Gauge "quorate_is_leader": "1 if this node leads, else 0.";
    KNOWS_LEADER = Gauge "quorate_knows_leader": "1 if this node knows a leader of its term, itself included, else 0.";
    TERM = Gauge "quorate_term": "The newest Raft term that this node knows.";
    MEMBERS = Gauge "quorate_members": "Nodes of the cluster, as this node knows them.";
    VOTERS = Gauge "quorate_voters": "Nodes that have a vote, as this node knows them.";
    IS_VOTER = Gauge "quorate_is_voter": "1 if this node has a vote, else 0.";
    REFUSED_PEERS = Gauge "quorate_refused_peers": "Peers that this node does not let in, or that do not let it in: `quorate cluster status` gives the reasons.";
    COMMITTED_INDEX = Gauge "quorate_committed_index": "The newest log index that this node knows to be on a majority.";
    APPLIED_INDEX = Gauge "quorate_applied_index": "The newest log index applied here.";
    CHECKPOINTED_INDEX = Gauge "quorate_checkpointed_index": "The log index of the newest checkpoint.";
    POSITION = Gauge "quorate_position": "The position of the newest event applied here; its growth on the leader is the rate of events.";
    CHECKPOINTED_POSITION = Gauge "quorate_checkpointed_position": "The position of the newest event in the newest checkpoint.";
    LOG_TIME = Gauge "quorate_log_time_seconds": "Log time: the time stamp of the newest command applied here, in seconds since the Unix epoch.";
    PRESSURE = Gauge "quorate_seal_pressure": "How near apply is to having to wait for a seal: 0 (no seal under way) to 1 (it waits). A leader slows appends above 0.5.";
    UNFLUSHED = Gauge "quorate_unflushed_bytes": "Bytes of the Raft log that are not durable here yet.";
    APPEND_TIME = Histogram "quorate_append_duration_seconds": "On the leader: the time from the receipt of a request to its answer, of every request that got a verdict through the log (appends, settings, snapshots, progress of groups).";
    LOG_SYNC_TIME = Histogram "quorate_log_sync_duration_seconds": "The time that a batch of the Raft log took to become durable once it was written: one fdatasync.";
    REPLICATION_TIME = Histogram "quorate_replication_duration_seconds": "On the leader: the time from a request with entries to its answer by a follower, whose fdatasync is included.";
    APPLY_TIME = Histogram "quorate_apply_duration_seconds": "The time that an entry, which is a batch of requests, took to be applied here.";
    FREE_BYTES = Gauge "quorate_free_bytes": "Bytes that can still be written to the disk of this node.";
    RESERVE_BYTES = Gauge "quorate_reserve_bytes": "With fewer free bytes this node takes no appends, with fewer than half of it no entries at all.";
    LOW_ON_SPACE = Gauge "quorate_low_on_space": "1 if this node is below its reserve, else 0.";
    DAMAGED_CHUNKS = Gauge "quorate_damaged_chunks": "Chunks whose bytes are not as written; they are fetched from other nodes.";
    SCRUBBED_BYTES = Counter "quorate_scrubbed_bytes_total": "Bytes of chunks that were verified in the background.";
    DISAGREES = Gauge "quorate_disagreement": "1 if the nodes differ in the outcome of the same entries, and no majority agrees; else 0.";
    CLOCK_WRONG = Gauge "quorate_clock_wrong": "1 if the clock of this node is not to be relied on, else 0.";
    CLOCK_AHEAD = Gauge "quorate_clock_ahead_milliseconds": "Milliseconds that the clock of this node is ahead of the median of the voters' clocks; absent while too few are known.";
    SUBSCRIPTIONS = Gauge "quorate_subscriptions": "Readers that follow what is applied here, groups included.";
    GROUP_LAG = Gauge "quorate_group_lag" ["group"]: "Positions of the log that a consumer group is behind: no fewer than what is to be done.";
    GROUP_IN_FLIGHT = Gauge "quorate_group_in_flight" ["group"]: "Events with consumers of a group; 0 where this node does not lead.";
    GROUP_FAILED = Gauge "quorate_group_failed" ["group"]: "Events of a group that failed and are to be tried again.";
    GROUP_PARKED = Gauge "quorate_group_parked" ["group"]: "Parked events of a group.";
    PROJECTION_LAG = Gauge "quorate_projection_lag" ["projection"]: "Positions of the log that a projection had not looked at when it told this node.";
    PROCESS_MANAGER_LAG = Gauge "quorate_process_manager_lag" ["process_manager"]: "Positions of the log that a process manager had not looked at when it told this node.";
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn names_are_what_prometheus_takes_and_each_stands_here_once() {
        let names: BTreeSet<&str> = METRICS.iter().map(|metric| metric.name).collect();
        assert_eq!(names.len(), METRICS.len());
        for Metric { name, kind, label, help } in METRICS {
            let is_plain = |text: &str| text.chars().all(|c| c.is_ascii_lowercase() || c == '_');
            assert!(name.starts_with("quorate_") && is_plain(name), "{name}");
            assert!(label.is_none_or(is_plain), "{name}");
            assert_eq!(name.ends_with("_total"), *kind == MetricKind::Counter, "{name}");
            assert_eq!(name.ends_with("_duration_seconds"), *kind == MetricKind::Histogram);
            assert!(help.ends_with('.') && !help.contains(['\n', '|']), "{name}");
        }
    }
}
