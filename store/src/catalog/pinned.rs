//! A checkpoint of the catalog that stays as it is while later ones are committed.

use std::collections::HashMap;
use std::fmt;
use std::ops::Bound;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use quorate_proto::{Scope, StreamName};
use redb::{Database, ReadOnlyTable, ReadableDatabase, ReadableTable};

use super::database::{
    CHUNKS, Definition, FILTERS, GROUPS, KEYS, RECORDS, SENT, SNAPSHOTS, STATE, translate,
};
use super::filter::{Filter, hash_of};
use crate::format::Malformed;
use crate::format::catalog::{
    CONTENTS_KEY, CheckpointState, Contents, KeyState, PageBuilder, STATE_KEY, Table, chunk_key,
    decode_chunk, decode_contents, decode_key_state, decode_state, unseal,
};
use crate::format::chunk::ChunkSummary;
use crate::format::retention::{Record, decode_record};
use crate::group::Groups;
use crate::{Fault, Key};

/// The size, about, of a page of rows for another node.
const PAGE_BYTES: usize = 256 * 1024;

type ReadTable = ReadOnlyTable<&'static [u8], &'static [u8]>;

/// A durable checkpoint, pinned. Cheap to clone. While it lives, the file stays open and cannot reuse the
/// pages that the checkpoint needs.
#[derive(Clone)]
pub(crate) struct CatalogExport {
    pinned: Arc<Pinned>,
    /// The records of categories and paths: there are few, and every read looks into them.
    scopes: Arc<HashMap<Scope, Arc<Record>>>,
}

struct Pinned {
    state: CheckpointState,
    contents: Contents,
    chunks: Vec<ChunkSummary>,
    keys: ReadTable,
    records: ReadTable,
    snapshots: ReadTable,
    filters: ReadTable,
    /// The table of groups; `None` in a file that an earlier build wrote last.
    groups: Option<ReadTable>,
    /// The filters of the chunks that are not indexed, by number.
    unindexed: Vec<(u64, Arc<Filter>)>,
    path: PathBuf,
    /// The database, closed only after all tables that read from it: fields are dropped in this order.
    _database: Arc<Database>,
}

impl fmt::Debug for CatalogExport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CatalogExport").field("state", self.state()).finish_non_exhaustive()
    }
}

impl CatalogExport {
    /// Pins the newest checkpoint of the database. `known` are filters that need not be read.
    pub(super) fn pin(
        database: &Arc<Database>,
        path: &Path,
        known: &[(u64, Arc<Filter>)],
    ) -> Result<CatalogExport, Fault> {
        let transaction = database.begin_read().map_err(|error| translate(path, error.into()))?;
        let open = |definition: Definition| {
            let table = transaction.open_table(definition);
            table.map_err(|error| translate(path, error.into()))
        };
        let table = open(STATE)?;
        let state = read_state(&table, STATE_KEY, path, decode_state)?;
        let contents = read_state(&table, CONTENTS_KEY, path, decode_contents)?;
        let chunks = read_chunks(&open(CHUNKS)?, path)?;
        let filters = open(FILTERS)?;
        let first = contents.indexed.through + 1;
        let numbers = chunks.iter().map(|chunk| chunk.number).filter(|number| *number >= first);
        let of_chunk = |number| match known.binary_search_by_key(&number, |(number, _)| *number) {
            Ok(at) => Ok(known[at].clone()),
            Err(_) => Ok((number, Arc::new(read_filter(&filters, number, path)?))),
        };
        let unindexed = numbers.map(of_chunk).collect::<Result<_, _>>()?;
        let pinned = Pinned {
            state,
            contents,
            chunks,
            keys: open(KEYS)?,
            records: open(RECORDS)?,
            snapshots: open(SNAPSHOTS)?,
            filters,
            groups: match transaction.open_table(GROUPS) {
                Ok(table) => Some(table),
                Err(redb::TableError::TableDoesNotExist(_)) => None,
                Err(error) => return Err(translate(path, error.into())),
            },
            unindexed,
            path: path.to_owned(),
            _database: Arc::clone(database),
        };
        let export = CatalogExport { pinned: Arc::new(pinned), scopes: Arc::default() };
        let scopes = Arc::new(export.scopes()?);
        Ok(CatalogExport { scopes, ..export })
    }

