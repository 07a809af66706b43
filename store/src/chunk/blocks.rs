//! Writes the events of a chunk: blocks as they fill, then the ids and the index of the blocks.

use quorate_proto::Timestamp;

use super::draft::Draft;
use crate::Fault;
use crate::format::chunk::Section;
use crate::format::chunk::block::{BlockBuilder, BlockEntry, FinishedBlock, encode_index};
use crate::format::{EventParts, Identity};

/// The size from which on a block is closed. Reading one event unpacks its block, and events that are packed
/// together shrink better: see the figures in ARCHITECTURE.md.
const BLOCK_BYTES: usize = 16 * 1024;

/// The blocks of a chunk while they are written.
///
/// A stream is given by its number in the chunk, which its caller knows, so that no name is looked up for an event.
pub(super) struct Blocks {
    start: u64,
    open: Option<BlockBuilder>,
    entries: Vec<BlockEntry>,
    ids: Vec<Vec<u8>>,
    /// For each stream of the chunk the last block that names it, counted from 1, and its number there.
    streams: Vec<(u32, u32)>,
}

impl Blocks {
    pub(super) fn new(draft: &Draft) -> Blocks {
        let (start, open, streams) = (draft.offset(), None, Vec::new());
        Blocks { start, open, entries: Vec::new(), ids: Vec::new(), streams }
    }

    /// Adds an event of the stream with this number; ordinals ascend.
    pub(super) fn push(
        &mut self,
        draft: &mut Draft,
        ordinal: u32,
        stream: u32,
        event: &EventParts<'_>,
    ) -> Result<(), Fault> {
        let (block, stream) =
            self.open(draft, (ordinal, event.recorded_at), stream, event.stream)?;
        block.push(ordinal, stream, event);
        Ok(())
    }

    /// Adds the stub of a removed event.
    pub(super) fn push_stub(
        &mut self,
        draft: &mut Draft,
        ordinal: u32,
        stream: u32,
        stub: &Identity,
    ) -> Result<(), Fault> {
        let (block, stream) =
            self.open(draft, (ordinal, stub.recorded_at), stream, stub.stream.as_str())?;
        block.push_stub(ordinal, stream, stub);
        Ok(())
    }

    /// Writes the sections of events, ids and the block index.
    pub(super) fn finish(mut self, draft: &mut Draft) -> Result<(), Fault> {
        self.close_block(draft)?;
        draft.close(Section::Events, self.start);
        let start = draft.offset();
        for (entry, ids) in self.entries.iter_mut().zip(&self.ids) {
            entry.ids_offset = draft.offset();
            entry.ids_length = draft.put(Section::Ids, ids)?;
        }
        draft.close(Section::Ids, start);
        draft.put_section(Section::BlockIndex, &encode_index(&self.entries))
    }

    /// Returns the block that the entry of this ordinal and time goes into, and the number of its stream there.
    fn open(
        &mut self,
        draft: &mut Draft,
        (ordinal, recorded_at): (u32, Timestamp),
        stream: u32,
        name: &str,
    ) -> Result<(&mut BlockBuilder, u32), Fault> {
        if self.open.as_ref().is_some_and(|block| block.size() >= BLOCK_BYTES) {
            self.close_block(draft)?;
        }
        let number = u32::try_from(self.entries.len() + 1).expect("a chunk has fewer blocks");
        let block = self.open.get_or_insert_with(|| BlockBuilder::new(ordinal, recorded_at));
        let stream = stream as usize;
        if stream >= self.streams.len() {
            self.streams.resize(stream + 1, (0, 0));
        }
        let (last_block, in_block) = &mut self.streams[stream];
        if *last_block != number {
            (*last_block, *in_block) = (number, block.push_stream(name));
        }
        Ok((block, *in_block))
    }

    fn close_block(&mut self, draft: &mut Draft) -> Result<(), Fault> {
        let Some(block) = self.open.take() else { return Ok(()) };
        let FinishedBlock { first_ordinal, first_recorded_at, count, payload, ids } =
            block.finish();
        let offset = draft.offset();
        let length = draft.put(Section::Events, &payload)?;
        self.entries.push(BlockEntry {
            offset,
            length,
            first_ordinal,
            first_recorded_at,
            count,
            // Set once the ids are written.
            ids_offset: 0,
            ids_length: 0,
        });
        self.ids.push(ids);
        Ok(())
    }
}
