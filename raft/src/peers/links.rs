//! The links to all peers.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use super::Link;
use crate::adapter::types::Place;
use crate::disk_space::space::Rooms;
use crate::host::Host;
use crate::machine::Core;
use crate::peers::guard::Guard;
use crate::peers::transfers::Transfers;

/// The state that is kept of peers: which are let in, which get a checkpoint, and which have room.
pub(crate) type Known = (Arc<Guard>, Transfers, Arc<Rooms>);

/// The node at which the links begin.
#[derive(Clone, Debug)]
pub(crate) struct Here<H: Host> {
    pub(crate) host: H,
    /// The node's core, held weakly: links that outlive the node keep nothing of it open.
    pub(crate) core: Weak<Core<H>>,
}

/// The links to all peers, each made when it is first asked for.
#[derive(Debug)]
pub(crate) struct Peers<H: Host> {
    here: Here<H>,
    known: Known,
    deadline: Duration,
    links: Mutex<BTreeMap<u64, Arc<Link<H>>>>,
}

impl<H: Host> Peers<H> {
    /// `deadline` is for urgent requests: greeting, opening a stream, asking for a read index.
    pub(crate) fn new(here: Here<H>, known: Known, deadline: Duration) -> Peers<H> {
        Peers { here, known, deadline, links: Mutex::default() }
    }

    /// The link to a peer. Nothing is connected before it is used.
    pub(crate) fn link(&self, node: u64, place: &Place) -> Arc<Link<H>> {
        // Links are only ever added, or replaced whole.
        let mut links = self.links.lock().unwrap_or_else(PoisonError::into_inner);
        match links.get(&node) {
            Some(link) if link.address() == place.peer_address => link.clone(),
            _ => {
                let address = &place.peer_address;
                let link = Link::new(&self.here, node, address, self.known.clone(), self.deadline);
                let link = Arc::new(link);
                links.insert(node, link.clone());
                link
            }
        }
    }
}
