//! The catalog: the contents of its tables, and the place of its pages in the file.
//!
//! The file is redb's, but every page of it carries a checksum of ours, because redb reads without verifying:
//!
//! ```text
//! blocks 0 and 1     two copies of redb's header, a slot (see [`Slot`]) at the beginning of each: a disk loses
//!                    whole blocks
//! then groups of 1 + 1024 blocks of 4 KiB:
//!   block 0          CRC32C of each of the group's pages, 4 bytes each; 0 = never written
//!   block 1 …        the pages; that of redb's own header stays empty
//! ```
//!
//! Every value in a table ends with a CRC32C over the table's number, the key and the value.
//!
//! | table | key | value |
//! | --- | --- | --- |
//! | 1 state | `state` | version 2, cluster 16, log 4, chunk size 8, log id 1 + 16, position 8, recorded_at 8, digest 16, next chunk 8, attachment |
//! | 1 state | `contents` | indexed through 8, target 8 (0 = no round), key 4 + n; stream records 8; rows 8 and sum 16 of keys, records, snapshots, filters, groups (which may be left out: none) |
//! | 2 chunks | number 8, most significant byte first | first and last position 8 + 8, times 8 + 8, digest 16 |
//! | 3 keys | kind and name | last chunk varint, version (of a stream) or total varint |
//! | 4 records | kind and name of a stream, category or path | the record that changes left behind (see `retention`) |
//! | 5 snapshots | stream | the aggregate snapshot as it was put |
//! | 6 filters | number of a chunk that is not indexed, as in table 2 | blocks of 8 words, 4 each |
//! | 7 groups | group, or group and position of a parked event (see `group`) | the group's state, or the parked event |
//!
//! Table 7 may be missing in a file, which then has no groups.

mod state;

use bytes::Bytes;
use quorate_proto::{LogId, LogIndex, Position, Term, Timestamp, Version};

use super::chunk::ChunkSummary;
use super::{Input, Malformed, Output};

pub(crate) use state::{CheckpointState, Contents, Indexed, KeyState, MergeRound, Table, TableSum};

pub(crate) const BLOCK_BYTES: u64 = 4096;
/// The number of pages whose checksums fill one block.
pub(crate) const PAGES_PER_GROUP: u64 = BLOCK_BYTES / 4;
/// The offsets of the two header slots: in blocks of their own, so that damage to one block spares the other slot.
pub(crate) const SLOT_OFFSETS: [u64; 2] = [0, BLOCK_BYTES];
const SLOT_BLOCKS: u64 = SLOT_OFFSETS.len() as u64;
pub(crate) const SLOT_BYTES: usize = 512;
/// The longest header that a slot holds.
pub(crate) const HEADER_BYTES_MAX: usize = SLOT_BYTES - SLOT_ENVELOPE_BYTES;

const SLOT_ENVELOPE_BYTES: usize = 8 + 2 + 2 + 4 + 16 + 8 + 4;
const MAGIC: &[u8; 8] = b"QUORCATL";
/// The version of the header and of the place of pages in the file.
const SLOT_VERSION: u16 = 2;
const VERSION: u16 = 1;
const CHECKSUM_BYTES: usize = 4;

/// The number of bits of a block of a filter that belong to one key: one of each word.
pub(crate) const FILTER_WORDS: usize = 8;
/// The key of the checkpoint's state.
pub(crate) const STATE_KEY: &[u8] = b"state";
/// The key of the contents of the tables.
pub(crate) const CONTENTS_KEY: &[u8] = b"contents";

/// One copy of redb's header: a sector, so that it is written whole or not at all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Slot {
    pub(crate) cluster: [u8; 16],
    pub(crate) log: u32,
    /// A number that grows with every header written; the newest copy counts.
    pub(crate) sequence: u64,
    pub(crate) header: Bytes,
}

impl Slot {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(SLOT_BYTES);
        out.put(MAGIC);
        out.put_u16(SLOT_VERSION);
        out.put_u16(u16::try_from(self.header.len()).expect("redb's header is short"));
        out.put_u32(self.log);
        out.put(&self.cluster);
        out.put_u64(self.sequence);
        out.put(&self.header);
        out.resize(SLOT_BYTES - CHECKSUM_BYTES, 0);
        let checksum = crc32c::crc32c(&out);
        out.put_u32(checksum);
        out
    }

    pub(crate) fn decode(bytes: &Bytes) -> Result<Slot, Malformed> {
        let covered = checked(bytes, 0)?;
        let mut input = Input::new(covered);
        if input.take(MAGIC.len())? != MAGIC.as_slice() || bytes.len() != SLOT_BYTES {
            return Err(Malformed::new("is no header of a catalog"));
        }
        let version = input.u16()?;
        if version != SLOT_VERSION {
            let why = format!("its format version {version} is unknown to this build");
            return Err(Malformed::new(why));
        }
        let length = usize::from(input.u16()?);
        let log = input.u32()?;
        let cluster = input.array()?;
        let sequence = input.u64()?;
        Ok(Slot { cluster, log, sequence, header: input.take(length)? })
    }

    /// Returns the checksum of a page of this catalog; never 0.
    pub(crate) fn page_checksum(&self, page: u64, bytes: &[u8]) -> u32 {
        let mut place = Vec::with_capacity(28);
        place.put(&self.cluster);
        place.put_u32(self.log);
        place.put_u64(page);
        crc32c::crc32c_append(crc32c::crc32c(&place), bytes).max(1)
    }
}