    fn scopes(&self) -> Result<HashMap<Scope, Arc<Record>>, Fault> {
        let decode = |(scope, value)| {
            let record = decode_record(value);
            let what = "record of a category or path";
            let record = record.map_err(|malformed| damaged(self.path(), what, &malformed))?;
            Ok((scope, Arc::new(record)))
        };
        self.records_of_scopes()?.into_iter().map(decode).collect()
    }

    /// Returns the record of a category or a path; costs no I/O.
    pub(crate) fn record_of_scope(&self, scope: &Scope) -> Option<Arc<Record>> {
        self.scopes.get(scope).cloned()
    }

    /// Returns the state of the checkpoint.
    pub(crate) fn state(&self) -> &CheckpointState {
        &self.pinned.state
    }

    /// Returns the contents of the checkpoint's tables.
    pub(crate) fn contents(&self) -> &Contents {
        &self.pinned.contents
    }

    /// Returns the chunks of the checkpoint, by number.
    pub(crate) fn chunks(&self) -> &[ChunkSummary] {
        &self.pinned.chunks
    }

    pub(crate) fn path(&self) -> &Path {
        &self.pinned.path
    }

    /// Returns a fault of the catalog as a whole.
    pub(crate) fn damaged(&self, why: &str) -> Fault {
        Fault::damaged(&self.pinned.path, 0, why)
    }

    /// Returns the filters of the chunks that are not indexed, by number.
    pub(crate) fn filters(&self) -> &[(u64, Arc<Filter>)] {
        &self.pinned.unindexed
    }

    /// Returns the chunks that are not indexed and perhaps hold a key, newest first; the key is encoded.
    pub(crate) fn unindexed(&self, key: &[u8]) -> impl Iterator<Item = u64> {
        let hash = if self.filters().is_empty() { 0 } else { hash_of(key) };
        let holding = self.filters().iter().rev().filter(move |(_, filter)| filter.may_hold(hash));
        holding.map(|(number, _)| *number)
    }

    /// Returns where a key, which is encoded, was last seen, as far as chunks are indexed; `None` if it never was.
    pub(crate) fn key(&self, key: &[u8]) -> Result<Option<KeyState>, Fault> {
        let value = self.value(Table::Keys, key)?;
        value.map(|value| key_state(key, value, &self.pinned.path)).transpose()
    }

    /// Returns the record of a stream, a category or a path; `None` if no change left one.
    pub(crate) fn record(&self, scope: &Scope) -> Result<Option<Bytes>, Fault> {
        self.value(Table::Records, &Key::of_scope(scope).encode())
    }

    /// Returns the records of categories and paths, of which there are few.
    pub(super) fn records_of_scopes(&self) -> Result<Vec<(Scope, Bytes)>, Fault> {
        let path = &self.pinned.path;
        // The records of streams sort before those of categories and paths.
        let rows = self.rows(Table::Records, Some(&[Key::STREAM_KIND + 1]))?;
        let record = |row: Result<(Bytes, Bytes), Fault>| {
            let (encoded, value) = row?;
            let value = checked_row(Table::Records, &encoded, &value, path)?;
            let scope = Key::decode(&encoded).map(Key::into_scope);
            let scope = scope.map_err(|malformed| damaged(path, "name of a record", &malformed))?;
            let named = || Fault::damaged(path, 0, "a record is of no stream, category or path");
            Ok((scope.ok_or_else(named)?, value))
        };
        rows.map(record).collect()
    }

    /// Returns the aggregate snapshot that is kept for a stream.
    pub(crate) fn snapshot(&self, stream: &StreamName) -> Result<Option<Bytes>, Fault> {
        self.value(Table::Snapshots, stream.as_str().as_bytes())
    }

