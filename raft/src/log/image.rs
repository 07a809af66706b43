//! The state that the records of the log lead to, the entries themselves aside.

use std::collections::BTreeMap;

use quorate_proto::LogId;

use super::format::Record;
use super::{PeerMemory, TruncationRecord, VoteRecord};

/// The state that the records up to some point lead to.
///
/// Invariants:
/// - `end` is never before `purged`;
/// - an entry takes the index after `end`, and no smaller term.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Image {
    pub(super) vote: Option<VoteRecord>,
    /// The committed mark as noted: it may lie beyond `end`, and must be clamped before it is shown.
    pub(super) committed: Option<LogId>,
    pub(super) purged: Option<LogId>,
    /// The last entry, or `purged` when there is none after it.
    pub(super) end: Option<LogId>,
    /// The newest snapshot that was announced to be put in place.
    pub(super) install: Option<LogId>,
    pub(super) truncation: Option<TruncationRecord>,
    pub(super) peers: BTreeMap<u64, PeerMemory>,
}

impl Image {
    /// Applies one record. Returns an error if the record does not follow from the state before.
    pub(super) fn apply(&mut self, record: &Record) -> Result<(), String> {
        match record {
            Record::Image(image) => {
                if **image != *self {
                    return Err("it does not continue what is before it".into());
                }
            }
            Record::Entry(entry) => {
                self.check_next(entry.id)?;
                self.end = Some(entry.id);
            }
            Record::Vote(vote) => self.vote = Some(*vote),
            Record::Committed(id) => self.committed = Some(*id),
            Record::Truncated(truncation) => {
                self.end = truncation.end;
                self.truncation = Some(*truncation);
            }
            Record::Purged(id) => self.purge(*id),
            Record::Peer(peer) => self.note_peer(*peer),
            Record::Install(id) => self.install = Some(*id),
        }
        Ok(())
    }

    /// Replaces the memory of a peer; a peer of which nothing is remembered is forgotten.
    pub(super) fn note_peer(&mut self, peer: PeerMemory) {
        if peer == PeerMemory::nothing(peer.node) {
            self.peers.remove(&peer.node);
        } else {
            self.peers.insert(peer.node, peer);
        }
    }

    /// Returns an error if an entry with that id may not come next.
    pub(super) fn check_next(&self, id: LogId) -> Result<(), String> {
        self.end.map_or(Ok(()), |end| check_follows(end, id))
    }

    /// Drops all entries up to `to`.
    pub(super) fn purge(&mut self, to: LogId) {
        self.purged = latest(self.purged, Some(to));
        self.end = latest(self.end, Some(to));
    }
}

/// Returns an error if the entry `id` may not come right after the entry `end`.
pub(super) fn check_follows(end: LogId, id: LogId) -> Result<(), String> {
    if id.index.0 == end.index.0.wrapping_add(1) && id.term >= end.term {
        return Ok(());
    }
    Err(format!("entry {id} does not follow {end}"))
}

/// Returns the later of two places in the log; the first if they are at the same index.
pub(super) fn latest(one: Option<LogId>, other: Option<LogId>) -> Option<LogId> {
    if one.map(|id| id.index) < other.map(|id| id.index) { other } else { one }
}

/// Returns the earlier of two places in the log; the first if they are at the same index.
pub(super) fn earliest(one: Option<LogId>, other: Option<LogId>) -> Option<LogId> {
    if one.map(|id| id.index) > other.map(|id| id.index) { other } else { one }
}
