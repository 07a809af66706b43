//! Reading the newest events, straight from memory, for subscriptions that follow the end of the log.

use quorate_proto::Position;

use super::Reader;
use crate::format::StoredEvent;
use crate::view::{Published, Segment, ordinal_of};

impl Reader {
    /// Returns the events right after a position, the system's included, about `budget_bytes` of them; empty
    /// if none came yet. Costs no I/O; `None` if they are not in memory any more: use a [`super::Scan`].
    pub fn recent(&self, after: Position, budget_bytes: usize) -> Option<Vec<StoredEvent>> {
        let Published { view, point } = self.shared.get();
        if after >= point.position {
            return Some(Vec::new());
        }
        let tail = match view.segment_at(after.next()) {
            Ok(Segment::Tail(tail)) => tail,
            // A scan reports the damage of a chunk.
            Ok(Segment::Chunk(_)) | Err(_) => return None,
        };
        // Events beyond the point belong to an entry that is still being applied.
        let end = ordinal_of(point.position.next(), tail.first()).min(tail.end());
        Some(tail.read_events(ordinal_of(after.next(), tail.first())..end, budget_bytes))
    }
}
