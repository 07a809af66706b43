//! The content of one file: as programs see it, the durable one, and the changes between.

use std::collections::BTreeMap;

/// A sector is written whole or not at all.
const SECTOR: usize = 512;

/// A change that was made but not synced.
#[derive(Clone, Debug)]
enum Change {
    Write {
        offset: usize,
        bytes: Vec<u8>,
    },
    /// From `before` to `after` bytes.
    Resize {
        before: usize,
        after: usize,
    },
}

/// The content of a file.
///
/// Invariants:
/// - without a failed sync, `live` is `durable` with all `pending` changes made, in order.
#[derive(Clone, Debug, Default)]
pub(super) struct Content {
    live: Vec<u8>,
    durable: Vec<u8>,
    pending: Vec<Change>,
}

impl Content {
    pub(super) fn len(&self) -> usize {
        self.live.len()
    }

    /// Fills the buffer; `None` if the file ends before.
    pub(super) fn read(&self, buffer: &mut [u8], offset: usize) -> Option<()> {
        let end = offset.checked_add(buffer.len())?;
        buffer.copy_from_slice(self.live.get(offset..end)?);
        Some(())
    }

    pub(super) fn write(&mut self, bytes: &[u8], offset: usize) {
        put(&mut self.live, bytes, offset);
        self.pending.push(Change::Write { offset, bytes: bytes.to_vec() });
    }

    pub(super) fn resize(&mut self, after: usize) {
        let before = self.live.len();
        self.live.resize(after, 0);
        self.pending.push(Change::Resize { before, after });
    }

    pub(super) fn sync(&mut self) {
        for change in self.pending.drain(..) {
            match change {
                Change::Write { offset, bytes } => put(&mut self.durable, &bytes, offset),
                Change::Resize { after, .. } => self.durable.resize(after, 0),
            }
        }
    }

    /// Makes a failed sync: the cache counts as clean all the same, as with ext4, XFS and Btrfs, and programs
    /// go on reading changes that never become durable.
    pub(super) fn lose_pending(&mut self) {
        self.pending.clear();
    }

    /// Restarts after a power cut: changes that were not synced are lost.
    pub(super) fn keep_durable(&mut self) {
        self.pending.clear();
        self.live.clone_from(&self.durable);
    }

    /// Restarts after a kill of the program alone: all changes are there.
    pub(super) fn keep_everything(&mut self) {
        self.sync();
        self.live.clone_from(&self.durable);
    }

    /// Restarts after a power cut: each sector holds what it held at some moment since the last sync, and so
    /// does the length, each independent of all others.
    pub(super) fn keep_some(&mut self, dice: &mut Dice) {
        let lengths = self.lengths();
        let mut touched: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
        for (index, change) in self.pending.iter().enumerate() {
            let (from, to) = change.range();
            for sector in from / SECTOR..to.div_ceil(SECTOR) {
                touched.entry(sector).or_default().push(index);
            }
        }
        let len = lengths[dice.below(lengths.len())];
        let space = lengths.iter().copied().max().unwrap_or(0);
        self.durable.resize(space, 0);
        for (sector, changes) in touched {
            let survive = dice.part_of(changes.len());
            for index in changes.into_iter().take(survive) {
                self.pending[index].make_in(&mut self.durable, sector);
            }
        }
        self.durable.resize(len, 0);
        self.keep_durable();
    }

    /// Returns the durable length, and the length after each pending change.
    fn lengths(&self) -> Vec<usize> {
        let mut len = self.durable.len();
        let mut lengths = vec![len];
        for change in &self.pending {
            len = match change {
                Change::Write { offset, bytes } => len.max(offset + bytes.len()),
                Change::Resize { after, .. } => *after,
            };
            lengths.push(len);
        }
        lengths
    }

    /// Damages the durable content and the cache alike; `false` if there is no such byte.
    pub(super) fn flip_bit(&mut self, byte: usize, bit: u8) -> bool {
        if byte >= self.live.len() {
            return false;
        }
        for bytes in [&mut self.live, &mut self.durable] {
            if let Some(byte) = bytes.get_mut(byte) {
                *byte ^= 1 << (bit % 8);
            }
        }
        true
    }

    /// Cuts the file off, in the durable content and in the cache alike.
    pub(super) fn truncate(&mut self, len: usize) {
        self.sync();
        self.live.truncate(len);
        self.durable.truncate(len);
    }

    pub(super) fn bytes(&self) -> Vec<u8> {
        self.live.clone()
    }
}

impl Change {
    /// Returns the range of bytes that the change touches.
    fn range(&self) -> (usize, usize) {
        match self {
            Change::Write { offset, bytes } => (*offset, offset + bytes.len()),
            Change::Resize { before, after } => (*before.min(after), *before.max(after)),
        }
    }

    /// Makes the part of the change that lies in one sector.
    fn make_in(&self, content: &mut [u8], sector: usize) {
        let (from, to) = self.range();
        let start = from.max(sector * SECTOR);
        let end = to.min((sector + 1) * SECTOR);
        match self {
            Change::Write { offset, bytes } => {
                content[start..end].copy_from_slice(&bytes[start - offset..end - offset]);
            }
            Change::Resize { .. } => {
                let end = end.min(content.len());
                content[start..end].fill(0);
            }
        }
    }
}

fn put(content: &mut Vec<u8>, bytes: &[u8], offset: usize) {
    let end = offset + bytes.len();
    if content.len() < end {
        content.resize(end, 0);
    }
    content[offset..end].copy_from_slice(bytes);
}

/// Pseudo-random numbers from a seed: SplitMix64 (Steele, Lea, Flood, "Fast Splittable Pseudorandom Number
/// Generators", OOPSLA 2014).
#[derive(Debug)]
pub(super) struct Dice {
    state: u64,
}

impl Dice {
    pub(super) fn new(seed: u64) -> Dice {
        Dice { state: seed }
    }

    pub(super) fn roll(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.state ^ (self.state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// Returns a number from 0 to `bound` - 1; 0 if `bound` is 0.
    pub(super) fn below(&mut self, bound: usize) -> usize {
        (self.roll() % bound.max(1) as u64) as usize
    }

    /// Returns a number from 0 to `whole`; the ends are likelier than the numbers between.
    pub(super) fn part_of(&mut self, whole: usize) -> usize {
        match self.below(4) {
            0 => 0,
            1 => whole,
            _ => self.below(whole + 1),
        }
    }
}
