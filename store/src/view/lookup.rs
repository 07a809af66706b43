//! Reading records, snapshots and heads from a view, and the versions of streams at older positions.

use std::sync::Arc;

use quorate_proto::{Position, RecordedSnapshot, Scope, StreamName, Timestamp, Version};

use super::{Segment, StreamHead, Tail, View, ordinal_of};
use crate::chunk::{Chunk, Posting};
use crate::fault::Fault;
use crate::files::ReadCounters;
use crate::format::Key;
use crate::format::retention::{Record, decode_record, decode_snapshot};
use crate::point::Point;

impl View {
    /// Returns true if a change since the last checkpoint left a record.
    pub(crate) fn tails_have_records(&self) -> bool {
        self.tails().any(|tail| tail.with_changes(|changes| changes.has_records()))
    }

    /// Returns true if any change left a record. Without one, nothing is hidden, deleted or closed.
    pub(crate) fn has_records(&self) -> bool {
        self.catalog.contents().records.rows > 0 || self.tails_have_records()
    }

    /// Returns a scope's record after the changes up to a position that is not below the last chunk's end.
    /// Costs a read of the catalog only for a stream, and only if any stream has a record there.
    pub(crate) fn record(
        &self,
        scope: &Scope,
        as_of: Position,
    ) -> Result<Option<Arc<Record>>, Fault> {
        if let Some(record) = self.record_in_tails(scope, as_of) {
            return Ok(Some(record));
        }
        self.record_in_catalog(scope)
    }

    fn record_in_catalog(&self, scope: &Scope) -> Result<Option<Arc<Record>>, Fault> {
        if !matches!(scope, Scope::Stream(_)) {
            return Ok(self.catalog.record_of_scope(scope));
        }
        if self.catalog.contents().stream_records == 0 {
            return Ok(None);
        }
        let Some(value) = self.catalog.record(scope)? else { return Ok(None) };
        let record = decode_record(value);
        record.map(|record| Some(Arc::new(record))).map_err(|malformed| {
            let why = format!("the record of `{}` {malformed}", scope.as_str());
            Fault::damaged(self.catalog.path(), 0, why)
        })
    }

    /// Returns the same record, if a change since the last checkpoint left it.
    pub(crate) fn record_in_tails(&self, scope: &Scope, as_of: Position) -> Option<Arc<Record>> {
        let in_tail = |tail: &Tail| tail.with_changes(|changes| changes.record(scope, as_of));
        self.tails().find_map(|tail| in_tail(tail))
    }

    /// Returns the head of a stream, as of a position that is not below the last chunk's end.
    pub(crate) fn head(&self, stream: &StreamName, as_of: Position) -> Result<StreamHead, Fault> {
        self.head_at(stream, self.version(stream, as_of)?, as_of)
    }

    /// Returns the head of a stream that has no event in a tail.
    pub(crate) fn sealed_head(
        &self,
        stream: &StreamName,
        as_of: Position,
    ) -> Result<StreamHead, Fault> {
        self.head_at(stream, self.sealed_version(stream)?, as_of)
    }

    /// Returns the head of a stream that no chunk holds and that has no event in a tail.
    pub(crate) fn new_head(
        &self,
        stream: &StreamName,
        as_of: Position,
    ) -> Result<StreamHead, Fault> {
        self.head_at(stream, Version::ZERO, as_of)
    }

    /// Returns the head of a stream at the end of the last chunk, where it has this version.
    pub(crate) fn head_in_chunks(
        &self,
        stream: &StreamName,
        version: Version,
    ) -> Result<StreamHead, Fault> {
        let record = self.record_in_catalog(&Scope::Stream(stream.clone()))?.unwrap_or_default();
        Ok(StreamHead { version, deleted: record.deleted, closed: record.closed })
    }

    fn head_at(
        &self,
        stream: &StreamName,
        version: Version,
        as_of: Position,
    ) -> Result<StreamHead, Fault> {
        if !self.has_records() {
            return Ok(StreamHead { version, ..StreamHead::default() });
        }
        let record = self.record(&Scope::Stream(stream.clone()), as_of)?.unwrap_or_default();
        Ok(StreamHead { version, deleted: record.deleted, closed: record.closed })
    }

