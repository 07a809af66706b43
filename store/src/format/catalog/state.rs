//! The values that the catalog keeps: the state of a checkpoint, the contents of the tables, the place of a key.

use bytes::Bytes;
use quorate_proto::{LogId, Position, Timestamp, Version};
use xxhash_rust::xxh3::xxh3_128;

use crate::format::Output;
use crate::point::Point;

/// A table of the catalog; its number enters the checksum of its values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Table {
    State = 1,
    Chunks = 2,
    Keys = 3,
    Records = 4,
    Snapshots = 5,
    Filters = 6,
    Groups = 7,
}

/// The place where a key was last seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct KeyState {
    /// The last chunk that holds the key.
    pub(crate) last_chunk: u64,
    /// For a stream the version of its last event. For another key the number of events recorded with it,
    /// which is the version it would have as a stream; 0 = not known, in a store that an early build wrote.
    pub(crate) version: Version,
}

/// The state that a checkpoint stands for: a function of the log alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct CheckpointState {
    pub(crate) cluster: [u8; 16],
    pub(crate) log: u32,
    /// The cluster's chunk size.
    pub(crate) chunk_bytes: u64,
    /// The last entry that the checkpoint contains; `None` before the first checkpoint.
    pub(crate) log_id: Option<LogId>,
    /// The membership at that entry, opaque.
    pub(crate) attachment: Bytes,
    /// The position of the last event.
    pub(crate) position: Position,
    /// Log time: the newest stamp up to that entry.
    pub(crate) recorded_at: Timestamp,
    /// The chained digest of the outcomes up to that entry.
    pub(crate) digest: u128,
    /// The number of the chunk that will be sealed next.
    pub(crate) next_chunk: u64,
}

impl CheckpointState {
    /// Returns the point that the checkpoint reaches.
    pub(crate) fn point(&self) -> Point {
        let CheckpointState { log_id, position, recorded_at, digest, .. } = *self;
        Point { log_id, position, recorded_at, digest }
    }
}

/// The contents of the tables, kept along with them. Nodes at one checkpoint may have different keys indexed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Contents {
    /// The progress of the table of keys through the dictionaries of the chunks.
    pub(crate) indexed: Indexed,
    pub(crate) keys: TableSum,
    pub(crate) records: TableSum,
    /// The number of records that are those of streams.
    pub(crate) stream_records: u64,
    pub(crate) snapshots: TableSum,
    /// The filters, one for each chunk that is not indexed.
    pub(crate) filters: TableSum,
    pub(crate) groups: TableSum,
}

/// The progress of the table of keys through the dictionaries of the chunks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Indexed {
    /// The last chunk whose keys are in the table, as are those of all chunks before it.
    pub(crate) through: u64,
    /// The chunks whose keys are now being taken into the table.
    pub(crate) round: Option<MergeRound>,
}

/// A round: chunks whose keys are being taken into the table of keys, in the order of the keys.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct MergeRound {
    /// The last of the chunks.
    pub(crate) target: u64,
    /// The last key that was taken in, encoded as by [`crate::Key::encode`]; empty before the first.
    pub(crate) after: Bytes,
}

impl Indexed {
    /// Returns the last chunk that counts in the row of a key.
    pub(crate) fn through(&self, key: &[u8]) -> u64 {
        let round = self.round.as_ref().filter(|round| key <= &*round.after);
        round.map_or(self.through, |round| round.target)
    }
}

/// The number of rows of a table, and the sum of a 128-bit hash of each: a missing or different row changes
/// them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct TableSum {
    pub(crate) rows: u64,
    pub(crate) sum: u128,
}

impl TableSum {
    /// Adds a row to the sum.
    pub(crate) fn add(&mut self, table: Table, key: &[u8], value: &[u8]) {
        self.rows += 1;
        self.sum = self.sum.wrapping_add(row_hash(table, key, value));
    }

    /// Takes a row that was added before out of the sum.
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