/// Returns the offset of a page in the file.
pub(crate) fn page_offset(page: u64) -> u64 {
    (SLOT_BLOCKS + 1 + page / PAGES_PER_GROUP + page) * BLOCK_BYTES
}

/// Returns the offset of a page's checksum in the file.
pub(crate) fn checksum_offset(page: u64) -> u64 {
    let group = page / PAGES_PER_GROUP;
    (SLOT_BLOCKS + group * (PAGES_PER_GROUP + 1)) * BLOCK_BYTES + page % PAGES_PER_GROUP * 4
}

/// Returns the length of a file with so many pages, in bytes.
pub(crate) fn file_bytes(pages: u64) -> u64 {
    match pages.checked_sub(1) {
        None => SLOT_BLOCKS * BLOCK_BYTES,
        Some(last) => page_offset(last) + BLOCK_BYTES,
    }
}

/// Returns the number of whole pages in a file of this length.
pub(crate) fn page_count(file_bytes: u64) -> u64 {
    let blocks = (file_bytes / BLOCK_BYTES).saturating_sub(SLOT_BLOCKS);
    let (groups, rest) = (blocks / (PAGES_PER_GROUP + 1), blocks % (PAGES_PER_GROUP + 1));
    groups * PAGES_PER_GROUP + rest.saturating_sub(1)
}

/// Puts the checksum at the end of a value.
pub(crate) fn seal(table: Table, key: &[u8], mut value: Vec<u8>) -> Vec<u8> {
    let checksum = crc32c::crc32c_append(value_seed(table, key), &value);
    value.put_u32(checksum);
    value
}

/// Returns a value without its checksum, which must be right.
pub(crate) fn unseal(table: Table, key: &[u8], bytes: &Bytes) -> Result<Bytes, Malformed> {
    checked(bytes, value_seed(table, key))
}

fn value_seed(table: Table, key: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(&[table as u8]), key)
}

fn checked(bytes: &Bytes, seed: u32) -> Result<Bytes, Malformed> {
    let Some((covered, checksum)) = bytes.split_last_chunk::<CHECKSUM_BYTES>() else {
        return Err(Malformed::new("is too short for its checksum"));
    };
    if crc32c::crc32c_append(seed, covered) != u32::from_le_bytes(*checksum) {
        return Err(Malformed::new("fails its checksum"));
    }
    Ok(bytes.slice(..covered.len()))
}

pub(crate) fn encode_state(state: &CheckpointState) -> Vec<u8> {
    let mut out = Vec::new();
    out.put_u16(VERSION);
    out.put(&state.cluster);
    out.put_u32(state.log);
    out.put_u64(state.chunk_bytes);
    let log_id = state.log_id.unwrap_or_default();
    out.put_u8(u8::from(state.log_id.is_some()));
    out.put_u64(log_id.term.0);
    out.put_u64(log_id.index.0);
    out.put_u64(state.position.0);
    out.put_i64(state.recorded_at.0);
    out.put_u128(state.digest);
    out.put_u64(state.next_chunk);
    out.put(&state.attachment);
    out
}

pub(crate) fn decode_state(value: Bytes) -> Result<CheckpointState, Malformed> {
    let mut input = Input::new(value);
    let version = input.u16()?;
    if version != VERSION {
        return Err(Malformed::new(format!("has the version {version}, unknown to this build")));
    }
    let cluster = input.array()?;
    let log = input.u32()?;
    let chunk_bytes = input.u64()?;
    let there = input.u8()? == 1;
    let log_id = LogId { term: Term(input.u64()?), index: LogIndex(input.u64()?) };
    Ok(CheckpointState {
        cluster,
        log,
        chunk_bytes,
        log_id: there.then_some(log_id),
        position: Position(input.u64()?),
        recorded_at: Timestamp(input.i64()?),
        digest: input.u128()?,
        next_chunk: input.u64()?,
        attachment: input.rest(),
    })
}

