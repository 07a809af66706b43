//! The settings of a store.

use crate::format::chunk::ChunkIdentity;

/// The settings of a store: those that must be the same whenever its folder is opened, and bounds of memory.
#[derive(Clone, Debug)]
pub struct Options {
    /// The cluster's id; it stands in every file.
    pub cluster: [u8; 16],
    /// The number of the log within the cluster; it stands in every file.
    pub log: u32,
    /// The bytes of commands, as proposed, after which a chunk is sealed; each key of each event, and each required
    /// stream, adds [`quorate_proto::limits::KEY_BYTES`]. The same on all replicas.
    pub chunk_bytes: u64,
    /// A random number that no client knows. Tables in memory hash names by it, so that nobody can choose names that
    /// collide; nothing else depends on it.
    pub hash_seed: [u8; 16],
    /// Bytes of memory for the heads of streams, beside those of the tail: 29 for each and the length of its name. While
    /// the heads of all streams have room, an append to any stream, old or new, reads no disk.
    pub head_cache_bytes: usize,
    /// Bytes of memory for the blocks of chunks that were read last, unpacked; 0 keeps none.
    pub block_cache_bytes: usize,
    /// Bytes of memory for pages of the catalog.
    pub catalog_cache_bytes: usize,
    /// Bytes of memory for the filters of chunks whose keys are not in the catalog's table yet, about 1.5 for
    /// each key; exceeded for a while when chunks come faster than their keys are moved to the table. The
    /// larger it is, the fewer bytes are written for each key.
    pub filter_bytes: usize,
}

impl Options {
    /// Returns the identity of the chunk with this number.
    pub(crate) fn identity(&self, number: u64) -> ChunkIdentity {
        ChunkIdentity { cluster: self.cluster, log: self.log, number }
    }
}
