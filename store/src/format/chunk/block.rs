//! Blocks: some kilobytes of consecutive events, read as one; and the index of all blocks.
//!
//! ```text
//! first ordinal   varint
//! recorded_at     8        of the first entry
//! streams         varint, then 1 + n each; in the order in which they appear
//! entries         varint, then each:
//!   skipped       varint   ordinals between the entry before and this one: 0, but for removed events
//!   stream        varint   which of the streams above
//!   version       varint
//!   recorded_at   varint   microseconds since the entry before
//!   body          varint: 0 for a stub, else 1 more than its length; then the bytes, as `format::event`
//!                 has them
//! inner           a bit for each entry, the lowest of a byte first: whether its append begins before it; not there if
//!                 every entry begins an append
//! ```
//!
//! A stub is the rest of a removed event: its identity. The ids of a block's entries, 16 bytes each, are a
//! frame of their own, because they are needed without the rest, and do not shrink.

use std::sync::OnceLock;

use bytes::Bytes;
use quorate_proto::{EventId, Position, StreamName, Timestamp, Version};

use crate::StoredEvent;
use crate::format::{EventParts, Identity, Input, Malformed, Output};

/// The size of an id in bytes.
pub(crate) const ID_BYTES: usize = 16;

/// Collects entries until they are written as one block.
#[derive(Debug)]
pub(crate) struct BlockBuilder {
    first_ordinal: u32,
    next_ordinal: u32,
    first_recorded_at: Timestamp,
    last_recorded_at: Timestamp,
    stream_count: u32,
    names: Vec<u8>,
    count: u32,
    entries: Vec<u8>,
    ids: Vec<u8>,
    /// A flag for each entry: true if the entry's append begins before it.
    inner: Vec<bool>,
}

/// A block as it is written.
#[derive(Debug)]
pub(crate) struct FinishedBlock {
    pub(crate) first_ordinal: u32,
    pub(crate) first_recorded_at: Timestamp,
    pub(crate) count: u32,
    pub(crate) payload: Vec<u8>,
    pub(crate) ids: Vec<u8>,
}

impl BlockBuilder {
    /// Begins a block whose first entry will have this ordinal and time.
    pub(crate) fn new(first_ordinal: u32, first_recorded_at: Timestamp) -> BlockBuilder {
        BlockBuilder {
            first_ordinal,
            next_ordinal: first_ordinal,
            first_recorded_at,
            last_recorded_at: first_recorded_at,
            stream_count: 0,
            names: Vec::new(),
            count: 0,
            entries: Vec::new(),
            ids: Vec::new(),
            inner: Vec::new(),
        }
    }

    /// Adds a stream that the block does not name yet; returns its number.
    pub(crate) fn push_stream(&mut self, stream: &str) -> u32 {
        self.names.put_short(stream.as_bytes());
        self.stream_count += 1;
        self.stream_count - 1
    }

    /// Adds an event of the stream with this number.
    pub(crate) fn push(&mut self, ordinal: u32, stream: u32, event: &EventParts<'_>) {
        self.put_place(ordinal, stream, event.version, event.recorded_at);
        self.put_id(event.id, event.begins);
        self.entries.put_varint(event.body.len() as u64 + 1);
        self.entries.put(event.body);
    }

    /// Adds the stub of a removed event.
    pub(crate) fn push_stub(&mut self, ordinal: u32, stream: u32, stub: &Identity) {
        self.put_place(ordinal, stream, stub.version, stub.recorded_at);
        self.put_id(stub.id, stub.begins);
        self.entries.put_varint(0);
    }

    fn put_place(&mut self, ordinal: u32, stream: u32, version: Version, recorded_at: Timestamp) {
        self.entries.put_varint(u64::from(ordinal - self.next_ordinal));
        self.entries.put_varint(u64::from(stream));
        self.entries.put_varint(version.0);
        let elapsed = recorded_at.0.wrapping_sub(self.last_recorded_at.0);
        self.entries.put_varint(elapsed.cast_unsigned());
        self.last_recorded_at = recorded_at;
        self.next_ordinal = ordinal + 1;
        self.count += 1;
    }

