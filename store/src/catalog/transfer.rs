//! Builds a catalog beside the one in use, from the pages that another node sends.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use redb::{Database, WriteTransaction};

use super::Catalog;
use super::database::{SENT, begin, database, sums, translate};
use super::pages::Pages;
use super::pinned::checked_row;
use super::write::put_head;
use crate::Fault;
use crate::format::catalog::{CheckpointState, Contents, TableSum, decode_page};
use crate::format::chunk::ChunkSummary;
use crate::vfs::{Open, Vfs};

/// A catalog that [`CatalogImport::finish`] completes. If it is dropped before, its file is of no use.
///
/// Invariants: the rows put so far ascend by table and key; `found` sums them up.
pub(crate) struct CatalogImport {
    transaction: WriteTransaction,
    database: Database,
    pages: Pages,
    last: (usize, Bytes),
    /// The contents that the tables must have in the end.
    expected: Contents,
    found: [TableSum; SENT.len()],
    vfs: Arc<dyn Vfs>,
    path: PathBuf,
}

impl fmt::Debug for CatalogImport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CatalogImport").field("path", &self.path).finish_non_exhaustive()
    }
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
}

impl CatalogImport {
    /// Creates the file; a file that an interrupted import left there is replaced.
    pub(crate) fn new(
        vfs: &Arc<dyn Vfs>,
        path: &Path,
        state: &CheckpointState,
        contents: &Contents,
        chunks: &[ChunkSummary],
        cache_bytes: usize,
    ) -> Result<CatalogImport, Fault> {
        if vfs.exists(path).map_err(Fault::io("look for", path))? {
            vfs.remove(path).map_err(Fault::io("remove", path))?;
        }
        let file = vfs.open(path, Open::Create).map_err(Fault::io("create", path))?;
        let pages = Pages::create(file, path, state.cluster, state.log)?;
        let database = database(pages.clone(), path, cache_bytes)?;
        let transaction = begin(&database, path)?;
        put_head(&transaction, path, state, contents, chunks)?;
        for (_, definition) in SENT {
            let table = transaction.open_table(definition).map(|_| ());
            table.map_err(|error| translate(path, error.into()))?;
        }
        let (vfs, path, expected) = (Arc::clone(vfs), path.to_owned(), contents.clone());
        let (last, found) = ((0, Bytes::new()), Default::default());
        Ok(CatalogImport { transaction, database, pages, last, expected, found, vfs, path })
    }

    /// Puts the next page; the pages come in order. A page that is damaged or out of order is refused, and
    /// the import is then of no use any more.
    pub(crate) fn put(&mut self, page: &Bytes) -> Result<(), Fault> {
        let refuse =
            |why: &str| Fault::damaged(&self.path, 0, format!("a page from another node {why}"));
        let (number, rows) =
            decode_page(page).map_err(|malformed| refuse(&malformed.to_string()))?;
        let index = SENT.iter().position(|(table, _)| *table as u8 == number);
        let index = index.ok_or_else(|| refuse("is of an unknown table"))?;
        let (table, definition) = SENT[index];
        let fault = |error| translate(&self.path, error);
        let rows_of = self.transaction.open_table(definition);
        let mut rows_of = rows_of.map_err(|error| fault(error.into()))?;
        for (key, value) in rows {
            checked_row(table, &key, &value, &self.path)?;
            if (index, &key) <= (self.last.0, &self.last.1) {
                return Err(refuse("is out of order"));
            }
            let inserted = rows_of.insert(&*key, &*value);
            inserted.map_err(|error| fault(error.into()))?;
            self.found[index].add(table, &key, &value);
            self.last = (index, key);
        }
        Ok(())
    }

    /// Makes the catalog and its name durable. Error: [`Fault::Damaged`] if the rows are not those that were
    /// announced, or some are missing.
    pub(crate) fn finish(self) -> Result<Catalog, Fault> {
        let CatalogImport { transaction, database, pages, expected, found, vfs, path, .. } = self;
        if found != sums(&expected) {
            let why = "the rows from another node are not those that it announced";
            return Err(Fault::damaged(&path, 0, why));
        }
        transaction.commit().map_err(|error| translate(&path, error.into()))?;
        pages.settle()?;
        let directory = path.parent().unwrap_or(Path::new(""));
        vfs.sync_directory(directory).map_err(Fault::io("sync", directory))?;
        Catalog::with(database, pages, &path)
    }
}
