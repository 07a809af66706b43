//! Checks a whole catalog, leaving the file as it is.

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use quorate_proto::StreamName;

use super::database::{SENT, database, sums, translate};
use super::filter::Filter;
use super::overlay::Overlay;
use super::pages::Pages;
use super::pinned::{CatalogExport, checked_row};
use crate::format::Malformed;
use crate::format::catalog::{Table, TableSum, decode_key_state};
use crate::format::retention::{decode_record, decode_snapshot};
use crate::group::check_row as check_group_row;
use crate::vfs::{File, Open, Vfs};
use crate::{Fault, Key};

/// The memory for pages.
const CACHE_BYTES: usize = 32 * 1024 * 1024;

/// Checks every page in use, the integrity of the trees, and every row. Reading from the returned catalog
/// does not change the file either.
pub(crate) fn verify(vfs: &dyn Vfs, path: &Path) -> Result<CatalogExport, Fault> {
    verify_file(vfs.open(path, Open::Read).map_err(Fault::io("open", path))?, path)
}

/// Does the same for an open file.
pub(super) fn verify_file(file: Arc<dyn File>, path: &Path) -> Result<CatalogExport, Fault> {
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

/// Checks that the rows are those that the catalog keeps count of, and that each decodes.
fn check_sums(export: &CatalogExport) -> Result<(), Fault> {
    let contents = export.contents();
    let mut of_streams = 0;
    for ((table, _), expected) in SENT.into_iter().zip(sums(contents)) {
        let mut found = TableSum::default();
        for row in export.rows(table, None)? {
            let (key, value) = row?;
            let content = checked_row(table, &key, &value, export.path())?;
            check_row(table, &key, content).map_err(|malformed| {
                export.damaged(&format!("row {} of a table {malformed}", found.rows + 1))
            })?;
            let is_of_stream = key.first() == Some(&Key::STREAM_KIND);
            of_streams += u64::from(table == Table::Records && is_of_stream);
            found.add(table, &key, &value);
        }
        if found != expected {
            return Err(export.damaged("a table has other rows than were put into it"));
        }
    }
    if of_streams != contents.stream_records {
        return Err(export.damaged("it has another number of records of streams than it says"));
    }
    Ok(())
}

fn check_row(table: Table, key: &Bytes, content: Bytes) -> Result<(), Malformed> {
    match table {
        Table::Records => {
            let scope = Key::decode(key)?.into_scope();
            scope.ok_or_else(|| Malformed::new("is of nothing that has settings"))?;
            decode_record(content)?;
        }
        Table::Snapshots => {
            let name = String::from_utf8_lossy(key);
            let stream = StreamName::new(name);
            let stream = stream.map_err(|invalid| Malformed::new(invalid.to_string()))?;
            decode_snapshot(&stream, content)?;
        }
        Table::Keys => {
            Key::decode(key)?;
            decode_key_state(content)?;
        }
        Table::Filters => {
            Filter::decode(content)?;
        }
        Table::Groups => check_group_row(key, content)?,
        Table::State | Table::Chunks => {}
    }
    Ok(())
}
