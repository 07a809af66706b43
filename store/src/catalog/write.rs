//! Puts rows into the tables of a catalog, and keeps their counts and sums.

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use quorate_proto::{Scope, StreamName};
use redb::WriteTransaction;

use super::database::{
    CHUNKS, Definition, FILTERS, GROUPS, KEYS, RECORDS, SNAPSHOTS, STATE, translate,
};
use super::filter::Filter;
use crate::format::catalog::{
    CONTENTS_KEY, CheckpointState, Contents, Indexed, KeyState, STATE_KEY, Table, TableSum,
    chunk_key, encode_chunk, encode_contents, encode_key_state, encode_state, seal,
};
use crate::format::chunk::ChunkSummary;
use crate::group::Row;
use crate::{Fault, Key};

/// The changes that a commit makes durable, all or nothing.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Commit<'a> {
    pub(crate) state: &'a CheckpointState,
    /// The new chunk, and the filter of its keys.
    pub(crate) new_chunk: Option<(&'a ChunkSummary, &'a Arc<Filter>)>,
    pub(crate) fold: &'a KeyMerge,
    /// The records that changes left behind, opaque; `None` removes one.
    pub(crate) records: &'a [(Scope, Option<Bytes>)],
    /// The aggregate snapshots, opaque; `None` removes one.
    pub(crate) snapshots: &'a [(StreamName, Option<Bytes>)],
    /// The rows of consumer groups that changed.
    pub(crate) groups: &'a [Row],
}

/// Keys of chunks, to be put into the table of keys.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct KeyMerge {
    /// The keys, sorted, encoded as by [`crate::Key::encode`].
    pub(crate) keys: Vec<(Vec<u8>, KeyState)>,
    /// The progress of the table once the keys are in.
    pub(crate) indexed: Indexed,
}

/// Puts all rows of a commit. `contents` are those before the commit.
pub(super) fn put(
    transaction: &WriteTransaction,
    path: &Path,
    commit: &Commit<'_>,
    mut contents: Contents,
) -> Result<(), Fault> {
    let open = |table, definition| Rows { transaction, path, table, definition };
    let KeyMerge { keys, indexed } = commit.fold;
    let keys = keys.iter().map(|(key, state)| (key.clone(), Some(encode_key_state(state))));
    open(Table::Keys, KEYS).put(keys, &mut contents.keys)?;
    let filtered = contents.indexed.through + 1..=indexed.through;
    let gone = filtered.map(|number| (chunk_key(number).to_vec(), None));
    let new = commit.new_chunk.filter(|(chunk, _)| chunk.number > indexed.through);
    let new = new.map(|(chunk, filter)| (chunk_key(chunk.number).to_vec(), Some(filter.encode())));
    open(Table::Filters, FILTERS).put(gone.chain(new), &mut contents.filters)?;
    let of_streams = commit.records.iter().filter(|(scope, _)| matches!(scope, Scope::Stream(_)));
    let others = commit.records.iter().filter(|(scope, _)| !matches!(scope, Scope::Stream(_)));
    let rows = open(Table::Records, RECORDS);
    let before = contents.records.rows;
    rows.put(of_streams.map(record), &mut contents.records)?;
    contents.stream_records = contents.stream_records + contents.records.rows - before;
    rows.put(others.map(record), &mut contents.records)?;
    let snapshots = commit.snapshots.iter().map(|(stream, snapshot)| {
        (stream.as_str().as_bytes().to_vec(), snapshot.as_ref().map(|bytes| bytes.to_vec()))
    });
    open(Table::Snapshots, SNAPSHOTS).put(snapshots, &mut contents.snapshots)?;
    open(Table::Groups, GROUPS).put(commit.groups.iter().cloned(), &mut contents.groups)?;
    contents.indexed = indexed.clone();
    let chunk = commit.new_chunk.map(|(chunk, _)| chunk);
    put_head(transaction, path, commit.state, &contents, chunk)
}

fn record((scope, record): &(Scope, Option<Bytes>)) -> (Vec<u8>, Option<Vec<u8>>) {
    (Key::of_scope(scope).encode(), record.as_ref().map(|bytes| bytes.to_vec()))
}

/// A table that rows are put into.
struct Rows<'a> {
    transaction: &'a WriteTransaction,
    path: &'a Path,
    table: Table,
    definition: Definition,
}

impl Rows<'_> {
    /// Puts and removes rows, each under its checksum.
    fn put(
        &self,
        rows: impl Iterator<Item = (Vec<u8>, Option<Vec<u8>>)>,
        sum: &mut TableSum,
    ) -> Result<(), Fault> {
        let fault = |error| translate(self.path, error);
        let table = self.transaction.open_table(self.definition);
        let mut table = table.map_err(|error| fault(error.into()))?;
        for (key, value) in rows {
            let value = value.map(|value| seal(self.table, &key, value));
            let replaced = match &value {
                Some(value) => table.insert(key.as_slice(), value.as_slice()),
                None => table.remove(key.as_slice()),
            };
            if let Some(old) = replaced.map_err(|error| fault(error.into()))? {
                sum.remove(self.table, &key, old.value());
            }
            if let Some(value) = &value {
                sum.add(self.table, &key, value);
            }
        }
        Ok(())
    }
}

/// Puts the state, the contents of the tables, and new chunks.
pub(super) fn put_head<'a>(
    transaction: &WriteTransaction,
    path: &Path,
    state: &CheckpointState,
    contents: &Contents,
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
    let rows = [(STATE_KEY, encode_state(state)), (CONTENTS_KEY, encode_contents(contents))];
    for (key, value) in rows {
        let inserted = table.insert(key, seal(Table::State, key, value).as_slice()).map(|_| ());
        inserted.map_err(|error| fault(error.into()))?;
    }
    Ok(())
}
