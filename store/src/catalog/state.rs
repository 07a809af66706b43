//! What a checkpoint stands for, what the catalog's tables hold, and what a commit puts into them.

use std::sync::Arc;

use bytes::Bytes;
use quorate_proto::{LogId, Position, Scope, StreamName, Timestamp, Version};
use xxhash_rust::xxh3::xxh3_128;

use super::filter::Filter;
use crate::chunk::ChunkSummary;
use crate::format::Output;
use crate::format::catalog::Table;
use crate::group::Row;

/// Where a key was last seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct KeyState {
    /// The last chunk that holds it.
    pub(crate) last_chunk: u64,
    /// Of a stream: the version of its last event. Of another key: how many events were recorded with it, the
    /// version that it would be at if it were a stream; 0 = not known, of a store that an early build wrote.
    pub(crate) version: Version,
}

/// What a checkpoint stands for: a function of the log alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct CheckpointState {
    pub(crate) cluster: [u8; 16],
    pub(crate) log: u32,
    /// The cluster's chunk size.
    pub(crate) chunk_bytes: u64,
    /// The last entry that it contains; `None` before the first checkpoint.
    pub(crate) log_id: Option<LogId>,
    /// The membership at that entry, opaque.
    pub(crate) attachment: Bytes,
    /// The last event's position.
    pub(crate) position: Position,
    /// Log time: the newest stamp up to that entry.
    pub(crate) recorded_at: Timestamp,
    /// The chained digest of the outcomes up to that entry.
    pub(crate) digest: u128,
    /// The number of the chunk that will be sealed next.
    pub(crate) next_chunk: u64,
}

/// What the tables hold, kept along with them. Nodes at one checkpoint may differ in what is indexed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Contents {
    /// How far the table of keys has taken in the dictionaries of the chunks.
    pub(crate) indexed: Indexed,
    pub(crate) keys: TableSum,
    pub(crate) records: TableSum,
    /// How many of the records are those of streams.
    pub(crate) stream_records: u64,
    pub(crate) snapshots: TableSum,
    /// One for each chunk that is not indexed.
    pub(crate) filters: TableSum,
    pub(crate) groups: TableSum,
}

/// How far the table of keys has taken in the dictionaries of the chunks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Indexed {
    /// The last chunk whose keys, and those of all before it, are in the table.
    pub(crate) through: u64,
    /// The chunks that are being taken in.
    pub(crate) round: Option<Round>,
}

/// Chunks that are being taken into the table of keys, in the order of the keys.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Round {
    /// The last of the chunks.
    pub(crate) target: u64,
    /// The last key, as [`crate::Key::encode`] has it, that was taken in; empty before the first.
    pub(crate) after: Bytes,
}

impl Indexed {
    /// The last chunk that counts in the row of a key.
    pub(crate) fn through(&self, key: &[u8]) -> u64 {
        let round = self.round.as_ref().filter(|round| key <= &*round.after);
        round.map_or(self.through, |round| round.target)
    }
}

/// How many rows a table has, and the sum of a 128-bit hash of each: a table that lacks a row, or has
/// another, does not have the same.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct TableSum {
    pub(crate) rows: u64,
    pub(crate) sum: u128,
}

impl TableSum {
    /// Counts a row in.
    pub(crate) fn add(&mut self, table: Table, key: &[u8], value: &[u8]) {
        self.rows += 1;
        self.sum = self.sum.wrapping_add(row_hash(table, key, value));
    }

    /// Counts out a row that was counted in.
    pub(crate) fn remove(&mut self, table: Table, key: &[u8], value: &[u8]) {
        self.rows = self.rows.saturating_sub(1);
        self.sum = self.sum.wrapping_sub(row_hash(table, key, value));
    }
}

fn row_hash(table: Table, key: &[u8], value: &[u8]) -> u128 {
    let mut row = Vec::with_capacity(key.len() + value.len() + 8);
    row.put_u8(table as u8);
    row.put_varint(key.len() as u64);
    row.put(key);
    row.put(value);
    xxh3_128(&row)
}

/// What a commit makes durable, all or nothing.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Commit<'a> {
    pub(crate) state: &'a CheckpointState,
    /// The chunk, and the filter of its keys.
    pub(crate) new_chunk: Option<(&'a ChunkSummary, &'a Arc<Filter>)>,
    pub(crate) fold: &'a Fold,
    /// What changes left behind, opaque; `None` removes.
    pub(crate) records: &'a [(Scope, Option<Bytes>)],
    /// Aggregate snapshots, opaque; `None` removes.
    pub(crate) snapshots: &'a [(StreamName, Option<Bytes>)],
    /// What changed of consumer groups.
    pub(crate) groups: &'a [Row],
}

/// Keys of chunks that are taken into the table of keys.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Fold {
    /// Sorted by the key, which is as [`crate::Key::encode`] has it.
    pub(crate) keys: Vec<(Vec<u8>, KeyState)>,
    /// What is indexed once the keys are in.
    pub(crate) indexed: Indexed,
}
