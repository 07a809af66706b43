//! The links to all peers.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::link::{Link, LocalNode};
use crate::adapter::types::Addresses;
use crate::histogram::Observations;
use crate::host::Host;

/// The links to all peers, each made when it is first asked for.
#[derive(Debug)]
pub(crate) struct Peers<H> {
    local: LocalNode<H>,
    links: Mutex<BTreeMap<u64, Arc<Link<H>>>>,
}

impl<H: Host> Peers<H> {
    pub(crate) fn new(local: LocalNode<H>) -> Peers<H> {
        Peers { local, links: Mutex::default() }
    }

    /// Returns how long requests with entries took until their answers, of all peers.
    pub(crate) fn round_trips(&self) -> Observations {
        self.local.round_trips.observations()
    }

    /// Returns the deadline of urgent requests.
    pub(crate) fn deadline(&self) -> Duration {
        self.local.deadline
    }

    /// The link to a peer that the newest membership knows at these addresses. Nothing is connected before it is used.
    /// A process that greeted this node, and was let in, is looked for where it said that it is: the membership here
    /// may be behind.
    pub(crate) fn link(&self, node: u64, addresses: &Addresses) -> Arc<Link<H>> {
        let greeted_from = self.local.guard.address(node);
        let address = greeted_from.as_ref().unwrap_or(&addresses.peer_address);
        // Links are only ever added, or replaced whole.
        let mut links = self.lock();
        match links.get(&node) {
            Some(link) if link.address() == address => link.clone(),
            _ => {
                let link = Arc::new(Link::new(&self.local, node, address));
                links.insert(node, link.clone());
                link
            }
        }
    }

    /// The link to a peer that was asked for before, where the peer is now. openraft keeps a client for as long as a
    /// node is a member, whatever becomes of its addresses.
    pub(crate) fn newest_link(&self, node: u64, addresses: &Addresses) -> Arc<Link<H>> {
        let newest = self.lock().get(&node).map(|link| link.address().to_owned());
        match newest {
            Some(peer_address) => self.link(node, &Addresses { peer_address, ..addresses.clone() }),
            None => self.link(node, addresses),
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<u64, Arc<Link<H>>>> {
        self.links.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
