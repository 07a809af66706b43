//! Installing another node's checkpoint: missing chunks are fetched, the catalog is built beside the old one.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use quorate_proto::limits::ENTRY_BYTES_MAX;
use quorate_proto::{LogId, Position};

use super::open::{Checkpoint, check_identity, open_chunk_at};
use crate::catalog::CatalogImport;
use crate::chunk::Chunk;
use crate::fault::Fault;
use crate::files::Folder;
use crate::format::chunk::ChunkSummary;
use crate::format::manifest::{self, Manifest};
use crate::options::Options;
use crate::vfs::{File, Open};
use crate::view::{ChunkSlot, View};

/// The parts of a store that an install needs; taken at once, so that the store need not wait for the rest.
#[derive(Debug)]
pub struct Installer {
    folder: Folder,
    options: Options,
    view: Arc<View>,
    /// The number of the new catalog.
    number: u64,
}

impl Installer {
    pub(crate) fn new(
        folder: &Folder,
        options: &Options,
        view: &Arc<View>,
        number: u64,
    ) -> Installer {
        let (folder, options, view) = (folder.clone(), options.clone(), view.clone());
        Installer { folder, options, view, number }
    }

    /// Begins to install another node's checkpoint, beside the store, which goes on as it is. One install at
    /// a time. Chunks that an earlier install finished are not fetched again, also after a restart in
    /// between: every byte of them is checked here, which takes its time.
    ///
    /// Errors: [`Fault::Foreign`] for a manifest of another cluster, log or chunk size, one that does not
    /// decode, or one that contradicts the chunks that are here.
    pub fn begin(self, manifest: &Bytes) -> Result<Install, Fault> {
        let Installer { folder, options, view, number } = self;
        let path = folder.catalog(number);
        let manifest = manifest::decode(manifest)
            .map_err(|malformed| Fault::foreign(&path, format!("its manifest {malformed}")))?;
        check_identity(&path, &manifest.state, &options)?;
        check_chunks(&manifest).map_err(|why| Fault::foreign(&path, why))?;
        let own = own_chunks(&folder, &view, &manifest)?;
        let fetched = fetched_before(&folder, &options, &own, &manifest)?;
        let import = CatalogImport::new(
            &folder.vfs,
            &path,
            &manifest.state,
            &manifest.contents,
            &manifest.chunks,
            options.catalog_cache_bytes,
        )?;
        let partial = BTreeMap::new();
        Ok(Install { folder, options, manifest, number, own, fetched, partial, import })
    }
}

/// An install under way. If it is dropped, it leaves files that the next install uses or removes.
///
/// Invariants: each chunk of the manifest is the store's `own`, or `fetched`, verified and durable under a
/// name of its own (`Folder::fetched`), or still missing; no file that the store uses is changed.
#[derive(Debug)]
pub struct Install {
    folder: Folder,
    options: Options,
    manifest: Manifest,
    /// The number of the new catalog.
    number: u64,
    own: BTreeMap<u64, Arc<Chunk>>,
    fetched: BTreeMap<u64, Arc<Chunk>>,
    partial: BTreeMap<u64, Arc<dyn File>>,
    import: CatalogImport,
}

impl Install {
    /// Returns the log id of the last entry that the checkpoint holds.
    pub fn log_id(&self) -> LogId {
        self.manifest.log_id
    }

