//! The catalog: what must be known at once about all chunks, in one redb file.

mod overlay;
mod pages;
mod pinned;
mod state;
#[cfg(test)]
mod tests;
mod transfer;
mod verify;
mod write;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use redb::{Database, TableDefinition, WriteTransaction};

use crate::chunk::ChunkSummary;
use crate::vfs::{File, Open, Vfs};
use crate::{Fault, Key};
use pages::Pages;

pub(crate) use pinned::CatalogExport;
pub(crate) use state::{CheckpointState, Commit, Contents, Indexed, KeyState, TableSum};
pub(crate) use transfer::CatalogImport;
pub(crate) use verify::verify;

/// A table of redb: bytes to bytes, sorted by key.
type Definition = TableDefinition<'static, &'static [u8], &'static [u8]>;

const STATE: Definition = TableDefinition::new("state");
const CHUNKS: Definition = TableDefinition::new("chunks");
const KEYS: Definition = TableDefinition::new("keys");
const RECORDS: Definition = TableDefinition::new("records");
const SNAPSHOTS: Definition = TableDefinition::new("snapshots");

/// Memory for pages of the catalog, read and to be written.
const CACHE_BYTES: usize = 32 * 1024 * 1024;

/// An open catalog. Readers do not block the writer.
///
/// Invariants:
/// - `newest` is the newest durable checkpoint;
/// - after the first error of a commit, which leaves open what is on the disk, no other commit is tried.
#[derive(Debug)]
pub(crate) struct Catalog {
    newest: Mutex<CatalogExport>,
    poison: OnceLock<Fault>,
    database: Arc<Database>,
    path: PathBuf,
}

impl Catalog {
    /// Creates a catalog that must not exist; on return it and its name are durable.
    pub(crate) fn create(
        vfs: &Arc<dyn Vfs>,
        path: &Path,
        state: &CheckpointState,
    ) -> Result<Catalog, Fault> {
        CatalogImport::new(vfs, path, state, &Contents::default(), &[])?.finish()
    }

    /// Opens a catalog and reads state and chunk list.
    pub(crate) fn open(vfs: &Arc<dyn Vfs>, path: &Path) -> Result<Catalog, Fault> {
        let file = vfs.open(path, Open::Write).map_err(Fault::io("open", path))?;
        Catalog::with(open_database(file, path)?, path)
    }

    fn with(database: Database, path: &Path) -> Result<Catalog, Fault> {
        let database = Arc::new(database);
        let newest = Mutex::new(CatalogExport::pin(&database, path)?);
        Ok(Catalog { newest, poison: OnceLock::new(), database, path: path.to_owned() })
    }

    /// The newest durable checkpoint.
    pub(crate) fn state(&self) -> CheckpointState {
        self.newest().state().clone()
    }

    /// The chunks of that checkpoint, by number.
    pub(crate) fn chunks(&self) -> Vec<ChunkSummary> {
        self.newest().chunks().to_vec()
    }

    /// Where a key was last seen before that checkpoint; `None` if never.
    pub(crate) fn key(&self, key: &Key) -> Result<Option<KeyState>, Fault> {
        self.newest().key(key)
    }

    /// The newest durable checkpoint, pinned: later commits do not change what it gives out.
    pub(crate) fn export(&self) -> Result<CatalogExport, Fault> {
        match self.poison.get() {
            Some(fault) => Err(fault.clone()),
            None => Ok(self.newest()),
        }
    }

    /// Makes a checkpoint durable: all or nothing. After an error it is not known which, and every later
    /// commit answers with the same fault.
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
        let contents = self.newest().contents().clone();
        write::put(&transaction, &self.path, commit, contents)?;
        transaction.commit().map_err(|error| translate(&self.path, error.into()))?;
        let newest = CatalogExport::pin(&self.database, &self.path)?;
        *self.newest.lock().unwrap_or_else(PoisonError::into_inner) = newest;
        Ok(())
    }

    fn newest(&self) -> CatalogExport {
        self.newest.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

fn open_database(file: Arc<dyn File>, path: &Path) -> Result<Database, Fault> {
    database(Pages::open(file, path)?, path)
}

fn database(pages: Pages, path: &Path) -> Result<Database, Fault> {
    Database::builder()
        .set_cache_size(CACHE_BYTES)
        .create_with_backend(pages)
        .map_err(|error| translate(path, error.into()))
}

/// A transaction whose commit takes two syncs and keeps what opening after a crash needs, so that a torn
/// commit is never taken for a whole one and opening reads no tree.
fn begin(database: &Database, path: &Path) -> Result<WriteTransaction, Fault> {
    let transaction = database.begin_write().map_err(|error| translate(path, error.into()));
    let mut transaction = transaction?;
    transaction.set_two_phase_commit(true);
    transaction.set_quick_repair(true);
    Ok(transaction)
}

/// What an error of redb means. A fault of our own pages comes back as it went in.
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