    /// Returns the consumer groups.
    pub(crate) fn groups(&self) -> Result<Groups, Fault> {
        let path = &self.pinned.path;
        let index = self.state().log_id.map(|id| id.index).unwrap_or_default();
        let mut groups = Groups::at(index);
        for row in self.rows(Table::Groups, None)? {
            let (key, value) = row?;
            let value = checked_row(Table::Groups, &key, &value, path)?;
            let put = groups.put_row(&key, value);
            put.map_err(|malformed| damaged(path, "row of a group", &malformed))?;
        }
        Ok(groups)
    }

    /// Returns the value of a key, checked.
    fn value(&self, table: Table, key: &[u8]) -> Result<Option<Bytes>, Fault> {
        let path = &self.pinned.path;
        let Some(table_of) = self.table(table) else { return Ok(None) };
        let value = table_of.get(key).map_err(|error| translate(path, error.into()))?;
        let Some(value) = value else { return Ok(None) };
        checked_row(table, key, value.value(), path).map(Some)
    }

    /// Returns a table; `None` if the file lacks it, which is the same as empty.
    fn table(&self, table: Table) -> Option<&ReadTable> {
        match table {
            Table::Records => Some(&self.pinned.records),
            Table::Snapshots => Some(&self.pinned.snapshots),
            Table::Filters => Some(&self.pinned.filters),
            Table::Groups => self.pinned.groups.as_ref(),
            Table::Keys | Table::State | Table::Chunks => Some(&self.pinned.keys),
        }
    }

    /// Returns all rows of the tables that are sent, sorted, in pages of about 256 KiB or of a single row;
    /// each page has a checksum of its own.
    pub(crate) fn pages(&self) -> impl Iterator<Item = Result<Bytes, Fault>> + use<> {
        let export = self.clone();
        let mut tables = SENT.iter();
        let mut table = tables.next().map(|(table, _)| *table);
        let mut after: Option<Bytes> = None;
        std::iter::from_fn(move || {
            while let Some(at) = table {
                match export.page(at, after.as_deref()) {
                    Ok(Some((page, last_key))) => {
                        after = Some(last_key);
                        return Some(Ok(page));
                    }
                    Ok(None) => (table, after) = (tables.next().map(|(table, _)| *table), None),
                    Err(fault) => {
                        table = None;
                        return Some(Err(fault));
                    }
                }
            }
            None
        })
    }

    /// Returns the rows of a table after a key, and the last key among them; `None` at the end.
    fn page(&self, table: Table, after: Option<&[u8]>) -> Result<Option<(Bytes, Bytes)>, Fault> {
        let mut page = PageBuilder::new(table);
        let mut last_key = None;
        for row in self.rows(table, after)? {
            let (key, value) = row?;
            page.push(&key, &value);
            last_key = Some(key);
            if page.size() >= PAGE_BYTES {
                break;
            }
        }
        Ok(last_key.map(|last_key| (page.finish(), last_key)))
    }

    /// Returns all keys, sorted, each checked.
    pub(crate) fn keys(
        &self,
    ) -> Result<impl Iterator<Item = Result<(Key, KeyState), Fault>>, Fault> {
        let path = &self.pinned.path;
        Ok(self.rows(Table::Keys, None)?.map(move |row| {
            let (encoded, value) = row?;
            let value = checked_row(Table::Keys, &encoded, &value, path)?;
            let state = key_state(&encoded, value, path)?;
            let key = Key::decode(&encoded);
            let key = key.map_err(|malformed| damaged(path, "name of a key", &malformed))?;
            Ok((key, state))
        }))
    }

