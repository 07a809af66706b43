//! The catalog: what must be known at once about all chunks, in one redb file.

mod overlay;
mod pages;
mod pinned;
#[cfg(test)]
mod tests;
mod transfer;
mod verify;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use bytes::Bytes;
use quorate_proto::{LogId, Position, Timestamp, Version};
use redb::{Database, TableDefinition, WriteTransaction};

use crate::chunk::ChunkSummary;
use crate::format::catalog::{
    STATE_KEY, Table, chunk_key, encode_chunk, encode_key_state, encode_state, seal,
};
use crate::vfs::{File, Open, Vfs};
use crate::{Fault, Key};
use pages::Pages;

pub(crate) use pinned::CatalogExport;
pub(crate) use transfer::CatalogImport;
pub(crate) use verify::verify;

/// A table of redb: bytes to bytes, sorted by key.
type Definition = TableDefinition<'static, &'static [u8], &'static [u8]>;

const STATE: Definition = TableDefinition::new("state");
const CHUNKS: Definition = TableDefinition::new("chunks");
const KEYS: Definition = TableDefinition::new("keys");

/// Memory for pages of the catalog, read and to be written.
const CACHE_BYTES: usize = 32 * 1024 * 1024;

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
        CatalogImport::new(vfs, path, state, &[])?.finish()
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

    /// Makes a checkpoint durable: all or nothing. `keys` are sorted. After an error it is not known which,
    /// and every later commit answers with the same fault.
    pub(crate) fn commit(
        &self,
        state: &CheckpointState,
        new_chunk: Option<&ChunkSummary>,
        keys: &[(Key, KeyState)],
    ) -> Result<(), Fault> {
        if let Some(fault) = self.poison.get() {
            return Err(fault.clone());
        }
        let committed = self.try_commit(state, new_chunk, keys);
        if let Err(fault) = &committed {
            self.poison.get_or_init(|| fault.clone());
        }
        committed
    }

    fn try_commit(
        &self,
        state: &CheckpointState,
        new_chunk: Option<&ChunkSummary>,
        keys: &[(Key, KeyState)],
    ) -> Result<(), Fault> {
        let transaction = begin(&self.database, &self.path)?;
        {
            let fault = |error| translate(&self.path, error);
            let mut table = transaction.open_table(KEYS).map_err(|error| fault(error.into()))?;
            for (key, state) in keys {
                let key = key.encode();
                let value = seal(Table::Keys, &key, encode_key_state(state));
                let inserted = table.insert(key.as_slice(), value.as_slice());
                inserted.map_err(|error| fault(error.into()))?;
            }
        }
        put_head(&transaction, &self.path, state, new_chunk)?;
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

/// Puts the state, and chunks that are new.
fn put_head<'a>(
    transaction: &WriteTransaction,
    path: &Path,
    state: &CheckpointState,
    chunks: impl IntoIterator<Item = &'a ChunkSummary>,
) -> Result<(), Fault> {
    let fault = |error| translate(path, error);
    let mut table = transaction.open_table(CHUNKS).map_err(|error| fault(error.into()))?;
    for chunk in chunks {
        let key = chunk_key(chunk.number);
        let value = seal(Table::Chunks, &key, encode_chunk(chunk));
        let inserted = table.insert(key.as_slice(), value.as_slice());
        inserted.map_err(|error| fault(error.into()))?;
    }
    let mut table = transaction.open_table(STATE).map_err(|error| fault(error.into()))?;
    let value = seal(Table::State, STATE_KEY, encode_state(state));
    let inserted = table.insert(STATE_KEY, value.as_slice());
    inserted.map_err(|error| fault(error.into()))?;
    Ok(())
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