pub(crate) fn encode_contents(contents: &Contents) -> Vec<u8> {
    let Contents { indexed, keys, records, stream_records, snapshots, filters, groups } = contents;
    let mut out = Vec::new();
    out.put_u64(indexed.through);
    out.put_u64(indexed.round.as_ref().map_or(0, |round| round.target));
    out.put_long(indexed.round.as_ref().map_or(&[], |round| &*round.after));
    out.put_u64(*stream_records);
    // Without groups the bytes are those of a build from before there were groups, which can read them.
    let groups = Some(groups).filter(|groups| **groups != TableSum::default());
    for table in [keys, records, snapshots, filters].into_iter().chain(groups) {
        out.put_u64(table.rows);
        out.put_u128(table.sum);
    }
    out
}

pub(crate) fn decode_contents(value: Bytes) -> Result<Contents, Malformed> {
    let mut input = Input::new(value);
    let through = input.u64()?;
    let round = MergeRound { target: input.u64()?, after: input.long_bytes()? };
    let indexed = Indexed { through, round: Some(round).filter(|round| round.target > 0) };
    let stream_records = input.u64()?;
    let mut table = || take_sum(&mut input);
    let (keys, records, snapshots, filters) = (table()?, table()?, table()?, table()?);
    let groups = if input.remaining() > 0 { take_sum(&mut input)? } else { TableSum::default() };
    input.end()?;
    Ok(Contents { indexed, keys, records, stream_records, snapshots, filters, groups })
}

fn take_sum(input: &mut Input) -> Result<TableSum, Malformed> {
    Ok(TableSum { rows: input.u64()?, sum: input.u128()? })
}

pub(crate) fn encode_chunk(chunk: &ChunkSummary) -> Vec<u8> {
    let mut out = Vec::new();
    out.put_u64(chunk.first_position.0);
    out.put_u64(chunk.last_position.0);
    out.put_i64(chunk.first_recorded_at.0);
    out.put_i64(chunk.last_recorded_at.0);
    out.put_u128(chunk.digest);
    out
}

/// Returns the key of a chunk in the table of chunks.
pub(crate) fn chunk_key(number: u64) -> [u8; 8] {
    number.to_be_bytes()
}

pub(crate) fn decode_chunk(key: &[u8], value: Bytes) -> Result<ChunkSummary, Malformed> {
    let number = key.try_into().map_err(|_| Malformed::new("has a key that is no number"))?;
    let mut input = Input::new(value);
    let chunk = ChunkSummary {
        number: u64::from_be_bytes(number),
        first_position: Position(input.u64()?),
        last_position: Position(input.u64()?),
        first_recorded_at: Timestamp(input.i64()?),
        last_recorded_at: Timestamp(input.i64()?),
        digest: input.u128()?,
    };
    input.end()?;
    Ok(chunk)
}

pub(crate) fn encode_key_state(state: &KeyState) -> Vec<u8> {
    let mut out = Vec::with_capacity(16);
    out.put_varint(state.last_chunk);
    out.put_varint(state.version.0);
    out
}

pub(crate) fn decode_key_state(value: Bytes) -> Result<KeyState, Malformed> {
    let mut input = Input::new(value);
    let state = KeyState { last_chunk: input.varint()?, version: Version(input.varint()?) };
    input.end()?;
    Ok(state)
}

pub(crate) fn encode_filter(blocks: &[[u32; FILTER_WORDS]]) -> Vec<u8> {
    let mut out = Vec::with_capacity(blocks.len() * FILTER_WORDS * 4);
    blocks.iter().flatten().for_each(|word| out.put_u32(*word));
    out
}

pub(crate) fn decode_filter(value: Bytes) -> Result<Vec<[u32; FILTER_WORDS]>, Malformed> {
    let (words, rest) = value.as_chunks::<4>();
    let words: Vec<u32> = words.iter().copied().map(u32::from_le_bytes).collect();
    let (blocks, odd) = words.as_chunks::<FILTER_WORDS>();
    if blocks.is_empty() || !odd.is_empty() || !rest.is_empty() {
        return Err(Malformed::new("is not made of whole blocks"));
    }
    Ok(blocks.to_vec())
}

/// Collects rows of a table, unchanged, for another node: the table's number, then the rows.
#[derive(Debug)]
pub(crate) struct PageBuilder {
    rows: Vec<u8>,
}

impl PageBuilder {
    pub(crate) fn new(table: Table) -> PageBuilder {
        PageBuilder { rows: vec![table as u8] }
    }

    pub(crate) fn push(&mut self, key: &[u8], value: &[u8]) {
        for bytes in [key, value] {
            self.rows.put_varint(bytes.len() as u64);
            self.rows.put(bytes);
        }
    }