    /// Returns the keys from `start` on, sorted, encoded as by [`Key::encode`], each checked.
    pub(crate) fn key_states_from(
        &self,
        start: Bound<&[u8]>,
    ) -> Result<impl Iterator<Item = Result<(Vec<u8>, KeyState), Fault>> + use<'_>, Fault> {
        let path = &self.pinned.path;
        Ok(self.rows_from(Table::Keys, start)?.map(move |row| {
            let (key, value) = row?;
            let state = key_state(&key, checked_row(Table::Keys, &key, &value, path)?, path)?;
            Ok((key.into(), state))
        }))
    }

    /// Returns the rows of a table after a key, unchecked.
    pub(super) fn rows(
        &self,
        table: Table,
        after: Option<&[u8]>,
    ) -> Result<impl Iterator<Item = Result<(Bytes, Bytes), Fault>>, Fault> {
        self.rows_from(table, after.map_or(Bound::Unbounded, Bound::Excluded))
    }

    fn rows_from(
        &self,
        table: Table,
        start: Bound<&[u8]>,
    ) -> Result<impl Iterator<Item = Result<(Bytes, Bytes), Fault>> + use<'_>, Fault> {
        let path = &self.pinned.path;
        let range = self.table(table).map(|table| table.range::<&[u8]>((start, Bound::Unbounded)));
        let range = range.transpose().map_err(|error| translate(path, error.into()))?;
        Ok(range.into_iter().flatten().map(|row| {
            let (key, value) = row.map_err(|error| translate(path, error.into()))?;
            let bytes = (key.value(), value.value());
            Ok((Bytes::copy_from_slice(bytes.0), Bytes::copy_from_slice(bytes.1)))
        }))
    }
}

/// Returns the content of a row whose checksum is right.
pub(super) fn checked_row(
    table: Table,
    key: &[u8],
    value: &[u8],
    path: &Path,
) -> Result<Bytes, Fault> {
    let value = unseal(table, key, &Bytes::copy_from_slice(value));
    value.map_err(|malformed| damaged_row(key, path, &malformed))
}

fn key_state(key: &[u8], value: Bytes, path: &Path) -> Result<KeyState, Fault> {
    decode_key_state(value).map_err(|malformed| damaged_row(key, path, &malformed))
}

fn damaged_row(key: &[u8], path: &Path, malformed: &Malformed) -> Fault {
    damaged(
        path,
        &format!(
            "value of `{}`",
            String::from_utf8_lossy(key).trim_start_matches(char::is_control)
        ),
        malformed,
    )
}

fn read_filter(table: &ReadTable, number: u64, path: &Path) -> Result<Filter, Fault> {
    let key = chunk_key(number);
    let value = table.get(key.as_slice()).map_err(|error| translate(path, error.into()))?;
    let missing = || Fault::damaged(path, 0, format!("the filter of chunk {number} is not there"));
    let value = checked_row(Table::Filters, &key, value.ok_or_else(missing)?.value(), path)?;
    Filter::decode(value)
        .map_err(|malformed| damaged(path, &format!("filter of chunk {number}"), &malformed))
}

fn read_state<T>(
    table: &ReadTable,
    key: &[u8],
    path: &Path,
    decode: impl FnOnce(Bytes) -> Result<T, Malformed>,
) -> Result<T, Fault> {
    let value = table.get(key).map_err(|error| translate(path, error.into()))?;
    let value = value.ok_or_else(|| Fault::damaged(path, 0, "the state is not there"))?;
    let value = unseal(Table::State, key, &Bytes::copy_from_slice(value.value()));
    value.and_then(decode).map_err(|malformed| damaged(path, "state", &malformed))
}

fn read_chunks(table: &ReadTable, path: &Path) -> Result<Vec<ChunkSummary>, Fault> {
    let mut chunks = Vec::new();
    for row in table.iter().map_err(|error| translate(path, error.into()))? {
        let (key, value) = row.map_err(|error| translate(path, error.into()))?;
        let (key, value) = (key.value(), Bytes::copy_from_slice(value.value()));
        let chunk = unseal(Table::Chunks, key, &value).and_then(|value| decode_chunk(key, value));
        chunks.push(chunk.map_err(|malformed| damaged(path, "list of chunks", &malformed))?);
    }
    Ok(chunks)
}

fn damaged(path: &Path, what: &str, malformed: &Malformed) -> Fault {
    Fault::damaged(path, 0, format!("the {what} {malformed}"))
}
