//! The format of the Raft log: every byte is encoded and decoded here; little endian throughout.
//!
//! ```text
//! segment   header, zeros to 4 KiB; batches, each from a 4 KiB boundary on; bytes of an earlier use
//!   header    magic 8, version 2, log 4, cluster 16, node 8, number of the use 8,
//!             length of the file 8, CRC32C 4
//! batch     header 64, records
//!   header    magic 4, CRC32C 4, length with header 4, count of records 4, digest of their CRCs 4, flags 4,
//!             sequence 8, predecessor: number 8, offset 8; flushed before it: term 8, index 8 (if flag 1)
//! record    length of the body 4, CRC32C 4, kind 1, body
//! ```
//!
//! The checksums of batches and records start from a seed of cluster, log, node and use number. The digest
//! ties the records together: a batch of which a torn write left parts of two attempts is not valid.
//!
//! Decoders take any bytes, never panic, and allocate no more than the input is long.

use std::collections::BTreeMap;

use bytes::Bytes;
use quorate_proto::LogId;
use quorate_store::Malformed;

use super::image::Image;
use super::{EntryKind, LogEntry, PeerMemory, TruncationRecord, VoteRecord};

/// The boundary at which batches begin; the page of the page cache, and no sector is larger.
pub(super) const BLOCK: u64 = 4096;
/// The length of a batch's header.
pub(super) const BATCH_HEADER_BYTES: usize = 64;
/// The length of an entry's record without its payload.
pub(super) const ENTRY_OVERHEAD_BYTES: usize = RECORD_HEADER_BYTES + 16;

const SEGMENT_MAGIC: [u8; 8] = *b"QuRaLog\n";
const SEGMENT_HEADER_BYTES: usize = 58;
const BATCH_MAGIC: u32 = u32::from_le_bytes(*b"QuBa");
const RECORD_HEADER_BYTES: usize = 9;
const VERSION: u16 = 1;
const HAS_FLUSHED: u32 = 1;

/// Rounds up to the next boundary.
pub(super) fn padded(bytes: u64) -> u64 {
    bytes.next_multiple_of(BLOCK)
}

/// The cluster, the log and the node that a segment belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Identity {
    pub(super) cluster: [u8; 16],
    pub(super) log: u32,
    pub(super) node: u64,
}

impl Identity {
    /// Returns the seed of the checksums of one use of a segment.
    pub(super) fn seed(&self, number: u64) -> Seed {
        let mut crc = crc32c::crc32c(&self.cluster);
        crc = crc32c::crc32c_append(crc, &self.log.to_le_bytes());
        crc = crc32c::crc32c_append(crc, &self.node.to_le_bytes());
        Seed(crc32c::crc32c_append(crc, &number.to_le_bytes()))
    }
}

/// The value that the checksums of one use of a segment start from: another seed gives other checksums.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Seed(u32);

/// The place of a batch: the use of a segment, and the byte in it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    pub(super) number: u64,
    pub(super) offset: u64,
}

/// The header of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct BatchHeader {
    /// The number of bytes with this header, without padding.
    pub(super) length: u32,
    records: u32,
    digest: u32,
    /// The sequence number: 1, 2, 3 … over all segments.
    pub(super) sequence: u64,
    /// The place of the batch with the sequence number before; `Place::default()` for the first batch.
    pub(super) previous: Place,
    /// The end of the log when all batches before this one were durable.
    pub(super) flushed: Option<LogId>,
}

/// A record of the stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Record {
    /// The state that the records before it lead to; the first record of the first batch of a segment.
    Image(Box<Image>),
    Entry(LogEntry),
    Vote(VoteRecord),
    Committed(LogId),
    Truncated(TruncationRecord),
    Purged(LogId),
    Peer(PeerMemory),
    Install(LogId),
}

