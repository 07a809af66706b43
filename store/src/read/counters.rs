//! What a read cost.

/// What a read took from chunks: from the disk or from the cache of blocks. Tails cost nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReadCounters {
    /// Blocks of events looked into.
    pub blocks: u64,
    /// Pages of dictionaries looked into.
    pub pages: u64,
    /// Bytes read from files for them; what the cache had counts nothing.
    pub bytes: u64,
}
