//! The catalog: what must be known at once about all chunks, in one redb file.
#![allow(clippy::unimplemented, dead_code, unused_variables, reason = "bodies follow")]

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use quorate_proto::{LogId, Position, Timestamp, Version};

use crate::chunk::ChunkSummary;
use crate::vfs::Vfs;
use crate::{Fault, Key};

/// Where a key was last seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct KeyState {
    /// The last chunk that holds it.
    pub(crate) last_chunk: u64,
    /// Of a stream: the version of its last event; 0 for other keys.
    pub(crate) version: Version,
}

/// What a checkpoint stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct CheckpointState {
    pub(crate) cluster: [u8; 16],
    pub(crate) log: u32,
    /// The cluster's chunk size.
    pub(crate) chunk_bytes: u64,
    /// The last entry that it contains; `None` before the first checkpoint.
    pub(crate) log_id: Option<LogId>,
    /// The membership at that entry, opaque.
    pub(crate) attachment: Bytes,
    /// The last event's position.
    pub(crate) position: Position,
    /// The last event's time.
    pub(crate) recorded_at: Timestamp,
    /// The number of the chunk that will be sealed next.
    pub(crate) next_chunk: u64,
}

/// An open catalog. Cheap to share; readers do not block the writer.
///
/// The first error of a commit poisons it: everything after answers with a fault.
#[derive(Debug)]
pub(crate) struct Catalog {}

impl Catalog {
    /// Creates a catalog that must not exist; on return it and its name are durable.
    pub(crate) fn create(
        vfs: &Arc<dyn Vfs>,
        path: &Path,
        state: &CheckpointState,
    ) -> Result<Catalog, Fault> {
        unimplemented!()
    }

    /// Opens a catalog and reads state and chunk list.
    pub(crate) fn open(vfs: &Arc<dyn Vfs>, path: &Path) -> Result<Catalog, Fault> {
        unimplemented!()
    }

    /// The newest durable checkpoint.
    pub(crate) fn state(&self) -> CheckpointState {
        unimplemented!()
    }

    /// The chunks of that checkpoint, by number.
    pub(crate) fn chunks(&self) -> Vec<ChunkSummary> {
        unimplemented!()
    }

    /// Where a key was last seen before that checkpoint; `None` if never.
    pub(crate) fn key(&self, key: &Key) -> Result<Option<KeyState>, Fault> {
        unimplemented!()
    }

    /// Makes a checkpoint durable: all or nothing. `keys` are sorted.
    pub(crate) fn commit(
        &self,
        state: &CheckpointState,
        new_chunk: Option<&ChunkSummary>,
        keys: &[(Key, KeyState)],
    ) -> Result<(), Fault> {
        unimplemented!()
    }

    /// The newest durable checkpoint, pinned: later commits do not change what it gives out.
    pub(crate) fn export(&self) -> Result<CatalogExport, Fault> {
        unimplemented!()
    }

    /// Reads everything and checks it; the counts are for the report.
    pub(crate) fn verify(vfs: &Arc<dyn Vfs>, path: &Path) -> Result<CatalogReport, Fault> {
        unimplemented!()
    }
}

/// What was found whole in a catalog.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct CatalogReport {
    pub(crate) state: CheckpointState,
    pub(crate) chunks: Vec<ChunkSummary>,
    pub(crate) keys: u64,
}

/// A pinned checkpoint, given out in pages that a [`CatalogImport`] takes.
#[derive(Debug)]
pub(crate) struct CatalogExport {}

impl CatalogExport {
    pub(crate) fn state(&self) -> &CheckpointState {
        unimplemented!()
    }

    pub(crate) fn chunks(&self) -> &[ChunkSummary] {
        unimplemented!()
    }

    /// Where a key was last seen before that checkpoint; `None` if never.
    pub(crate) fn key(&self, key: &Key) -> Result<Option<KeyState>, Fault> {
        unimplemented!()
    }

    /// All keys, sorted, in pages of about 256 KiB; each page is under a checksum of its own.
    pub(crate) fn pages(&self) -> impl Iterator<Item = Result<Bytes, Fault>> {
        std::iter::empty()
    }
}

/// Builds a catalog beside the one in use.
#[derive(Debug)]
pub(crate) struct CatalogImport {}

impl CatalogImport {
    /// Creates the file; one that an interrupted import left there is replaced.
    pub(crate) fn new(
        vfs: &Arc<dyn Vfs>,
        path: &Path,
        state: &CheckpointState,
        chunks: &[ChunkSummary],
    ) -> Result<CatalogImport, Fault> {
        unimplemented!()
    }

    /// Takes the next page; the pages come in order.
    pub(crate) fn put(&mut self, page: &Bytes) -> Result<(), Fault> {
        unimplemented!()
    }

    /// Makes the catalog and its name durable.
    pub(crate) fn finish(self) -> Result<Catalog, Fault> {
        unimplemented!()
    }
}
