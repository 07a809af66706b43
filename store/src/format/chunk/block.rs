//! Blocks: some tens of kilobytes of consecutive events, read as one; and the index of all blocks.
//!
//! ```text
//! first ordinal   varint
//! recorded_at     8        of the first event
//! streams         varint, then 1 + n each; in the order in which they appear
//! events          varint, then each:
//!   skipped       varint   ordinals between the event before and this one: 0, but for removed events
//!   stream        varint   which of the streams above
//!   version       varint
//!   recorded_at   varint   microseconds since the event before
//!   id            16
//!   body          varint, then the bytes, as `format::event` has them
//! ```

use std::collections::HashMap;

use bytes::Bytes;
use quorate_proto::{EventId, Position, StreamName, Timestamp, Version};

use crate::StoredEvent;
use crate::event::Identity;
use crate::format::{Input, Malformed, Output};

/// Collects events until they are written as one block.
#[derive(Debug)]
pub(crate) struct BlockBuilder {
    first_ordinal: u32,
    next_ordinal: u32,
    first_recorded_at: Timestamp,
    last_recorded_at: Timestamp,
    streams: HashMap<StreamName, u64>,
    names: Vec<u8>,
    count: u64,
    events: Vec<u8>,
}

impl BlockBuilder {
    /// A block that will begin with an event of this ordinal and time.
    pub(crate) fn new(first_ordinal: u32, first_recorded_at: Timestamp) -> BlockBuilder {
        BlockBuilder {
            first_ordinal,
            next_ordinal: first_ordinal,
            first_recorded_at,
            last_recorded_at: first_recorded_at,
            streams: HashMap::new(),
            names: Vec::new(),
            count: 0,
            events: Vec::new(),
        }
    }

    pub(crate) fn push(&mut self, ordinal: u32, event: &StoredEvent) {
        let next_stream = self.streams.len() as u64;
        let stream = match self.streams.get(&event.stream) {
            Some(stream) => *stream,
            None => {
                self.names.put_short(event.stream.as_str().as_bytes());
                self.streams.insert(event.stream.clone(), next_stream);
                next_stream
            }
        };
        self.events.put_varint(u64::from(ordinal - self.next_ordinal));
        self.events.put_varint(stream);
        self.events.put_varint(event.version.0);
        let elapsed = event.recorded_at.0.wrapping_sub(self.last_recorded_at.0);
        self.events.put_varint(elapsed.cast_unsigned());
        self.events.put(event.id.as_bytes());
        self.events.put_varint(event.body.len() as u64);
        self.events.put(&event.body);
        self.last_recorded_at = event.recorded_at;
        self.next_ordinal = ordinal + 1;
        self.count += 1;
    }

    /// Bytes so far.
    pub(crate) fn size(&self) -> usize {
        self.names.len() + self.events.len()
    }

    pub(crate) fn first_ordinal(&self) -> u32 {
        self.first_ordinal
    }

    pub(crate) fn first_recorded_at(&self) -> Timestamp {
        self.first_recorded_at
    }

    pub(crate) fn finish(self) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.size() + 32);
        out.put_varint(u64::from(self.first_ordinal));
        out.put_i64(self.first_recorded_at.0);
        out.put_varint(self.streams.len() as u64);
        out.put(&self.names);
        out.put_varint(self.count);
        out.put(&self.events);
        out
    }
}

/// Gives out the events of a block, in order.
#[derive(Debug)]
pub(crate) struct BlockReader {
    input: Input,
    streams: Vec<Stream>,
    left: u64,
    next_ordinal: u64,
    recorded_at: i64,
}

/// A name becomes a checked one when it is first needed: most reads of a block want few of its events.
#[derive(Debug)]
enum Stream {
    Bytes(Bytes),
    Name(StreamName),
}

/// An event of a block whose stream and body were not looked at yet.
#[derive(Debug)]
pub(crate) struct BlockEvent {
    pub(crate) ordinal: u32,
    stream: usize,
    version: Version,
    recorded_at: Timestamp,
    id: EventId,
    body: Bytes,
}

impl BlockReader {
    pub(crate) fn new(payload: Bytes) -> Result<BlockReader, Malformed> {
        let mut input = Input::new(payload);
        let next_ordinal = input.varint()?;
        let recorded_at = input.i64()?;
        let stream_count = input.varint()?;
        let mut streams = Vec::new();
        for _ in 0..stream_count {
            streams.push(Stream::Bytes(input.short_bytes()?));
        }
        let left = input.varint()?;
        Ok(BlockReader { input, streams, left, next_ordinal, recorded_at })
    }

