//! Taking over another node's checkpoint: missing chunks are fetched, the catalog is built beside the old.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use quorate_proto::limits::ENTRY_BYTES_MAX;
use quorate_proto::{LogId, Position};

use crate::catalog::CatalogImport;
use crate::checkpoint::{Checkpoint, check_identity, open_chunk};
use crate::chunk::{self, Chunk, ChunkSummary};
use crate::fault::Fault;
use crate::folder::Folder;
use crate::format::manifest::{self, Manifest};
use crate::slot::ChunkSlot;
use crate::store::Options;
use crate::vfs::{File, Open};
use crate::view::View;

/// An install under way. Dropped, it leaves files that the next install or the next open of the store makes
/// use of or removes.
///
/// Invariants: each chunk of the manifest is in `chunks`, verified and durable, or still missing; nothing
/// that the store uses is changed.
#[derive(Debug)]
pub struct Install {
    folder: Folder,
    options: Options,
    manifest: Manifest,
    /// The number of the new catalog.
    number: u64,
    chunks: BTreeMap<u64, Arc<Chunk>>,
    partial: BTreeMap<u64, Arc<dyn File>>,
    import: CatalogImport,
}

impl Install {
    pub(crate) fn begin(
        folder: &Folder,
        options: &Options,
        view: &View,
        number: u64,
        bytes: &Bytes,
    ) -> Result<Install, Fault> {
        let path = folder.catalog(number);
        let manifest = manifest::decode(bytes)
            .map_err(|malformed| Fault::foreign(&path, format!("its manifest {malformed}")))?;
        check_identity(&path, &manifest.state, options)?;
        check_chunks(&manifest).map_err(|why| Fault::foreign(&path, why))?;
        let chunks = present(folder, options, view, &manifest)?;
        // A chunk's file may differ between nodes in its length, not in what it holds.
        let summary = |theirs: &ChunkSummary| {
            chunks.get(&theirs.number).map_or(theirs, |own: &Arc<Chunk>| own.summary()).clone()
        };
        let summaries: Vec<ChunkSummary> = manifest.chunks.iter().map(summary).collect();
        let import = CatalogImport::new(
            &folder.vfs,
            &path,
            &manifest.state,
            &manifest.contents,
            &summaries,
            options.catalog_cache_bytes,
        )?;
        let (folder, options) = (folder.clone(), options.clone());
        Ok(Install { folder, options, manifest, number, chunks, partial: BTreeMap::new(), import })
    }

    /// The last entry that the checkpoint holds.
    pub fn log_id(&self) -> LogId {
        self.manifest.log_id
    }

    /// The chunks that are still to be put and finished, by number.
    pub fn missing(&self) -> Vec<ChunkSummary> {
        let chunks = self.manifest.chunks.iter();
        chunks.filter(|chunk| !self.chunks.contains_key(&chunk.number)).cloned().collect()
    }

    /// Puts bytes of a missing chunk's file; in any order, again if need be.
    pub fn put_chunk(&mut self, number: u64, offset: u64, bytes: &[u8]) -> Result<(), Fault> {
        let path = self.partial_path(number);
        let end = offset.saturating_add(bytes.len() as u64);
        if self.summary(number).is_none() || end > chunk_file_bytes_max(&self.options) {
            return Err(Fault::foreign(&path, "it is no missing chunk, or too long for one"));
        }
        let file = match self.partial.get(&number) {
            Some(file) => file.clone(),
            None => {
                self.remove_if_there(&path)?;
                let vfs = &self.folder.vfs;
                let file = vfs.open(&path, Open::Create).map_err(Fault::io("create", &path))?;
                self.partial.insert(number, file.clone());
                file
            }
        };
        file.write_at(bytes, offset).map_err(Fault::io("write", &path))
    }

    /// Verifies every byte of a chunk that was put whole, and makes it durable.
    /// Error: [`Fault::Damaged`]; the chunk is then missing as before.
    pub fn finish_chunk(&mut self, number: u64) -> Result<(), Fault> {
        let from = self.partial_path(number);
        let (Some(file), Some(summary)) = (self.partial.remove(&number), self.summary(number))
        else {
            return Err(Fault::damaged(&from, 0, "nothing of it was put"));
        };
        let vfs = &*self.folder.vfs;
        let identity = self.options.identity(number);
        let chunk = Chunk::open(vfs, &from, &identity, summary, &self.folder.cache)?;
        chunk.verify()?;
        file.sync_data().map_err(Fault::io("sync", &from))?;
        let directory = &self.folder.chunks;
        let to = chunk::path(directory, number);
        vfs.rename(&from, &to).map_err(Fault::io("rename", &from))?;
        vfs.sync_directory(directory).map_err(Fault::io("sync", directory))?;
        let chunk = open_chunk(&self.folder, &self.options, summary)?;
        self.chunks.insert(number, chunk);
        Ok(())
    }

