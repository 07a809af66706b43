//! Writes the events of a chunk: blocks as they fill, then the ids and the index of the blocks.

use quorate_proto::Timestamp;

use super::draft::Draft;
use crate::format::Identity;
use crate::format::chunk::Section;
use crate::format::chunk::block::{BlockBuilder, BlockEntry, FinishedBlock, encode_index};
use crate::{Fault, StoredEvent};

/// The size from which on a block is closed. Reading one event unpacks its block, and events that are packed
/// together shrink better: see the figures in ARCHITECTURE.md.
const BLOCK_BYTES: usize = 16 * 1024;

/// The blocks of a chunk while they are written.
pub(super) struct Blocks {
    start: u64,
    open: Option<BlockBuilder>,
    entries: Vec<BlockEntry>,
    ids: Vec<Vec<u8>>,
}

impl Blocks {
    pub(super) fn new(draft: &Draft) -> Blocks {
        Blocks { start: draft.offset(), open: None, entries: Vec::new(), ids: Vec::new() }
    }

    /// Adds an event; ordinals ascend.
    pub(super) fn push(
        &mut self,
        draft: &mut Draft,
        ordinal: u32,
        event: &StoredEvent,
    ) -> Result<(), Fault> {
        self.open(draft, ordinal, event.recorded_at)?.push(ordinal, event);
        Ok(())
    }

    /// Adds the stub of a removed event.
    pub(super) fn push_stub(
        &mut self,
        draft: &mut Draft,
        ordinal: u32,
        stub: &Identity,
    ) -> Result<(), Fault> {
        self.open(draft, ordinal, stub.recorded_at)?.push_stub(ordinal, stub);
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

    /// Returns the block that the entry of this ordinal and time goes into.
    fn open(
        &mut self,
        draft: &mut Draft,
        ordinal: u32,
        recorded_at: Timestamp,
    ) -> Result<&mut BlockBuilder, Fault> {
        if self.open.as_ref().is_some_and(|block| block.size() >= BLOCK_BYTES) {
            self.close_block(draft)?;
        }
        Ok(self.open.get_or_insert_with(|| BlockBuilder::new(ordinal, recorded_at)))
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
