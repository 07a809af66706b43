//! A page of a chunk's dictionary: some kilobytes of sorted keys, readable alone.
//!
//! ```text
//! mark             varint   0: the entries have totals. An early build wrote pages without mark and totals
//! groups           varint   0: the entries stand in groups, and the offsets are there. Early builds wrote neither
//! count            varint   of the entries
//! offsets          2 each   where the groups after the first begin, from the first entry on
//! entries          each:
//!   shared         varint   bytes that the key has in common with the key before; 0 for the first of a group
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
//!
//! A group is 8 entries. The first key of a group stands there whole, so a reader looks for the group first and then
//! for the key.

use std::cmp::Ordering;
use std::ops::Range;

use bytes::Bytes;
use quorate_proto::Version;

use crate::format::{Input, Key, Malformed, Output};

/// The number of entries in a group, except the last one of a page.
const GROUP: usize = 8;
/// The mark of a page whose entries have totals. A page without it begins with its count, which is never 0.
const WITH_TOTALS: u64 = 0;
/// The mark of a page whose entries stand in groups; without it the count stands here.
const WITH_GROUPS: u64 = 0;

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

/// The ordinals of a key, or their place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Ordinals {
    /// The encoded ordinals, in the entry itself.
    Here(Bytes),
    /// The range of the section of postings where the frames of the ordinals stand.
    Elsewhere(Range<u64>),
}

/// An entry that is written, borrowed from whoever has its parts.
#[derive(Clone, Copy, Debug)]
pub(crate) struct NewEntry<'a> {
    /// The key, encoded as by [`crate::Key::encode`].
    pub(crate) key: &'a [u8],
    pub(crate) distance: Option<u64>,
    pub(crate) versions: Option<(Version, Version)>,
    pub(crate) total: u64,
    pub(crate) count: u32,
    /// The encoded ordinals.
    pub(crate) ordinals: &'a [u8],
}

/// Collects entries, in ascending order, until they are written as one page.
#[derive(Debug, Default)]
pub(crate) struct PageBuilder {
    entries: Vec<u8>,
    offsets: Vec<u8>,
    count: usize,
    first_key: Vec<u8>,
    last_key: Vec<u8>,
}

impl PageBuilder {
    /// Adds an entry; `apart` is the range of the section of postings where its ordinals stand, if not in the entry.
    pub(crate) fn push(&mut self, entry: &NewEntry<'_>, apart: Option<Range<u64>>) {
        let mut shared = common_prefix(&self.last_key, entry.key);
        if self.count == 0 {
            self.first_key.extend_from_slice(entry.key);
        } else if self.count.is_multiple_of(GROUP) {
            shared = 0;
            let offset = u16::try_from(self.entries.len());
            self.offsets.put_u16(offset.expect("a page is closed by the entry that fills it"));
        }
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
        let count = u64::from(entry.count) * 2;
        match apart {
            None => {
                out.put_varint(count);
                out.put(entry.ordinals);
            }
            Some(range) => {
                out.put_varint(count + 1);
                out.put_varint(range.start);
                out.put_varint(range.end - range.start);
            }
        }
        self.last_key.truncate(shared);
        self.last_key.extend_from_slice(&entry.key[shared..]);
        self.count += 1;
    }

    /// Returns the number of bytes so far.
    pub(crate) fn size(&self) -> usize {
        self.entries.len()
    }

    /// Returns the first key and the last key.
    pub(crate) fn bounds(&self) -> (&[u8], &[u8]) {
        (&self.first_key, &self.last_key)
    }

    pub(crate) fn finish(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.entries.len() + self.offsets.len() + 8);
        out.put_varint(WITH_TOTALS);
        out.put_varint(WITH_GROUPS);
        out.put_varint(self.count as u64);
        out.put(&self.offsets);
        out.put(&self.entries);
        out
    }
}

/// Goes through the entries of a page, in order.
///
/// Invariants: `at` is behind the current entry, or at the first one if there is none; `key` is the key of the entry
/// before `at`; `left` entries stand from `at` on.
#[derive(Debug)]
pub(crate) struct PageReader {
    payload: Bytes,
    has_totals: bool,
    count: usize,
    /// The range of the offsets of the groups; empty if the entries do not stand in groups.
    offsets: Range<usize>,
    at: usize,
    left: usize,
    key: Vec<u8>,
    current: Option<Keyless>,
}

/// An entry without its key.
#[derive(Clone, Debug)]
struct Keyless {
    distance: Option<u64>,
    versions: Option<(Version, Version)>,
    total: u64,
    count: u32,
    ordinals: Place,
}

/// The place of an entry's ordinals: in the page, or in the section of postings.
#[derive(Clone, Debug)]
enum Place {
    Here(Range<usize>),
    Elsewhere(Range<u64>),
}

