//! Checks a whole catalog, leaving the file as it is.

use std::path::Path;
use std::sync::Arc;

use super::overlay::Overlay;
use super::{CatalogExport, open_database, translate};
use crate::Fault;
use crate::vfs::{Open, Vfs};

/// Checks every page in use and that the trees hold together. The values are checked when they are read
/// from what is returned, which does not change the file either.
pub(crate) fn verify(vfs: &dyn Vfs, path: &Path) -> Result<CatalogExport, Fault> {
    let file = vfs.open(path, Open::Read).map_err(Fault::io("open", path))?;
    let file = Overlay::new(file).map_err(Fault::io("read", path))?;
    let mut database = open_database(Arc::new(file), path)?;
    let whole = database.check_integrity().map_err(|error| translate(path, error.into()))?;
    if !whole {
        return Err(Fault::damaged(path, 0, "its trees do not hold together"));
    }
    CatalogExport::pin(&Arc::new(database), path)
}