    /// Puts the next page of the catalog; in the order of [`crate::Export::catalog_pages`].
    pub fn put_catalog(&mut self, page: &[u8]) -> Result<(), Fault> {
        let page = Bytes::copy_from_slice(page);
        self.import.put(&page)
    }

    /// Makes the new catalog durable and reads the ids of the retry window. Nothing of it counts before
    /// [`crate::Store::finish_install`].
    /// Error: [`Fault::Damaged`] when chunks are missing or the catalog is not what the manifest says.
    pub fn finish(self) -> Result<Installed, Fault> {
        let path = self.folder.catalog(self.number);
        if let Some(missing) = self.missing().first() {
            let why = format!("chunk {} is missing", missing.number);
            return Err(Fault::damaged(&path, 0, why));
        }
        let chunks = self.chunks.into_values().map(ChunkSlot::Whole).collect();
        let checkpoint =
            Checkpoint::with(self.number, self.import.finish()?, chunks, &self.options)?;
        Ok(Installed { log_id: self.manifest.log_id, checkpoint })
    }

    fn summary(&self, number: u64) -> Option<&ChunkSummary> {
        let chunks = &self.manifest.chunks;
        let index = chunks.binary_search_by_key(&number, |chunk| chunk.number).ok()?;
        chunks.get(index)
    }

    fn partial_path(&self, number: u64) -> PathBuf {
        self.folder.chunks.join(format!("install-{number:010}"))
    }

    fn remove_if_there(&self, path: &Path) -> Result<(), Fault> {
        let vfs = &self.folder.vfs;
        if vfs.exists(path).map_err(Fault::io("find", path))? {
            vfs.remove(path).map_err(Fault::io("remove", path))?;
        }
        Ok(())
    }
}

/// The chunks that are here already: the store's, and those that an earlier install finished.
fn present(
    folder: &Folder,
    options: &Options,
    view: &View,
    manifest: &Manifest,
) -> Result<BTreeMap<u64, Arc<Chunk>>, Fault> {
    let (vfs, directory) = (&*folder.vfs, &folder.chunks);
    let own = view.chunks.iter().filter_map(|slot| slot.chunk().ok());
    let own: BTreeMap<u64, &Arc<Chunk>> =
        own.map(|chunk| (chunk.summary().number, chunk)).collect();
    let mut chunks = BTreeMap::new();
    for theirs in &manifest.chunks {
        let path = chunk::path(directory, theirs.number);
        if let Some(own) = own.get(&theirs.number) {
            if theirs.digest != own.summary().digest {
                return Err(Fault::foreign(&path, "it holds other events than the checkpoint's"));
            }
            chunks.insert(theirs.number, Arc::clone(own));
        } else if vfs.exists(&path).map_err(Fault::io("find", &path))? {
            // Whatever else the file is, it will be fetched and replaced.
            let chunk = open_chunk(folder, options, theirs);
            if let Ok(chunk) = chunk.and_then(|chunk| chunk.verify().map(|_| chunk)) {
                chunks.insert(theirs.number, chunk);
            }
        }
    }
    Ok(chunks)
}

/// What no chunk's file exceeds: keys repeat parts of events, but not often.
fn chunk_file_bytes_max(options: &Options) -> u64 {
    options.chunk_bytes.saturating_add(ENTRY_BYTES_MAX as u64).saturating_mul(4)
}

/// Chunks follow each other from position 1 to the checkpoint's.
fn check_chunks(manifest: &Manifest) -> Result<(), String> {
    let mut position = Position::ZERO;
    for (chunk, number) in manifest.chunks.iter().zip(1..) {
        let is_next = chunk.number == number && chunk.first_position == position.next();
        if !is_next || chunk.last_position < chunk.first_position {
            return Err(format!("chunk {} of its manifest does not follow", chunk.number));
        }
        position = chunk.last_position;
    }
    let state = &manifest.state;
    let next = manifest.chunks.len() as u64 + 1;
    if position != state.position || state.next_chunk != next {
        return Err("the chunks of its manifest do not reach its position".into());
    }
    Ok(())
}

/// A complete checkpoint beside the store's own; goes to [`crate::Store::finish_install`].
#[derive(Debug)]
pub struct Installed {
    log_id: LogId,
    pub(crate) checkpoint: Checkpoint,
}

impl Installed {
    /// The last entry that the checkpoint holds.
    pub fn log_id(&self) -> LogId {
        self.log_id
    }
}
