//! A read under way: chunk by chunk, then the tails, or the other way round, a page at a time.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;

use quorate_proto::{Direction, Position, Read, RecordedSnapshot, Version};

use super::plan::{Item, Plan};
use super::walk::{Step, Walk};
use crate::cache::ReadCounters;
use crate::chunk::{Chunk, Posting};
use crate::event::StoredEvent;
use crate::fault::Fault;
use crate::key::Key;
use crate::slot::ChunkSlot;
use crate::tail::{Tail, clip};
use crate::view::{Published, Segment, View, ordinal_of};

/// Looks into the index that one page may cost.
const STEPS_PER_PAGE: usize = 256;
/// Most events fetched in one go.
const BATCH_MAX: usize = 1024;

/// A read under way. It holds on to the chunks and the tails that it began with: appends, seals and
/// installs do not disturb it.
#[derive(Debug)]
pub struct Scan {
    view: Arc<View>,
    as_of: Position,
    version: Option<Version>,
    snapshot: Option<RecordedSnapshot>,
    counters: ReadCounters,
    plan: Plan,
    walk: Walk,
    /// The tails that are still to come, in the direction of the read.
    tails: VecDeque<Arc<Tail>>,
    /// What is left of the segment that is being read.
    rest: Option<Rest>,
    /// How many events may still be given out.
    limit: u64,
    /// How many events a read backwards fetches in one go.
    batch: usize,
}

#[derive(Debug)]
struct Rest {
    segment: Segment,
    ordinals: Ordinals,
}

/// Ascending ordinals.
#[derive(Debug)]
enum Ordinals {
    Range(Range<u32>),
    List(VecDeque<u32>),
}

impl Scan {
    pub(crate) fn begin(published: Published, read: &Read) -> Result<Scan, Fault> {
        let Published { view, point } = published;
        let as_of = point.position;
        let plan = Plan::new(read, as_of);
        let version = match &plan.stream {
            Some(stream) => Some(view.version(stream, as_of)?),
            None => None,
        };
        let walk = Walk::new(&plan, chunk_range(&view, &plan));
        let mut tails: VecDeque<Arc<Tail>> = view.tails().cloned().collect();
        if plan.direction == Direction::Forwards {
            tails.make_contiguous().reverse();
        }
        let limit = read.limit.unwrap_or(u64::MAX);
        Ok(Scan {
            view,
            as_of,
            version,
            snapshot: None,
            counters: ReadCounters::default(),
            plan,
            walk,
            tails,
            rest: None,
            limit,
            batch: 64,
        })
    }

    /// The position as of which the read is evaluated.
    pub fn as_of(&self) -> Position {
        self.as_of
    }

    /// The stream's version as of then, whatever the bounds; `None` when the source is a query.
    pub fn version(&self) -> Option<Version> {
        self.version
    }

    /// The aggregate snapshot that the read begins with, where one was asked for and is kept: the events
    /// after it follow.
    pub fn snapshot(&self) -> Option<&RecordedSnapshot> {
        self.snapshot.as_ref()
    }

    /// What the read cost so far.
    pub fn counters(&self) -> ReadCounters {
        self.counters
    }

    /// The next events: about `budget_bytes` of them, at least one if there is one at hand. An empty page
    /// says only that the bounded work of one call found nothing: go on. `None` is the end.
    pub fn next_page(&mut self, budget_bytes: usize) -> Result<Option<Vec<StoredEvent>>, Fault> {
        let mut page = Vec::new();
        let mut bytes = 0;
        for _ in 0..STEPS_PER_PAGE {
            if bytes >= budget_bytes && !page.is_empty() {
                break;
            }
            if self.limit == 0 {
                return Ok((!page.is_empty()).then_some(page));
            }
            if let Some(rest) = self.rest.take() {
                let budget = budget_bytes.saturating_sub(bytes).max(1);
                let found = self.read(rest, budget)?;
                bytes += found.iter().map(StoredEvent::size).sum::<usize>();
                page.extend(found);
            } else if !self.advance()? {
                return Ok((!page.is_empty()).then_some(page));
            }
        }
        Ok(Some(page))
    }

    /// One step towards the next segment; false at the end.
    fn advance(&mut self) -> Result<bool, Fault> {
        if self.plan.direction == Direction::Backwards
            && let Some(tail) = self.tails.pop_front()
        {
            self.open_tail(tail);
            return Ok(true);
        }
        match self.walk.step(&self.plan, &self.view, &mut self.counters)? {
            Step::Working => Ok(true),
            Step::Chunk(number) => self.open_chunk(number).map(|()| true),
            Step::End => match self.tails.pop_front() {
                Some(tail) => {
                    self.open_tail(tail);
                    Ok(true)
                }
                None => Ok(false),
            },
        }
    }

