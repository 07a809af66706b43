//! The part of a cluster's status that is about each node's log: indexes, lag, version, health.

use std::io::{self, Write};

use quorate_client::NodeStatus;
use serde::Serialize;

use super::health;
use super::lag::Lag;

/// The heads of the columns.
const HEAD: [&str; 8] =
    ["id", "committed", "applied", "checkpoint", "lag", "seconds", "version", "health"];

/// The status of a node as a JSON line, with its lag and health.
#[derive(Serialize)]
pub(super) struct NodeLine<'a> {
    #[serde(flatten)]
    node: &'a NodeStatus,
    lag_events: u64,
    lag_seconds: f64,
    health: &'static str,
}

impl<'a> NodeLine<'a> {
    pub(super) fn new(node: &'a NodeStatus, nodes: &[NodeStatus]) -> NodeLine<'a> {
        let Lag { events: lag_events, seconds: lag_seconds } = Lag::of(node, nodes);
        NodeLine { node, lag_events, lag_seconds, health: health::of_node(node) }
    }
}

/// Writes a line for each node that answers, in columns as wide as their cells.
pub(super) fn write_details(output: &mut impl Write, nodes: &[NodeStatus]) -> io::Result<()> {
    let answering = nodes.iter().filter(|node| health::is_known(node));
    let mut rows = vec![HEAD.map(str::to_owned)];
    rows.extend(answering.map(|node| cells(node, Lag::of(node, nodes))));
    let widths: [usize; HEAD.len()] =
        std::array::from_fn(|column| rows.iter().map(|row| row[column].len()).fold(0, usize::max));
    for [numbers @ .., health] in &rows {
        for (number, width) in numbers.iter().zip(widths) {
            write!(output, "{number:>width$}  ")?;
        }
        writeln!(output, "{health}")?;
    }
    Ok(())
}

fn cells(node: &NodeStatus, lag: Lag) -> [String; HEAD.len()] {
    [
        node.id.to_string(),
        node.committed.to_string(),
        node.applied.to_string(),
        node.checkpointed.to_string(),
        lag.events.to_string(),
        format!("{:.1}", lag.seconds),
        node.version.clone(),
        health::of_node(node).to_owned(),
    ]
}

#[cfg(test)]
mod tests {
    use quorate_client::Timestamp;

    use super::super::tests::node;
    use super::*;

    #[test]
    fn the_lag_of_a_node_is_counted_from_the_furthest_node() {
        let at = |id, role, position, seconds: i64| NodeStatus {
            last_position: position,
            log_time: Some(Timestamp(seconds * 1_000_000)),
            ..node(id, role)
        };
        let nodes = [at(1, "leader", 900, 60), at(2, "follower", 850, 45)];
        assert_eq!(Lag::of(&nodes[0], &nodes), Lag { events: 0, seconds: 0.0 });
        assert_eq!(Lag::of(&nodes[1], &nodes), Lag { events: 50, seconds: 15.0 });
    }

    #[test]
    fn the_details_of_a_large_cluster_fit_into_80_columns() {
        let large = |id, role| NodeStatus {
            checkpointed: 9_999_900_000,
            version: "10.10.10".to_owned(),
            unready: "it is alone".to_owned(),
            ..node(id, role)
        };
        let nodes = [large(101, "leader"), large(102, "follower"), large(103, "unreachable")];
        let mut details = Vec::new();
        write_details(&mut details, &nodes).expect("memory");
        let details = String::from_utf8(details).expect("text");
        assert!(details.lines().all(|line| line.chars().count() <= 80), "{details}");
        assert_eq!(details.lines().count(), 3, "{details}");
    }
}
