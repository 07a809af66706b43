//! `quorate cluster health`: the health of a cluster in a word, with the reasons.

use std::io::{self, Write};

use quorate_client::{ClusterStatus, DamagedChunk, NodeStatus};
use serde::Serialize;

use super::lag::Lag;
use crate::cli::{Code, Exit, Global, Nothing, inspect};
use crate::output::write_json;
use crate::values::size;

/// A node that is further behind the others, in both, is a reason to look: it is not just a moment late.
const SECONDS_BEHIND_MAX: f64 = 30.0;
const EVENTS_BEHIND_MAX: u64 = 1_000;

/// The health of a cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Health {
    /// The cluster takes appends, and nothing is to be done.
    Healthy,
    /// The cluster takes appends, and something is to be looked at.
    Degraded,
    /// The cluster takes no appends.
    Unavailable,
}

impl Health {
    fn as_str(self) -> &'static str {
        match self {
            Health::Healthy => "healthy",
            Health::Degraded => "degraded",
            Health::Unavailable => "unavailable",
        }
    }
}

/// The health of a cluster as a JSON line.
#[derive(Serialize)]
struct HealthLine<'a> {
    health: &'static str,
    reasons: &'a [String],
}

pub(super) async fn run(_args: Nothing, global: &Global) -> Result<(), Exit> {
    let (health, reasons) = match inspect::best_answer(global).await {
        Ok(status) => judge(&status),
        Err(exit) if exit.code == Code::Failed => (Health::Unavailable, vec![exit.message]),
        Err(exit) => return Err(exit),
    };
    let verdict = match health {
        Health::Healthy => Ok(()),
        Health::Degraded => Err(Exit::new(Code::Degraded, "")),
        Health::Unavailable => Err(Exit::new(Code::Failed, "")),
    };
    Exit::after_report(verdict, report(global, health, &reasons))
}

fn report(global: &Global, health: Health, reasons: &[String]) -> io::Result<()> {
    let mut output = io::stdout().lock();
    if global.json() {
        return write_json(&mut output, &HealthLine { health: health.as_str(), reasons });
    }
    writeln!(output, "{}", health.as_str())?;
    reasons.iter().try_for_each(|reason| writeln!(output, "{reason}"))
}

/// Returns the health of the cluster, and the reasons if it is not healthy.
fn judge(status: &ClusterStatus) -> (Health, Vec<String>) {
    let nodes = &status.nodes;
    let mut reasons = Vec::new();
    let mut health = Health::Healthy;
    let leader = nodes.iter().find(|node| node.role == "leader" && node.unready.is_empty());
    if status.cluster.is_none() {
        reasons.push("no cluster is founded yet: see `quorate cluster init`".to_owned());
        return (Health::Unavailable, reasons);
    }
    match leader {
        None => {
            reasons.push("no node leads a majority".to_owned());
            health = Health::Unavailable;
        }
        Some(_) if lack_room(nodes) => {
            reasons.push("the disks have no room for more events".to_owned());
            health = Health::Unavailable;
        }
        Some(_) => {}
    }
    for node in nodes {
        let NodeStatus { id, address, .. } = node;
        if !is_known(node) {
            reasons.push(format!("node {id} at {address} is unreachable"));
            continue;
        }
        let lag = Lag::of(node, nodes);
        if lag.seconds > SECONDS_BEHIND_MAX && lag.events > EVENTS_BEHIND_MAX {
            let Lag { events, seconds } = lag;
            reasons.push(format!("node {id} is {events} events, {seconds:.0} s behind"));
        }
        reasons.extend(complaints(node).into_iter().map(|why| format!("node {id}: {why}")));
    }
    if !reasons.is_empty() {
        health = health.max(Health::Degraded);
    }
    (health, reasons)
}

/// Returns true if the leader or a majority of the voters has no room for more events.
fn lack_room(nodes: &[NodeStatus]) -> bool {
    let voters = nodes.iter().filter(|node| node.role != "learner");
    let full = voters.clone().filter(|node| node.low_on_space);
    full.clone().any(|node| node.role == "leader") || full.count() * 2 > voters.count()
}

/// Returns true if the node reported its state: one that cannot be reached did not.
pub(super) fn is_known(node: &NodeStatus) -> bool {
    node.role != "unreachable"
}

