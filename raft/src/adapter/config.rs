//! The settings of openraft.

use std::sync::Arc;

use openraft::{Config, SnapshotPolicy};

use crate::options::Timing;

/// The greatest number of entries in one request to a follower; bytes limit a request as well (see [`crate::adapter::storage`]).
const REQUEST_ENTRIES: u64 = 4096;

/// The number of commits that may wait for apply: when this queue is full, Raft's core and its heartbeats stand still.
/// Apply waits for long only where there is no room for a seal, and by then no entries are taken any more.
const APPLY_QUEUE: u64 = 1 << 20;

/// Returns openraft's settings. This crate triggers checkpoints and purges itself, by bytes; a restarted leader
/// asks for votes like any node; a node that cannot win does not disturb one that leads.
pub(crate) fn config(timing: &Timing) -> Result<Arc<Config>, String> {
    let milliseconds = |time: std::time::Duration| time.as_millis().try_into().unwrap_or(u64::MAX);
    let config = Config {
        cluster_name: "quorate".to_owned(),
        heartbeat_interval: milliseconds(timing.heartbeat),
        election_timeout_min: milliseconds(timing.election_min),
        election_timeout_max: milliseconds(timing.election_max),
        max_payload_entries: REQUEST_ENTRIES,
        max_append_entries: Some(REQUEST_ENTRIES),
        snapshot_policy: SnapshotPolicy::Never,
        max_in_snapshot_log_to_keep: u64::MAX,
        purge_batch_size: 1 << 20,
        state_machine_channel_size: Some(APPLY_QUEUE),
        // openraft only hands this to the network, which has limits of its own.
        install_snapshot_timeout: 10_000,
        enable_pre_vote: Some(true),
        enable_leader_restore: Some(false),
        allow_log_reversion: Some(false),
        ..Config::default()
    };
    config.validate().map(Arc::new).map_err(|error| error.to_string())
}