impl PageReader {
    pub(crate) fn new(payload: Bytes) -> Result<PageReader, Malformed> {
        let mut input = Input::new(&payload[..]);
        let first = input.varint()?;
        let has_totals = first == WITH_TOTALS;
        let second = if has_totals { input.varint()? } else { first };
        let has_groups = has_totals && second == WITH_GROUPS;
        let count = if has_groups { input.varint()? } else { second };
        let count = usize::try_from(count).unwrap_or(usize::MAX);
        let start = payload.len() - input.remaining();
        if has_groups {
            input.take(count.saturating_sub(1).saturating_div(GROUP).saturating_mul(2))?;
        }
        let at = payload.len() - input.remaining();
        let (offsets, key, current) = (start..at, Vec::new(), None);
        Ok(PageReader { payload, has_totals, count, offsets, at, left: count, key, current })
    }

    /// Returns the entry of a key, if the page has it.
    pub(crate) fn find(mut self, key: &[u8]) -> Result<Option<Entry>, Malformed> {
        Ok(if self.seek(key)? { self.entry() } else { None })
    }

    /// Returns the next entry; `None` at the end of the page.
    pub(crate) fn next(&mut self) -> Result<Option<Entry>, Malformed> {
        Ok(if self.advance()? { self.entry() } else { None })
    }

    /// Goes on to the entry of a key, or else to the next one after it; returns true if the page has the key. Keys
    /// that are looked for with one reader ascend.
    pub(crate) fn seek(&mut self, key: &[u8]) -> Result<bool, Malformed> {
        if self.current.is_none() || &*self.key < key {
            self.jump(key)?;
            while self.advance()? {
                match self.key.as_slice().cmp(key) {
                    Ordering::Less => {}
                    Ordering::Equal => return Ok(true),
                    Ordering::Greater => return Ok(false),
                }
            }
            return Ok(false);
        }
        Ok(self.key == key)
    }

    /// Returns the key of the current entry.
    pub(crate) fn key(&self) -> &[u8] {
        &self.key
    }

    /// Returns the last version of the current entry's stream, or the total of another key.
    pub(crate) fn version(&self) -> Version {
        let Some(current) = &self.current else { return Version::ZERO };
        current.versions.map_or(Version(current.total), |(_, last)| last)
    }

    fn entry(&self) -> Option<Entry> {
        let Keyless { distance, versions, total, count, ordinals } = self.current.clone()?;
        let ordinals = match ordinals {
            Place::Here(range) => Ordinals::Here(self.payload.slice(range)),
            Place::Elsewhere(range) => Ordinals::Elsewhere(range),
        };
        Some(Entry { key: self.key.clone(), distance, versions, total, count, ordinals })
    }

    /// Goes on to the next entry; returns false at the end of the page.
    pub(crate) fn advance(&mut self) -> Result<bool, Malformed> {
        self.current = None;
        let mut input = Input::new(self.payload.get(self.at..).unwrap_or_default());
        if self.left == 0 {
            return input.end().map(|()| false);
        }
        let taken = self.count - self.left;
        if taken > 0 && taken.is_multiple_of(GROUP) && self.has_groups() {
            self.check_group(taken / GROUP)?;
        }
        let shared = usize::try_from(input.varint()?).unwrap_or(usize::MAX);
        let length = usize::try_from(input.varint()?).unwrap_or(usize::MAX);
        if shared > self.key.len() {
            return Err(Malformed::new("a key shares more with the key before than that has"));
        }
        let rest = input.take(length)?;
        self.key.truncate(shared);
        self.key.extend_from_slice(rest);
        let is_stream = self.key.first() == Some(&Key::STREAM_KIND);
        let keyless = take_keyless(&mut input, self.payload.len(), is_stream, self.has_totals)?;
        self.at = self.payload.len() - input.remaining();
        self.left -= 1;
        self.current = Some(keyless);
        Ok(true)
    }

    fn has_groups(&self) -> bool {
        !self.offsets.is_empty()
    }

    /// Checks that a group begins where the reader is.
    fn check_group(&self, group: usize) -> Result<(), Malformed> {
        match self.group(group)? == self.at {
            true => Ok(()),
            false => Err(Malformed::new("a group of a page begins elsewhere than the page says")),
        }
    }

    /// Returns where a group begins in the payload; the first one is group 0.
    fn group(&self, group: usize) -> Result<usize, Malformed> {
        let Some(index) = group.checked_sub(1) else { return Ok(self.offsets.end) };
        let (offsets, _) = self.payload[self.offsets.clone()].as_chunks::<2>();
        let offset = offsets.get(index).map(|offset| usize::from(u16::from_le_bytes(*offset)));
        let offset = offset.ok_or_else(|| Malformed::new("a page has fewer groups"))?;
        Ok(self.offsets.end + offset)
    }