/// Encodes the first block of a segment.
pub(super) fn encode_segment_header(identity: &Identity, number: u64, length: u64) -> Vec<u8> {
    let mut out = Vec::with_capacity(BLOCK as usize);
    out.extend_from_slice(&SEGMENT_MAGIC);
    out.extend_from_slice(&VERSION.to_le_bytes());
    out.extend_from_slice(&identity.log.to_le_bytes());
    out.extend_from_slice(&identity.cluster);
    put_u64(&mut out, identity.node);
    put_u64(&mut out, number);
    put_u64(&mut out, length);
    let crc = crc32c::crc32c(&out);
    out.extend_from_slice(&crc.to_le_bytes());
    out.resize(BLOCK as usize, 0);
    out
}

/// Returns the identity of a segment, the number of its use, and the length of its file.
pub(super) fn decode_segment_header(bytes: &[u8]) -> Result<(Identity, u64, u64), Malformed> {
    let short = || Malformed::new("the header is cut off");
    let header = bytes.get(..SEGMENT_HEADER_BYTES).ok_or_else(short)?;
    let (fields, crc) = header.split_at(SEGMENT_HEADER_BYTES - 4);
    if crc32c::crc32c(fields).to_le_bytes() != crc {
        return Err(Malformed::new("the header fails its checksum"));
    }
    let mut input = Input::new(fields);
    if input.array::<8>()? != SEGMENT_MAGIC {
        return Err(Malformed::unknown("it is no segment of a Raft log"));
    }
    let version = input.u16()?;
    if version != VERSION {
        let why = format!("it has format version {version}, this build knows {VERSION}");
        return Err(Malformed::unknown(why));
    }
    let log = input.u32()?;
    let identity = Identity { log, cluster: input.array()?, node: input.u64()? };
    Ok((identity, input.u64()?, input.u64()?))
}

/// A batch that is being built.
#[derive(Debug)]
pub(super) struct BatchBuilder {
    bytes: Vec<u8>,
    seed: Seed,
    records: u32,
    digest: u32,
}

impl BatchBuilder {
    /// Begins a batch in a buffer whose memory is used again.
    pub(super) fn new(mut buffer: Vec<u8>, seed: Seed) -> BatchBuilder {
        buffer.clear();
        buffer.resize(BATCH_HEADER_BYTES, 0);
        BatchBuilder { bytes: buffer, seed, records: 0, digest: seed.0 }
    }

    /// Adds a record; returns its offset from the beginning of the batch.
    pub(super) fn push(&mut self, record: &Record) -> u64 {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(&[0; RECORD_HEADER_BYTES - 1]);
        encode_body(record, &mut self.bytes);
        let length = self.bytes.len() - start - RECORD_HEADER_BYTES;
        let length = u32::try_from(length).expect("an entry is at most 8 MiB").to_le_bytes();
        let (head, rest) = self.bytes.split_at_mut(start + 8);
        let crc = record_crc(self.seed, length, rest).to_le_bytes();
        if let Some(head) = head.last_chunk_mut::<8>() {
            *head = pair(length, crc);
        }
        self.records += 1;
        self.digest = crc32c::crc32c_append(self.digest, &crc);
        start as u64
    }

    /// Puts the header in place and pads with zeros; returns the bytes to be written.
    pub(super) fn finish(
        mut self,
        sequence: u64,
        previous: Place,
        flushed: Option<LogId>,
    ) -> Vec<u8> {
        let length = u32::try_from(self.bytes.len()).expect("a batch is bounded well below 4 GiB");
        let mut head = Vec::with_capacity(BATCH_HEADER_BYTES - 8);
        let flags = if flushed.is_some() { HAS_FLUSHED } else { 0 };
        for number in [length, self.records, self.digest, flags] {
            head.extend_from_slice(&number.to_le_bytes());
        }
        let id = flushed.unwrap_or_default();
        for number in
            [sequence, previous.number, previous.offset, u64::from(id.term), u64::from(id.index)]
        {
            put_u64(&mut head, number);
        }
        let crc = crc32c::crc32c_append(self.seed.0, &head).to_le_bytes();
        let front = pair(BATCH_MAGIC.to_le_bytes(), crc);
        for (to, from) in self.bytes.iter_mut().zip(front.iter().chain(&head)) {
            *to = *from;
        }
        self.bytes.resize(padded(self.bytes.len() as u64) as usize, 0);
        self.bytes
    }
}