    fn open_chunk(&mut self, number: u64) -> Result<(), Fault> {
        let Some(slot) = self.view.slot(number) else { return Ok(()) };
        let chunk = slot.chunk()?.clone();
        let between = chunk.ordinals_between(self.plan.from, self.plan.until);
        let segment = Segment::Chunk(chunk.clone());
        let range = self.range(&segment, between);
        let versions = self.plan.versions.clone();
        let (walk, counters) = (&mut self.walk, &mut self.counters);
        let mut find = |key: &Key| -> Result<Option<Posting>, Fault> {
            let posting = match walk.take_posting(key, number) {
                Some(posting) => Some(posting),
                None => Chunk::find(&chunk, key, counters)?,
            };
            Ok(posting.map(|found| clip(&found.ordinals, found.first_version, &range, &versions)))
        };
        let ordinals = match_items(&self.plan.items, &range, &mut find)?;
        self.rest = Some(Rest { segment, ordinals });
        Ok(())
    }

    fn open_tail(&mut self, tail: Arc<Tail>) {
        let between = tail.ordinals_between(self.plan.from, self.plan.until);
        let segment = Segment::Tail(tail.clone());
        let range = self.range(&segment, between);
        let mut find = |key: &Key| Ok(tail.find(key, &range, &self.plan.versions));
        // Memory does not fail.
        if let Ok(ordinals) = match_items(&self.plan.items, &range, &mut find) {
            self.rest = Some(Rest { segment, ordinals });
        }
    }

    /// The ordinals of a segment that the bounds leave.
    fn range(&self, segment: &Segment, between: Range<u32>) -> Range<u32> {
        let (first, positions) = (segment.first(), &self.plan.positions);
        let start = ordinal_of(positions.start, first).max(between.start);
        let end = ordinal_of(positions.end, first).min(between.end).min(segment.end());
        start..end.max(start)
    }

    /// A batch of the rest, which is put back as long as something is left of it.
    fn read(&mut self, mut rest: Rest, budget: usize) -> Result<Vec<StoredEvent>, Fault> {
        let mut events = match self.plan.direction {
            Direction::Forwards => {
                read_forwards(&mut rest, self.limit, budget, &mut self.counters)?
            }
            Direction::Backwards => {
                let (batch, counters) = (&mut self.batch, &mut self.counters);
                read_backwards(&mut rest, self.limit, budget, batch, counters)?
            }
        };
        if !rest.ordinals.is_empty() {
            self.rest = Some(rest);
        }
        events.retain(|event| self.plan.wants(event));
        self.limit = self.limit.saturating_sub(events.len() as u64);
        Ok(events)
    }
}

/// The numbers of the chunks that the bounds leave.
fn chunk_range(view: &View, plan: &Plan) -> Range<u64> {
    if is_in_tails(view, plan) {
        return 0..0;
    }
    let is_before = |chunk: &ChunkSlot| {
        let summary = chunk.summary();
        summary.last_position < plan.positions.start
            || plan.from.is_some_and(|from| summary.last_recorded_at < from)
    };
    let is_not_after = |chunk: &ChunkSlot| {
        let summary = chunk.summary();
        summary.first_position < plan.positions.end
            && plan.until.is_none_or(|until| summary.first_recorded_at <= until)
    };
    let start = view.chunks.partition_point(is_before);
    let end = view.chunks.partition_point(is_not_after);
    let left = view.chunks.get(start..end).unwrap_or_default();
    match (left.first(), left.last()) {
        (Some(first), Some(last)) => first.summary().number..last.summary().number + 1,
        _ => 0..0,
    }
}

/// Whether all versions of a stream that are asked for stand in the tails.
fn is_in_tails(view: &View, plan: &Plan) -> bool {
    let Some(stream) = &plan.stream else { return false };
    let is_from = |tail: &Arc<Tail>| {
        tail.first_version(stream).is_some_and(|first| first.0 <= plan.versions.start)
    };
    view.tails().any(is_from)
}

