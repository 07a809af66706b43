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
use quorate_proto::wire::peer::v1;

use super::guard::Guard;
use super::{Peers, wire};
use crate::adapter::types::Addresses;
use crate::host::Host;
use crate::log::PeerMemory;
use crate::raft::Raft;

/// The interval at which news is sent.
const EVERY: Duration = Duration::from_secs(1);

/// Sends news until the node ends.
pub(crate) async fn run<H: Host>(raft: Raft<H>, guard: Arc<Guard>, peers: Arc<Peers<H>>) {
    let mut sent: BTreeMap<u64, Vec<PeerMemory>> = BTreeMap::new();
    loop {
        tokio::time::sleep(EVERY).await;
        let memories = guard.memories();
        let mut others = raft.others();
        // Only nodes that were let in get them.
        others
            .retain(|(node, _)| guard.origin(*node).is_some() && sent.get(node) != Some(&memories));
        let sending =
            others.iter().map(|(node, addresses)| send(&peers, *node, addresses, &memories));
        let answers = join_all(sending).await;
        for node in answers.into_iter().flatten() {
            sent.insert(node, memories.clone());
        }
    }
}

/// Sends memories to a node; returns the node's id if it received them.
pub(crate) async fn send<H: Host>(
    peers: &Peers<H>,
    node: u64,
    addresses: &Addresses,
    memories: &[PeerMemory],
) -> Option<u64> {
    let link = peers.link(node, addresses);
    let sent = link.unary(peers.deadline(), |origin, mut client| async move {
        let memories = memories.iter().map(wire::memory).collect();
        client.remember(v1::RememberRequest { origin: Some(origin), memories }).await
    });
    sent.await.ok().map(|_| node)
}
