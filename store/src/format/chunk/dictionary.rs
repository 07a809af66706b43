//! The dictionary of a chunk: it leads from a key to the ordinals of the key's events. Keys stand sorted in pages (see
//! `page`), and the index of the pages leads to the page of a key.

use bytes::Bytes;

use super::page::common_prefix;
use crate::format::{Input, Malformed, Output};

/// Puts ascending ordinals as they stand on disk: the first, then the distances.
pub(crate) fn put_ordinals(out: &mut Vec<u8>, ordinals: impl IntoIterator<Item = u32>) {
    let mut before = 0;
    for ordinal in ordinals {
        out.put_varint(u64::from(ordinal - before));
        before = ordinal;
    }
}

/// Decodes `count` ordinals that [`put_ordinals`] put.
pub(crate) fn decode_ordinals(bytes: Bytes, count: u32) -> Result<Vec<u32>, Malformed> {
    let mut input = Input::new(bytes);
    let mut ordinals: Vec<u32> = Vec::with_capacity((count as usize).min(input.remaining()));
    for _ in 0..count {
        let step = u32::try_from(input.varint()?).ok();
        let next = match ordinals.last() {
            None => step,
            Some(last) => step.filter(|step| *step > 0).and_then(|step| last.checked_add(step)),
        };
        ordinals.push(next.ok_or_else(|| Malformed::new("ordinals are out of order"))?);
    }
    input.end()?;
    Ok(ordinals)
}

/// The places of the pages of a dictionary, and the keys that lead to them.
///
/// Invariants: `fences` ascend, and have as many elements as `pages`; the keys of page *i* are not before
/// fence *i* and are before fence *i* + 1.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct DictionaryIndex {
    fences: Fences,
    pages: Vec<PageEntry>,
}

/// The place of a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PageEntry {
    /// The offset of the page's frame in the file.
    pub(crate) offset: u64,
    /// The length of the page's frame, header included.
    pub(crate) length: u64,
}

/// Short byte strings in one allocation: a large store has millions of them in memory.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Fences {
    bytes: Vec<u8>,
    ends: Vec<u32>,
}

impl Fences {
    fn push(&mut self, fence: &[u8]) -> Result<(), Malformed> {
        self.bytes.extend_from_slice(fence);
        let end = u32::try_from(self.bytes.len());
        self.ends.push(end.map_err(|_| Malformed::new("the dictionary is too large"))?);
        Ok(())
    }

    fn get(&self, index: usize) -> &[u8] {
        let start = match index.checked_sub(1) {
            None => 0,
            Some(before) => self.ends.get(before).copied().unwrap_or(0) as usize,
        };
        let end = self.ends.get(index).copied().unwrap_or(0) as usize;
        self.bytes.get(start..end).unwrap_or_default()
    }
}

impl DictionaryIndex {
    /// Adds the next page; `before` and `first` are the last key before it and its first key.
    pub(crate) fn push(&mut self, before: &[u8], first: &[u8], page: PageEntry) {
        let fence = &first[..first.len().min(common_prefix(before, first) + 1)];
        let fence = if self.pages.is_empty() { &[] } else { fence };
        self.fences.push(fence).expect("a chunk has at most 2^32 events, and pages hold many keys");
        self.pages.push(page);
    }

    /// Returns the page that would have the key.
    pub(crate) fn page_of(&self, key: &[u8]) -> Option<PageEntry> {
        self.pages_from(key).first().copied()
    }

    /// Returns true if the page at an index ends before the key, as there is a later page that would have it.
    pub(crate) fn ends_before(&self, index: usize, key: &[u8]) -> bool {
        index + 1 < self.pages.len() && self.fences.get(index + 1) <= key
    }

    /// Returns the index of the page that would have the key.
    pub(crate) fn index_of(&self, key: &[u8]) -> usize {
        self.pages.len() - self.pages_from(key).len()
    }

    /// Returns the pages from the one on that would have the key; they hold all keys after it.
    pub(crate) fn pages_from(&self, key: &[u8]) -> &[PageEntry] {
        let (mut low, mut high) = (0, self.pages.len());
        while low < high {
            let middle = low.midpoint(high);
            if self.fences.get(middle) <= key {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        self.pages.get(low.saturating_sub(1)..).unwrap_or_default()
    }

    pub(crate) fn pages(&self) -> &[PageEntry] {
        &self.pages
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        out.put_varint(self.pages.len() as u64);
        for (index, page) in self.pages.iter().enumerate() {
            let fence = self.fences.get(index);
            out.put_varint(page.length);
            out.put_varint(fence.len() as u64);
            out.put(fence);
        }
        out
    }

    /// Decodes the index of a dictionary whose section begins at `offset`; also returns the section's end.
    pub(crate) fn decode(
        payload: Bytes,
        mut offset: u64,
    ) -> Result<(DictionaryIndex, u64), Malformed> {
        let mut input = Input::new(payload);
        let count = input.varint()?;
        let mut index = DictionaryIndex::default();
        let mut before = Bytes::new();
        for page in 0..count {
            let length = input.varint()?;
            let fence_length = usize::try_from(input.varint()?).unwrap_or(usize::MAX);
            let fence = input.take(fence_length)?;
            if page > 0 && fence <= before {
                return Err(Malformed::new("the pages of the dictionary are out of order"));
            }
            index.fences.push(&fence)?;
            index.pages.push(PageEntry { offset, length });
            let end = offset.checked_add(length);
            offset = end.ok_or_else(|| Malformed::new("a page is beyond the file"))?;
            before = fence;
        }
        input.end()?;
        Ok((index, offset))
    }
}
