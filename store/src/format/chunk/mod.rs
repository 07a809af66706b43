//! The file of a chunk: a header, frames, a footer (a frame too) that lists the sections, a trailer.
//!
//! ```text
//! header    44   magic, format version, log, cluster, number, CRC32C
//! sections       each one or more frames (see `frame`), without a gap between them
//! footer         a frame
//! trailer   20   offset of the footer, CRC32C, magic
//! ```
//!
//! | section | holds |
//! | --- | --- |
//! | 1 events | blocks of events in position order (see `block`) |
//! | 2 block index | the place of each block, and its first position and time |
//! | 3 ids | the 16 bytes of each event's id, a frame for each block |
//! | 4 postings | the ordinals of keys that have many (see `dictionary`) |
//! | 5 dictionary | all keys, sorted, in pages (see `page`) |
//! | 6 dictionary index | the place of each page, and a key that none of its keys lies before |
//!
//! A section is critical or optional: a reader that does not know it refuses the chunk, or skips the section.
//! The footer has room for scavenging: the number and the digest of the removed events, and the log index of
//! the checkpoint that the removal followed. Every byte lies under a checksum that the chunk's identity and
//! the place in the file enter, so that a byte of another place or chunk is never taken for one of this.

pub(crate) mod block;
pub(crate) mod dictionary;
pub(crate) mod frame;
pub(crate) mod page;
#[cfg(test)]
mod tests;

use std::ops::Range;

use bytes::Bytes;
use quorate_proto::{Position, Timestamp};
use xxhash_rust::xxh3::xxh3_128_with_seed;

use super::{EventParts, Input, Malformed, Output};

pub(crate) const HEADER_BYTES: u64 = 44;
pub(crate) const TRAILER_BYTES: u64 = 20;
const MAGIC: &[u8; 8] = b"QUORCHNK";
const END_MAGIC: &[u8; 8] = b"QUORCEND";
const VERSION: u16 = 1;
const CRITICAL: u8 = 1;

/// The identity of a chunk, whatever it holds; it enters every checksum of the chunk's file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ChunkIdentity {
    pub(crate) cluster: [u8; 16],
    pub(crate) log: u32,
    /// The number of the chunk: 1, 2, 3 …
    pub(crate) number: u64,
}

/// The catalog's data about a chunk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChunkSummary {
    /// The number of the chunk: 1, 2, 3 …
    pub number: u64,
    /// The first position that the chunk covers.
    pub first_position: Position,
    /// The last position that the chunk covers.
    pub last_position: Position,
    /// The time at which the first event was recorded.
    pub first_recorded_at: Timestamp,
    /// The time at which the last event was recorded.
    pub last_recorded_at: Timestamp,
    /// The sum of a 128-bit hash of each event, removed ones included: alike on every node.
    pub digest: u128,
}

/// A part of a chunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Section {
    Events = 1,
    BlockIndex = 2,
    Ids = 3,
    Postings = 4,
    Dictionary = 5,
    DictionaryIndex = 6,
}

impl Section {
    pub(crate) const ALL: [Section; 6] = [
        Section::Events,
        Section::BlockIndex,
        Section::Ids,
        Section::Postings,
        Section::Dictionary,
        Section::DictionaryIndex,
    ];

    pub(crate) fn number(self) -> u16 {
        self as u16
    }
}

/// The section number in the footer's own frame.
pub(crate) const FOOTER: u16 = 0;

/// The place of a section.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SectionEntry {
    pub(crate) number: u16,
    pub(crate) critical: bool,
    /// The range of the section in the file.
    pub(crate) range: Range<u64>,
}

/// The data about a chunk that is there without reading its sections.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Footer {
    pub(crate) first_position: Position,
    pub(crate) last_position: Position,
    pub(crate) first_recorded_at: Timestamp,
    pub(crate) last_recorded_at: Timestamp,
    /// The number of events that are there.
    pub(crate) count: u32,
    /// The digest of all events, the removed ones included.
    pub(crate) digest: u128,
    pub(crate) removed: Removed,
    pub(crate) sections: Vec<SectionEntry>,
}

/// The events that scavenging removed from a chunk.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Removed {
    pub(crate) count: u64,
    pub(crate) digest: u128,
    /// The log index of the checkpoint that scavenging followed.
    pub(crate) checkpoint: u64,
}

/// Returns the checksum of the identity and the place, which a frame's checksum goes on from.
pub(crate) fn seed(identity: &ChunkIdentity, offset: u64) -> u32 {
    let mut bytes = Vec::with_capacity(36);
    bytes.put(&identity.cluster);
    bytes.put_u32(identity.log);
    bytes.put_u64(identity.number);
    bytes.put_u64(offset);
    crc32c::crc32c(&bytes)
}

pub(crate) fn encode_header(identity: &ChunkIdentity) -> Vec<u8> {
    let mut out = Vec::with_capacity(HEADER_BYTES as usize);
    out.put(MAGIC);
    out.put_u16(VERSION);
    out.put_u16(0);
    out.put_u32(identity.log);
    out.put(&identity.cluster);
    out.put_u64(identity.number);
    let checksum = crc32c::crc32c(&out);
    out.put_u32(checksum);
    out
}

