//! Blocks that a read will need, told to the system while it waits for the device anyhow.

use std::iter::Peekable;

/// The most blocks of which the system is told before the first of them is read: at 16 KiB, one MiB.
const BLOCKS_MAX: usize = 64;

/// The ordinals of a read from the first block on that the system was not told of yet.
///
/// The events of one stream may lie in hundreds of blocks of a chunk. To fetch them one after the other takes the time
/// of the device for each; told of them together, it fetches many at once.
#[derive(Debug)]
pub(super) struct Ahead<I: Iterator<Item = u32>> {
    ordinals: Peekable<I>,
    /// The number of blocks that lie before the rest of the ordinals.
    passed: usize,
}

impl<I: Iterator<Item = u32>> Ahead<I> {
    /// Begins before the first block of a read of these ascending ordinals.
    pub(super) fn of(ordinals: I) -> Ahead<I> {
        Ahead { ordinals: ordinals.peekable(), passed: 0 }
    }

    /// Shows the block that the read needs now, the one after `read` others, and those that follow it, each once. `show`
    /// is given an ordinal of the block, and whether it is one of these; it returns the ordinal that ends the block.
    pub(super) fn tell(&mut self, read: usize, mut show: impl FnMut(u32, bool) -> Option<u32>) {
        while self.passed < read.saturating_add(BLOCKS_MAX)
            && let Some(ordinal) = self.ordinals.peek()
            && let Some(end) = show(*ordinal, self.passed >= read)
        {
            while self.ordinals.next_if(|ordinal| *ordinal < end).is_some() {}
            self.passed += 1;
        }
    }
}
