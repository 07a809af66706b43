//! Reads a whole catalog and checks it, leaving the file as it is.

use std::path::Path;
use std::sync::Arc;

use super::overlay::Overlay;
use super::pinned::key_state;
use super::{CatalogExport, KeyState, open_database, translate};
use crate::vfs::{Open, Vfs};
use crate::{Fault, Key};

/// Checks every page in use, the trees, and every value. `each` learns every key, in order.
/// Returns the checkpoint; reading it does not change the file either.
pub(crate) fn verify(
    vfs: &dyn Vfs,
    path: &Path,
    each: &mut dyn FnMut(&Key, &KeyState) -> Result<(), Fault>,
) -> Result<CatalogExport, Fault> {
    let file = vfs.open(path, Open::Read).map_err(Fault::io("open", path))?;
    let file = Overlay::new(file).map_err(Fault::io("read", path))?;
    let mut database = open_database(Arc::new(file), path)?;
    let whole = database.check_integrity().map_err(|error| translate(path, error.into()))?;
    if !whole {
        return Err(Fault::damaged(path, 0, "its trees do not hold together"));
    }
    let export = CatalogExport::pin(&Arc::new(database), path)?;
    for row in export.rows(None)? {
        let (encoded, value) = row?;
        let state = key_state(&encoded, &value, path)?;
        let key = Key::decode(&encoded).map_err(|malformed| {
            Fault::damaged(path, 0, format!("a key is not one: {malformed}"))
        })?;
        each(&key, &state)?;
    }
    Ok(export)
}