/// Returns the health of a node in a word.
pub(super) fn of_node(node: &NodeStatus) -> &'static str {
    match (is_known(node), node.unready.is_empty()) {
        (false, _) => "unreachable",
        (true, false) => "unready",
        (true, true) if complaints(node).is_empty() => "healthy",
        (true, true) => "degraded",
    }
}

/// Returns the reasons for which somebody should look at a node.
pub(super) fn complaints(node: &NodeStatus) -> Vec<String> {
    let mut complaints = Vec::new();
    if !node.unready.is_empty() {
        complaints.push(format!("NOT READY: {}", node.unready));
    }
    if node.low_on_space {
        let (free, reserve) = (size::show(node.free_bytes), size::show(node.reserve_bytes));
        complaints.push(format!("NO ROOM: {free} free, {reserve} are kept in reserve"));
    }
    for DamagedChunk { chunk, why, failed } in &node.damaged {
        let failed = match failed.as_str() {
            "" => String::new(),
            failed => format!(" (not repaired yet: {failed})"),
        };
        complaints.push(format!("DAMAGED: chunk {chunk}: {why}{failed}"));
    }
    if !node.notice.is_empty() {
        complaints.push(node.notice.clone());
    }
    complaints
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::super::tests::node;
    use super::*;

    fn healthy(id: u64) -> NodeStatus {
        node(id, if id == 1 { "leader" } else { "follower" })
    }

    fn judged(change: impl Fn(&mut NodeStatus)) -> (Health, String) {
        let mut nodes = [1, 2, 3].map(healthy);
        nodes.iter_mut().for_each(change);
        let cluster = Some(Uuid::from_u128(1));
        let status = ClusterStatus { cluster, chunk_bytes: 0, nodes: nodes.into() };
        let (health, reasons) = judge(&status);
        (health, reasons.join("; "))
    }

    #[test]
    fn a_cluster_is_unavailable_if_it_takes_no_appends_and_degraded_if_somebody_should_look() {
        assert_eq!(judged(|_| {}), (Health::Healthy, String::new()));
        for (health, reason, change) in [
            (Health::Degraded, "node 3 at 192.168.100.3:17701 is unreachable", {
                (|node| {
                    if node.id == 3 {
                        node.role = "unreachable".into()
                    }
                }) as fn(&mut NodeStatus)
            }),
            (Health::Degraded, "node 2: NOT READY: why", |node| {
                if node.id == 2 {
                    node.unready = "why".into()
                }
            }),
            (Health::Degraded, "node 2: NO ROOM: ", |node| node.low_on_space = node.id == 2),
            (Health::Degraded, "node 2: knows no leader", |node| {
                if node.id == 2 {
                    node.notice = "knows no leader".into()
                }
            }),
            (Health::Degraded, "node 3 is 9999999999 events, 9999 s behind", |node| {
                node.log_time = Some(quorate_client::Timestamp(9_999_000_000));
                if node.id == 3 {
                    (node.last_position, node.log_time) = (0, None)
                }
            }),
            (Health::Unavailable, "no node leads a majority", |node| {
                if node.id == 1 {
                    node.unready = "it is alone".into()
                }
            }),
            (Health::Unavailable, "no node leads a majority", |node| {
                if node.id == 1 {
                    node.role = "unreachable".into()
                }
            }),
            (Health::Unavailable, "the disks have no room", |node| {
                node.low_on_space = node.id == 1;
            }),
            (Health::Unavailable, "the disks have no room", |node| {
                node.low_on_space = node.id != 1;
            }),
        ] {
            let (judged, reasons) = judged(change);
            assert_eq!(judged, health, "{reasons}");
            assert!(reasons.contains(reason), "`{reason}`: {reasons}");
        }
        let waiting = ClusterStatus { cluster: None, chunk_bytes: 0, nodes: vec![healthy(1)] };
        assert_eq!(judge(&waiting).0, Health::Unavailable);
    }

    #[test]
    fn a_node_that_is_open_without_encryption_is_healthy_all_the_same() {
        let shown = |change: fn(&mut NodeStatus)| {
            let mut node = healthy(2);
            change(&mut node);
            of_node(&node)
        };
        assert_eq!(shown(|node| node.insecure = true), "healthy");
        assert_eq!(shown(|node| node.notice = "its clock is wrong".into()), "degraded");
        assert_eq!(shown(|node| node.unready = "it knows no leader".into()), "unready");
        assert_eq!(shown(|node| node.role = "unreachable".into()), "unreachable");
    }
}
