//! The index over all chunks: it finds the chunk that holds a key last, by dictionaries and the catalog's table.
//!
//! The table of keys is not touched when a chunk is sealed: with millions of streams each of the chunk's keys would
//! dirty another page. The newest chunks are *not indexed* instead: a filter in memory shows which of them may hold a
//! key, and their dictionaries which does. Once the filters take half of their budget, a *round* takes the keys of all
//! those chunks into the table, sorted, so that each written page takes many of them; a bounded run of keys with each
//! checkpoint, so that no seal waits for a round. The progress of a round is part of the commit, and a row repeats only
//! what the dictionaries hold, so a round goes on after a crash.

use std::ops::Bound;

use bytes::Bytes;

use super::slot::ChunkSlot;
use crate::catalog::{CatalogExport, Filter, KeyMerge};
use crate::chunk::{KeyFinder, Merge};
use crate::fault::Fault;
use crate::files::ReadCounters;
use crate::format::Key;
use crate::format::catalog::{Indexed, KeyState, MergeRound};

/// The number of chunks not indexed at which a round begins at the latest: a key that is in none of them, but
/// passes a filter, costs a read of a dictionary.
const CHUNKS_MAX: usize = 128;
/// The number of checkpoints that a round takes at most.
const RUNS_MAX: usize = 8;

/// The index over all chunks of a checkpoint.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Index<'a> {
    /// The chunks by number; the newest may be unknown to the catalog yet.
    pub(crate) slots: &'a [ChunkSlot],
    pub(crate) catalog: &'a CatalogExport,
}

impl<'a> Index<'a> {
    /// Returns where a key was last seen; `None` if it never was.
    pub(crate) fn find(&self, key: &Key) -> Result<Option<KeyState>, Fault> {
        let key = key.encode();
        for number in self.catalog.unindexed(&key) {
            let chunk = self.slot(number)?.chunk()?;
            if let Some(state) = chunk.key_state(&key, &mut ReadCounters::default())? {
                return Ok(Some(state));
            }
        }
        self.catalog.key(&key)
    }

