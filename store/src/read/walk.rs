//! Which chunks a read must look into: the chains of its keys, walked a step at a time.

use std::collections::{BTreeSet, HashMap};
use std::ops::Range;

use quorate_proto::Direction;

use super::plan::Plan;
use crate::cache::ReadCounters;
use crate::chunk::Posting;
use crate::fault::Fault;
use crate::key::Key;
use crate::view::View;

/// Finds the chunks that may hold matches, in the direction of the read.
///
/// Each chunk names, for each of its keys, the chunk before it that holds the key; the catalog names the
/// last. So chains are walked from the newest chunk to the oldest: a read forwards walks them to their end
/// first, one backwards looks into the chunks as they come up.
///
/// Invariant: `found` holds numbers of `range` only.
#[derive(Debug)]
pub(super) struct Walk {
    /// The numbers of the chunks that the bounds of the read leave.
    range: Range<u64>,
    chains: Vec<Chain>,
    /// Numbers that are not given out yet.
    found: BTreeSet<u64>,
    /// The posting met last in each chain: the chunk is mostly looked into right afterwards.
    postings: HashMap<Key, (u64, Posting)>,
}

#[derive(Debug)]
struct Chain {
    key: Key,
    next: Link,
}

#[derive(Clone, Copy, Debug)]
enum Link {
    /// The catalog knows.
    Unknown,
    Chunk(u64),
    End,
}

/// What a step came to.
pub(super) enum Step {
    /// The next chunk to look into.
    Chunk(u64),
    /// Nothing yet: a bounded piece of work was done.
    Working,
    End,
}

impl Walk {
    /// A walk over the chunks of `range`; over none of them if it is empty.
    pub(super) fn new(plan: &Plan, range: Range<u64>) -> Walk {
        let keys: BTreeSet<&Key> = plan.leading_keys().collect();
        let chain = |key: &Key| Chain { key: key.clone(), next: Link::Unknown };
        let everything = plan.items.is_empty();
        let found = if everything { range.clone().collect() } else { BTreeSet::new() };
        let is_needed = !everything && !range.is_empty();
        let chains = if is_needed { keys.into_iter().map(chain).collect() } else { Vec::new() };
        Walk { range, chains, found, postings: HashMap::new() }
    }

    /// One step: at most one look into the catalog or into a dictionary.
    pub(super) fn step(
        &mut self,
        plan: &Plan,
        view: &View,
        reads: &mut ReadCounters,
    ) -> Result<Step, Fault> {
        // The newest end of a chain first, so that backwards a chunk is given out once all chains are past it.
        let longest = self.chains.iter_mut().max_by_key(|chain| match chain.next {
            Link::Unknown => u64::MAX,
            Link::Chunk(number) => number,
            Link::End => 0,
        });
        if let Some(chain) = longest {
            let newest = self.found.last().copied();
            match chain.next {
                Link::Unknown => {
                    chain.next = link(view.last_chunk(&chain.key)?, &self.range);
                    return Ok(Step::Working);
                }
                Link::Chunk(number)
                    if plan.direction == Direction::Forwards
                        || newest.is_none_or(|at| number >= at) =>
                {
                    let (_, posting) = view.find_linked(number, &chain.key, reads)?;
                    let first = posting.first_version.filter(|_| plan.stream.is_some());
                    let is_last = first.is_some_and(|first| first.0 <= plan.versions.start);
                    let previous = posting.previous.filter(|_| !is_last);
                    chain.next = link(previous, &self.range);
                    if self.range.contains(&number) {
                        self.found.insert(number);
                        self.postings.insert(chain.key.clone(), (number, posting));
                    }
                    return Ok(Step::Working);
                }
                _ => {}
            }
        }
        let next = match plan.direction {
            Direction::Forwards => self.found.pop_first(),
            Direction::Backwards => self.found.pop_last(),
        };
        Ok(next.map_or(Step::End, Step::Chunk))
    }

    /// The posting of a key in a chunk, if the walk met it just now.
    pub(super) fn take_posting(&mut self, key: &Key, number: u64) -> Option<Posting> {
        let (at, _) = self.postings.get(key)?;
        if *at != number {
            return None;
        }
        self.postings.remove(key).map(|(_, posting)| posting)
    }
}

/// Numbers below the range end a chain; those above it are passed through.
fn link(number: Option<u64>, range: &Range<u64>) -> Link {
    match number {
        Some(number) if number >= range.start => Link::Chunk(number),
        _ => Link::End,
    }
}
