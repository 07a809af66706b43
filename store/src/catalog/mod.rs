//! The catalog: the data about all chunks that must be at hand at once, in one redb file.

mod filter;
mod overlay;
mod pages;
mod pinned;
mod scrub;
mod state;
#[cfg(test)]
mod tests;
mod transfer;
mod verify;
mod write;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use redb::{Database, TableDefinition, WriteTransaction};

use crate::Fault;
use crate::chunk::ChunkSummary;
use crate::vfs::{Open, Vfs};
use pages::Pages;

pub(crate) use filter::{Filter, WORDS as FILTER_WORDS, hash_of};
pub(crate) use pinned::CatalogExport;
pub(crate) use scrub::CatalogScrub;
pub(crate) use state::{
    CheckpointState, Commit, Contents, Indexed, KeyMerge, KeyState, MergeRound, TableSum,
};
pub(crate) use transfer::CatalogImport;
pub(crate) use verify::verify;

/// A table of redb: bytes to bytes, sorted by key.
type Definition = TableDefinition<'static, &'static [u8], &'static [u8]>;

const STATE: Definition = TableDefinition::new("state");
const CHUNKS: Definition = TableDefinition::new("chunks");
const KEYS: Definition = TableDefinition::new("keys");
const RECORDS: Definition = TableDefinition::new("records");
const SNAPSHOTS: Definition = TableDefinition::new("snapshots");
const FILTERS: Definition = TableDefinition::new("filters");
const GROUPS: Definition = TableDefinition::new("groups");

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
    /// Creates a catalog that must not exist; on return the file and its name are durable.
    pub(crate) fn create(
        vfs: &Arc<dyn Vfs>,
        path: &Path,
        state: &CheckpointState,
        cache_bytes: usize,
    ) -> Result<Catalog, Fault> {
        CatalogImport::new(vfs, path, state, &Contents::default(), &[], cache_bytes)?.finish()
    }

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

fn database(pages: Pages, path: &Path, cache_bytes: usize) -> Result<Database, Fault> {
    Database::builder()
        .set_cache_size(cache_bytes)
        .create_with_backend(pages)
        .map_err(|error| translate(path, error.into()))
}

/// Begins a transaction whose commit takes two syncs and keeps the data that opening after a crash needs, so
/// that a torn commit is never taken for a whole one and opening reads no tree.
fn begin(database: &Database, path: &Path) -> Result<WriteTransaction, Fault> {
    let transaction = database.begin_write().map_err(|error| translate(path, error.into()));
    let mut transaction = transaction?;
    transaction.set_two_phase_commit(true);
    transaction.set_quick_repair(true);
    Ok(transaction)
}

/// Translates an error of redb into a fault. A fault of our own pages comes back as it went in.
fn translate(path: &Path, error: redb::Error) -> Fault {
    match error {
        redb::Error::Io(error) => match error.get_ref().and_then(|inner| inner.downcast_ref()) {
            Some(fault) => Fault::clone(fault),
            None => Fault::io("use", path)(error),
        },
        redb::Error::PreviousIo | redb::Error::DatabaseClosed => {
            Fault::io("use", path)(std::io::Error::other("the catalog failed before"))
        }
        other => Fault::damaged(path, 0, other.to_string()),
    }
}
