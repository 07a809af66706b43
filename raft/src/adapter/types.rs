//! openraft's types as this crate uses them, and the conversions between them and our own types.

use std::cmp::Ordering;
use std::fmt;
use std::marker::PhantomData;

use bytes::Bytes;
use openraft::AsyncRuntime;
use openraft::impls::{BoxedErrorSource, InlineBatch, leader_id_std};
use openraft::raft::responder::Responder;
use openraft::vote::RaftLeaderId;
use openraft::{OptionalSend, RaftTypeConfig};
use quorate_proto::LogId;
use quorate_store::Verdict;

use super::proposal::Proposal;
use crate::host::Host;
use crate::log::VoteRecord;

pub(crate) type LeaderId = leader_id_std::LeaderId<u64, u64>;
pub(crate) type CommittedLeaderId = <LeaderId as RaftLeaderId>::Committed;
pub(crate) type RaftLogId = openraft::LogId<CommittedLeaderId>;
pub(crate) type Vote = openraft::Vote<LeaderId>;
pub(crate) type Payload = openraft::EntryPayload<Command, u64, Addresses>;
pub(crate) type Entry = openraft::Entry<CommittedLeaderId, Payload>;
pub(crate) type Membership = openraft::Membership<u64, Addresses>;
pub(crate) type StoredMembership = openraft::StoredMembership<CommittedLeaderId, u64, Addresses>;
pub(crate) type SnapshotMeta = openraft::storage::SnapshotMeta<CommittedLeaderId, u64, Addresses>;
pub(crate) type Snapshot<D> = openraft::storage::Snapshot<CommittedLeaderId, u64, Addresses, D>;

/// The configuration of openraft's types. It is written by hand: openraft's macro cannot set a generic responder.
pub(crate) struct TypeConfig<R>(PhantomData<fn() -> R>);

impl<R: AsyncRuntime> RaftTypeConfig for TypeConfig<R> {
    type D = Command;
    type R = Vec<Verdict>;
    type NodeId = u64;
    type Node = Addresses;
    type Term = u64;
    type LeaderId = LeaderId;
    type Vote = Vote;
    type Payload = Payload;
    type Entry = Entry;
    type AsyncRuntime = R;
    type Responder<T>
        = Closure<T>
    where
        T: OptionalSend + 'static;
    type Batch<T>
        = InlineBatch<T>
    where
        T: OptionalSend + 'static;
    type ErrorSource = BoxedErrorSource;
}

/// The configuration on a host's runtime.
pub(crate) type Types<H> = TypeConfig<<H as Host>::Runtime>;

// A derive would require these traits of the runtime, although the type has no value of it.
impl<R> fmt::Debug for TypeConfig<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TypeConfig")
    }
}

impl<R> Clone for TypeConfig<R> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<R> Copy for TypeConfig<R> {}

impl<R> Default for TypeConfig<R> {
    fn default() -> Self {
        TypeConfig(PhantomData)
    }
}

impl<R> PartialEq for TypeConfig<R> {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl<R> Eq for TypeConfig<R> {}

impl<R> PartialOrd for TypeConfig<R> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<R> Ord for TypeConfig<R> {
    fn cmp(&self, _: &Self) -> Ordering {
        Ordering::Equal
    }
}

/// A command, encoded by its proposer. This crate never looks inside.
#[derive(Clone)]
pub(crate) struct Command {
    pub(crate) bytes: Bytes,
    /// On the node that proposed the command: the proposal that waits until the command is in the log.
    pub(crate) proposal: Option<Proposal>,
}

impl fmt::Debug for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a command of {} bytes", self.bytes.len())
    }
}

impl fmt::Display for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// The addresses of a member.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Addresses {
    pub(crate) client_address: String,
    pub(crate) peer_address: String,
}

/// Answers a proposal by calling a closure where the answer arises, which is one hop less than a channel. If the
/// responder is dropped unanswered (the core died), the closure is called with `None`.
pub(crate) struct Closure<T>(Option<Box<dyn FnOnce(Option<T>) + Send>>);

impl<T> Closure<T> {
    pub(crate) fn new(answer: impl FnOnce(Option<T>) + Send + 'static) -> Closure<T> {
        Closure(Some(Box::new(answer)))
    }
}

impl<C, T> Responder<C, T> for Closure<T>
where
    C: RaftTypeConfig,
    T: OptionalSend + 'static,
{
    fn on_complete(mut self, answer: T) {
        if let Some(call) = self.0.take() {
            call(Some(answer));
        }
    }
}

impl<T> Drop for Closure<T> {
    fn drop(&mut self) {
        if let Some(call) = self.0.take() {
            call(None);
        }
    }
}

pub(crate) fn log_id(term: u64, index: u64) -> RaftLogId {
    RaftLogId { leader_id: CommittedLeaderId::new(term), index }
}

/// Converts a log id of ours to one of openraft's.
pub(crate) fn theirs(id: LogId) -> RaftLogId {
    log_id(id.term.0, id.index.0)
}

/// Converts a log id of openraft's to one of ours.
pub(crate) fn ours(id: RaftLogId) -> LogId {
    LogId::new(id.leader_id.term, id.index)
}

pub(crate) fn vote(record: VoteRecord) -> Vote {
    let leader_id = LeaderId { term: record.term, voted_for: record.node };
    Vote { leader_id, committed: record.committed }
}

pub(crate) fn vote_record(vote: &Vote) -> VoteRecord {
    let LeaderId { term, voted_for } = vote.leader_id;
    VoteRecord { term, node: voted_for, committed: vote.committed }
}
