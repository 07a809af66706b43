//! Sends the other nodes what this node remembers of its peers, so that any of them knows a node that forgot.
//!
//! A follower that was behind did not hear what another acknowledged to the leader. If the leader is gone and the
//! other comes back without its folder's newest state, the two of them are a majority, and acknowledged entries
//! would be lost. So every node passes on what it knows, at most once a second and only what is new: a write of
//! four kilobytes each second on a busy node, none on an idle one.
//!
//! A gap remains: what was acknowledged within the last second, or while the follower could not be reached. There
//! the node's own `boot` file must show that its log lost something.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use openraft::async_runtime::watch::WatchReceiver;
use quorate_proto::wire::peer::v1;

use crate::adapter::types::Place;
use crate::host::Host;
use crate::log::PeerMemory;
use crate::peers::wire;
use crate::replica::running::Running;

/// The interval at which news is sent.
const EVERY: Duration = Duration::from_secs(1);

/// Sends news until the node ends.
pub(crate) async fn run<H: Host>(running: Arc<Running<H>>) {
    let mut told: BTreeMap<u64, Vec<PeerMemory>> = BTreeMap::new();
    loop {
        tokio::time::sleep(EVERY).await;
        let memories = running.guard.memories();
        let mut others = others(&running);
        others.retain(|(node, _)| told.get(node) != Some(&memories));
        let telling = others.iter().map(|(node, place)| tell(&running, *node, place, &memories));
        let answers = join_all(telling).await;
        for node in answers.into_iter().flatten() {
            told.insert(node, memories.clone());
        }
    }
}

/// Returns the other nodes of the cluster that were let in.
fn others<H: Host>(running: &Running<H>) -> Vec<(u64, Place)> {
    let metrics = running.raft.metrics();
    let metrics = metrics.borrow_watched();
    let nodes = metrics.membership_config.nodes();
    let others = nodes.filter(|(node, _)| running.guard.origin(**node).is_some());
    others.map(|(node, place)| (*node, place.clone())).collect()
}

/// Sends memories to a node; returns the node's id if it received them.
async fn tell<H: Host>(
    running: &Running<H>,
    node: u64,
    place: &Place,
    memories: &[PeerMemory],
) -> Option<u64> {
    let link = running.peers.link(node, place);
    let told = link.unary(running.deadline, |origin, mut client| async move {
        let origin = Some(wire::origin(&origin));
        let memories = memories.iter().map(wire::memory).collect();
        client.remember(v1::RememberRequest { origin, memories }).await
    });
    told.await.ok().map(|_| node)
}