    /// Goes to the last group that begins with this key or before it, if it is not behind that already.
    fn jump(&mut self, key: &[u8]) -> Result<(), Malformed> {
        let groups = self.offsets.len() / 2 + 1;
        let here = (self.count - self.left) / GROUP;
        // Keys that follow each other closely are in this group or the next one.
        let (mut low, mut step) = (here, 1);
        while low + step < groups && !self.begins_after(low + step, key)? {
            low += step;
            step *= 2;
        }
        let mut high = groups.min(low + step);
        while low + 1 < high {
            let middle = low.midpoint(high);
            match self.begins_after(middle, key)? {
                true => high = middle,
                false => low = middle,
            }
        }
        if low > here {
            (self.at, self.left) = (self.group(low)?, self.count - low * GROUP);
            self.key.clear();
        }
        Ok(())
    }

    /// Returns true if a group begins with a later key.
    fn begins_after(&self, group: usize, key: &[u8]) -> Result<bool, Malformed> {
        let mut input = Input::new(self.payload.get(self.group(group)?..).unwrap_or_default());
        if input.varint()? != 0 {
            return Err(Malformed::new("a group does not begin with a whole key"));
        }
        let length = usize::try_from(input.varint()?).unwrap_or(usize::MAX);
        Ok(input.take(length)? > key)
    }
}

/// Takes the part of an entry behind its key from the rest of a page of `length` bytes.
fn take_keyless(
    input: &mut Input<&[u8]>,
    length: usize,
    is_stream: bool,
    has_totals: bool,
) -> Result<Keyless, Malformed> {
    let distance = Some(input.varint()?).filter(|distance| *distance > 0);
    let versions = match is_stream {
        true => Some((Version(input.varint()?), Version(input.varint()?))),
        false => None,
    };
    let total = if has_totals && !is_stream { input.varint()? } else { 0 };
    let coded = input.varint()?;
    let count = u32::try_from(coded / 2);
    let count = count.map_err(|_| Malformed::new("a key has more ordinals than 32 bits"))?;
    let ordinals = if coded % 2 == 0 {
        let start = length - input.remaining();
        input.skip_varints(count)?;
        Place::Here(start..length - input.remaining())
    } else {
        let (start, length) = (input.varint()?, input.varint()?);
        let end = start.checked_add(length);
        let end = end.ok_or_else(|| Malformed::new("ordinals are beyond the file"))?;
        Place::Elsewhere(start..end)
    };
    Ok(Keyless { distance, versions, total, count, ordinals })
}

/// Returns the number of bytes that two keys begin with in common.
pub(super) fn common_prefix(one: &[u8], other: &[u8]) -> usize {
    one.iter().zip(other).take_while(|(one, other)| one == other).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(number: usize) -> Vec<u8> {
        let stream = quorate_proto::StreamName::new(format!("order-{number:05}"));
        Key::Stream(stream.expect("a name")).encode()
    }

    /// Returns a page of the streams with even numbers.
    fn page(count: usize) -> PageBuilder {
        let mut page = PageBuilder::default();
        for number in 0..count {
            let versions = Some((Version(1), Version(number as u64)));
            let (key, ordinals) = (&*name(number * 2), &*vec![7; number % 3]);
            let (distance, count) = (Some(number as u64), number as u32 % 3);
            let entry = NewEntry { key, distance, versions, total: 0, count, ordinals };
            page.push(&entry, (number % 5 == 4).then_some(3..9));
        }
        page
    }

    fn reader(page: &PageBuilder) -> PageReader {
        PageReader::new(Bytes::from(page.finish())).expect("a page")
    }

    #[test]
    fn every_key_is_found_alone_and_by_any_ascending_walk() {
        for count in [0, 1, 15, 16, 17, 32, 33, 200] {
            let page = page(count);
            for step in [1, 2, 3, 7, 40, 90, 500] {
                let mut walk = reader(&page);
                for number in (0..count * 2 + 3).step_by(step) {
                    let expected = (number % 2 == 0 && number / 2 < count).then_some(number / 2);
                    let key = name(number);
                    let found = reader(&page).find(&key).expect("readable");
                    let version = found.as_ref().and_then(|entry| entry.versions);
                    assert_eq!(version.map(|(_, last)| last.0 as usize), expected, "{number}");
                    assert_eq!(walk.seek(&key).expect("readable"), expected.is_some(), "{number}");
                    if let Some(expected) = expected {
                        assert_eq!(walk.entry(), found);
                        assert_eq!(walk.version().0 as usize, expected);
                    }
                }
            }
        }
    }

    #[test]
    fn a_group_that_begins_elsewhere_is_malformed() {
        let mut page = page(40);
        for offset in [0, 2] {
            page.offsets[offset] ^= 1;
            let mut reader = reader(&page);
            let mut walk = || loop {
                match reader.advance() {
                    Ok(true) => {}
                    ended => return ended,
                }
            };
            assert!(walk().is_err(), "the group at offset {offset}");
            page.offsets[offset] ^= 1;
        }
    }
}
