//! The links to all peers.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
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

    /// The link to a peer. Nothing is connected before it is used.
    pub(crate) fn link(&self, node: u64, addresses: &Addresses) -> Arc<Link<H>> {
        // Links are only ever added, or replaced whole.
        let mut links = self.links.lock().unwrap_or_else(PoisonError::into_inner);
        match links.get(&node) {
            Some(link) if link.address() == addresses.peer_address => link.clone(),
            _ => {
                let link = Arc::new(Link::new(&self.local, node, &addresses.peer_address));
                links.insert(node, link.clone());
                link
            }
        }
    }
}
