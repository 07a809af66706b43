//! The dictionary of a chunk: it leads from a key to the ordinals of the key's events.
//!
//! Keys stand sorted in pages of some kilobytes, each page readable alone:
//!
//! ```text
//! mark             varint   0: the entries have totals. An early build wrote pages without mark and totals
//! entries          varint, then each:
//!   shared         varint   bytes that the key has in common with the key before in this page
//!   key            varint, then the other bytes of the key (kind and name)
//!   previous       varint   how many chunks back the key was last seen; 0 = never before
//!   first version  varint   of streams only: of its first event in this chunk, removed or not
//!   last version   varint   of streams only: of its last event in this chunk, removed or not
//!   total          varint   of other keys: how many events were recorded with it by the end of this chunk,
//!                           removed or not, in this chunk and all before it; 0 = not known
//!   count          varint   twice the number of ordinals; 1 more if they are elsewhere. It may be 0 once
//!                           events were removed: a key stays, so that nothing that leads here is lost
//!   ordinals       the first, then the distances; varints
//!       or offset  varint   where they begin in the section of postings,
//!          length  varint   and the bytes of their frames, whose payloads are to be joined
//! ```

use std::cmp::Ordering;
use std::ops::Range;

use bytes::Bytes;
use quorate_proto::Version;

use crate::format::{Input, Malformed, Output};

/// The kind of keys that have versions.
const STREAM: u8 = 1;

/// One key of a chunk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    /// The key, encoded as by [`crate::Key::encode`].
    pub(crate) key: Vec<u8>,
    /// The number of chunks back to the one that last held the key.
    pub(crate) distance: Option<u64>,
    /// For a stream the versions of its first and its last event, removed or not.
    pub(crate) versions: Option<(Version, Version)>,
    /// For another key the number of events that were recorded with it by the end of this chunk, removed or
    /// not; 0 = not known.
    pub(crate) total: u64,
    pub(crate) count: u32,
    pub(crate) ordinals: Ordinals,
}

/// The mark of a page whose entries have totals. A page without it begins with its count, which is never 0.
const WITH_TOTALS: u64 = 0;

/// The ordinals of a key, or their place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Ordinals {
    /// The encoded ordinals, in the entry itself.
    Here(Bytes),
    /// The range of the section of postings where the frames of the ordinals stand.
    Elsewhere(Range<u64>),
}

/// Collects entries, in ascending order, until they are written as one page.
#[derive(Debug, Default)]
pub(crate) struct PageBuilder {
    entries: Vec<u8>,
    count: u64,
    last_key: Vec<u8>,
}

impl PageBuilder {
    pub(crate) fn push(&mut self, entry: &Entry) {
        let shared = common_prefix(&self.last_key, &entry.key);
        let out = &mut self.entries;
        out.put_varint(shared as u64);
        out.put_varint((entry.key.len() - shared) as u64);
        out.put(&entry.key[shared..]);
        out.put_varint(entry.distance.unwrap_or(0));
        if let Some((first, last)) = entry.versions {
            out.put_varint(first.0);
            out.put_varint(last.0);
        } else {
            out.put_varint(entry.total);
        }
        match &entry.ordinals {
            Ordinals::Here(bytes) => {
                out.put_varint(u64::from(entry.count) * 2);
                out.put(bytes);
            }
            Ordinals::Elsewhere(range) => {
                out.put_varint(u64::from(entry.count) * 2 + 1);
                out.put_varint(range.start);
                out.put_varint(range.end - range.start);
            }
        }
        self.last_key.clone_from(&entry.key);
        self.count += 1;
    }

    /// Returns the number of bytes so far.
    pub(crate) fn size(&self) -> usize {
        self.entries.len()
    }

    pub(crate) fn last_key(&self) -> &[u8] {
        &self.last_key
    }

    pub(crate) fn finish(self) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.entries.len() + 4);
        out.put_varint(WITH_TOTALS);
        out.put_varint(self.count);
        out.put(&self.entries);
        out
    }
}

/// Returns the entries of a page, in order.
#[derive(Debug)]
pub(crate) struct PageReader {
    input: Input,
    has_totals: bool,
    left: u64,
    key: Vec<u8>,
}