/// Returns the header of the batch of this use that begins with these bytes; `None` if there is none.
pub(super) fn decode_batch_header(bytes: &[u8], seed: Seed) -> Option<BatchHeader> {
    let header = bytes.get(..BATCH_HEADER_BYTES)?;
    let mut input = Input::new(header);
    let magic = input.u32().ok()?;
    let crc = input.u32().ok()?;
    if magic != BATCH_MAGIC || crc32c::crc32c_append(seed.0, header.get(8..)?) != crc {
        return None;
    }
    let (length, records) = (input.u32().ok()?, input.u32().ok()?);
    let (digest, flags) = (input.u32().ok()?, input.u32().ok()?);
    let sequence = input.u64().ok()?;
    let previous = Place { number: input.u64().ok()?, offset: input.u64().ok()? };
    let id = take_log_id(&mut input).ok()?;
    let flushed = (flags & HAS_FLUSHED != 0).then_some(id);
    (length as usize >= BATCH_HEADER_BYTES).then_some(BatchHeader {
        length,
        records,
        digest,
        sequence,
        previous,
        flushed,
    })
}

/// Returns true if all records of the batch that begins with these bytes are what was written.
pub(super) fn is_whole(bytes: &[u8], header: &BatchHeader, seed: Seed) -> bool {
    let Some(body) = bytes.get(BATCH_HEADER_BYTES..header.length as usize) else { return false };
    let mut rest = body;
    let (mut records, mut digest) = (0_u32, seed.0);
    while !rest.is_empty() {
        let Ok(record) = checked_record(rest, seed) else { return false };
        digest = crc32c::crc32c_append(digest, record.get(4..8).unwrap_or_default());
        records = records.saturating_add(1);
        rest = rest.get(record.len()..).unwrap_or_default();
    }
    records == header.records && digest == header.digest
}

/// Returns the records of a batch that [`is_whole`], each with its offset from the beginning of the batch.
pub(super) fn decode_batch(
    batch: &Bytes,
    header: &BatchHeader,
    seed: Seed,
) -> Result<Vec<(u64, Record)>, Malformed> {
    let mut records = Vec::new();
    let mut offset = BATCH_HEADER_BYTES;
    while offset < header.length as usize {
        let rest = batch.get(offset..header.length as usize).unwrap_or_default();
        let length = checked_record(rest, seed)?.len();
        let record = decode_body(batch.slice(offset + 8..offset + length))?;
        records.push((offset as u64, record));
        offset += length;
    }
    Ok(records)
}

/// Decodes the record that begins with these bytes.
pub(super) fn decode_record(bytes: &Bytes, seed: Seed) -> Result<Record, Malformed> {
    let length = checked_record(bytes, seed)?.len();
    decode_body(bytes.slice(8..length))
}

/// Returns the bytes of the record that begins here, checked against its checksum.
fn checked_record(bytes: &[u8], seed: Seed) -> Result<&[u8], Malformed> {
    let mut input = Input::new(bytes);
    let length: [u8; 4] = input.array()?;
    let crc = input.u32()?;
    let end = RECORD_HEADER_BYTES as u64 + u64::from(u32::from_le_bytes(length));
    let record = usize::try_from(end).ok().and_then(|end| bytes.get(..end));
    let record = record.ok_or_else(|| Malformed::new("a record is cut off"))?;
    let rest = record.get(8..).unwrap_or_default();
    if record_crc(seed, length, rest) != crc {
        return Err(Malformed::new("a record fails its checksum"));
    }
    Ok(record)
}

