//! A checkpoint as it is sent to another node: a manifest, chunk files, and the catalog's content.

use std::sync::Arc;

use bytes::Bytes;
use quorate_proto::{LogId, Position};

use crate::catalog::CatalogExport;
use crate::chunk::Chunk;
use crate::fault::Fault;
use crate::format::chunk::ChunkSummary;
use crate::format::manifest::{self, Manifest};
use crate::view::{ChunkSlot, View};

/// A pinned checkpoint: it stays as it is while the store goes on. Cheap to make. While it lives, the
/// catalog's file cannot reuse the pages that the checkpoint needs.
#[derive(Debug)]
pub struct Export {
    log_id: LogId,
    slots: Arc<Vec<ChunkSlot>>,
    catalog: Arc<CatalogExport>,
}

impl Export {
    /// Returns an export of the view's checkpoint; `None` before the first.
    pub(crate) fn of(view: &View) -> Option<Export> {
        let (slots, catalog) = (view.chunks.clone(), view.catalog.clone());
        Some(Export { log_id: catalog.state().log_id?, slots, catalog })
    }

    /// Returns the log id of the last entry that the checkpoint holds.
    pub fn log_id(&self) -> LogId {
        self.log_id
    }

    /// Returns the position of the last event that the checkpoint holds.
    pub fn position(&self) -> Position {
        self.catalog.state().position
    }

    /// Returns the attachment that the checkpoint holds.
    pub fn attachment(&self) -> &Bytes {
        &self.catalog.state().attachment
    }

    /// Returns the manifest of the checkpoint, which [`crate::Installer::begin`] takes.
    pub fn manifest(&self) -> Bytes {
        let (state, contents) = (self.catalog.state().clone(), self.catalog.contents().clone());
        let chunks = self.chunks().to_vec();
        manifest::encode(&Manifest { log_id: self.log_id, state, contents, chunks })
    }

    /// Returns the chunks of the checkpoint, by number.
    pub fn chunks(&self) -> &[ChunkSummary] {
        self.catalog.chunks()
    }

    /// Returns the sizes of the files of the chunks, in bytes, by number; a damaged chunk, which is not sent, is left out.
    pub fn chunk_sizes(&self) -> impl Iterator<Item = (u64, u64)> {
        self.chunks().iter().filter_map(|chunk| {
            let number = chunk.number;
            Some((number, self.chunk(number).ok()?.bytes()))
        })
    }

    /// Returns at most `max` bytes of a chunk's file from `offset` on; empty at its end. They are as they stand on the
    /// disk: the node that takes them verifies them. The file is the one that was in use when the checkpoint was
    /// pinned, also when the chunk is scavenged or repaired meanwhile.
    ///
    /// Errors: the fault of a damaged chunk; [`Fault::Foreign`] for a chunk that a newer checkpoint scavenged.
    pub fn read_chunk(&self, number: u64, offset: u64, max: usize) -> Result<Bytes, Fault> {
        let chunk = self.chunk(number)?;
        chunk.check_scavenged(Some(self.log_id.index))?;
        chunk.raw(offset, max)
    }

    /// Verifies every byte of a chunk's file on this disk, after the node that took the file found it damaged.
    ///
    /// Errors: [`Fault::Damaged`], if the damage is on this disk; [`Fault::Io`].
    pub fn verify_chunk(&self, number: u64) -> Result<(), Fault> {
        self.chunk(number)?.verify()
    }

    fn chunk(&self, number: u64) -> Result<&Arc<Chunk>, Fault> {
        let slot = self.slots.binary_search_by_key(&number, ChunkSlot::number);
        let slot = slot.ok().and_then(|index| self.slots.get(index));
        slot.ok_or_else(|| self.catalog.damaged(&format!("it has no chunk {number}")))?.chunk()
    }

    /// Returns the catalog's content, sorted, in pages of about 256 KiB.
    pub fn catalog_pages(&self) -> impl Iterator<Item = Result<Bytes, Fault>> {
        self.catalog.pages()
    }
}
