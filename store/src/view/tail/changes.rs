//! The changes since a chunk was sealed, in memory: records and aggregate snapshots.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use quorate_proto::{LogIndex, Position, RecordedSnapshot, Scope, StreamName};

use crate::format::Key;
use crate::format::retention::{Record, encode_record, encode_snapshot};

/// The records and aggregate snapshots of a tail, in all their versions, so that a reader at an older point
/// sees those of its time.
///
/// Invariant: the items of one name ascend, records in the position of their change, snapshots in the log
/// index of their entry.
#[derive(Debug, Default)]
pub(crate) struct Changes {
    records: HashMap<Scope, Vec<(Position, Arc<Record>)>>,
    snapshots: HashMap<StreamName, Vec<(LogIndex, StoredSnapshot)>>,
}

/// A snapshot, or `None` after it was dropped with its deleted stream.
type StoredSnapshot = Option<Arc<RecordedSnapshot>>;

impl Changes {
    /// Returns true if there is any record.
    pub(crate) fn has_records(&self) -> bool {
        !self.records.is_empty()
    }

    /// Returns the record of a scope after the changes up to a position; `None` if there was none here by then.
    pub(crate) fn record(&self, scope: &Scope, as_of: Position) -> Option<Arc<Record>> {
        newest(self.records.get(scope)?, as_of).cloned()
    }

    /// Returns a stream's snapshot after an entry; `None` if it did not change here by then.
    pub(crate) fn snapshot(&self, stream: &StreamName, as_of: LogIndex) -> Option<StoredSnapshot> {
        newest(self.snapshots.get(stream)?, as_of).cloned()
    }

    pub(crate) fn put_record(&mut self, scope: Scope, at: Position, record: Record) {
        self.records.entry(scope).or_default().push((at, Arc::new(record)));
    }

    /// Keeps a snapshot, or notes that it was dropped.
    pub(crate) fn put_snapshot(
        &mut self,
        stream: StreamName,
        at: LogIndex,
        snapshot: Option<RecordedSnapshot>,
    ) {
        self.snapshots.entry(stream).or_default().push((at, snapshot.map(Arc::new)));
    }

    /// Returns the newest record of each scope, as the catalog takes them.
    pub(crate) fn newest_records(&self) -> Vec<(Scope, Option<Bytes>)> {
        let newest = self.records.iter().filter_map(|(scope, all)| {
            let (_, record) = all.last()?;
            Some((scope.clone(), Some(encode_record(record))))
        });
        let mut records: Vec<_> = newest.collect();
        records.sort_by_cached_key(|(scope, _)| Key::of_scope(scope));
        records
    }

    /// Returns the newest snapshot of each stream, as the catalog takes them.
    pub(crate) fn newest_snapshots(&self) -> Vec<(StreamName, Option<Bytes>)> {
        let newest = self.snapshots.iter().filter_map(|(stream, all)| {
            let (_, snapshot) = all.last()?;
            Some((stream.clone(), snapshot.as_deref().map(encode_snapshot)))
        });
        let mut snapshots: Vec<_> = newest.collect();
        snapshots.sort_by(|(one, _), (other, _)| one.cmp(other));
        snapshots
    }
}

fn newest<P: PartialOrd, T>(all: &[(P, T)], as_of: P) -> Option<&T> {
    all.iter().rev().find(|(at, _)| *at <= as_of).map(|(_, one)| one)
}
