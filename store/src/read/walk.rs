//! Finding the chunks that a read must look into: the chains of its keys, walked a step at a time.

use std::ops::Range;

use quorate_proto::Direction;

use super::found::FoundChunks;
use super::matching::Part;
use super::plan::{Item, Plan};
use crate::chunk::{Chunk, Posting};
use crate::fault::Fault;
use crate::files::ReadCounters;
use crate::format::Key;
use crate::view::View;

/// Finds the chunks that hold matches, in the direction of the read.
///
/// Each chunk names, for each of its keys, the chunk before it that holds the key; the catalog names the last
/// one. So chains are walked from the newest chunk to the oldest. A read backwards gives out chunks as they are
/// found. A read forwards works from both ends: it also looks for its keys in the oldest chunk that is left. As
/// long as they are there, the chains are left alone, so that the first event of a key that most chunks hold is
/// found after a few steps; looks that find nothing become rare, so that a key that few chunks hold costs little
/// more than its chain.
#[derive(Debug)]
pub(super) struct Walk {
    /// The numbers of the chunks that the bounds of the read leave. A read forwards raises the start past the
    /// chunks that it has looked into.
    range: Range<u64>,
    walks: Vec<ItemWalk>,
    /// The chunks that are not given out yet, with the ordinals that match in them.
    found: FoundChunks,
    looks: Looks,
}

/// The turns of a read forwards: steps along the chains, and looks into the oldest chunk that is left.
#[derive(Debug)]
struct Looks {
    /// The number of steps before the next look; `None`: there is no further look.
    wait: Option<usize>,
    /// The number of steps after the next look that finds nothing.
    pause: usize,
}

/// The number of steps along the chains before the first look: most streams have shorter chains.
const STEPS_FIRST: usize = 4;

/// The result of a step.
pub(super) enum Step {
    /// The next chunk to look into, and the ordinals that match there, ascending; `None`: they must be looked up.
    Chunk(u64, Option<Vec<u32>>),
    /// A bounded piece of work was done, without a result yet.
    Working,
    End,
}

/// The progress of one item through the chunks that hold all its keys.
///
/// It goes from one chunk straight to the next that any of its keys allows, so that its rarest key leads; a
/// key that was left behind is looked up in the chunk that the leading key has reached.
///
/// Invariant: a chunk above the link of a key holds no match of the item, or was looked at for it.
#[derive(Debug)]
struct ItemWalk {
    item: Item,
    /// For each of the item's keys, the next chunk that holds it.
    links: Vec<Link>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Link {
    /// Not looked up in the catalog yet.
    Unknown,
    Chunk(u64),
    End,
}

impl Walk {
    /// A walk over the chunks of `range`; over none of them if it is empty.
    pub(super) fn new(plan: &Plan, range: Range<u64>) -> Walk {
        if plan.items.is_empty() {
            let found = FoundChunks::all_of(range.clone());
            return Walk { range, walks: Vec::new(), found, looks: Looks::new(plan) };
        }
        let found = FoundChunks::none_of(range.clone());
        let items = plan.items.iter().filter(|_| !range.is_empty());
        let walks = items.cloned().map(ItemWalk::new).collect();
        Walk { range, walks, found, looks: Looks::new(plan) }
    }

    /// Takes one step: at most one look for each key of an item, or one look for each key of the read.
    pub(super) fn step(
        &mut self,
        plan: &Plan,
        view: &View,
        reads: &mut ReadCounters,
    ) -> Result<Step, Fault> {
        // The newest walk first, so that backwards a chunk is given out once all walks are past it.
        let walks = self.walks.iter_mut().filter_map(|walk| Some((walk.next()?, walk)));
        let walks =
            walks.filter(|(number, _)| !self.range.is_empty() && *number >= self.range.start);
        if let Some((number, walk)) = walks.max_by_key(|(number, _)| *number) {
            if self.looks.is_due() {
                return Ok(self.look_into_oldest(plan, view, reads));
            }
            let is_due = self.found.last().is_none_or(|newest| number >= newest);
            if is_due || plan.direction == Direction::Forwards {
                if let Some((number, matches)) = walk.step(plan, &self.range, view, reads)? {
                    self.found.add(number, matches);
                }
                return Ok(Step::Working);
            }
        }
        let next = match plan.direction {
            Direction::Forwards => self.found.first(),
            Direction::Backwards => self.found.last(),
        };
        Ok(next.map_or(Step::End, |number| Step::Chunk(number, self.found.take(number))))
    }

    /// Looks for all items in the oldest chunk that is left, and takes it out of the range.
    ///
    /// Only the chunks that links lead to are needed: one that cannot be read may hold nothing of the read. It is left to
    /// the chains, with all that follow it.
    fn look_into_oldest(&mut self, plan: &Plan, view: &View, reads: &mut ReadCounters) -> Step {
        let oldest = self.range.start;
        let Ok(matches) = self.matches_in(oldest, plan, view, reads) else {
            self.looks.wait = None;
            return Step::Working;
        };
        self.range.start += 1;
        // A chain may have come here already, for some of the items.
        drop(self.found.take(oldest));
        self.looks.note(!matches.is_empty());
        if matches.is_empty() { Step::Working } else { Step::Chunk(oldest, Some(matches)) }
    }

    /// Returns the ordinals that any of the items matches in a chunk, ascending.
    fn matches_in(
        &self,
        number: u64,
        plan: &Plan,
        view: &View,
        reads: &mut ReadCounters,
    ) -> Result<Vec<u32>, Fault> {
        let chunk = view.chunk(number)?;
        let items: Vec<Item> = self.walks.iter().map(ItemWalk::rarest_first).collect();
        plan.part_of_chunk(chunk).matches(&items, &mut |key| chunk.find(key, reads))
    }