    /// The next event; `None` at the end of the block.
    pub(crate) fn next(&mut self) -> Result<Option<BlockEvent>, Malformed> {
        if self.left == 0 {
            self.input.clone().end()?;
            return Ok(None);
        }
        let skipped = self.input.varint()?;
        let ordinal = self.next_ordinal.checked_add(skipped).and_then(|at| u32::try_from(at).ok());
        let ordinal = ordinal.ok_or_else(|| Malformed::new("an ordinal is beyond 32 bits"))?;
        let stream = usize::try_from(self.input.varint()?).unwrap_or(usize::MAX);
        let version = Version(self.input.varint()?);
        let elapsed = self.input.varint()?.cast_signed();
        self.recorded_at = self.recorded_at.wrapping_add(elapsed);
        let id = self.input.event_id()?;
        let length = usize::try_from(self.input.varint()?).unwrap_or(usize::MAX);
        let body = self.input.take(length)?;
        self.next_ordinal = u64::from(ordinal) + 1;
        self.left -= 1;
        let recorded_at = Timestamp(self.recorded_at);
        Ok(Some(BlockEvent { ordinal, stream, version, recorded_at, id, body }))
    }

    /// The whole event; its body is a slice of the block.
    pub(crate) fn complete(
        &mut self,
        event: BlockEvent,
        first_position: Position,
    ) -> Result<StoredEvent, Malformed> {
        let BlockEvent { ordinal, stream, version, recorded_at, id, body } = event;
        let stream = self.stream(stream)?;
        let position = first_position.0.checked_add(u64::from(ordinal));
        let position = position.ok_or_else(|| Malformed::new("a position is beyond 64 bits"))?;
        let position = Position(position);
        StoredEvent::new(Identity { position, stream, version, recorded_at, id }, body)
    }

    fn stream(&mut self, index: usize) -> Result<StreamName, Malformed> {
        let none = || Malformed::new("an event is of a stream that its block does not name");
        let stream = self.streams.get_mut(index).ok_or_else(none)?;
        if let Stream::Bytes(bytes) = stream {
            let text = std::str::from_utf8(bytes);
            let text = text.map_err(|_| Malformed::new("a stream's name is not UTF-8"))?;
            let name = StreamName::new(text);
            *stream = Stream::Name(name.map_err(|invalid| Malformed::new(invalid.to_string()))?);
        }
        match stream {
            Stream::Name(name) => Ok(name.clone()),
            Stream::Bytes(_) => unreachable!("it was made a name above"),
        }
    }
}

/// Where a block is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BlockEntry {
    /// Of its frame, in the file.
    pub(crate) offset: u64,
    /// Of its frame, header included.
    pub(crate) length: u64,
    pub(crate) first_ordinal: u32,
    pub(crate) first_recorded_at: Timestamp,
}

/// Blocks follow each other from the start of their section, so lengths tell where they are.
pub(crate) fn encode_index(blocks: &[BlockEntry]) -> Vec<u8> {
    let mut out = Vec::new();
    out.put_varint(blocks.len() as u64);
    let (mut ordinal, mut recorded_at) = (0, 0_i64);
    for block in blocks {
        out.put_varint(block.length);
        out.put_varint(u64::from(block.first_ordinal - ordinal));
        out.put_varint(block.first_recorded_at.0.wrapping_sub(recorded_at).cast_unsigned());
        (ordinal, recorded_at) = (block.first_ordinal, block.first_recorded_at.0);
    }
    out
}

/// The blocks of a section that begins at `offset`; ordinals ascend, and the end is returned too.
pub(crate) fn decode_index(
    payload: Bytes,
    mut offset: u64,
) -> Result<(Vec<BlockEntry>, u64), Malformed> {
    let mut input = Input::new(payload);
    let count = input.varint()?;
    let mut blocks = Vec::new();
    let (mut ordinal, mut recorded_at) = (0_u32, 0_i64);
    for index in 0..count {
        let length = input.varint()?;
        let step = u32::try_from(input.varint()?).unwrap_or(u32::MAX);
        recorded_at = recorded_at.wrapping_add(input.varint()?.cast_signed());
        let next = ordinal.checked_add(step).filter(|next| index == 0 || *next > ordinal);
        ordinal = next.ok_or_else(|| Malformed::new("blocks are out of order"))?;
        let first_recorded_at = Timestamp(recorded_at);
        blocks.push(BlockEntry { offset, length, first_ordinal: ordinal, first_recorded_at });
        let end = offset.checked_add(length);
        offset = end.ok_or_else(|| Malformed::new("a block is beyond the file"))?;
    }
    input.end()?;
    Ok((blocks, offset))
}
