//! A checkpoint as it is sent to another node: a manifest, chunk files, and the catalog's content.

use std::sync::Arc;

use bytes::Bytes;
use quorate_proto::{LogId, Position};

use crate::catalog::CatalogExport;
use crate::chunk::{self, ChunkSummary};
use crate::fault::Fault;
use crate::folder::Folder;
use crate::format::manifest::{self, Manifest};
use crate::vfs::Open;

/// A pinned checkpoint: it stays as it is while the store goes on. Cheap to make; while it lives, the
/// catalog's file cannot reuse the pages that it needs.
#[derive(Debug)]
pub struct Export {
    log_id: LogId,
    folder: Folder,
    catalog: Arc<CatalogExport>,
}

impl Export {
    pub(crate) fn of(folder: &Folder, catalog: Arc<CatalogExport>) -> Option<Export> {
        let log_id = catalog.state().log_id?;
        Some(Export { log_id, folder: folder.clone(), catalog })
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

    /// What [`crate::Store::begin_install`] wants to know first.
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
    /// the disk: who takes them verifies them.
    pub fn read_chunk(&self, number: u64, offset: u64, max: usize) -> Result<Bytes, Fault> {
        let path = chunk::path(&self.folder.chunks, number);
        let file = self.folder.vfs.open(&path, Open::Read).map_err(Fault::io("open", &path))?;
        let length = file.len().map_err(Fault::io("read", &path))?;
        let rest = usize::try_from(length.saturating_sub(offset)).unwrap_or(usize::MAX);
        let mut bytes = vec![0; rest.min(max)];
        file.read_at(&mut bytes, offset).map_err(Fault::io("read", &path))?;
        Ok(Bytes::from(bytes))
    }

    /// The catalog's content, sorted, in pages of about 256 KiB.
    pub fn catalog_pages(&self) -> impl Iterator<Item = Result<Bytes, Fault>> {
        self.catalog.pages()
    }
}