    fn put_id(&mut self, id: EventId, begins: bool) {
        self.ids.put(id.as_bytes());
        self.inner.push(!begins);
    }

    /// Returns the number of bytes so far.
    pub(crate) fn size(&self) -> usize {
        self.names.len() + self.entries.len()
    }

    pub(crate) fn finish(self) -> FinishedBlock {
        let mut payload = Vec::with_capacity(self.size() + 32);
        payload.put_varint(u64::from(self.first_ordinal));
        payload.put_i64(self.first_recorded_at.0);
        payload.put_varint(u64::from(self.stream_count));
        payload.put(&self.names);
        payload.put_varint(u64::from(self.count));
        payload.put(&self.entries);
        if self.inner.contains(&true) {
            self.inner.chunks(8).for_each(|bits| payload.put_u8(byte_of(bits)));
        }
        let BlockBuilder { first_ordinal, first_recorded_at, count, ids, .. } = self;
        FinishedBlock { first_ordinal, first_recorded_at, count, payload, ids }
    }
}

/// A block, unpacked and laid out: any of its entries is found at once.
///
/// Invariants: ordinals ascend; each entry's stream is one of `streams` and its body lies in `payload`; `ids`
/// has one id for each entry.
#[derive(Debug)]
pub(crate) struct Block {
    payload: Bytes,
    ids: Bytes,
    streams: Vec<Stream>,
    entries: Vec<Entry>,
}

/// The name of a stream. It is checked only when it is first needed: most reads of a block want few of its events.
#[derive(Debug)]
struct Stream {
    /// The start and end of the name in the payload.
    place: (u32, u32),
    name: OnceLock<StreamName>,
}

#[derive(Debug)]
struct Entry {
    version: Version,
    recorded_at: Timestamp,
    ordinal: u32,
    stream: u32,
    begins: bool,
    /// The start and end of the body in the payload; `None` for a stub.
    body: Option<(u32, u32)>,
}

/// An entry of a block: an event or a stub.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum EventOrStub {
    Event(StoredEvent),
    /// The identity of a removed event.
    Stub(Identity),
}

impl Block {
    /// Lays out a block; `ids` are the ids of its entries.
    pub(crate) fn decode(payload: Bytes, ids: Bytes) -> Result<Block, Malformed> {
        let mut input = Input::new(&payload[..]);
        let mut next_ordinal = input.varint()?;
        let mut recorded_at = input.i64()?;
        let stream_count = input.varint()?;
        let mut streams = Vec::new();
        for _ in 0..stream_count {
            let length = usize::from(input.u8()?);
            let place = take_place(&mut input, payload.len(), length)?;
            streams.push(Stream { place, name: OnceLock::new() });
        }
        let count = input.varint()?;
        if count.checked_mul(ID_BYTES as u64) != Some(ids.len() as u64) {
            return Err(Malformed::new("a block has another number of events than of ids"));
        }
        let mut entries = Vec::with_capacity(ids.len() / ID_BYTES);
        for _ in 0..count {
            let skipped = input.varint()?;
            let ordinal = next_ordinal.checked_add(skipped).and_then(|at| u32::try_from(at).ok());
            let ordinal = ordinal.ok_or_else(|| Malformed::new("an ordinal is beyond 32 bits"))?;
            next_ordinal = u64::from(ordinal) + 1;
            let stream = u32::try_from(input.varint()?).unwrap_or(u32::MAX);
            if stream as usize >= streams.len() {
                let why = "an event is of a stream that its block does not name";
                return Err(Malformed::new(why));
            }
            let version = Version(input.varint()?);
            recorded_at = recorded_at.wrapping_add(input.varint()?.cast_signed());
            let body = take_body(&mut input, payload.len())?;
            let recorded_at = Timestamp(recorded_at);
            entries.push(Entry { version, recorded_at, ordinal, stream, begins: true, body });
        }
        take_inner(&mut input, &mut entries)?;
        input.end()?;
        Ok(Block { payload, ids, streams, entries })
    }