    /// Returns the same head from memory alone; `None` if it would need the disk.
    pub(crate) fn head_in_memory(&self, stream: &str, as_of: Position) -> Option<StreamHead> {
        let version = self.version_in_memory(stream, as_of)?;
        if !self.has_records() {
            return Some(StreamHead { version, ..StreamHead::default() });
        }
        let scope = Scope::Stream(StreamName::new(stream).ok()?);
        let record = self.record_in_tails(&scope, as_of);
        if record.is_none() && self.catalog.contents().stream_records > 0 {
            return None;
        }
        let record = record.unwrap_or_default();
        Some(StreamHead { version, deleted: record.deleted, closed: record.closed })
    }

    /// Returns the aggregate snapshot of a stream at a point.
    pub(crate) fn snapshot(
        &self,
        stream: &StreamName,
        point: Point,
    ) -> Result<Option<Arc<RecordedSnapshot>>, Fault> {
        let as_of = point.log_id.map(|id| id.index).unwrap_or_default();
        let in_tail = |tail: &Tail| tail.with_changes(|changes| changes.snapshot(stream, as_of));
        if let Some(snapshot) = self.tails().find_map(|tail| in_tail(tail)) {
            return Ok(snapshot);
        }
        if self.catalog.contents().snapshots.rows == 0 {
            return Ok(None);
        }
        let Some(value) = self.catalog.snapshot(stream)? else { return Ok(None) };
        let snapshot = decode_snapshot(stream, value);
        snapshot.map(|snapshot| Some(Arc::new(snapshot))).map_err(|malformed| {
            let why = format!("the snapshot of `{stream}` {malformed}");
            Fault::damaged(self.catalog.path(), 0, why)
        })
    }

    /// Returns the version of a stream as of any position. If events around there were removed, returns the
    /// version of the last removed one: no less than the true version, and below every event that is left.
    pub(crate) fn version_at(&self, stream: &StreamName, at: Position) -> Result<Version, Fault> {
        let last_sealed = self.chunks.last().map(|slot| slot.summary().last_position);
        if last_sealed.is_none_or(|last| at >= last) {
            return self.version(stream, at);
        }
        let key = Key::Stream(stream.clone());
        let is_begun = |chunk: &Chunk, _: &Posting| chunk.summary().first_position <= at;
        let found = self.newest_chunk(&key, is_begun, &mut ReadCounters::default())?;
        let Some((chunk, posting)) = found else { return Ok(Version::ZERO) };
        let first = chunk.summary().first_position;
        let count = posting.ordinals.partition_point(|n| first.plus(u64::from(*n)) <= at);
        let first_version = posting.first_version.unwrap_or_default();
        Ok(Version((first_version.0 + count as u64).saturating_sub(1)))
    }

    /// Returns the position of the first event that was recorded at a time or later and was not removed; one
    /// after the last event if there is none.
    pub(crate) fn begin_of(&self, time: Timestamp) -> Result<Position, Fault> {
        let index = self.chunks.partition_point(|slot| slot.summary().last_recorded_at < time);
        for slot in self.chunks.iter().skip(index) {
            if slot.summary().first_recorded_at >= time {
                return Ok(slot.summary().first_position);
            }
            let chunk = slot.chunk()?;
            let ordinals = chunk.ordinals_between(Some(time), None);
            if let Some(position) = first_at(&Segment::Chunk(chunk.clone()), ordinals, time)? {
                return Ok(position);
            }
        }
        let tails = self.sealing.iter().chain([&self.active]);
        let mut end = self.active.first();
        for tail in tails {
            let ordinals = tail.ordinals_between(Some(time), None);
            end = tail.first().plus(u64::from(ordinals.start));
            if !ordinals.is_empty() {
                break;
            }
        }
        Ok(end)
    }
}

/// Returns the position of the first of these events that was recorded at the time or later.
fn first_at(
    segment: &Segment,
    mut ordinals: std::ops::Range<u32>,
    time: Timestamp,
) -> Result<Option<Position>, Fault> {
    const PAGE_BYTES: usize = 64 * 1024;
    while !ordinals.is_empty() {
        let events = segment.read(ordinals.clone(), PAGE_BYTES, &mut ReadCounters::default())?;
        let Some(last) = events.last() else { return Ok(None) };
        if let Some(event) = events.iter().find(|event| event.recorded_at >= time) {
            return Ok(Some(event.position));
        }
        ordinals.start = ordinal_of(last.position.next(), segment.first());
    }
    Ok(None)
}
