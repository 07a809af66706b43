//! The handles by which a leader changes the members of the cluster.

use std::sync::Arc;

use crate::host::Host;
use crate::identity::Identity;
use crate::leadership::handover::Handover;
use crate::log::RaftLog;
use crate::machine::Core;
use crate::peers::Peers;
use crate::peers::guard::Guard;
use crate::peers::transfers::Transfers;
use crate::raft::Raft;

/// The members of the cluster, as their leader changes them.
pub(crate) struct Members<H: Host> {
    pub(crate) identity: Identity,
    pub(crate) raft: Raft<H>,
    pub(crate) core: Arc<Core<H>>,
    pub(crate) log: RaftLog,
    pub(crate) peers: Arc<Peers<H>>,
    pub(crate) guard: Arc<Guard>,
    pub(crate) transfers: Transfers,
    pub(crate) handover: Handover<H>,
}
