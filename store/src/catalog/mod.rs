//! The catalog: the data about all chunks that must be at hand at once, in one redb file.
//!
//! The room opens no chunk: it knows what a chunk's summary, keys and filter say. It uses the formats, the `Vfs`, and
//! the records and groups that its rows hold.

mod database;
mod filter;
mod overlay;
mod pages;
mod pinned;
mod scrub;
#[cfg(test)]
mod tests;
mod transfer;
mod verify;
mod write;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use redb::Database;

use crate::Fault;
use crate::format::catalog::CheckpointState;
use crate::format::chunk::ChunkSummary;
use crate::vfs::{Open, Vfs};
use database::{begin, database, translate};
use pages::Pages;

pub(crate) use filter::{Filter, hash_of};
pub(crate) use pinned::CatalogExport;
pub(crate) use scrub::CatalogScrub;
pub(crate) use transfer::CatalogImport;
pub(crate) use verify::verify;
pub(crate) use write::{Commit, KeyMerge};

/// An open catalog. Readers do not block the writer.
///
/// Invariants:
/// - `newest` is the newest durable checkpoint;
/// - both copies of the header of the newest durable checkpoint are durable: damage to one of them never
///   brings an older checkpoint back, whose log is no longer kept;
/// - after the first error of a commit, which leaves open what is on the disk, no other commit is tried.
#[derive(Debug)]
pub(crate) struct Catalog {
    newest: Mutex<CatalogExport>,
    poison: OnceLock<Fault>,
    database: Arc<Database>,
    /// The storage that the database works on.
    pages: Pages,
    path: PathBuf,
}

impl Catalog {
    /// Opens a catalog and reads the state and the list of chunks. `cache_bytes` of memory are for pages,
    /// both those read and those to be written.
    pub(crate) fn open(
        vfs: &Arc<dyn Vfs>,
        path: &Path,
        cache_bytes: usize,
    ) -> Result<Catalog, Fault> {
        let file = vfs.open(path, Open::Write).map_err(Fault::io("open", path))?;
        let pages = Pages::open(file, path)?;
        Catalog::with(database(pages.clone(), path, cache_bytes)?, pages, path)
    }

    fn with(database: Database, pages: Pages, path: &Path) -> Result<Catalog, Fault> {
        let database = Arc::new(database);
        let newest = Mutex::new(CatalogExport::pin(&database, path, &[])?);
        Ok(Catalog { newest, poison: OnceLock::new(), database, pages, path: path.to_owned() })
    }

    /// Begins to check every page of the file.
    pub(crate) fn scrub(&self) -> CatalogScrub {
        CatalogScrub::new(self.pages.clone())
    }

    /// Returns the state of the newest durable checkpoint.
    pub(crate) fn state(&self) -> CheckpointState {
        self.newest().state().clone()
    }

    /// Returns the chunks of the newest durable checkpoint, by number.
    pub(crate) fn chunks(&self) -> Vec<ChunkSummary> {
        self.newest().chunks().to_vec()
    }

    /// Returns the newest durable checkpoint, pinned: later commits do not change what is read from it.
    pub(crate) fn export(&self) -> Result<CatalogExport, Fault> {
        match self.poison.get() {
            Some(fault) => Err(fault.clone()),
            None => Ok(self.newest()),
        }
    }

    /// Makes a checkpoint durable: all of it or nothing. After an error it is not known which, and every
    /// later commit returns the same fault.
    pub(crate) fn commit(&self, commit: &Commit<'_>) -> Result<(), Fault> {
        if let Some(fault) = self.poison.get() {
            return Err(fault.clone());
        }
        let committed = self.try_commit(commit);
        if let Err(fault) = &committed {
            self.poison.get_or_init(|| fault.clone());
        }
        committed
    }

    fn try_commit(&self, commit: &Commit<'_>) -> Result<(), Fault> {
        let transaction = begin(&self.database, &self.path)?;
        let before = self.newest();
        write::put(&transaction, &self.path, commit, before.contents().clone())?;
        transaction.commit().map_err(|error| translate(&self.path, error.into()))?;
        self.pages.settle()?;
        let new = commit.new_chunk.map(|(chunk, filter)| (chunk.number, Arc::clone(filter)));
        let known: Vec<_> = before.filters().iter().cloned().chain(new).collect();
        let newest = CatalogExport::pin(&self.database, &self.path, &known)?;
        *self.newest.lock().unwrap_or_else(PoisonError::into_inner) = newest;
        Ok(())
    }

    fn newest(&self) -> CatalogExport {
        self.newest.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
