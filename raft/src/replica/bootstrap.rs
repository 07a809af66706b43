//! The founding of a cluster: one node is requested to found it and gives all nodes their identities.
//!
//! Every step can be repeated: a node that already has the identity that it is given agrees. Raft starts
//! with the last step, so until then nothing is lost with any of the nodes.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use openraft::errors::{InitializeError, RaftError};
use quorate_proto::limits::{CHUNK_BYTES_MAX, CHUNK_BYTES_MIN};

use super::Replica;
use super::running::Running;
use crate::adapter::types::Addresses;
use crate::error::BootstrapError;
use crate::host::Host;
use crate::identity::{Identity, JoinSecret};
use crate::members::ADDRESS_BYTES_MAX;
use crate::peers::adopt;

impl<H: Host> Replica<H> {
    /// Founds a cluster of the nodes at these peer addresses, which include this node's own; the nodes get the
    /// ids 1, 2, 3 … in this order. Can be repeated with the same list after it failed half-way.
    pub async fn bootstrap(
        &self,
        peers: Vec<String>,
        chunk_bytes: u64,
    ) -> Result<Identity, BootstrapError> {
        let node = check(&peers, &self.shared.options.peer_address, chunk_bytes)?;
        let _changing = self.shared.changing.lock().await;
        if self.is_released() {
            return Err(BootstrapError::Stopped("the node is stopping".to_owned()));
        }
        let identity = match self.running() {
            Some(running) => self.half_founded(&running, node, chunk_bytes).await?,
            None if self.shared.options.join_token.is_some() => {
                let why = "this node was started with a join token: it waits for a cluster to take it in, and founds none";
                return Err(BootstrapError::Invalid(why.to_owned()));
            }
            None => {
                let draw = || self.shared.host.random().to_be_bytes();
                let (cluster, secret) = (draw(), JoinSecret(draw()));
                Identity { cluster, log: 0, node, chunk_bytes, secret }
            }
        };
        // All nodes are asked before any of them is changed.
        self.adopt_all(&peers, identity, true).await?;
        let running = match self.running() {
            Some(running) => running,
            None => self.take_identity(identity).await?,
        };
        let members = self.adopt_all(&peers, identity, false).await?;
        match running.raft.call(|raft| Box::pin(raft.initialize(members))).await {
            Ok(()) => Ok(identity),
            Err(RaftError::APIError(InitializeError::NotAllowed(_))) => {
                Err(BootstrapError::Founded(identity))
            }
            Err(error) => Err(BootstrapError::Stopped(error.to_string())),
        }
    }

    /// Returns the identity of a founding that was begun and not ended.
    async fn half_founded(
        &self,
        running: &Arc<Running<H>>,
        node: u64,
        chunk_bytes: u64,
    ) -> Result<Identity, BootstrapError> {
        let is_founded = running.raft.call(|raft| raft.is_initialized()).await;
        let is_founded = is_founded.map_err(|fatal| BootstrapError::Stopped(fatal.to_string()))?;
        let identity = running.identity;
        if is_founded || identity.node != node || identity.chunk_bytes != chunk_bytes {
            return Err(BootstrapError::Founded(identity));
        }
        Ok(identity)
    }

    pub(super) async fn take_identity(
        &self,
        identity: Identity,
    ) -> Result<Arc<Running<H>>, BootstrapError> {
        let stopped = |error: &dyn std::error::Error| BootstrapError::Stopped(error.to_string());
        identity
            .write(&*self.shared.host.vfs(), &self.shared.options.directory)
            .map_err(|fault| stopped(&fault))?;
        self.run(identity).await.map_err(|error| stopped(&error))
    }

    /// Gives every node its identity, or asks every node if it would take it.
    async fn adopt_all(
        &self,
        peers: &[String],
        identity: Identity,
        check_only: bool,
    ) -> Result<BTreeMap<u64, Addresses>, BootstrapError> {
        let mut members = BTreeMap::new();
        for (node, address) in (1..).zip(peers) {
            let client_address = if node == identity.node {
                self.shared.options.client_address.clone()
            } else {
                let identity = Identity { node, ..identity };
                let asked = adopt::found(&self.shared.host, address, &identity, check_only);
                asked.await.map_err(|status| BootstrapError::Peer {
                    address: address.clone(),
                    why: format!("does not join: {}", status.message()),
                })?
            };
            if client_address.len() > ADDRESS_BYTES_MAX {
                let why = format!("names a client address of more than {ADDRESS_BYTES_MAX} bytes");
                return Err(BootstrapError::Peer { address: address.clone(), why });
            }
            members.insert(node, Addresses { client_address, peer_address: address.clone() });
        }
        Ok(members)
    }
}

/// Returns the id that this node gets, if the list and the chunk size can be used.
fn check(peers: &[String], own: &str, chunk_bytes: u64) -> Result<u64, BootstrapError> {
    if !(CHUNK_BYTES_MIN..=CHUNK_BYTES_MAX).contains(&chunk_bytes) {
        return Err(BootstrapError::Invalid(format!(
            "a chunk size of {chunk_bytes} bytes is not between {CHUNK_BYTES_MIN} and {CHUNK_BYTES_MAX}"
        )));
    }
    if peers.iter().any(|address| address.len() > ADDRESS_BYTES_MAX) {
        let why = format!("an address has more than {ADDRESS_BYTES_MAX} bytes");
        return Err(BootstrapError::Invalid(why));
    }
    let distinct: BTreeSet<&String> = peers.iter().collect();
    if distinct.len() != peers.len() {
        return Err(BootstrapError::Invalid("an address is named twice".to_owned()));
    }
    let found = (1..).zip(peers).find(|(_, address)| *address == own);
    found.map(|(node, _)| node).ok_or_else(|| {
        BootstrapError::Invalid(format!("this node's own peer address, {own}, is not among them"))
    })
}