pub(super) fn record_crc(seed: Seed, length: [u8; 4], rest: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c_append(seed.0, &length), rest)
}

fn pair(first: [u8; 4], second: [u8; 4]) -> [u8; 8] {
    let (low, high) = (u32::from_le_bytes(first), u32::from_le_bytes(second));
    (u64::from(low) | u64::from(high) << 32).to_le_bytes()
}

const IMAGE: u8 = 1;
const BLANK: u8 = 2;
const NORMAL: u8 = 3;
const MEMBERSHIP: u8 = 4;
const VOTE: u8 = 5;
const COMMITTED: u8 = 6;
const TRUNCATED: u8 = 7;
const PURGED: u8 = 8;
const PEER: u8 = 9;
const INSTALL: u8 = 10;

impl Record {
    /// Returns an upper bound of the bytes that the record takes in a batch.
    pub(super) fn size_bound(&self) -> u64 {
        let body = match self {
            Record::Entry(entry) => 16 + entry.payload.len(),
            Record::Image(image) => return image.size_bound(),
            _ => 64,
        };
        (RECORD_HEADER_BYTES + body) as u64
    }
}

impl Image {
    /// Returns an upper bound of the bytes that the record of the image takes in a batch.
    pub(super) fn size_bound(&self) -> u64 {
        (RECORD_HEADER_BYTES + 160 + self.peers.len() * 64) as u64
    }
}

/// Encodes the kind and the body of a record.
pub(super) fn encode_body(record: &Record, out: &mut Vec<u8>) {
    match record {
        Record::Image(image) => {
            out.push(IMAGE);
            put_image(out, image);
        }
        Record::Entry(entry) => {
            out.push(match entry.kind {
                EntryKind::Blank => BLANK,
                EntryKind::Normal => NORMAL,
                EntryKind::Membership => MEMBERSHIP,
            });
            put_log_id(out, entry.id);
            out.extend_from_slice(&entry.payload);
        }
        Record::Vote(vote) => {
            out.push(VOTE);
            put_vote(out, *vote);
        }
        Record::Committed(id) => put_kind_and_id(out, COMMITTED, *id),
        Record::Truncated(truncation) => {
            out.push(TRUNCATED);
            put_truncation(out, truncation);
        }
        Record::Purged(id) => put_kind_and_id(out, PURGED, *id),
        Record::Peer(peer) => {
            out.push(PEER);
            put_peer(out, peer);
        }
        Record::Install(id) => put_kind_and_id(out, INSTALL, *id),
    }
}

pub(super) fn decode_body(bytes: Bytes) -> Result<Record, Malformed> {
    let mut input = Input::new(&*bytes);
    let kind = input.u8()?;
    let record = match kind {
        BLANK | NORMAL | MEMBERSHIP => {
            let id = take_log_id(&mut input)?;
            let payload = bytes.slice_ref(input.rest());
            let kind = match kind {
                BLANK => EntryKind::Blank,
                NORMAL => EntryKind::Normal,
                _ => EntryKind::Membership,
            };
            return Ok(Record::Entry(LogEntry { id, kind, payload }));
        }
        IMAGE => Record::Image(Box::new(take_image(&mut input)?)),
        VOTE => Record::Vote(take_vote(&mut input)?),
        COMMITTED => Record::Committed(take_log_id(&mut input)?),
        TRUNCATED => Record::Truncated(take_truncation(&mut input)?),
        PURGED => Record::Purged(take_log_id(&mut input)?),
        PEER => Record::Peer(take_peer(&mut input)?),
        INSTALL => Record::Install(take_log_id(&mut input)?),
        _ => return Err(Malformed::unknown(format!("it holds a record of kind {kind}"))),
    };
    input.end()?;
    Ok(record)
}

