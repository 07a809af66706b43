//! A read under way: chunk by chunk, then the tails, or the other way round, a page at a time.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::{Arc, Weak};

use quorate_proto::{Direction, LogPoint, Position, Read, RecordedSnapshot, Version};

use super::batch::{Batch, Ordinals, UnreadOrdinals};
use super::matching::Part;
use super::past::Past;
use super::plan::Plan;
use super::walk::{Step, Walk};
use crate::fault::Fault;
use crate::files::ReadCounters;
use crate::format::{Key, StoredEvent};
use crate::retention::Floors;
use crate::view::{ChunkSlot, Published, Segment, Shared, Tail, View, ordinal_of};

/// The number of steps through the index that one page may cost.
const STEPS_PER_PAGE: usize = 256;

/// A read under way. Appends, seals and installs do not disturb it.
///
/// A scan holds on to the chunks that it began with, but to no tail and no catalog, so that any number of
/// stalled readers keep no events in memory: where a tail was sealed meanwhile, the scan goes on in the chunk
/// that took its place. Where that chunk was scavenged since the scan began, the scan fails rather than miss an event;
/// a read that follows passes over what was removed.
///
/// Between two pages a scan takes at most [`Scan::BYTES_MAX`] bytes, however much it found: the rest is
/// looked up again. It takes in addition the memory of its query, and a bit for each chunk of the store; if a
/// chunk that it began with was replaced meanwhile, 16 bytes for each chunk.
#[derive(Debug)]
pub struct Scan {
    shared: Arc<Shared>,
    /// The view that the scan began with, as long as the store uses it.
    view: Weak<View>,
    /// The chunks that the scan began with, and newer ones if it went on in another view.
    chunks: Arc<Vec<ChunkSlot>>,
    point: LogPoint,
    version: Option<Version>,
    snapshot: Option<Arc<RecordedSnapshot>>,
    /// The schema of a snapshot that the reader does not understand.
    passed_over: Option<u32>,
    floors: Floors,
    /// The point of the answer of which this is the rest.
    past: Option<Past>,
    /// True if events of the stream, below its floor, may be missing at the end of the answer.
    ends_early: bool,
    /// True for a read that follows: it passes over what was removed after the scan began.
    may_miss: bool,
    counters: ReadCounters,
    plan: Plan,
    walk: Walk,
    /// The first positions of the tails that are still to be read, in the direction of the read.
    tails: VecDeque<Position>,
    /// The rest of the chunk or the tail that is being read.
    unread: Option<UnreadOrdinals>,
    /// The number of events that may still be given out.
    limit: u64,
    batch: Batch,
}

impl Scan {
    /// The bytes that a scan takes at most between two pages.
    pub const BYTES_MAX: usize = 128 * 1024;

    pub(crate) fn begin(
        shared: &Arc<Shared>,
        published: &Published,
        read: &Read,
    ) -> Result<Scan, Fault> {
        let Published { view, point } = published;
        let log_index = point.log_id.map(|id| id.index).unwrap_or_default();
        let as_of = point.position;
        let mut past = read.continues.map(Past::new);
        let mut ends_early = false;
        let mut plan = Plan::new(read, as_of);
        let mut floors = if read.follow { Floors::at(*point) } else { Floors::exactly_at(*point) };
        let (mut version, mut snapshot, mut passed_over) = (None, None, None);
        if let Some(stream) = plan.stream.clone() {
            version = Some(view.version(&stream, as_of)?);
            let floor = floors.floor(view, &stream)?;
            if let Some(past) = &mut past {
                ends_early = past.may_lack(view, &stream, floor, &plan)?;
                if ends_early && read.direction == Direction::Forwards {
                    return Err(past.removed());
                }
            }
            plan.start_at(floor);
            if read.with_snapshot {
                snapshot = view.snapshot(&stream, *point)?;
                let most = read.snapshot_schema_max.unwrap_or(u32::MAX);
                let too_new = snapshot.take_if(|recorded| recorded.snapshot.schema > most);
                passed_over = too_new.map(|recorded| recorded.snapshot.schema);
            }
        }
        if let Some(recorded) = &snapshot {
            plan.start_at(recorded.snapshot.version.next());
        }
        if let (None, Some(past)) = (&plan.stream, &past)
            && past.were_scavenged(view, &plan.positions)
        {
            return Err(past.removed());
        }
        let walk = Walk::new(&plan, chunk_range(view, &plan));
        Ok(Scan {
            shared: shared.clone(),
            view: Arc::downgrade(view),
            chunks: view.chunks.clone(),
            point: LogPoint { position: as_of, log_index, log_time: point.recorded_at },
            version,
            snapshot,
            passed_over,
            floors,
            past,
            ends_early,
            may_miss: read.follow,
            counters: ReadCounters::default(),
            tails: tails(view, &plan),
            plan,
            walk,
            unread: None,
            limit: read.limit.unwrap_or(u64::MAX),
            batch: Batch::new(read.direction),
        })
    }

