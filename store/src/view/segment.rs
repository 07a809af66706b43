//! The parts of a view: chunks and tails, read in one way.

use std::ops::Range;
use std::sync::Arc;

use quorate_proto::Position;

use super::tail::Tail;
use crate::chunk::Chunk;
use crate::fault::Fault;
use crate::files::ReadCounters;
use crate::format::{Identity, StoredEvent};

/// A run of consecutive events with one index: a chunk or a tail.
#[derive(Clone, Debug)]
pub(crate) enum Segment {
    Chunk(Arc<Chunk>),
    Tail(Arc<Tail>),
}

impl Segment {
    /// The position of ordinal 0.
    pub(crate) fn first(&self) -> Position {
        match self {
            Segment::Chunk(chunk) => chunk.summary().first_position,
            Segment::Tail(tail) => tail.first(),
        }
    }

    /// The ordinal after the last one.
    pub(crate) fn end(&self) -> u32 {
        match self {
            Segment::Chunk(chunk) => ordinal_of(chunk.summary().last_position.next(), self.first()),
            Segment::Tail(tail) => tail.end(),
        }
    }

    /// Reads the events at these ascending ordinals, up to the first that brings their bodies to the budget.
    pub(crate) fn read(
        &self,
        ordinals: impl IntoIterator<Item = u32, IntoIter: Clone>,
        budget_bytes: usize,
        reads: &mut ReadCounters,
    ) -> Result<Vec<StoredEvent>, Fault> {
        match self {
            Segment::Chunk(chunk) => chunk.read(ordinals, budget_bytes, reads),
            Segment::Tail(tail) => Ok(tail.read_events(ordinals, budget_bytes)),
        }
    }

    /// Returns the identities of the events at these ascending ordinals, removed ones included as long as a
    /// retry may ask for them.
    pub(super) fn identities(&self, ordinals: Range<u32>) -> Result<Vec<Identity>, Fault> {
        match self {
            Segment::Chunk(chunk) => chunk.identities(ordinals, &mut ReadCounters::default()),
            Segment::Tail(tail) => {
                let events = tail.read_events(ordinals, usize::MAX);
                Ok(events.iter().map(StoredEvent::identity).collect())
            }
        }
    }
}

/// The ordinal of a position in the segment that begins at `first`; positions outside are moved to the edge.
pub(crate) fn ordinal_of(position: Position, first: Position) -> u32 {
    u32::try_from(position.0.saturating_sub(first.0)).unwrap_or(u32::MAX)
}