    /// Returns the number of bytes so far.
    pub(crate) fn size(&self) -> usize {
        self.rows.len()
    }

    pub(crate) fn finish(mut self) -> Bytes {
        let checksum = crc32c::crc32c(&self.rows);
        self.rows.put_u32(checksum);
        Bytes::from(self.rows)
    }
}

/// Returns the number of the table and the rows, in order, of a page that another node made.
pub(crate) fn decode_page(page: &Bytes) -> Result<(u8, Vec<(Bytes, Bytes)>), Malformed> {
    let mut input = Input::new(checked(page, 0)?);
    let table = input.u8()?;
    let mut rows = Vec::new();
    while input.remaining() > 0 {
        let mut bytes = || {
            let length = usize::try_from(input.varint()?).unwrap_or(usize::MAX);
            input.take(length)
        };
        rows.push((bytes()?, bytes()?));
    }
    Ok((table, rows))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig { cases: 500, failure_persistence: None, ..Default::default() })]

        #[test]
        fn decoders_take_whatever_bytes_there_are(
            bytes in prop::collection::vec(any::<u8>(), 0..200),
        ) {
            let bytes = Bytes::from(bytes);
            let _ = decode_state(bytes.clone());
            let _ = decode_contents(bytes.clone());
            let _ = decode_filter(bytes.clone());
            let _ = decode_chunk(&bytes, bytes.clone());
            let _ = decode_key_state(bytes.clone());
            let _ = Slot::decode(&bytes);
            let _ = decode_page(&Bytes::from(seal(Table::Keys, b"", bytes.to_vec())));
            let mut page = PageBuilder { rows: bytes.to_vec() };
            page.rows.truncate(100);
            let _ = decode_page(&page.finish());
        }

        #[test]
        fn pages_and_checksums_do_not_overlap(page in 0..5000_u64) {
            let offset = page_offset(page);
            prop_assert!(offset > checksum_offset(page) && offset.is_multiple_of(BLOCK_BYTES));
            prop_assert!(page_offset(page + 1) > offset);
            prop_assert_ne!(page_offset(page + 1), checksum_offset(page + 1) / BLOCK_BYTES * BLOCK_BYTES);
            prop_assert_eq!(page_count(file_bytes(page)), page);
            prop_assert_eq!(file_bytes(page + 1), offset + BLOCK_BYTES);
        }
    }

    #[test]
    fn what_is_encoded_is_decoded() {
        let state = CheckpointState {
            cluster: [7; 16],
            log: 2,
            chunk_bytes: 1 << 20,
            log_id: Some(LogId::new(3, 99)),
            attachment: Bytes::from_static(b"members"),
            position: Position(12),
            recorded_at: Timestamp(-4),
            digest: u128::MAX / 3,
            next_chunk: 5,
        };
        assert_eq!(decode_state(encode_state(&state).into()), Ok(state.clone()));
        let founded = CheckpointState { log_id: None, ..state };
        assert_eq!(decode_state(encode_state(&founded).into()), Ok(founded));
        let slot = Slot { cluster: [1; 16], log: 3, sequence: 9, header: Bytes::from_static(b"h") };
        assert_eq!(Slot::decode(&slot.encode().into()), Ok(slot));
        let sum = |rows| TableSum { rows, sum: u128::from(rows) << 99 };
        let round = MergeRound { target: 9, after: Bytes::from_static(b"key") };
        let contents = Contents {
            indexed: Indexed { through: 4, round: Some(round) },
            keys: sum(1),
            records: sum(2),
            stream_records: 1,
            snapshots: sum(3),
            filters: sum(4),
            groups: sum(5),
        };
        let encoded = Bytes::from(encode_contents(&contents));
        assert_eq!(decode_contents(encoded.clone()), Ok(contents.clone()));
        let before_groups = Contents { groups: TableSum::default(), ..contents };
        assert_eq!(encode_contents(&before_groups), encoded[..encoded.len() - 24]);
        assert_eq!(decode_contents(encode_contents(&before_groups).into()), Ok(before_groups));
        let mut page = PageBuilder::new(Table::Records);
        page.push(b"key", b"value");
        let rows = vec![(Bytes::from_static(b"key"), Bytes::from_static(b"value"))];
        assert_eq!(decode_page(&page.finish()), Ok((4, rows)));
    }

    #[test]
    fn a_value_is_good_only_under_its_key_in_its_table() {
        let value = Bytes::from(seal(Table::Keys, b"key", b"value".to_vec()));
        assert_eq!(unseal(Table::Keys, b"key", &value), Ok(Bytes::from_static(b"value")));
        assert!(unseal(Table::Keys, b"kez", &value).is_err());
        assert!(unseal(Table::Chunks, b"key", &value).is_err());
    }
}
