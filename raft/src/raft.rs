//! Raft as this node calls it: openraft's handle, on the host's runtime.

use std::sync::Arc;

use bytes::Bytes;
use openraft::RaftMetrics;
use openraft::async_runtime::watch::WatchReceiver;
use openraft::metrics::RaftServerMetrics;
use openraft::raft::ClientWriteResult;
use openraft::type_config::alias::WatchReceiverOf;
use quorate_proto::Term;

use crate::adapter::proposal::Proposal;
use crate::adapter::types::{
    Addresses, Closure, Command, CommittedLeaderId, StoredMembership, Types, Vote,
};
use crate::host::Host;
use crate::machine::Machine;

type Inner<H> = openraft::Raft<Types<H>, Machine<H>>;
type Watched<H, T> = WatchReceiverOf<Types<H>, T>;
/// openraft's answer to a command: its entry and its outcome, or the reason why it was refused.
pub(crate) type Written<H> = ClientWriteResult<Types<H>>;

/// Raft on this node. Clones are the same Raft.
#[derive(Clone)]
pub(crate) struct Raft<H: Host> {
    host: H,
    node: u64,
    inner: Inner<H>,
}

impl<H: Host> Raft<H> {
    pub(crate) fn new(host: H, node: u64, inner: Inner<H>) -> Raft<H> {
        Raft { host, node, inner }
    }

    /// Calls openraft.
    pub(crate) fn call<'a, F: Future + Send + 'a>(
        &'a self,
        call: impl FnOnce(&'a Inner<H>) -> F,
    ) -> impl Future<Output = F::Output> + Send {
        self.host.scoped(call(&self.inner))
    }

    /// Returns this node's id.
    pub(crate) fn node(&self) -> u64 {
        self.node
    }

    /// Reads openraft's metrics.
    pub(crate) fn metrics<T>(&self, read: impl FnOnce(&RaftMetrics<Types<H>>) -> T) -> T {
        read(&self.inner.metrics().borrow_watched())
    }

    /// Returns a watch on openraft's metrics.
    pub(crate) fn watch_metrics(&self) -> Watched<H, RaftMetrics<Types<H>>> {
        self.inner.metrics()
    }

    /// Returns a watch on the part of the metrics that shows changes of role and term.
    pub(crate) fn watch_server(&self) -> Watched<H, RaftServerMetrics<Types<H>>> {
        self.inner.server_metrics()
    }

    /// Returns the newest membership that this node knows.
    pub(crate) fn membership(&self) -> Arc<StoredMembership> {
        self.metrics(|metrics| metrics.membership_config.clone())
    }

    /// Returns the ids and addresses of all other nodes of the cluster.
    pub(crate) fn others(&self) -> Vec<(u64, Addresses)> {
        let membership = self.membership();
        let others = membership.nodes().filter(|(node, _)| **node != self.node);
        others.map(|(node, addresses)| (*node, addresses.clone())).collect()
    }

    /// Returns the leader's id and addresses, if a leader is known.
    pub(crate) fn leader(&self) -> Option<(u64, Addresses)> {
        self.metrics(|metrics| {
            let leader = metrics.current_leader?;
            let addresses = metrics.membership_config.get_node(&leader)?.clone();
            Some((leader, addresses))
        })
    }

    /// Returns the vote in force here.
    pub(crate) fn vote(&self) -> Vote {
        self.metrics(|metrics| metrics.vote)
    }

    /// Proposes a command, in the given term or in whichever this node leads; returns when openraft has queued it.
    /// `answer` is called once, with none if openraft has ended.
    pub(crate) async fn write(
        &self,
        bytes: Bytes,
        proposal: Option<(Proposal, Term)>,
        answer: impl FnOnce(Option<Written<H>>) + Send + 'static,
    ) {
        let (proposal, term) = proposal.unzip();
        let write = self.inner.write(Command { bytes, proposal });
        let write = match term {
            Some(term) => write.with_leader(CommittedLeaderId::new(term.0)),
            None => write,
        };
        let queued = write.responder(Closure::new(answer)).into_future();
        // If openraft is gone, the closure was called when it was dropped.
        let _answered = self.host.scoped(queued).await;
    }

    /// Asks a voter to lead; returns true if it was asked, which does not mean yet that it leads.
    pub(crate) async fn transfer_leader(&self, to: u64) -> bool {
        self.call(|raft| async move { raft.trigger().transfer_leader(to).await }).await.is_ok()
    }
}