    /// The position as of which the read is evaluated.
    pub fn as_of(&self) -> Position {
        self.point.position
    }

    /// The point in the log at which the read is evaluated.
    pub fn point(&self) -> LogPoint {
        self.point
    }

    /// The stream's version as of that position, whatever the bounds; `None` if the source is a query.
    pub fn version(&self) -> Option<Version> {
        self.version
    }

    /// The aggregate snapshot that the read begins with, if it was requested and is kept: the visible events
    /// after its version follow.
    pub fn snapshot(&self) -> Option<&RecordedSnapshot> {
        self.snapshot.as_deref()
    }

    /// The schema of the snapshot that is kept, where it is newer than the reader understands: then the read is one
    /// without a snapshot.
    pub fn snapshot_schema_passed_over(&self) -> Option<u32> {
        self.passed_over
    }

    /// Returns the cost of the read until now.
    pub fn counters(&self) -> ReadCounters {
        self.counters
    }

    /// Returns the next events: about `budget_bytes` of them, at least one if one is at hand. An empty page
    /// means only that the bounded work of one call found nothing: go on. `None` is the end.
    pub fn next_page(&mut self, budget_bytes: usize) -> Result<Option<Vec<StoredEvent>>, Fault> {
        let page = self.fill_page(budget_bytes);
        self.walk.shrink();
        self.floors.shrink();
        self.past.iter_mut().for_each(Past::shrink);
        if let Some(unread) = &mut self.unread {
            unread.shrink(self.plan.direction);
        }
        page
    }

    fn fill_page(&mut self, budget_bytes: usize) -> Result<Option<Vec<StoredEvent>>, Fault> {
        let view = self.view();
        let mut page = Vec::new();
        let mut bytes = 0;
        for _ in 0..STEPS_PER_PAGE {
            if bytes >= budget_bytes && !page.is_empty() {
                break;
            }
            if self.limit == 0 {
                return Ok((!page.is_empty()).then_some(page));
            }
            if let Some(unread) = self.unread.take() {
                let budget = budget_bytes.saturating_sub(bytes).max(1);
                let found = self.read(&view, unread, budget)?;
                bytes += found.iter().map(StoredEvent::size).sum::<usize>();
                match page.is_empty() {
                    true => page = found,
                    false => page.extend(found),
                }
            } else if !self.advance(&view)? {
                return match &self.past {
                    Some(past) if self.ends_early && page.is_empty() => Err(past.removed()),
                    _ => Ok((!page.is_empty()).then_some(page)),
                };
            }
        }
        Ok(Some(page))
    }

    /// Returns the view to go on in: the one the scan began with or, once that is replaced, the store's with
    /// the scan's chunks. Positions are the same in all views, so that either has all requested events.
    fn view(&mut self) -> Arc<View> {
        if let Some(view) = self.view.upgrade() {
            return view;
        }
        let Published { view, .. } = self.shared.get();
        let is_kept = |(own, now): (&ChunkSlot, &ChunkSlot)| own.is_same(now);
        if self.chunks.len() <= view.chunks.len()
            && self.chunks.iter().zip(view.chunks.iter()).all(is_kept)
        {
            self.chunks = view.chunks.clone();
            self.view = Arc::downgrade(&view);
            return view;
        }
        let known = self.chunks.last().map_or(0, |slot| slot.summary().number);
        let new = view.chunks.partition_point(|slot| slot.summary().number <= known);
        if let Some(new) = view.chunks.get(new..).filter(|new| !new.is_empty()) {
            self.chunks = Arc::new(self.chunks.iter().chain(new).cloned().collect());
        }
        Arc::new(View { chunks: self.chunks.clone(), ..View::clone(&view) })
    }

    /// Takes one step towards the next segment; false at the end.
    fn advance(&mut self, view: &View) -> Result<bool, Fault> {
        if self.plan.direction == Direction::Backwards
            && let Some(first) = self.tails.pop_front()
        {
            self.unread = Some(self.look_up(view, first, 0..u32::MAX)?);
            return Ok(true);
        }
        match self.walk.step(&self.plan, view, &mut self.counters)? {
            Step::Working => {}
            Step::Chunk(number, found) => {
                let first = view.chunk(number)?.summary().first_position;
                self.unread = Some(match found {
                    Some(ordinals) => UnreadOrdinals::new(first, Ordinals::List(ordinals.into())),
                    None => self.look_up(view, first, 0..u32::MAX)?,
                });
            }
            Step::End => match self.tails.pop_front() {
                Some(first) => self.unread = Some(self.look_up(view, first, 0..u32::MAX)?),
                None => return Ok(false),
            },
        }
        Ok(true)
    }

