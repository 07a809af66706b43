//! The choice of the node that is asked to lead instead of this node.

use openraft::ServerState;
use openraft::async_runtime::watch::WatchReceiver;
use tokio::time::Instant;

use crate::adapter::types;
use crate::host::Host;
use crate::replica::running::Running;

/// Returns the node that can best take over, if this node leads: a voter of every configuration in force that was
/// heard of late, whose log holds all that is applied here, and that `suits` accepts; of several, the one with the
/// longest log. A node whose log lacks what is applied here could not be elected, or would have to catch up while
/// nobody leads. Where this node is the only voter, the result is none.
pub(crate) fn heir<H: Host>(running: &Running<H>, suits: impl Fn(u64) -> bool) -> Option<u64> {
    let metrics = running.raft.metrics();
    let metrics = metrics.borrow_watched();
    if metrics.state != ServerState::Leader {
        return None;
    }
    let now = Instant::now();
    let applied = running.core.progress().borrow().applied;
    let matched =
        |voter: &u64| metrics.replication.as_ref()?.get(voter).copied().flatten().map(types::ours);
    let configs = metrics.membership_config.membership().get_joint_config();
    let others = metrics.membership_config.voter_ids().filter(|voter| {
        *voter != running.identity.node
            && configs.iter().all(|voters| voters.contains(voter))
            && running.rooms.of(*voter, now).is_some()
            && matched(voter) >= applied
            && suits(*voter)
    });
    others.max_by_key(|voter| (matched(voter), std::cmp::Reverse(*voter)))
}

/// Asks a node to lead; returns true if it was asked, which does not mean yet that it leads.
pub(crate) async fn hand_over<H: Host>(running: &Running<H>, heir: u64) -> bool {
    running.host.scoped(running.raft.trigger().transfer_leader(heir)).await.is_ok()
}
