//! A node that was started at other addresses tells the cluster, which keeps the node's id.
//!
//! The other nodes connect to the addresses in the membership: a node at other addresses hears of no append. It greets
//! them from where it is, and that it is the same node is proved by what they remember of it (`peers/guard`).

use std::sync::Arc;
use std::time::Duration;

use openraft::ChangeMembers;
use quorate_proto::Address;
use quorate_proto::wire::peer::v1;

use super::leader::Members;
use crate::adapter::types::Addresses;
use crate::error::ChangeError;
use crate::host::Host;

/// The interval at which a node looks whether it is known where it is.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// The time within which the leader must make the change.
const CHANGED_WITHIN: Duration = Duration::from_secs(10);
/// The greatest length of an address: a name in the DNS and a port, well within what a membership can hold.
pub(crate) const ADDRESS_BYTES_MAX: usize = 255;

/// Tells the cluster this node's addresses whenever it knows others, until the node ends.
pub(crate) async fn tell_address<H: Host>(members: Arc<Members<H>>, own: Addresses) {
    let mut is_logged = false;
    loop {
        let membership = members.raft.membership();
        let known = membership.get_node(&members.raft.node());
        if known.is_some_and(|known| !are_same(known, &own)) {
            if !std::mem::replace(&mut is_logged, true) {
                let Addresses { client_address, peer_address } = &own;
                tracing::warn!(
                    "the cluster knows this node at other addresses than {client_address} and {peer_address}, and is told"
                );
            }
            members.tell(&own).await;
        } else if std::mem::take(&mut is_logged) {
            tracing::info!("the cluster knows where this node is");
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

impl<H: Host> Members<H> {
    /// Tells whichever node leads.
    async fn tell(&self, own: &Addresses) {
        match self.relocate(self.raft.node(), own.clone()).await {
            Ok(()) => return,
            Err(ChangeError::NotLeader) => {}
            Err(why) => tracing::debug!("the new address is not in the membership yet: {why}"),
        }
        for (node, addresses) in self.raft.others() {
            let link = self.peers.link(node, &addresses);
            let told = link.unary(CHANGED_WITHIN, |origin, mut client| {
                let Addresses { client_address, peer_address } = own.clone();
                let origin = Some(origin);
                let request = v1::RelocateRequest { origin, client_address, peer_address };
                async move { client.relocate(request).await }
            });
            if told.await.is_ok() {
                return;
            }
        }
    }

    /// Changes the addresses of a member, if this node leads.
    pub(crate) async fn relocate(&self, node: u64, to: Addresses) -> Result<(), ChangeError> {
        for address in [&to.client_address, &to.peer_address] {
            if address.len() > ADDRESS_BYTES_MAX {
                let why = format!("an address has more than {ADDRESS_BYTES_MAX} bytes");
                return Err(ChangeError::Refused(why));
            }
        }
        let membership = self.settled().await?;
        let Some(known) = membership.get_node(&node) else {
            return Err(ChangeError::Refused(format!("node {node} is no member")));
        };
        if are_same(known, &to) {
            return Ok(());
        }
        self.propose(&membership, ChangeMembers::SetNodes([(node, to)].into())).await
    }
}

/// Returns true if both addresses mean the same.
fn are_same(one: &Addresses, other: &Addresses) -> bool {
    let address = |text: &str| text.parse::<Address>().ok();
    [(&one.client_address, &other.client_address), (&one.peer_address, &other.peer_address)]
        .into_iter()
        .all(|(one, other)| {
            one == other || address(one).is_some_and(|one| Some(one) == address(other))
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_that_mean_the_same_are_the_same() {
        let addresses = |client: &str, peer: &str| Addresses {
            client_address: client.to_owned(),
            peer_address: peer.to_owned(),
        };
        let known = addresses("[::1]:1", "Node:2");
        assert!(are_same(&known, &addresses("[0:0::1]:1", "node:2")));
        assert!(!are_same(&known, &addresses("[::1]:1", "node:3")));
        assert!(!are_same(&known, &addresses("[::1]:2", "node:2")));
    }
}