    /// Drops the remembered ordinals if they are above the bound that is kept between pages.
    pub(super) fn shrink(&mut self) {
        self.found.shrink();
    }
}

impl Looks {
    fn new(plan: &Plan) -> Looks {
        let is_forwards = plan.direction == Direction::Forwards;
        Looks { wait: is_forwards.then_some(STEPS_FIRST), pause: 2 * STEPS_FIRST }
    }

    /// Returns true if it is time for a look; otherwise it is time for a step.
    fn is_due(&mut self) -> bool {
        let is_due = self.wait == Some(0);
        self.wait = self.wait.map(|steps| steps.saturating_sub(1));
        is_due
    }

    fn note(&mut self, has_found: bool) {
        (self.wait, self.pause) = match has_found {
            true => (Some(0), 2 * STEPS_FIRST),
            false => (Some(self.pause), self.pause.saturating_mul(2)),
        };
    }
}

impl ItemWalk {
    /// Returns the item with those keys first whose chains are the furthest, so that a look ends early where one is
    /// missing.
    fn rarest_first(&self) -> Item {
        let mut keys: Vec<_> = self.links.iter().zip(&self.item.all).collect();
        keys.sort_by_key(|(link, _)| match link {
            Link::End => 0,
            Link::Chunk(number) => *number,
            Link::Unknown => u64::MAX,
        });
        let all = keys.into_iter().map(|(_, key)| key.clone()).collect();
        Item { all, any: self.item.any.clone() }
    }

    fn new(item: Item) -> ItemWalk {
        let links = vec![Link::Unknown; item.all.len()];
        ItemWalk { item, links }
    }

    /// Returns the newest chunk that can hold a match, as far as is known; `None` if none can.
    fn next(&self) -> Option<u64> {
        let number = |link: &Link| match link {
            Link::Unknown => Some(u64::MAX),
            Link::Chunk(number) => Some(*number),
            Link::End => None,
        };
        if self.links.contains(&Link::Unknown) && !self.links.contains(&Link::End) {
            return Some(u64::MAX);
        }
        self.links.iter().map(number).min().flatten()
    }

    /// Looks up the last chunk of a key, or looks into the next chunk and returns it, if it is in the range,
    /// with the ordinals that match there.
    fn step(
        &mut self,
        plan: &Plan,
        range: &Range<u64>,
        view: &View,
        reads: &mut ReadCounters,
    ) -> Result<Option<(u64, Vec<u32>)>, Fault> {
        let mut keys = self.item.all.iter().zip(&mut self.links);
        if let Some((key, next)) = keys.find(|(_, next)| **next == Link::Unknown) {
            *next = link(view.last_chunk(key)?, range);
            return Ok(None);
        }
        let Some(number) = self.next() else { return Ok(None) };
        let Some(postings) = self.postings_in(number, plan, range, view, reads)? else {
            return Ok(None);
        };
        if !range.contains(&number) {
            return Ok(None);
        }
        let chunk = view.chunk(number)?;
        let mut find = |key: &Key| chunk.find(key, reads);
        let part = plan.part_of_chunk(chunk);
        let matches = part.intersect(postings, &self.item.any, &mut find)?;
        Ok(Some((number, matches)))
    }

    /// Returns the postings of all keys in a chunk; `None` if it lacks one. Moves the links of those found.
    fn postings_in(
        &mut self,
        number: u64,
        plan: &Plan,
        range: &Range<u64>,
        view: &View,
        reads: &mut ReadCounters,
    ) -> Result<Option<Vec<Posting>>, Fault> {
        let mut postings = Vec::with_capacity(self.item.all.len());
        let here = Link::Chunk(number);
        let keys = self.item.all.iter().zip(&mut self.links);
        for (key, next) in keys.filter(|(_, next)| **next == here) {
            let (_, posting) = view.find_linked(number, key, reads)?;
            *next = following(key, &posting, plan, range);
            postings.push(posting);
        }
        let keys = self.item.all.iter().zip(&mut self.links);
        for (key, next) in keys {
            let Link::Chunk(ahead) = *next else { continue };
            if ahead <= number {
                continue;
            }
            match view.chunk(number)?.find(key, reads)? {
                Some(posting) => {
                    *next = following(key, &posting, plan, range);
                    postings.push(posting);
                }
                None => {
                    // The key itself moves on one link, so that a rare key is never left behind for long.
                    let (_, posting) = view.find_linked(ahead, key, reads)?;
                    *next = following(key, &posting, plan, range);
                    return Ok(None);
                }
            }
        }
        Ok(Some(postings))
    }
}

/// Returns the link of a key after the chunk with this posting.
fn following(key: &Key, posting: &Posting, plan: &Plan, range: &Range<u64>) -> Link {
    let is_read = plan.stream.is_some() && matches!(key, Key::Stream(_));
    let is_last = posting.first_version.is_some_and(|first| first.0 <= plan.versions.start);
    if is_read && (is_last || posting.ordinals.is_empty()) {
        // Only the first events of a stream are removed: there is nothing before.
        return Link::End;
    }
    link(posting.previous, range)
}

/// Returns a link to a chunk. A number below the range ends a chain; one above it is passed through.
fn link(number: Option<u64>, range: &Range<u64>) -> Link {
    match number {
        Some(number) if number >= range.start => Link::Chunk(number),
        _ => Link::End,
    }
}

impl Plan {
    /// Returns the part of a chunk that is within the bounds.
    pub(super) fn part_of_chunk(&self, chunk: &Chunk) -> Part {
        let between = chunk.ordinals_between(self.from, self.until);
        self.part(chunk.summary().first_position, between)
    }
}
