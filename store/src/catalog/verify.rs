//! Checks a whole catalog, leaving the file as it is.

use std::path::Path;
use std::sync::Arc;

use super::overlay::Overlay;
use super::pages::Pages;
use super::pinned::checked_row;
use super::transfer::SENT;
use super::{CatalogExport, Contents, TableSum, database, translate};
use crate::Fault;
use crate::vfs::{Open, Vfs};

/// Memory for pages.
const CACHE_BYTES: usize = 32 * 1024 * 1024;

/// Checks every page in use, that the trees hold together, and every row. Reading from what is returned does
/// not change the file either.
pub(crate) fn verify(vfs: &dyn Vfs, path: &Path) -> Result<CatalogExport, Fault> {
    let file = vfs.open(path, Open::Read).map_err(Fault::io("open", path))?;
    let file = Overlay::new(file).map_err(Fault::io("read", path))?;
    let mut database = database(Pages::open(Arc::new(file), path)?, path, CACHE_BYTES)?;
    let whole = database.check_integrity().map_err(|error| translate(path, error.into()))?;
    if !whole {
        return Err(Fault::damaged(path, 0, "its trees do not hold together"));
    }
    let export = CatalogExport::pin(&Arc::new(database), path, &[])?;
    check_sums(&export)?;
    Ok(export)
}

/// The rows must be those that the catalog keeps count of.
fn check_sums(export: &CatalogExport) -> Result<(), Fault> {
    let Contents { keys, records, snapshots, filters, .. } = export.contents();
    let expected = [keys, records, snapshots, filters];
    for ((table, _), expected) in SENT.into_iter().zip(expected) {
        let mut found = TableSum::default();
        for row in export.rows(table, None)? {
            let (key, value) = row?;
            checked_row(table, &key, &value, export.path())?;
            found.add(table, &key, &value);
        }
        if found != *expected {
            return Err(export.damaged("a table has other rows than were put into it"));
        }
    }
    Ok(())
}