    /// Returns the bytes of memory that the block takes, about.
    pub(crate) fn size(&self) -> usize {
        self.payload.len()
            + self.ids.len()
            + self.entries.len() * size_of::<Entry>()
            + self.streams.len() * size_of::<Stream>()
    }

    /// Returns the number of entries.
    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    /// Returns the index of the first entry that is not before an ordinal.
    pub(crate) fn index_of(&self, ordinal: u32) -> usize {
        let first = self.entries.first().map_or(0, |entry| entry.ordinal);
        // If nothing was removed, the index is known.
        let guess = ordinal.saturating_sub(first) as usize;
        match self.entries.get(guess) {
            Some(entry) if entry.ordinal == ordinal => guess,
            _ => self.entries.partition_point(|entry| entry.ordinal < ordinal),
        }
    }

    /// Returns the ordinal of an entry.
    pub(crate) fn ordinal(&self, index: usize) -> Option<u32> {
        self.entries.get(index).map(|entry| entry.ordinal)
    }

    /// Returns the id of an entry.
    pub(crate) fn id(&self, index: usize) -> Result<EventId, Malformed> {
        let start = index.saturating_mul(ID_BYTES);
        let none = || Malformed::new("an event has no id");
        let id = self.ids.get(start..).and_then(|ids| ids.first_chunk::<ID_BYTES>());
        EventId::from_bytes(*id.ok_or_else(none)?).map_err(Malformed::invalid)
    }

    /// Returns true if an entry is an event, not a stub.
    pub(crate) fn is_event(&self, index: usize) -> bool {
        self.entries.get(index).is_some_and(|entry| entry.body.is_some())
    }

    /// Returns an entry; the body of an event is a slice of the block.
    pub(crate) fn event_or_stub(
        &self,
        index: usize,
        first: Position,
    ) -> Result<Option<EventOrStub>, Malformed> {
        let Some(entry) = self.entries.get(index) else { return Ok(None) };
        let position = first.0.checked_add(u64::from(entry.ordinal));
        let position = position.ok_or_else(|| Malformed::new("a position is beyond 64 bits"))?;
        let identity = Identity {
            position: Position(position),
            stream: self.stream(entry.stream)?,
            version: entry.version,
            recorded_at: entry.recorded_at,
            id: self.id(index)?,
            begins: entry.begins,
        };
        Ok(Some(match entry.body {
            None => EventOrStub::Stub(identity),
            Some((start, end)) => {
                let body = self.payload.slice(start as usize..end as usize);
                EventOrStub::Event(StoredEvent::new(identity, body)?)
            }
        }))
    }

    fn stream(&self, index: u32) -> Result<StreamName, Malformed> {
        let none = || Malformed::new("an event is of a stream that its block does not name");
        let stream = self.streams.get(index as usize).ok_or_else(none)?;
        if let Some(name) = stream.name.get() {
            return Ok(name.clone());
        }
        let (start, end) = stream.place;
        let bytes = self.payload.get(start as usize..end as usize).unwrap_or_default();
        let text = std::str::from_utf8(bytes);
        let text = text.map_err(|_| Malformed::new("a stream's name is not UTF-8"))?;
        let name = StreamName::new(text).map_err(Malformed::invalid)?;
        Ok(stream.name.get_or_init(|| name).clone())
    }
}

/// Returns bits as a byte, the first of them its lowest.
fn byte_of(bits: &[bool]) -> u8 {
    bits.iter().rev().fold(0, |byte, bit| byte << 1 | u8::from(*bit))
}

/// Marks the entries that begin no append.
fn take_inner(input: &mut Input<&[u8]>, entries: &mut [Entry]) -> Result<(), Malformed> {
    if input.remaining() == 0 {
        return Ok(());
    }
    for entries in entries.chunks_mut(8) {
        let byte = input.u8()?;
        for (bit, entry) in entries.iter_mut().enumerate() {
            entry.begins = byte >> bit & 1 == 0;
        }
    }
    Ok(())
}

