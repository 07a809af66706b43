//! The block cache: blocks and pages read last from chunks, unpacked, so that reading them again costs no I/O.

use std::hash::{BuildHasherDefault, Hasher};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use lru::LruCache;

use super::open::{FileId, OpenFiles};
use crate::format::chunk::block::Block;
use crate::vfs::Vfs;

/// The cost of a read: the pieces that it looked into, and how much of them had to come from the disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReadCounters {
    /// The number of blocks of events looked into.
    pub blocks: u64,
    /// The number of pieces of the index looked into: pages of dictionaries, frames of postings.
    pub pages: u64,
    /// The number of both that came out of the cache.
    pub hits: u64,
    /// The bytes read from files for the others.
    pub bytes: u64,
    /// The bytes of blocks that this read put into the cache.
    kept: usize,
}

/// An item in the cache.
#[derive(Clone, Debug)]
pub(crate) enum Cached {
    /// A block of events, laid out, with its ids.
    Block(Arc<Block>),
    /// A piece of the index.
    Piece(Bytes),
}

impl Cached {
    /// Returns the bytes that the item takes, about, its place in the cache included.
    fn size(&self) -> usize {
        ENTRY_BYTES
            + match self {
                Cached::Block(block) => block.size(),
                Cached::Piece(piece) => piece.len(),
            }
    }
}

/// The unpacked blocks and pages of all chunks of a store that were used last, within a budget; and the open files.
///
/// Invariants: `Recent::bytes` is the sum over its entries, and at most `capacity` between calls.
#[derive(Debug)]
pub(crate) struct BlockCache {
    capacity: usize,
    files: AtomicU64,
    /// The open files; if `None`, each file stays open as long as it is in use.
    open: Option<OpenFiles>,
    recent: Mutex<Recent>,
    /// The number of blocks and pieces that were asked for.
    #[cfg(test)]
    pub(crate) requests: AtomicU64,
}

#[derive(Debug)]
struct Recent {
    bytes: usize,
    entries: LruCache<(FileId, u64), Cached, BuildHasherDefault<Spread>>,
}

/// Spreads the numbers that name a piece. Nobody outside chooses them, so that a keyed hash would protect from nothing.
#[derive(Debug, Default)]
struct Spread(u64);

impl Hasher for Spread {
    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|byte| self.write_u64(u64::from(*byte)));
    }

    fn write_u64(&mut self, number: u64) {
        // The multiplier is the golden ratio's.
        self.0 = (self.0 ^ number).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }

    fn finish(&self) -> u64 {
        // The table takes the lowest bits, and the product has its best ones at the top.
        self.0.rotate_left(26)
    }
}

/// The bytes that an entry takes beside its content.
const ENTRY_BYTES: usize = 100;

impl BlockCache {
    /// Returns an empty cache of at most `capacity` bytes; 0 keeps nothing.
    pub(crate) fn new(capacity: usize) -> Arc<BlockCache> {
        BlockCache::with(capacity, None)
    }

    /// Returns the same over files of which few are open at once.
    pub(crate) fn over(vfs: Arc<dyn Vfs>, capacity: usize) -> Arc<BlockCache> {
        BlockCache::with(capacity, Some(OpenFiles::new(vfs)))
    }

    fn with(capacity: usize, open: Option<OpenFiles>) -> Arc<BlockCache> {
        let entries = LruCache::unbounded_with_hasher(BuildHasherDefault::default());
        let recent = Mutex::new(Recent { bytes: 0, entries });
        let files = AtomicU64::new(1);
        Arc::new(BlockCache {
            capacity,
            files,
            open,
            recent,
            #[cfg(test)]
            requests: AtomicU64::new(0),
        })
    }

    /// Returns the open files, where their number is bounded.
    pub(crate) fn open_files(&self) -> Option<&OpenFiles> {
        self.open.as_ref()
    }

    /// Returns a name for a file that was just opened.
    pub(crate) fn file_id(&self) -> FileId {
        FileId(self.files.fetch_add(1, Ordering::Relaxed))
    }

    /// Returns the item at this offset of a file, if it is cached.
    pub(crate) fn get(&self, file: FileId, offset: u64) -> Option<Cached> {
        #[cfg(test)]
        self.requests.fetch_add(1, Ordering::Relaxed);
        if self.capacity == 0 {
            return None;
        }
        self.recent.lock().expect(NO_PANIC).entries.get(&(file, offset)).cloned()
    }

    /// Keeps a block, unless the read that asks has put in half of what there is room for: a read of very much, which
    /// rarely comes back to anything, then leaves the rest of the cache to the others.
    pub(crate) fn put_block(
        &self,
        file: FileId,
        offset: u64,
        block: &Arc<Block>,
        reads: &mut ReadCounters,
    ) {
        let block = Cached::Block(block.clone());
        let kept = reads.kept.saturating_add(block.size());
        if kept <= self.capacity / 2 {
            reads.kept = kept;
            self.put(file, offset, block);
        }
    }

    /// Keeps the item at this offset of a file; the items used longest ago make room.
    pub(crate) fn put(&self, file: FileId, offset: u64, content: Cached) {
        let size = content.size();
        if size > self.capacity {
            return;
        }
        let mut recent = self.recent.lock().expect(NO_PANIC);
        recent.bytes += size;
        if let Some(before) = recent.entries.put((file, offset), content) {
            recent.bytes -= before.size();
        }
        while recent.bytes > self.capacity {
            let Some((_, oldest)) = recent.entries.pop_lru() else { break };
            recent.bytes -= oldest.size();
        }
    }
}

const NO_PANIC: &str = "nobody panics while holding the lock";

#[cfg(test)]
mod tests {
    use super::*;

    fn piece(byte: u8, length: usize) -> Cached {
        Cached::Piece(Bytes::from(vec![byte; length]))
    }

    /// Returns the byte that the cached piece was made of.
    fn get(cache: &BlockCache, file: FileId, offset: u64) -> Option<u8> {
        match cache.get(file, offset)? {
            Cached::Piece(piece) => piece.first().copied(),
            Cached::Block(_) => None,
        }
    }

    #[test]
    fn what_was_used_longest_ago_makes_room() {
        let cache = BlockCache::new(3 * (ENTRY_BYTES + 10));
        let (one, other) = (cache.file_id(), cache.file_id());
        cache.put(one, 0, piece(1, 10));
        cache.put(one, 10, piece(2, 10));
        cache.put(other, 0, piece(3, 10));
        assert_eq!(get(&cache, one, 0), Some(1));
        cache.put(other, 10, piece(4, 10));
        assert_eq!(get(&cache, one, 10), None);
        assert_eq!(get(&cache, one, 0), Some(1));
        assert_eq!(get(&cache, other, 0), Some(3));
        assert_eq!(get(&cache, other, 10), Some(4));
    }

    #[test]
    fn what_does_not_fit_is_not_kept() {
        let cache = BlockCache::new(ENTRY_BYTES + 10);
        let file = cache.file_id();
        cache.put(file, 0, piece(1, 11));
        assert_eq!(get(&cache, file, 0), None);
        for byte in 0..100 {
            cache.put(file, 0, piece(byte, 10));
        }
        assert_eq!(get(&cache, file, 0), Some(99));
    }
}
