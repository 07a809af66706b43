//! The rest of a chunk or a tail that is still to be read, and the size of the batches it is fetched in.

use std::collections::VecDeque;
use std::ops::Range;

use quorate_proto::{Direction, Position};

use crate::fault::Fault;
use crate::files::ReadCounters;
use crate::format::StoredEvent;
use crate::view::{Segment, ordinal_of};

/// The most events in one batch.
const BATCH_MAX: usize = 1024;
/// The number of ordinals of a segment that are kept between two pages.
const LISTED_MAX: usize = 8 * 1024;

/// The events that are still to be read of the chunk or the tail that begins at `first`.
///
/// It holds on to neither of them: slow readers do not keep a tail in memory that is sealed meanwhile, and
/// the chunk that takes its place has the same ordinals.
#[derive(Debug)]
pub(super) struct UnreadOrdinals {
    pub(super) first: Position,
    pub(super) ordinals: Ordinals,
    /// The range after `ordinals`, in the direction of the read, in which matches must be looked up.
    pub(super) beyond: Range<u32>,
}

/// Ascending ordinals.
#[derive(Debug)]
pub(super) enum Ordinals {
    Range(Range<u32>),
    List(VecDeque<u32>),
}

impl UnreadOrdinals {
    /// The ordinals of the segment that begins at `first`, with no range left to look up.
    pub(super) fn new(first: Position, ordinals: Ordinals) -> UnreadOrdinals {
        UnreadOrdinals { first, ordinals, beyond: 0..0 }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.ordinals.is_empty() && self.beyond.is_empty()
    }

    /// Drops the ordinals above the bound that is kept between pages; they are looked up again in their turn.
    pub(super) fn shrink(&mut self, direction: Direction) {
        let Ordinals::List(list) = &mut self.ordinals else { return };
        let cut = list.len().saturating_sub(LISTED_MAX);
        let (forgotten, kept) = match direction {
            Direction::Forwards => (LISTED_MAX..list.len(), 0..LISTED_MAX),
            Direction::Backwards => (0..cut, cut..list.len()),
        };
        // A list above the bound was looked up to its end.
        if cut > 0
            && let (Some(first), Some(last)) =
                (list.get(forgotten.start), list.get(forgotten.end - 1))
        {
            self.beyond = *first..last.saturating_add(1);
            list.truncate(kept.end);
            list.drain(..kept.start);
        }
        list.shrink_to(LISTED_MAX);
    }
}

/// The size of the next batch, learnt from the last ones.
#[derive(Debug)]
pub(super) struct Batch {
    direction: Direction,
    /// The number of events that fit the budget backwards, as far as is known.
    fitting: usize,
    /// The least size of a batch, however few events are wanted: doubles while all events are filtered out.
    least: usize,
}

impl Batch {
    pub(super) fn new(direction: Direction) -> Batch {
        Batch { direction, fitting: 64, least: 1 }
    }

    /// Takes the next events of the rest, in the direction of the read: about `budget` bytes, and not many
    /// more than `wanted` events.
    pub(super) fn read(
        &mut self,
        unread: &mut UnreadOrdinals,
        segment: &Segment,
        wanted: u64,
        budget: usize,
        reads: &mut ReadCounters,
    ) -> Result<Vec<StoredEvent>, Fault> {
        let wanted = usize::try_from(wanted).unwrap_or(usize::MAX).max(self.least).min(BATCH_MAX);
        match self.direction {
            Direction::Forwards => read_forwards(unread, segment, wanted, budget, reads),
            Direction::Backwards => self.read_backwards(unread, segment, wanted, budget, reads),
        }
    }

    /// Notes how many events of the last batch are given out.
    pub(super) fn came_to(&mut self, count: usize) {
        self.least = if count > 0 { 1 } else { (self.least * 2).min(BATCH_MAX) };
    }

    /// A segment can only be read upwards: the batch shrinks until all of it fits, and grows afterwards.
    fn read_backwards(
        &mut self,
        unread: &mut UnreadOrdinals,
        segment: &Segment,
        wanted: usize,
        budget: usize,
        reads: &mut ReadCounters,
    ) -> Result<Vec<StoredEvent>, Fault> {
        let mut count = wanted.min(self.fitting);
        loop {
            let batch = unread.ordinals.last(count);
            let mut events = segment.read(batch.iter().copied(), budget, reads)?;
            let bytes: usize = events.iter().map(StoredEvent::size).sum();
            let reached = events.last().map(|event| ordinal_of(event.position, unread.first));
            if bytes >= budget && reached < batch.last().copied() {
                count = batch.len() / 2;
                self.fitting = count;
                continue;
            }
            if bytes < budget / 2 {
                self.fitting = (self.fitting * 2).min(BATCH_MAX);
            }
            if let Some(first) = batch.first() {
                unread.ordinals.drop_from(*first);
            }
            events.reverse();
            return Ok(events);
        }
    }
}

fn read_forwards(
    unread: &mut UnreadOrdinals,
    segment: &Segment,
    count: usize,
    budget: usize,
    reads: &mut ReadCounters,
) -> Result<Vec<StoredEvent>, Fault> {
    let batch = unread.ordinals.first(count);
    let events = segment.read(batch.iter().copied(), budget, reads)?;
    let bytes: usize = events.iter().map(StoredEvent::size).sum();
    // The batch was read to its end unless the budget ended it.
    let last = if bytes < budget { None } else { events.last() };
    let last = match last {
        Some(event) => Some(ordinal_of(event.position, unread.first)),
        None => batch.last().copied(),
    };
    if let Some(last) = last {
        unread.ordinals.drop_through(last);
    }
    Ok(events)
}

impl Ordinals {
    pub(super) fn is_empty(&self) -> bool {
        match self {
            Ordinals::Range(range) => range.is_empty(),
            Ordinals::List(list) => list.is_empty(),
        }
    }

    pub(super) fn first(&self, count: usize) -> Vec<u32> {
        match self {
            Ordinals::Range(range) => range.clone().take(count).collect(),
            Ordinals::List(list) => list.iter().copied().take(count).collect(),
        }
    }

    /// Returns the last `count` ordinals, ascending.
    pub(super) fn last(&self, count: usize) -> Vec<u32> {
        match self {
            Ordinals::Range(range) => {
                let count = u32::try_from(count).unwrap_or(u32::MAX);
                (range.end.saturating_sub(count).max(range.start)..range.end).collect()
            }
            Ordinals::List(list) => {
                list.iter().copied().skip(list.len().saturating_sub(count)).collect()
            }
        }
    }

    pub(super) fn drop_through(&mut self, last: u32) {
        match self {
            Ordinals::Range(range) => range.start = last.saturating_add(1).min(range.end),
            Ordinals::List(list) => {
                let count = list.partition_point(|ordinal| *ordinal <= last);
                list.drain(..count);
            }
        }
    }

    pub(super) fn drop_from(&mut self, first: u32) {
        match self {
            Ordinals::Range(range) => range.end = first.max(range.start),
            Ordinals::List(list) => {
                list.truncate(list.partition_point(|ordinal| *ordinal < first));
            }
        }
    }
}
