//! Builds a catalog beside the one in use, from what another node's gave out.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use redb::{Database, WriteTransaction};

use super::pages::Pages;
use super::pinned::key_state;
use super::{Catalog, CheckpointState, KEYS, begin, database, put_head, translate};
use crate::Fault;
use crate::chunk::ChunkSummary;
use crate::format::catalog::decode_page;
use crate::vfs::{Open, Vfs};

/// A catalog that becomes one with [`CatalogImport::finish`]; dropped before, its file is of no use.
pub(crate) struct CatalogImport {
    transaction: WriteTransaction,
    database: Database,
    last_key: Bytes,
    vfs: Arc<dyn Vfs>,
    path: PathBuf,
}

impl fmt::Debug for CatalogImport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CatalogImport").field("path", &self.path).finish_non_exhaustive()
    }
}

impl CatalogImport {
    /// Creates the file; one that an interrupted import left there is replaced.
    pub(crate) fn new(
        vfs: &Arc<dyn Vfs>,
        path: &Path,
        state: &CheckpointState,
        chunks: &[ChunkSummary],
    ) -> Result<CatalogImport, Fault> {
        if vfs.exists(path).map_err(Fault::io("look for", path))? {
            vfs.remove(path).map_err(Fault::io("remove", path))?;
        }
        let file = vfs.open(path, Open::Create).map_err(Fault::io("create", path))?;
        let database = database(Pages::create(file, path, state.cluster, state.log)?, path)?;
        let transaction = begin(&database, path)?;
        put_head(&transaction, path, state, chunks)?;
        let table = transaction.open_table(KEYS).map(|_| ());
        table.map_err(|error| translate(path, error.into()))?;
        let (vfs, path) = (Arc::clone(vfs), path.to_owned());
        Ok(CatalogImport { transaction, database, last_key: Bytes::new(), vfs, path })
    }

    /// Takes the next page; the pages come in order. A page that is damaged or out of order is refused, and
    /// the import is of no use any more.
    pub(crate) fn put(&mut self, page: &Bytes) -> Result<(), Fault> {
        let rows = decode_page(page).map_err(|malformed| {
            Fault::damaged(&self.path, 0, format!("a page from another node {malformed}"))
        })?;
        let fault = |error| translate(&self.path, error);
        let table = self.transaction.open_table(KEYS);
        let mut table = table.map_err(|error| fault(error.into()))?;
        for (key, value) in rows {
            key_state(&key, &value, &self.path)?;
            if key <= self.last_key {
                let why = "pages from another node are out of order";
                return Err(Fault::damaged(&self.path, 0, why));
            }
            let inserted = table.insert(&*key, &*value);
            inserted.map_err(|error| fault(error.into()))?;
            self.last_key = key;
        }
        Ok(())
    }

    /// Makes the catalog and its name durable.
    pub(crate) fn finish(self) -> Result<Catalog, Fault> {
        let CatalogImport { transaction, database, vfs, path, .. } = self;
        transaction.commit().map_err(|error| translate(&path, error.into()))?;
        let directory = path.parent().unwrap_or(Path::new(""));
        vfs.sync_directory(directory).map_err(Fault::io("sync", directory))?;
        Catalog::with(database, &path)
    }
}