    /// Returns a finder of keys that ascend.
    pub(crate) fn finder(&self) -> Result<IndexFinder<'a>, Fault> {
        let newer = self.catalog.filters().iter().rev().map(|(number, filter)| {
            Ok(Unindexed { slot: self.slot(*number)?, filter, finder: None })
        });
        Ok(IndexFinder { newer: newer.collect::<Result<_, Fault>>()?, catalog: self.catalog })
    }

    /// Returns the keys from `start` on, sorted, encoded as by [`Key::encode`], each with where it was last seen. Opens
    /// all dictionaries that are not in the table, at the page of `start`; keeps a page of each in memory.
    pub(crate) fn keys_from(
        &self,
        start: Bound<&[u8]>,
    ) -> Result<impl Iterator<Item = Result<Row, Fault>> + use<'a>, Fault> {
        let numbers = self.catalog.filters().iter().map(|(number, _)| *number);
        let mut newer = self.dictionaries(numbers, start)?;
        let mut table = self.catalog.key_states_from(start)?.peekable();
        Ok(std::iter::from_fn(move || {
            let first = match newer.first() {
                Some(first) => first.to_vec(),
                None => return table.next(),
            };
            match table.peek() {
                // A fault in the table comes first, too.
                Some(Ok((key, _))) if *key > first => {}
                Some(Ok((key, _))) if *key == first => drop(table.next()),
                Some(_) => return table.next(),
                None => {}
            }
            next_newest(&mut newer).transpose()
        }))
    }

    /// Returns the next run of keys to put into the table, if a round is under way or due, and the progress after it.
    /// `new_keys` is the number of keys of the chunk that is being sealed: a round must be faster than it is fed.
    ///
    /// A chunk that turns out to be damaged puts the round off: it is repaired, or found when it is read.
    pub(crate) fn fold(&self, filter_bytes: usize, new_keys: usize) -> Result<KeyMerge, Fault> {
        let indexed = self.catalog.contents().indexed.clone();
        let Some(round) = indexed.round.clone().or_else(|| self.next_round(filter_bytes)) else {
            return Ok(KeyMerge { keys: Vec::new(), indexed });
        };
        let run = (new_keys * 2).max(self.keys(&round) / RUNS_MAX + 1);
        match self.run(indexed.through, &round, run) {
            Ok(fold) => Ok(fold),
            Err(Fault::Damaged { .. }) => Ok(KeyMerge { keys: Vec::new(), indexed }),
            Err(fault) => Err(fault),
        }
    }

    fn next_round(&self, filter_bytes: usize) -> Option<MergeRound> {
        let filters = self.catalog.filters();
        let bytes: usize = filters.iter().map(|(_, filter)| filter.bytes()).sum();
        let (target, _) = filters.last()?;
        let is_due = bytes > filter_bytes / 2 || filters.len() >= CHUNKS_MAX;
        is_due.then(|| MergeRound { target: *target, after: Bytes::new() })
    }

    /// Returns about how many keys a round has; a key that several chunks hold counts several times.
    fn keys(&self, round: &MergeRound) -> usize {
        let filters = self.catalog.filters().iter();
        filters.filter(|(number, _)| *number <= round.target).map(|(_, filter)| filter.keys()).sum()
    }

    /// Returns the next `run` keys of a round, each from the newest chunk of the round that holds it.
    fn run(&self, through: u64, round: &MergeRound, run: usize) -> Result<KeyMerge, Fault> {
        let after = Bound::Excluded(&*round.after);
        let mut rows = self.dictionaries(through + 1..=round.target, after)?;
        let mut keys: Vec<Row> = Vec::new();
        while let Some((key, _, state)) = rows.next()? {
            if keys.last().is_some_and(|(last, _)| *last == key) {
                keys.pop();
            } else if keys.len() == run {
                let after = keys.last().map_or(Bytes::new(), |(last, _)| last.clone().into());
                let round = Some(MergeRound { target: round.target, after });
                return Ok(KeyMerge { keys, indexed: Indexed { through, round } });
            }
            keys.push((key, state));
        }
        Ok(KeyMerge { keys, indexed: Indexed { through: round.target, round: None } })
    }

    /// Opens the dictionaries of some chunks at once, at the page of `start`.
    fn dictionaries(
        &self,
        numbers: impl Iterator<Item = u64>,
        start: Bound<&[u8]>,
    ) -> Result<Merge<'a, Vec<u8>, KeyState>, Fault> {
        let mut rows = Merge::new();
        for number in numbers {
            rows.add(number, self.slot(number)?.chunk()?.key_states_from(start))?;
        }
        Ok(rows)
    }

    fn slot(&self, number: u64) -> Result<&'a ChunkSlot, Fault> {
        let index = self.slots.binary_search_by_key(&number, |slot| slot.summary().number);
        let slot = index.ok().and_then(|index| self.slots.get(index));
        slot.ok_or_else(|| self.catalog.damaged("a chunk that is not indexed is not in the list"))
    }
}

/// Finds keys that ascend, as those of a new chunk do: each page of a dictionary is read at most once.
pub(crate) struct IndexFinder<'a> {
    /// The chunks that are not indexed, newest first.
    newer: Vec<Unindexed<'a>>,
    catalog: &'a CatalogExport,
}

/// A chunk that is not indexed.
struct Unindexed<'a> {
    slot: &'a ChunkSlot,
    filter: &'a Filter,
    /// The finder in its dictionary, once it was needed.
    finder: Option<KeyFinder<'a>>,
}

impl IndexFinder<'_> {
    /// Returns where a key, which is encoded and has this hash, was last seen; `None` if it never was.
    pub(crate) fn find(&mut self, key: &[u8], hash: u64) -> Result<Option<KeyState>, Fault> {
        for Unindexed { slot, filter, finder } in &mut self.newer {
            if !filter.may_hold(hash) {
                continue;
            }
            let finder = match finder {
                Some(finder) => finder,
                None => finder.insert(slot.chunk()?.finder()),
            };
            if let Some(state) = finder.find(key)? {
                return Ok(Some(state));
            }
        }
        self.catalog.key(key)
    }
}

/// A key, and where it was last seen by the end of a chunk, as the dictionary has it.
type Row = (Vec<u8>, KeyState);

/// Takes the next key, from the newest chunk that holds it.
fn next_newest(rows: &mut Merge<'_, Vec<u8>, KeyState>) -> Result<Option<Row>, Fault> {
    let mut row = rows.next()?;
    while let Some((key, _, _)) = &row
        && rows.first() == Some(key)
    {
        row = rows.next()?;
    }
    Ok(row.map(|(key, _, state)| (key, state)))
}