    /// Returns the chunks that are still to be put and finished, by number.
    pub fn missing(&self) -> Vec<ChunkSummary> {
        let chunks = self.manifest.chunks.iter();
        let is_here = |number| self.own.contains_key(number) || self.fetched.contains_key(number);
        chunks.filter(|chunk| !is_here(&chunk.number)).cloned().collect()
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
                self.folder.remove_if_there(&path)?;
                let vfs = &self.folder.vfs;
                let file = vfs.open(&path, Open::Create).map_err(Fault::io("create", &path))?;
                self.partial.insert(number, file.clone());
                file
            }
        };
        file.write_at(bytes, offset).map_err(Fault::io("write", &path))
    }

    /// Verifies every byte of a chunk that was put whole, and makes it durable. Error: [`Fault::Damaged`], or
    /// [`Fault::Foreign`] for a chunk that a later checkpoint scavenged; the chunk is then missing as before.
    pub fn finish_chunk(&mut self, number: u64) -> Result<(), Fault> {
        let from = self.partial_path(number);
        let (Some(file), Some(summary)) = (self.partial.remove(&number), self.summary(number))
        else {
            return Err(Fault::damaged(&from, 0, "nothing of it was put"));
        };
        let (vfs, to) = (&*self.folder.vfs, self.folder.fetched(number));
        let chunk = open_fetched(&self.folder, &self.options, &self.manifest, summary, &from)?;
        file.sync_data().map_err(Fault::io("sync", &from))?;
        vfs.rename(&from, &to).map_err(Fault::io("rename", &from))?;
        let directory = &self.folder.chunks;
        vfs.sync_directory(directory).map_err(Fault::io("sync", directory))?;
        self.fetched.insert(number, Arc::new(chunk));
        Ok(())
    }

    /// Puts the next page of the catalog; pages come in the order of [`crate::Export::catalog_pages`].
    pub fn put_catalog(&mut self, page: &[u8]) -> Result<(), Fault> {
        let page = Bytes::copy_from_slice(page);
        self.import.put(&page)
    }

    /// Makes the new catalog durable and reads the ids of the retry window. The install has no effect before
    /// [`crate::Store::finish_install`]. Error: [`Fault::Damaged`] if chunks are missing or the catalog does
    /// not match the manifest.
    pub fn finish(self) -> Result<Installed, Fault> {
        let path = self.folder.catalog(self.number);
        if let Some(missing) = self.missing().first() {
            let why = format!("chunk {} is missing", missing.number);
            return Err(Fault::damaged(&path, 0, why));
        }
        let fetched = self.fetched.keys().copied().collect();
        let mut chunks = self.own;
        chunks.extend(self.fetched);
        let chunks = chunks.into_values().map(ChunkSlot::Whole).collect();
        let checkpoint =
            Checkpoint::with(self.number, self.import.finish()?, chunks, &self.options)?;
        if let Some(fault) = checkpoint.chunks.iter().find_map(ChunkSlot::fault) {
            return Err(fault.clone());
        }
        Ok(Installed { log_id: self.manifest.log_id, fetched, checkpoint })
    }

    fn summary(&self, number: u64) -> Option<&ChunkSummary> {
        let chunks = &self.manifest.chunks;
        let index = chunks.binary_search_by_key(&number, |chunk| chunk.number).ok()?;
        chunks.get(index)
    }

    fn partial_path(&self, number: u64) -> PathBuf {
        self.folder.fetched(number).with_extension("part")
    }
}

/// Returns the store's own chunks that belong to the checkpoint.
fn own_chunks(
    folder: &Folder,
    view: &View,
    manifest: &Manifest,
) -> Result<BTreeMap<u64, Arc<Chunk>>, Fault> {
    let mut chunks = BTreeMap::new();
    for theirs in &manifest.chunks {
        let Some(slot) = view.slot(theirs.number) else { break };
        if slot.summary() != theirs {
            let path = folder.chunk(theirs.number);
            return Err(Fault::foreign(&path, "it holds other events than the checkpoint's"));
        }
        // A damaged chunk is fetched with those that are missing.
        if let Ok(chunk) = slot.chunk() {
            chunks.insert(theirs.number, Arc::clone(chunk));
        }
    }
    Ok(chunks)
}

/// Returns the chunks that an earlier install fetched, as far as they are of use now.
fn fetched_before(
    folder: &Folder,
    options: &Options,
    own: &BTreeMap<u64, Arc<Chunk>>,
    manifest: &Manifest,
) -> Result<BTreeMap<u64, Arc<Chunk>>, Fault> {
    let mut chunks = BTreeMap::new();
    for summary in manifest.chunks.iter().filter(|chunk| !own.contains_key(&chunk.number)) {
        let path = folder.fetched(summary.number);
        if folder.vfs.exists(&path).map_err(Fault::io("find", &path))? {
            // A file that does not open is fetched again and replaced.
            if let Ok(chunk) = open_fetched(folder, options, manifest, summary, &path) {
                chunks.insert(summary.number, Arc::new(chunk));
            }
        }
    }
    Ok(chunks)
}

/// Opens a chunk that came from another node and verifies every byte of it.
fn open_fetched(
    folder: &Folder,
    options: &Options,
    manifest: &Manifest,
    summary: &ChunkSummary,
    path: &Path,
) -> Result<Chunk, Fault> {
    let mut chunk = open_chunk_at(folder, options, summary, path)?;
    chunk.check_scavenged(Some(manifest.log_id.index))?;
    chunk.verify()?;
    // A fault must name the path where the file will be when somebody looks for it.
    let (to, until_then) = (folder.chunk(summary.number), folder.fetched(summary.number));
    chunk.move_to(to, until_then);
    Ok(chunk)
}

/// Returns a size that no chunk's file exceeds: keys repeat parts of events, but not often.
pub(crate) fn chunk_file_bytes_max(options: &Options) -> u64 {
    options.chunk_bytes.saturating_add(ENTRY_BYTES_MAX as u64).saturating_mul(4)
}

/// Checks that the chunks follow each other from position 1 to the position of the checkpoint.
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

/// A complete checkpoint beside the store's own, for [`crate::Store::finish_install`].
#[derive(Debug)]
pub struct Installed {
    log_id: LogId,
    /// The numbers of the chunks that do not have their own names yet.
    pub(crate) fetched: Vec<u64>,
    pub(crate) checkpoint: Checkpoint,
}

impl Installed {
    /// Returns the log id of the last entry that the checkpoint holds.
    pub fn log_id(&self) -> LogId {
        self.log_id
    }
}
