//! The newest events, straight from memory, for those who follow what is applied.

use quorate_proto::Position;

use super::Reader;
use crate::event::StoredEvent;
use crate::view::{Published, Segment, ordinal_of};

impl Reader {
    /// The events right after a position, the system's included: about `budget_bytes` of them, none when there are
    /// none yet. Costs no I/O; `None` where they are not in memory any more, and a [`super::Scan`] must read them.
    pub fn recent(&self, after: Position, budget_bytes: usize) -> Option<Vec<StoredEvent>> {
        let Published { view, point } = self.shared.get();
        if after >= point.position {
            return Some(Vec::new());
        }
        let tail = match view.segment_at(after.next()) {
            Ok(Segment::Tail(tail)) => tail,
            // What is wrong with a chunk is told to who reads it.
            Ok(Segment::Chunk(_)) | Err(_) => return None,
        };
        // What is beyond the point belongs to an entry that is still being applied.
        let end = ordinal_of(point.position.next(), tail.first()).min(tail.end());
        Some(tail.read_events(ordinal_of(after.next(), tail.first())..end, budget_bytes))
    }
}
