//! The client learns the members of a cluster, and which of them it can reach.

use std::sync::Arc;
use std::time::Duration;

use quorate_proto::Problem;
use quorate_proto::wire::v1::{StatusRequest, StatusResponse};
use tokio::task::JoinSet;

use crate::nodes::{Nodes, problem};
use crate::trouble::late;

/// The time that one node may take to show that it is there.
pub(crate) const GREETING_TIME: Duration = Duration::from_secs(2);
/// The time that one node may take to ask the others.
const LEARNING_TIME: Duration = Duration::from_secs(10);

/// Asks a node for its own status, or for the status of the other nodes, too.
pub(crate) async fn ask(
    nodes: &Nodes,
    address: &str,
    only_self: bool,
    time: Duration,
) -> Result<StatusResponse, Problem> {
    let mut cluster = nodes.cluster(address)?;
    let asking = cluster.status(StatusRequest { only_self });
    match tokio::time::timeout(time, asking).await {
        Ok(Ok(status)) => Ok(status.into_inner()),
        Ok(Err(status)) => Err(problem(address, &status)),
        Err(_) => Err(late(address)),
    }
}

/// Learns of the members from the node at `address`, whose own status is `greeted`, and tries to reach each of them:
/// an address that is valid in the cluster may lead nowhere from here, or to a node of another cluster.
pub(crate) async fn learn(nodes: Arc<Nodes>, address: String, greeted: StatusResponse) {
    if nodes.is_pinned() {
        return;
    }
    let Ok(status) = ask(&nodes, &address, false, LEARNING_TIME).await else { return };
    let mut reached = vec![address];
    let mut unreached = Vec::new();
    let mut greetings = JoinSet::new();
    for member in &status.nodes {
        let is_known = |own: &str| greeted.nodes.iter().any(|node| node.address == own);
        // A node of an older cluster, or before its founding, may not report its address.
        if member.address.is_empty() || is_known(&member.address) {
            continue;
        }
        let (nodes, cluster) = (Arc::clone(&nodes), status.cluster.clone());
        let address = member.address.clone();
        greetings.spawn(async move {
            let answer = ask(&nodes, &address, true, GREETING_TIME).await;
            (address, answer.is_ok_and(|answer| answer.cluster == cluster))
        });
    }
    while let Some(Ok((address, is_reached))) = greetings.join_next().await {
        if is_reached { &mut reached } else { &mut unreached }.push(address);
    }
    nodes.learn_members(reached, unreached);
    let leader = status.nodes.iter().find(|node| node.role == "leader");
    if let Some(leader) = leader {
        nodes.learn_leader(&leader.address);
    }
}