/// Takes a body and returns its start and end in the payload, whose rest is the input.
fn take_body(input: &mut Input<&[u8]>, payload: usize) -> Result<Option<(u32, u32)>, Malformed> {
    let Some(length) = input.varint()?.checked_sub(1) else { return Ok(None) };
    take_place(input, payload, usize::try_from(length).unwrap_or(usize::MAX)).map(Some)
}

/// Takes so many bytes and returns their start and end in the payload, whose rest is the input.
fn take_place(
    input: &mut Input<&[u8]>,
    payload: usize,
    length: usize,
) -> Result<(u32, u32), Malformed> {
    let start = payload - input.remaining();
    input.take(length)?;
    let end = payload - input.remaining();
    let place = |at| u32::try_from(at).map_err(|_| Malformed::new("a block is beyond 32 bits"));
    Ok((place(start)?, place(end)?))
}

/// The place of a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BlockEntry {
    /// The offset of the block's frame in the file.
    pub(crate) offset: u64,
    /// The length of the block's frame, header included.
    pub(crate) length: u64,
    pub(crate) first_ordinal: u32,
    pub(crate) first_recorded_at: Timestamp,
    /// The number of entries.
    pub(crate) count: u32,
    /// The offset in the file of the frame of the block's ids.
    pub(crate) ids_offset: u64,
    /// The length of the frame of the block's ids, header included.
    pub(crate) ids_length: u64,
}

/// Encodes the index. Blocks and ids follow each other from the start of their sections, so lengths give places.
pub(crate) fn encode_index(blocks: &[BlockEntry]) -> Vec<u8> {
    let mut out = Vec::new();
    out.put_varint(blocks.len() as u64);
    let (mut ordinal, mut recorded_at) = (0, 0_i64);
    for block in blocks {
        out.put_varint(block.length);
        out.put_varint(u64::from(block.first_ordinal - ordinal));
        out.put_varint(block.first_recorded_at.0.wrapping_sub(recorded_at).cast_unsigned());
        out.put_varint(u64::from(block.count));
        out.put_varint(block.ids_length);
        (ordinal, recorded_at) = (block.first_ordinal, block.first_recorded_at.0);
    }
    out
}

/// Returns the blocks of a section that begins at `events`, with their ids in a section that begins at `ids`,
/// and the ends of both sections; ordinals ascend.
pub(crate) fn decode_index(
    payload: Bytes,
    mut events: u64,
    mut ids: u64,
) -> Result<(Vec<BlockEntry>, u64, u64), Malformed> {
    let mut input = Input::new(payload);
    let count = input.varint()?;
    let beyond = || Malformed::new("a block is beyond the file");
    let mut blocks = Vec::new();
    let (mut ordinal, mut recorded_at) = (0_u32, 0_i64);
    for index in 0..count {
        let length = input.varint()?;
        let step = u32::try_from(input.varint()?).unwrap_or(u32::MAX);
        recorded_at = recorded_at.wrapping_add(input.varint()?.cast_signed());
        let next = ordinal.checked_add(step).filter(|next| index == 0 || *next > ordinal);
        ordinal = next.ok_or_else(|| Malformed::new("blocks are out of order"))?;
        let entries = u32::try_from(input.varint()?).map_err(|_| beyond())?;
        let ids_length = input.varint()?;
        blocks.push(BlockEntry {
            offset: events,
            length,
            first_ordinal: ordinal,
            first_recorded_at: Timestamp(recorded_at),
            count: entries,
            ids_offset: ids,
            ids_length,
        });
        events = events.checked_add(length).ok_or_else(beyond)?;
        ids = ids.checked_add(ids_length).ok_or_else(beyond)?;
    }
    input.end()?;
    Ok((blocks, events, ids))
}
