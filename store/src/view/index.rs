//! The index over all chunks: it finds the chunk that holds a key last, by dictionaries and the catalog's table.
//!
//! The table of keys is not touched when a chunk is sealed: with millions of streams each of the chunk's keys would
//! dirty another page. The newest chunks are *not indexed* instead: a filter in memory shows which of them may hold a
//! key, and their dictionaries which does. Once the filters take half of their budget, a *round* takes the keys of all
//! those chunks into the table, sorted, so that each written page takes many of them; a bounded run of keys with each
//! checkpoint, so that no seal waits for a round. The progress of a round is part of the commit, and a row repeats only
//! what the dictionaries hold, so a round goes on after a crash.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::collections::binary_heap::PeekMut;
use std::ops::Bound;

use bytes::Bytes;

use super::slot::ChunkSlot;
use crate::catalog::{CatalogExport, KeyMerge};
use crate::fault::Fault;
use crate::files::ReadCounters;
use crate::format::catalog::{Indexed, KeyState, MergeRound};
use crate::key::Key;

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
        for number in self.catalog.unindexed(key) {
            if let Some(state) =
                self.slot(number)?.chunk()?.key_state(key, &mut ReadCounters::default())?
            {
                return Ok(Some(state));
            }
        }
        self.catalog.key(key)
    }

    /// Returns the keys from `start` on, sorted, encoded as by [`Key::encode`], each with where it was last seen. Opens
    /// all dictionaries that are not in the table, at the page of `start`; keeps a page of each in memory.
    pub(crate) fn keys_from(
        &self,
        start: Bound<&[u8]>,
    ) -> Result<impl Iterator<Item = Result<Row, Fault>> + use<'a>, Fault> {
        let numbers = self.catalog.filters().iter().map(|(number, _)| *number);
        let mut newer = Cursors::new(self, numbers, start)?;
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
            newer.next_key().transpose()
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
        let mut cursors =
            Cursors::new(self, through + 1..=round.target, Bound::Excluded(&*round.after))?;
        let mut keys: Vec<Row> = Vec::new();
        while let Some((key, state)) = cursors.next()? {
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

    fn slot(&self, number: u64) -> Result<&'a ChunkSlot, Fault> {
        let index = self.slots.binary_search_by_key(&number, |slot| slot.summary().number);
        let slot = index.ok().and_then(|index| self.slots.get(index));
        slot.ok_or_else(|| self.catalog.damaged("a chunk that is not indexed is not in the list"))
    }
}

/// A key, and where it was last seen by the end of a chunk, as the dictionary has it.
type Row = (Vec<u8>, KeyState);

/// The state of the key that is on the heap, and the rows after it.
type Source<'a> = (KeyState, Box<dyn Iterator<Item = Result<Row, Fault>> + 'a>);

/// The dictionaries of some chunks at once, in the order of their keys, and for one key in the order of the chunks.
struct Cursors<'a> {
    /// The next key of each chunk, with the chunk's number and the index of its source.
    heap: BinaryHeap<Reverse<(Vec<u8>, u64, usize)>>,
    sources: Vec<Source<'a>>,
}

impl<'a> Cursors<'a> {
    fn new(
        index: &Index<'a>,
        numbers: impl Iterator<Item = u64>,
        start: Bound<&[u8]>,
    ) -> Result<Cursors<'a>, Fault> {
        let mut cursors = Cursors { heap: BinaryHeap::new(), sources: Vec::new() };
        for number in numbers {
            let mut rows = index.slot(number)?.chunk()?.key_states_from(start);
            if let Some((key, state)) = rows.next().transpose()? {
                cursors.heap.push(Reverse((key, number, cursors.sources.len())));
                cursors.sources.push((state, Box::new(rows)));
            }
        }
        Ok(cursors)
    }

    /// Returns the key that comes next.
    fn first(&self) -> Option<&[u8]> {
        self.heap.peek().map(|first| first.0.0.as_slice())
    }

    /// Takes the next key, from the newest chunk that holds it.
    fn next_key(&mut self) -> Result<Option<Row>, Fault> {
        let mut row = self.next()?;
        while let Some((key, _)) = &row
            && self.first() == Some(key)
        {
            row = self.next()?;
        }
        Ok(row)
    }

    fn next(&mut self) -> Result<Option<Row>, Fault> {
        let Some(mut first) = self.heap.peek_mut() else { return Ok(None) };
        let Some((state, rows)) = self.sources.get_mut(first.0.2) else { return Ok(None) };
        let (key, state) = match rows.next().transpose()? {
            Some((key, next)) => {
                (std::mem::replace(&mut first.0.0, key), std::mem::replace(state, next))
            }
            None => (PeekMut::pop(first).0.0, *state),
        };
        Ok(Some((key, state)))
    }
}
