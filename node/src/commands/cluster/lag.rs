//! The lag of a node behind the furthest one, in events and in seconds.

use quorate_client::NodeStatus;

/// The lag of a node behind the furthest node that answers.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Lag {
    pub(super) events: u64,
    /// Seconds of log time: from the newest command that this node applied to the newest that any node did. After a
    /// pause in which nothing was appended it shows, for a moment, the length of the pause.
    pub(super) seconds: f64,
}

impl Lag {
    pub(super) fn of(node: &NodeStatus, nodes: &[NodeStatus]) -> Lag {
        let furthest = nodes.iter().map(|node| node.last_position).max().unwrap_or(0);
        let log_time = |node: &NodeStatus| node.log_time.unwrap_or_default().0;
        let newest = nodes.iter().map(log_time).max().unwrap_or(0);
        let micros = newest.saturating_sub(log_time(node)).max(0);
        Lag { events: furthest.saturating_sub(node.last_position), seconds: micros as f64 / 1e6 }
    }
}
