//! A checkpoint as it is sent to another node: a manifest, chunk files, and the catalog's content.

use std::sync::Arc;

use bytes::Bytes;
use quorate_proto::{LogId, Position};

use crate::catalog::CatalogExport;
use crate::chunk::{Chunk, ChunkSummary};
use crate::fault::Fault;
use crate::format::manifest::{self, Manifest};
use crate::slot::ChunkSlot;
use crate::view::View;

/// A pinned checkpoint: it stays as it is while the store goes on. Cheap to make; while it lives, the
/// catalog's file cannot reuse the pages that it needs.
#[derive(Debug)]
pub struct Export {
    log_id: LogId,
    slots: Arc<Vec<ChunkSlot>>,
    catalog: Arc<CatalogExport>,
}

impl Export {
    /// Of the view's checkpoint; `None` before the first.
    pub(crate) fn of(view: &View) -> Option<Export> {
        let (slots, catalog) = (view.chunks.clone(), view.catalog.clone());
        Some(Export { log_id: catalog.state().log_id?, slots, catalog })
    }

    /// The last entry that the checkpoint holds.
    pub fn log_id(&self) -> LogId {
        self.log_id
    }

    /// The position of the last event that it holds.
    pub fn position(&self) -> Position {
        self.catalog.state().position
    }

    /// The attachment that it holds.
    pub fn attachment(&self) -> &Bytes {
        &self.catalog.state().attachment
    }

    /// What [`crate::Installer::begin`] wants to know first.
    pub fn manifest(&self) -> Bytes {
        let (state, contents) = (self.catalog.state().clone(), self.catalog.contents().clone());
        let chunks = self.chunks().to_vec();
        manifest::encode(&Manifest { log_id: self.log_id, state, contents, chunks })
    }

    /// The chunks of the checkpoint, by number.
    pub fn chunks(&self) -> &[ChunkSummary] {
        self.catalog.chunks()
    }

    /// At most `max` bytes of a chunk's file from `offset` on; empty at its end. They are as they stand on
    /// the disk: who takes them verifies them. The file is the one that was in use when the checkpoint was
    /// pinned, also when the chunk is scavenged or repaired meanwhile.
    ///
    /// Errors: that of a damaged chunk; [`Fault::Foreign`] for one that was scavenged by a newer checkpoint.
    pub fn read_chunk(&self, number: u64, offset: u64, max: usize) -> Result<Bytes, Fault> {
        let chunk = self.chunk(number)?;
        chunk.check_scavenged(Some(self.log_id.index))?;
        chunk.raw(offset, max)
    }

    /// Verifies every byte of a chunk's file as it stands on the disk: for one that who took it found damaged.
    ///
    /// Errors: [`Fault::Damaged`], where the damage is on this disk; that of the disk.
    pub fn verify_chunk(&self, number: u64) -> Result<(), Fault> {
        self.chunk(number)?.verify()
    }

    fn chunk(&self, number: u64) -> Result<&Arc<Chunk>, Fault> {
        let slot = self.slots.binary_search_by_key(&number, ChunkSlot::number);
        let slot = slot.ok().and_then(|index| self.slots.get(index));
        slot.ok_or_else(|| self.catalog.damaged(&format!("it has no chunk {number}")))?.chunk()
    }

    /// The catalog's content, sorted, in pages of about 256 KiB.
    pub fn catalog_pages(&self) -> impl Iterator<Item = Result<Bytes, Fault>> {
        self.catalog.pages()
    }
}