/// The header of a chunk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Header {
    Chunk(ChunkIdentity),
    /// A chunk of a format that this build does not know.
    OtherVersion(u16),
}

pub(crate) fn decode_header(bytes: &Bytes) -> Result<Header, Malformed> {
    let mut input = Input::new(bytes.clone());
    let magic = input.take(8)?;
    let version = input.u16()?;
    input.u16()?;
    let log = input.u32()?;
    let cluster = input.array()?;
    let number = input.u64()?;
    let checksum = input.u32()?;
    input.end()?;
    let covered = bytes.get(..bytes.len() - 4).unwrap_or_default();
    if crc32c::crc32c(covered) != checksum || magic != MAGIC.as_slice() {
        return Err(Malformed::new("the header fails its checksum"));
    }
    if version != VERSION {
        return Ok(Header::OtherVersion(version));
    }
    Ok(Header::Chunk(ChunkIdentity { cluster, log, number }))
}

pub(crate) fn encode_trailer(identity: &ChunkIdentity, offset: u64, footer: u64) -> Vec<u8> {
    let mut out = Vec::with_capacity(TRAILER_BYTES as usize);
    out.put_u64(footer);
    let checksum = crc32c::crc32c_append(seed(identity, offset), &out);
    out.put_u32(checksum);
    out.put(END_MAGIC);
    out
}

/// Returns the offset of the footer; the trailer itself is at `offset`.
pub(crate) fn decode_trailer(
    identity: &ChunkIdentity,
    offset: u64,
    bytes: &Bytes,
) -> Result<u64, Malformed> {
    let mut input = Input::new(bytes.clone());
    let footer = input.u64()?;
    let checksum = input.u32()?;
    let magic = input.rest();
    let expected = crc32c::crc32c_append(seed(identity, offset), &footer.to_le_bytes());
    if checksum != expected || magic != END_MAGIC.as_slice() {
        return Err(Malformed::new("the trailer fails its checksum"));
    }
    Ok(footer)
}

impl Footer {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        out.put_u64(self.first_position.0);
        out.put_u64(self.last_position.0);
        out.put_i64(self.first_recorded_at.0);
        out.put_i64(self.last_recorded_at.0);
        out.put_u32(self.count);
        out.put_u128(self.digest);
        out.put_u64(self.removed.count);
        out.put_u128(self.removed.digest);
        out.put_u64(self.removed.checkpoint);
        out.put_u16(u16::try_from(self.sections.len()).expect("sections are few"));
        for section in &self.sections {
            out.put_u16(section.number);
            out.put_u8(if section.critical { CRITICAL } else { 0 });
            out.put_u64(section.range.start);
            out.put_u64(section.range.end);
        }
        out
    }

    pub(crate) fn decode(payload: Bytes) -> Result<Footer, Malformed> {
        let mut input = Input::new(payload);
        let first_position = Position(input.u64()?);
        let last_position = Position(input.u64()?);
        let first_recorded_at = Timestamp(input.i64()?);
        let last_recorded_at = Timestamp(input.i64()?);
        let count = input.u32()?;
        let digest = input.u128()?;
        let removed =
            Removed { count: input.u64()?, digest: input.u128()?, checkpoint: input.u64()? };
        let section_count = input.u16()?;
        let sections = (0..section_count).map(|_| SectionEntry::take(&mut input));
        let sections = sections.collect::<Result<_, _>>()?;
        input.end()?;
        if first_position > last_position
            || last_position.0 - first_position.0 >= u64::from(u32::MAX)
        {
            return Err(Malformed::new("the footer's positions are no range"));
        }
        Ok(Footer {
            first_position,
            last_position,
            first_recorded_at,
            last_recorded_at,
            count,
            digest,
            removed,
            sections,
        })
    }

    /// Returns the catalog's data about a chunk with this footer.
    pub(crate) fn summary(&self, number: u64) -> ChunkSummary {
        ChunkSummary {
            number,
            first_position: self.first_position,
            last_position: self.last_position,
            first_recorded_at: self.first_recorded_at,
            last_recorded_at: self.last_recorded_at,
            digest: self.digest,
        }
    }
}

impl SectionEntry {
    fn take(input: &mut Input) -> Result<SectionEntry, Malformed> {
        let number = input.u16()?;
        let flags = input.u8()?;
        let range = input.u64()?..input.u64()?;
        if flags & !CRITICAL != 0 || range.start > range.end {
            return Err(Malformed::new(format!("section {number} is listed wrongly")));
        }
        Ok(SectionEntry { number, critical: flags & CRITICAL != 0, range })
    }
}

/// Returns the part of one event in the digest of its chunk: XXH3 (128 bits) over place, stream, time and
/// body. It guards against accidents and bugs, not against somebody who can choose the events.
pub(crate) fn event_digest(event: &EventParts<'_>, scratch: &mut Vec<u8>) -> u128 {
    scratch.clear();
    scratch.put_u64(event.position.0);
    scratch.put_u64(event.version.0);
    scratch.put_i64(event.recorded_at.0);
    scratch.put_short(event.stream.as_bytes());
    scratch.put(event.id.as_bytes());
    scratch.put(event.body);
    xxh3_128_with_seed(scratch, u64::from(!event.begins))
}
