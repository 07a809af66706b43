//! A checkpoint of the catalog that stays as it is while later ones are committed.

use std::fmt;
use std::ops::Bound;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use redb::{Database, ReadOnlyTable, ReadableDatabase, ReadableTable};

use super::{CHUNKS, CheckpointState, Definition, KEYS, KeyState, STATE, translate};
use crate::chunk::ChunkSummary;
use crate::format::Malformed;
use crate::format::catalog::{
    PageBuilder, STATE_KEY, Table, decode_chunk, decode_key_state, decode_state, unseal,
};
use crate::{Fault, Key};

/// About so many bytes make a page for another node.
const PAGE_BYTES: usize = 256 * 1024;

type ReadTable = ReadOnlyTable<&'static [u8], &'static [u8]>;

/// A durable checkpoint, pinned. Cheap to clone. While it lives, the file cannot reuse the pages that it
/// needs, and stays open.
#[derive(Clone)]
pub(crate) struct CatalogExport {
    pinned: Arc<Pinned>,
}

struct Pinned {
    state: CheckpointState,
    chunks: Vec<ChunkSummary>,
    keys: ReadTable,
    path: PathBuf,
    /// Closed only after all that read from it: fields are dropped in this order.
    _database: Arc<Database>,
}

impl fmt::Debug for CatalogExport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CatalogExport").field("state", self.state()).finish_non_exhaustive()
    }
}

impl CatalogExport {
    /// Pins the newest checkpoint of the database.
    pub(super) fn pin(database: &Arc<Database>, path: &Path) -> Result<CatalogExport, Fault> {
        let transaction = database.begin_read().map_err(|error| translate(path, error.into()))?;
        let open = |definition: Definition| {
            let table = transaction.open_table(definition);
            table.map_err(|error| translate(path, error.into()))
        };
        let state = read_state(&open(STATE)?, path)?;
        let chunks = read_chunks(&open(CHUNKS)?, path)?;
        let keys = open(KEYS)?;
        let (path, _database) = (path.to_owned(), Arc::clone(database));
        Ok(CatalogExport { pinned: Arc::new(Pinned { state, chunks, keys, path, _database }) })
    }

    /// What the checkpoint stands for.
    pub(crate) fn state(&self) -> &CheckpointState {
        &self.pinned.state
    }

    /// Its chunks, by number.
    pub(crate) fn chunks(&self) -> &[ChunkSummary] {
        &self.pinned.chunks
    }

    /// Where a key was last seen before it; `None` if never.
    pub(crate) fn key(&self, key: &Key) -> Result<Option<KeyState>, Fault> {
        let Pinned { keys, path, .. } = &*self.pinned;
        let key = key.encode();
        let value = keys.get(key.as_slice()).map_err(|error| translate(path, error.into()))?;
        let Some(value) = value else { return Ok(None) };
        key_state(&key, value.value(), path).map(Some)
    }

    /// All keys, sorted, in pages of about 256 KiB; each page is under a checksum of its own.
    pub(crate) fn pages(&self) -> impl Iterator<Item = Result<Bytes, Fault>> + use<> {
        let export = self.clone();
        let mut after: Option<Bytes> = None;
        let mut done = false;
        std::iter::from_fn(move || {
            if done {
                return None;
            }
            let page = export.page(after.as_deref()).transpose();
            done = !matches!(page, Some(Ok(_)));
            page.map(|page| {
                let (page, last_key) = page?;
                after = Some(last_key);
                Ok(page)
            })
        })
    }

    /// The rows after a key, and the last key of them; `None` at the end.
    fn page(&self, after: Option<&[u8]>) -> Result<Option<(Bytes, Bytes)>, Fault> {
        let mut page = PageBuilder::default();
        let mut last_key = None;
        for row in self.rows(after)? {
            let (key, value) = row?;
            page.push(&key, &value);
            last_key = Some(key);
            if page.size() >= PAGE_BYTES {
                break;
            }
        }
        Ok(last_key.map(|last_key| (page.finish(), last_key)))
    }

    /// All keys, sorted, each checked.
    pub(crate) fn keys(
        &self,
    ) -> Result<impl Iterator<Item = Result<(Key, KeyState), Fault>>, Fault> {
        let path = &self.pinned.path;
        Ok(self.rows(None)?.map(move |row| {
            let (encoded, value) = row?;
            let state = key_state(&encoded, &value, path)?;
            let key = Key::decode(&encoded);
            let key = key.map_err(|malformed| damaged(path, "name of a key", &malformed))?;
            Ok((key, state))
        }))
    }

    /// The rows of the table of keys after a key, as they stand there.
    fn rows(
        &self,
        after: Option<&[u8]>,
    ) -> Result<impl Iterator<Item = Result<(Bytes, Bytes), Fault>>, Fault> {
        let Pinned { keys, path, .. } = &*self.pinned;
        let start = after.map_or(Bound::Unbounded, Bound::Excluded);
        let range = keys.range::<&[u8]>((start, Bound::Unbounded));
        let range = range.map_err(|error| translate(path, error.into()))?;
        Ok(range.map(|row| {
            let (key, value) = row.map_err(|error| translate(path, error.into()))?;
            let bytes = (key.value(), value.value());
            Ok((Bytes::copy_from_slice(bytes.0), Bytes::copy_from_slice(bytes.1)))
        }))
    }
}

/// A checked row of the table of keys.
pub(super) fn key_state(key: &[u8], value: &[u8], path: &Path) -> Result<KeyState, Fault> {
    let value = unseal(Table::Keys, key, &Bytes::copy_from_slice(value));
    value.and_then(decode_key_state).map_err(|malformed| {
        let name = String::from_utf8_lossy(key.get(1..).unwrap_or_default());
        damaged(path, &format!("key `{name}`"), &malformed)
    })
}

fn read_state(table: &ReadTable, path: &Path) -> Result<CheckpointState, Fault> {
    let value = table.get(STATE_KEY).map_err(|error| translate(path, error.into()))?;
    let value = value.ok_or_else(|| Fault::damaged(path, 0, "the state is not there"))?;
    let value = unseal(Table::State, STATE_KEY, &Bytes::copy_from_slice(value.value()));
    value.and_then(decode_state).map_err(|malformed| damaged(path, "state", &malformed))
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
