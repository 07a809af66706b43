//! The database of a catalog: its tables, and the way it is opened and written.

use std::path::Path;

use redb::{Database, TableDefinition, WriteTransaction};

use super::pages::Pages;
use crate::Fault;
use crate::format::catalog::{Contents, Table, TableSum};

/// A table of redb: bytes to bytes, sorted by key.
pub(super) type Definition = TableDefinition<'static, &'static [u8], &'static [u8]>;

pub(super) const STATE: Definition = TableDefinition::new("state");
pub(super) const CHUNKS: Definition = TableDefinition::new("chunks");
pub(super) const KEYS: Definition = TableDefinition::new("keys");
pub(super) const RECORDS: Definition = TableDefinition::new("records");
pub(super) const SNAPSHOTS: Definition = TableDefinition::new("snapshots");
pub(super) const FILTERS: Definition = TableDefinition::new("filters");
pub(super) const GROUPS: Definition = TableDefinition::new("groups");

/// The tables that are sent, in this order.
pub(super) const SENT: [(Table, Definition); 5] = [
    (Table::Keys, KEYS),
    (Table::Records, RECORDS),
    (Table::Snapshots, SNAPSHOTS),
    (Table::Filters, FILTERS),
    (Table::Groups, GROUPS),
];

/// Returns the sums that these tables must have, in the same order.
pub(super) fn sums(contents: &Contents) -> [TableSum; SENT.len()] {
    let Contents { keys, records, snapshots, filters, groups, .. } = *contents;
    [keys, records, snapshots, filters, groups]
}

pub(super) fn database(pages: Pages, path: &Path, cache_bytes: usize) -> Result<Database, Fault> {
    Database::builder()
        .set_cache_size(cache_bytes)
        .create_with_backend(pages)
        .map_err(|error| translate(path, error.into()))
}

/// Begins a transaction whose commit takes two syncs and keeps the data that opening after a crash needs, so
/// that a torn commit is never taken for a whole one and opening reads no tree.
pub(super) fn begin(database: &Database, path: &Path) -> Result<WriteTransaction, Fault> {
    let transaction = database.begin_write().map_err(|error| translate(path, error.into()));
    let mut transaction = transaction?;
    transaction.set_two_phase_commit(true);
    transaction.set_quick_repair(true);
    Ok(transaction)
}

/// Translates an error of redb into a fault. A fault of our own pages comes back as it went in.
pub(super) fn translate(path: &Path, error: redb::Error) -> Fault {
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