/// The ordinals that any of the items matches.
fn match_items(
    items: &[Item],
    range: &Range<u32>,
    find: &mut dyn FnMut(&Key) -> Result<Option<Posting>, Fault>,
) -> Result<Ordinals, Fault> {
    if items.is_empty() {
        return Ok(Ordinals::Range(range.clone()));
    }
    let mut all = Vec::new();
    if range.is_empty() {
        return Ok(Ordinals::List(VecDeque::new()));
    }
    for item in items {
        all.extend(match_item(item, find)?);
    }
    if items.len() > 1 {
        all.sort_unstable();
        all.dedup();
    }
    Ok(Ordinals::List(all.into()))
}

fn match_item(
    item: &Item,
    find: &mut dyn FnMut(&Key) -> Result<Option<Posting>, Fault>,
) -> Result<Vec<u32>, Fault> {
    let mut scope = match &item.scope {
        Some(key) => match find(key)? {
            Some(posting) if !posting.ordinals.is_empty() => Some(posting.ordinals),
            _ => return Ok(Vec::new()),
        },
        None => None,
    };
    if item.types.is_empty() {
        return Ok(scope.unwrap_or_default());
    }
    let mut types = Vec::new();
    for key in &item.types {
        types.extend(find(key)?.map(|posting| posting.ordinals).unwrap_or_default());
    }
    types.sort_unstable();
    types.dedup();
    Ok(match &mut scope {
        Some(scope) => {
            scope.retain(|ordinal| types.binary_search(ordinal).is_ok());
            std::mem::take(scope)
        }
        None => types,
    })
}

fn read_forwards(
    rest: &mut Rest,
    limit: u64,
    budget: usize,
    counters: &mut ReadCounters,
) -> Result<Vec<StoredEvent>, Fault> {
    let count = usize::try_from(limit).unwrap_or(usize::MAX).min(BATCH_MAX);
    let batch = rest.ordinals.first(count);
    let events = rest.segment.read(batch.iter().copied(), budget, counters)?;
    let bytes: usize = events.iter().map(StoredEvent::size).sum();
    // Read to the end of the batch unless the budget ended it before.
    let last = if bytes < budget { None } else { events.last() };
    let last = match last {
        Some(event) => Some(ordinal_of(event.position, rest.segment.first())),
        None => batch.last().copied(),
    };
    if let Some(last) = last {
        rest.ordinals.drop_through(last);
    }
    Ok(events)
}

/// A segment reads upwards only: the batch shrinks until all of it fits, and grows again afterwards.
fn read_backwards(
    rest: &mut Rest,
    limit: u64,
    budget: usize,
    batch_size: &mut usize,
    counters: &mut ReadCounters,
) -> Result<Vec<StoredEvent>, Fault> {
    let mut count = usize::try_from(limit).unwrap_or(usize::MAX).min(*batch_size);
    loop {
        let batch = rest.ordinals.last(count);
        let mut events = rest.segment.read(batch.iter().copied(), budget, counters)?;
        let bytes: usize = events.iter().map(StoredEvent::size).sum();
        let reached = events.last().map(|event| ordinal_of(event.position, rest.segment.first()));
        if bytes >= budget && reached < batch.last().copied() {
            count = batch.len() / 2;
            *batch_size = count;
            continue;
        }
        if bytes < budget / 2 {
            *batch_size = (*batch_size * 2).min(BATCH_MAX);
        }
        if let Some(first) = batch.first() {
            rest.ordinals.drop_from(*first);
        }
        events.reverse();
        return Ok(events);
    }
}

impl Ordinals {
    fn is_empty(&self) -> bool {
        match self {
            Ordinals::Range(range) => range.is_empty(),
            Ordinals::List(list) => list.is_empty(),
        }
    }

    fn first(&self, count: usize) -> Vec<u32> {
        match self {
            Ordinals::Range(range) => range.clone().take(count).collect(),
            Ordinals::List(list) => list.iter().copied().take(count).collect(),
        }
    }

    /// The last ones, ascending.
    fn last(&self, count: usize) -> Vec<u32> {
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

    fn drop_through(&mut self, last: u32) {
        match self {
            Ordinals::Range(range) => range.start = last.saturating_add(1).min(range.end),
            Ordinals::List(list) => {
                let count = list.partition_point(|ordinal| *ordinal <= last);
                list.drain(..count);
            }
        }
    }

    fn drop_from(&mut self, first: u32) {
        match self {
            Ordinals::Range(range) => range.end = first.max(range.start),
            Ordinals::List(list) => {
                list.truncate(list.partition_point(|ordinal| *ordinal < first));
            }
        }
    }
}