impl PageReader {
    pub(crate) fn new(payload: Bytes) -> Result<PageReader, Malformed> {
        let mut input = Input::new(payload);
        let first = input.varint()?;
        let has_totals = first == WITH_TOTALS;
        let left = if has_totals { input.varint()? } else { first };
        Ok(PageReader { input, has_totals, left, key: Vec::new() })
    }

    /// Returns the entry of a key, if the page has it.
    pub(crate) fn find(mut self, key: &[u8]) -> Result<Option<Entry>, Malformed> {
        while self.take_key()? {
            let rest = self.take_keyless()?;
            match self.key.as_slice().cmp(key) {
                Ordering::Less => {}
                Ordering::Equal => return Ok(Some(self.entry(rest))),
                Ordering::Greater => return Ok(None),
            }
        }
        Ok(None)
    }

    /// Returns the next entry; `None` at the end of the page.
    pub(crate) fn next(&mut self) -> Result<Option<Entry>, Malformed> {
        if !self.take_key()? {
            return Ok(None);
        }
        let rest = self.take_keyless()?;
        Ok(Some(self.entry(rest)))
    }

    fn entry(&self, rest: KeylessEntry) -> Entry {
        let KeylessEntry { distance, versions, total, count, ordinals } = rest;
        Entry { key: self.key.clone(), distance, versions, total, count, ordinals }
    }

    /// Takes the part of an entry behind its key.
    fn take_keyless(&mut self) -> Result<KeylessEntry, Malformed> {
        let input = &mut self.input;
        let distance = Some(input.varint()?).filter(|distance| *distance > 0);
        let is_stream = self.key.first() == Some(&STREAM);
        let versions = match is_stream {
            true => Some((Version(input.varint()?), Version(input.varint()?))),
            false => None,
        };
        let total = if self.has_totals && !is_stream { input.varint()? } else { 0 };
        let coded = input.varint()?;
        let count = u32::try_from(coded / 2);
        let count = count.map_err(|_| Malformed::new("a key has more ordinals than 32 bits"))?;
        let ordinals = if coded % 2 == 0 {
            Ordinals::Here(take_varints(input, count)?)
        } else {
            let (start, length) = (input.varint()?, input.varint()?);
            let end = start.checked_add(length);
            let end = end.ok_or_else(|| Malformed::new("ordinals are beyond the file"))?;
            Ordinals::Elsewhere(start..end)
        };
        Ok(KeylessEntry { distance, versions, total, count, ordinals })
    }

    /// Takes the next key; false at the end of the page.
    fn take_key(&mut self) -> Result<bool, Malformed> {
        if self.left == 0 {
            self.input.clone().end()?;
            return Ok(false);
        }
        self.left -= 1;
        let shared = usize::try_from(self.input.varint()?).unwrap_or(usize::MAX);
        let length = usize::try_from(self.input.varint()?).unwrap_or(usize::MAX);
        if shared > self.key.len() {
            return Err(Malformed::new("a key shares more with the key before than that has"));
        }
        self.key.truncate(shared);
        let rest = self.input.take(length)?;
        self.key.extend_from_slice(&rest);
        Ok(true)
    }
}

/// An entry without its key.
struct KeylessEntry {
    distance: Option<u64>,
    versions: Option<(Version, Version)>,
    total: u64,
    count: u32,
    ordinals: Ordinals,
}

fn take_varints(input: &mut Input, count: u32) -> Result<Bytes, Malformed> {
    let mut ahead = input.clone();
    for _ in 0..count {
        ahead.varint()?;
    }
    input.take(input.remaining() - ahead.remaining())
}

/// Encodes ascending ordinals as they stand on disk: the first, then the distances.
pub(crate) fn encode_ordinals(ordinals: impl IntoIterator<Item = u32>) -> Vec<u8> {
    let mut encoded = Vec::new();
    let mut before = 0;
    for ordinal in ordinals {
        encoded.put_varint(u64::from(ordinal - before));
        before = ordinal;
    }
    encoded
}

/// Decodes `count` ordinals that [`encode_ordinals`] encoded.
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

fn common_prefix(one: &[u8], other: &[u8]) -> usize {
    one.iter().zip(other).take_while(|(one, other)| one == other).count()
}
