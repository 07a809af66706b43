//! Takes in a node that waits on an empty folder: it gets an id, which is committed, then its identity, then the log.

use openraft::ChangeMembers;

use super::leader::Members;
use super::moved::ADDRESS_BYTES_MAX;
use crate::adapter::types::Addresses;
use crate::error::ChangeError;
use crate::host::Host;
use crate::identity::Identity;
use crate::peers::adopt;

impl<H: Host> Members<H> {
    /// Makes the node at a peer address a learner; returns its id. A node that was taken in by an earlier try keeps the
    /// id that it got.
    pub(super) async fn take_in(&self, peer_address: &str) -> Result<u64, ChangeError> {
        let refused = |status: tonic::Status| {
            let why = format!("the node at {peer_address} does not join: {}", status.message());
            match status.code() {
                tonic::Code::Unavailable | tonic::Code::DeadlineExceeded => ChangeError::Later(why),
                _ => ChangeError::Refused(why),
            }
        };
        let (host, membership) = (self.core.host(), self.settled().await?);
        let is_it = |addresses: &Addresses| addresses.peer_address == peer_address;
        let known = membership.nodes().find(|(_, addresses)| is_it(addresses));
        let node = known.map_or_else(|| self.next_node(), |(node, _)| *node);
        if membership.voter_ids().any(|voter| voter == node) {
            return Ok(node);
        }
        let identity = Identity { node, ..self.identity };
        let waiting = adopt::find(host, peer_address, &identity).await.map_err(refused)?;
        if known.is_none() {
            let client_address = waiting.client_address.clone();
            if client_address.len() > ADDRESS_BYTES_MAX {
                let why = format!("its client address has more than {ADDRESS_BYTES_MAX} bytes");
                return Err(refused(tonic::Status::invalid_argument(why)));
            }
            let addresses = Addresses { client_address, peer_address: peer_address.to_owned() };
            let change = ChangeMembers::AddNodes([(node, addresses)].into());
            self.propose(&membership, change).await?;
        }
        // The id is committed: whatever fails from here on, no other node gets it.
        adopt::take_in(host, peer_address, &waiting, &identity).await.map_err(refused)?;
        Ok(node)
    }

    /// Returns the id that the next new node gets.
    fn next_node(&self) -> u64 {
        // A membership that is not applied yet counts, too; then the proposal finds that it looked at another one.
        let newest = self.raft.membership().nodes().map(|(node, _)| *node).max();
        let above = newest.map_or(1, |newest| newest.saturating_add(1));
        self.core.ledger().borrow().next_node.max(above)
    }
}
