//! The point of an answer that another node began: the rest of it must lack nothing that was there.

use std::ops::Range;

use quorate_proto::{LogPoint, Position, StreamName, Version};

use super::plan::Plan;
use crate::fault::Fault;
use crate::format::StoredEvent;
use crate::point::Point;
use crate::retention::Floors;
use crate::view::{ChunkSlot, View};

/// The point of an answer of which a scan gives the rest.
///
/// A scan gives out what is visible now, so that nobody reads what was deleted by naming an earlier point. Here is
/// judged whether it so passes over an event that was visible at the point. A doubt counts as yes: the reader begins
/// again, which costs time and nothing else.
#[derive(Debug)]
pub(super) struct Past {
    point: LogPoint,
    floors: Floors,
}

impl Past {
    pub(super) fn new(point: LogPoint) -> Past {
        let LogPoint { position, log_time: recorded_at, .. } = point;
        Past {
            point,
            floors: Floors::exactly_at(Point { position, recorded_at, ..Point::default() }),
        }
    }

    /// Returns true if a chunk with such positions lost events since the point: nothing leads to those any more. A
    /// damaged chunk is a fault of the scan, if the scan needs it.
    pub(super) fn were_scavenged(&self, view: &View, positions: &Range<Position>) -> bool {
        let end = positions.end.min(self.point.position.next());
        let before = |slot: &ChunkSlot| slot.summary().last_position < positions.start;
        let within = |slot: &&ChunkSlot| slot.summary().first_position < end;
        let lost = |slot: &ChunkSlot| {
            let chunk = slot.chunk();
            chunk.is_ok_and(|chunk| chunk.scavenged_at() > Some(self.point.log_index))
        };
        let mut slots = view.chunks.iter().skip_while(|slot| before(slot)).take_while(within);
        slots.any(lost)
    }

    /// Returns true if one of these versions of a stream is below its floor now, and may have been above it.
    pub(super) fn may_lack(
        &mut self,
        view: &View,
        stream: &StreamName,
        floor: Version,
        plan: &Plan,
    ) -> Result<bool, Fault> {
        let Range { start, end } = plan.versions;
        let lost_before = floor.0.min(end);
        if start >= lost_before {
            return Ok(false);
        }
        // The floor at the point is exact only where no event around it was scavenged since then.
        Ok(self.were_scavenged(view, &plan.positions)
            || self.floors.floor(view, stream)?.0.max(start) < lost_before)
    }

    /// Refuses to pass over an event that is hidden now, unless it was hidden at the point.
    pub(super) fn check_hidden(&mut self, view: &View, event: &StoredEvent) -> Result<(), Fault> {
        let is_new = event.position > self.point.position;
        if is_new || self.floors.is_hidden(view, event)? { Ok(()) } else { Err(self.removed()) }
    }

    pub(super) fn removed(&self) -> Fault {
        Fault::Removed { as_of: self.point.position }
    }

    /// Forgets what it can look up again.
    pub(super) fn shrink(&mut self) {
        self.floors.shrink();
    }
}
