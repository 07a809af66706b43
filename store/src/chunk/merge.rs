//! The dictionaries of several chunks, read at once in the order of their keys.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::collections::binary_heap::PeekMut;

use crate::Fault;

/// The rows of some chunks at once, in the order of their keys, and for one key in the order of the chunks.
pub(crate) struct Merge<'a, K, V> {
    /// The next key of each chunk, with the chunk's number and the index of its source.
    heap: BinaryHeap<Reverse<(K, u64, usize)>>,
    sources: Vec<Source<'a, K, V>>,
}

/// The value of the key that is on the heap, and the rows after it.
type Source<'a, K, V> = (Option<V>, Box<dyn Iterator<Item = Result<(K, V), Fault>> + 'a>);

impl<'a, K: Ord, V> Merge<'a, K, V> {
    /// Returns a merge of nothing yet.
    pub(crate) fn new() -> Merge<'a, K, V> {
        Merge { heap: BinaryHeap::new(), sources: Vec::new() }
    }

    /// Adds the rows of a chunk, which are sorted by key.
    pub(crate) fn add(
        &mut self,
        number: u64,
        mut rows: impl Iterator<Item = Result<(K, V), Fault>> + 'a,
    ) -> Result<(), Fault> {
        if let Some((key, value)) = rows.next().transpose()? {
            self.heap.push(Reverse((key, number, self.sources.len())));
            self.sources.push((Some(value), Box::new(rows)));
        }
        Ok(())
    }

    /// Returns the key that comes next.
    pub(crate) fn first(&self) -> Option<&K> {
        self.heap.peek().map(|first| &first.0.0)
    }

    /// Takes the next key, the number of its chunk, and its value there.
    pub(crate) fn next(&mut self) -> Result<Option<(K, u64, V)>, Fault> {
        let Some(mut first) = self.heap.peek_mut() else { return Ok(None) };
        let Some((value, rows)) = self.sources.get_mut(first.0.2) else { return Ok(None) };
        let (key, number, value) = match rows.next().transpose()? {
            Some((key, next)) => {
                let key = std::mem::replace(&mut first.0.0, key);
                (key, first.0.1, value.replace(next))
            }
            None => {
                let Reverse((key, number, _)) = PeekMut::pop(first);
                (key, number, value.take())
            }
        };
        Ok(value.map(|value| (key, number, value)))
    }
}