fn put_u64(out: &mut Vec<u8>, number: u64) {
    out.extend_from_slice(&number.to_le_bytes());
}

fn put_log_id(out: &mut Vec<u8>, id: LogId) {
    put_u64(out, id.term.into());
    put_u64(out, id.index.into());
}

fn put_kind_and_id(out: &mut Vec<u8>, kind: u8, id: LogId) {
    out.push(kind);
    put_log_id(out, id);
}

fn put_option<T>(out: &mut Vec<u8>, value: Option<T>, put: impl FnOnce(&mut Vec<u8>, T)) {
    out.push(u8::from(value.is_some()));
    if let Some(value) = value {
        put(out, value);
    }
}

fn put_vote(out: &mut Vec<u8>, vote: VoteRecord) {
    put_u64(out, vote.term);
    put_u64(out, vote.node);
    out.push(u8::from(vote.committed));
}

fn put_truncation(out: &mut Vec<u8>, truncation: &TruncationRecord) {
    put_option(out, truncation.end, put_log_id);
    put_vote(out, truncation.vote);
}

fn put_peer(out: &mut Vec<u8>, peer: &PeerMemory) {
    put_u64(out, peer.node);
    put_u64(out, peer.boot);
    put_option(out, peer.acknowledged, put_log_id);
    put_vote(out, peer.vote);
}

fn put_image(out: &mut Vec<u8>, image: &Image) {
    put_option(out, image.vote, put_vote);
    for id in [image.committed, image.purged, image.end, image.install] {
        put_option(out, id, put_log_id);
    }
    put_option(out, image.truncation.as_ref(), put_truncation);
    put_u64(out, image.peers.len() as u64);
    for peer in image.peers.values() {
        put_peer(out, peer);
    }
}

/// A cursor over borrowed bytes.
type Input<'a> = quorate_store::Input<&'a [u8]>;

fn take_log_id(input: &mut Input<'_>) -> Result<LogId, Malformed> {
    Ok(LogId::new(input.u64()?, input.u64()?))
}

fn take_flag(input: &mut Input<'_>) -> Result<bool, Malformed> {
    match input.u8()? {
        0 => Ok(false),
        1 => Ok(true),
        _ => Err(Malformed::new("a flag is neither 0 nor 1")),
    }
}

fn take_option<'a, T>(
    input: &mut Input<'a>,
    take: impl FnOnce(&mut Input<'a>) -> Result<T, Malformed>,
) -> Result<Option<T>, Malformed> {
    if take_flag(input)? { take(input).map(Some) } else { Ok(None) }
}

fn take_vote(input: &mut Input<'_>) -> Result<VoteRecord, Malformed> {
    Ok(VoteRecord { term: input.u64()?, node: input.u64()?, committed: take_flag(input)? })
}

fn take_truncation(input: &mut Input<'_>) -> Result<TruncationRecord, Malformed> {
    Ok(TruncationRecord { end: take_option(input, take_log_id)?, vote: take_vote(input)? })
}

fn take_peer(input: &mut Input<'_>) -> Result<PeerMemory, Malformed> {
    let (node, boot) = (input.u64()?, input.u64()?);
    let acknowledged = take_option(input, take_log_id)?;
    Ok(PeerMemory { node, boot, acknowledged, vote: take_vote(input)? })
}

fn take_image(input: &mut Input<'_>) -> Result<Image, Malformed> {
    let vote = take_option(input, take_vote)?;
    let committed = take_option(input, take_log_id)?;
    let purged = take_option(input, take_log_id)?;
    let end = take_option(input, take_log_id)?;
    let install = take_option(input, take_log_id)?;
    let truncation = take_option(input, take_truncation)?;
    let mut peers = BTreeMap::new();
    for _ in 0..input.u64()? {
        let peer = take_peer(input)?;
        peers.insert(peer.node, peer);
    }
    Ok(Image { vote, committed, purged, end, install, truncation, peers })
}