    /// Returns the chunk or the tail that holds a position; a fault if it lost events since the scan began. The chunks
    /// that the scan began with did not.
    fn segment_at(&self, view: &View, position: Position) -> Result<Segment, Fault> {
        let segment = view.segment_at(position)?;
        match &segment {
            Segment::Chunk(chunk)
                if chunk.scavenged_at() > Some(self.point.log_index) && !self.may_miss =>
            {
                Err(Fault::Removed { as_of: self.point.position })
            }
            _ => Ok(segment),
        }
    }

    /// Returns the requested events among these ordinals of the segment that begins at `first`; a tail may
    /// have become a chunk meanwhile.
    fn look_up(
        &mut self,
        view: &View,
        first: Position,
        within: Range<u32>,
    ) -> Result<UnreadOrdinals, Fault> {
        let segment = self.segment_at(view, first)?;
        let mut part = match &segment {
            Segment::Chunk(chunk) => self.plan.part_of_chunk(chunk),
            Segment::Tail(tail) => {
                self.plan.part(first, tail.ordinals_between(self.plan.from, self.plan.until))
            }
        };
        part.ordinals.start = part.ordinals.start.max(within.start);
        part.ordinals.end = part.ordinals.end.min(within.end).max(part.ordinals.start);
        if self.plan.items.is_empty() {
            return Ok(UnreadOrdinals::new(first, Ordinals::Range(part.ordinals)));
        }
        let mut find = |key: &Key| match &segment {
            Segment::Chunk(chunk) => chunk.find(key, &mut self.counters),
            Segment::Tail(tail) => Ok(tail.find(key, &part.ordinals, &part.versions)),
        };
        let ordinals = part.matches(&self.plan.items, &mut find)?;
        Ok(UnreadOrdinals::new(first, Ordinals::List(ordinals.into())))
    }

    /// Returns true if an event that the index found is requested and not hidden.
    fn is_given_out(&mut self, view: &View, event: &StoredEvent) -> Result<bool, Fault> {
        if !self.plan.wants(event) {
            return Ok(false);
        }
        // The plan of a stream has no hidden versions.
        if self.plan.stream.is_some() || !self.floors.is_hidden(view, event)? {
            return Ok(true);
        }
        self.past.as_mut().map_or(Ok(()), |past| past.check_hidden(view, event))?;
        Ok(false)
    }

    /// Reads a batch of the rest, which is put back as long as something is left of it.
    fn read(
        &mut self,
        view: &View,
        mut unread: UnreadOrdinals,
        budget: usize,
    ) -> Result<Vec<StoredEvent>, Fault> {
        if unread.ordinals.is_empty() {
            if !unread.beyond.is_empty() {
                self.unread = Some(self.look_up(view, unread.first, unread.beyond)?);
            }
            return Ok(Vec::new());
        }
        let segment = self.segment_at(view, unread.first)?;
        let reads = &mut self.counters;
        let mut events = self.batch.read(&mut unread, &segment, self.limit, budget, reads)?;
        if !unread.is_empty() {
            self.unread = Some(unread);
        }
        let mut fault = None;
        events.retain(|event| {
            self.is_given_out(view, event).unwrap_or_else(|why| {
                fault.get_or_insert(why);
                false
            })
        });
        if let Some(fault) = fault {
            return Err(fault);
        }
        self.batch.came_to(events.len());
        events.truncate(usize::try_from(self.limit).unwrap_or(usize::MAX));
        self.limit -= events.len() as u64;
        Ok(events)
    }
}

impl Plan {
    /// Returns the part of the segment that begins at `first` within the bounds; `between`: those of time.
    pub(super) fn part(&self, first: Position, between: Range<u32>) -> Part {
        let start = ordinal_of(self.positions.start, first).max(between.start);
        let end = ordinal_of(self.positions.end, first).min(between.end);
        Part { ordinals: start..end.max(start), versions: self.versions.clone() }
    }
}

/// Returns the first positions of the tails that may hold requested events, in the direction of the read.
fn tails(view: &View, plan: &Plan) -> VecDeque<Position> {
    // A tail that was sealed empty begins where the next tail does.
    let mut tails: VecDeque<Position> =
        view.tails().map(|tail| tail.first()).filter(|first| *first < plan.positions.end).collect();
    tails.make_contiguous().sort_unstable();
    let mut firsts: Vec<Position> = tails.into();
    firsts.dedup();
    if plan.direction == Direction::Backwards {
        firsts.reverse();
    }
    firsts.into()
}

/// Returns the numbers of the chunks that are within the bounds.
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

/// Returns true if all requested versions of a stream are in the tails.
fn is_in_tails(view: &View, plan: &Plan) -> bool {
    let Some(stream) = &plan.stream else { return false };
    let is_from = |tail: &Arc<Tail>| {
        tail.first_version(stream.as_str()).is_some_and(|first| first.0 <= plan.versions.start)
    };
    view.tails().any(is_from)
}
