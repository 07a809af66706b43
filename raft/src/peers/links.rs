//! The links to all peers.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::link::{Here, Link};
use crate::adapter::types::Place;
use crate::host::Host;

/// The links to all peers, each made when it is first asked for.
#[derive(Debug)]
pub(crate) struct Peers<H> {
    here: Here<H>,
    links: Mutex<BTreeMap<u64, Arc<Link<H>>>>,
}

impl<H: Host> Peers<H> {
    pub(crate) fn new(here: Here<H>) -> Peers<H> {
        Peers { here, links: Mutex::default() }
    }

    /// Returns the deadline of urgent requests.
    pub(crate) fn deadline(&self) -> Duration {
        self.here.deadline
    }

    /// The link to a peer. Nothing is connected before it is used.
    pub(crate) fn link(&self, node: u64, place: &Place) -> Arc<Link<H>> {
        // Links are only ever added, or replaced whole.
        let mut links = self.links.lock().unwrap_or_else(PoisonError::into_inner);
        match links.get(&node) {
            Some(link) if link.address() == place.peer_address => link.clone(),
            _ => {
                let link = Arc::new(Link::new(&self.here, node, &place.peer_address));
                links.insert(node, link.clone());
                link
            }
        }
    }
}
