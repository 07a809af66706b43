//! Names of streams and what is remembered of them, close together in memory.

use std::collections::HashMap;

use quorate_proto::Version;

use crate::view::StreamHead;
use crate::view::hash::Slots;

const PIECE_BYTES: usize = 4096;
/// The bytes of an entry before its name: the length of the name, the version and the chunk.
const FIXED_BYTES: usize = 1 + 8 + 4;
/// The bytes that an entry takes in the table of slots, about.
const SLOT_BYTES: usize = 16;
const PLACE_BITS: u32 = PIECE_BYTES.trailing_zeros();

/// A stream as it was when the last tail that named it was sealed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Known {
    pub(super) head: StreamHead,
    /// The last chunk that holds the stream; 0 = not known.
    pub(super) last_chunk: u32,
}

/// Entries that are added and changed, but never removed one by one. An entry has the whole name: no hash is trusted.
///
/// Invariant: a name stands in it once, and each slot leads to the beginning of an entry.
#[derive(Debug, Default)]
pub(super) struct Table {
    slots: Slots,
    pieces: Vec<Vec<u8>>,
    /// The version at the last delete, and true if the stream was closed: few streams have either.
    ends: HashMap<u32, (Version, bool)>,
    bytes: usize,
}

impl Table {
    /// Returns the bytes that all entries take, about.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Returns the bytes that an entry of this name takes, about.
    pub(super) fn bytes_of(name: &str) -> usize {
        FIXED_BYTES + name.len() + SLOT_BYTES
    }

    /// Returns the place of a stream that has this hash.
    pub(super) fn find(&self, hash: u64, name: &str) -> Option<u32> {
        self.slots.find(hash, |place| self.name(place) == Some(name.as_bytes()))
    }

    /// Returns what is known of the stream at a place.
    pub(super) fn get(&self, place: u32) -> Option<Known> {
        let (_, version, last_chunk) = split(self.entry(place)?)?;
        let (deleted, closed) = match self.ends.is_empty() {
            true => (Version::ZERO, false),
            false => self.ends.get(&place).copied().unwrap_or_default(),
        };
        let head = StreamHead { version: Version(version), deleted, closed };
        Some(Known { head, last_chunk })
    }

    /// Replaces what is known of the stream at a place.
    pub(super) fn set(&mut self, place: u32, known: Known) {
        let (piece, offset) = split_place(place);
        let entry = self.pieces.get_mut(piece).and_then(|piece| piece.get_mut(offset..));
        if let Some(fixed) = entry.and_then(|entry| entry.get_mut(1..FIXED_BYTES)) {
            let (version, last_chunk) = fixed.split_at_mut(8);
            version.copy_from_slice(&known.head.version.0.to_le_bytes());
            last_chunk.copy_from_slice(&known.last_chunk.to_le_bytes());
        }
        self.set_end(place, known.head);
    }

    /// Adds a stream that is not here.
    pub(super) fn insert(&mut self, hash: u64, name: &str, known: Known) {
        let Ok(length) = u8::try_from(name.len()) else { return };
        let room = |piece: &Vec<u8>| piece.len() + FIXED_BYTES + name.len() <= PIECE_BYTES;
        if !self.pieces.last().is_some_and(room) {
            self.pieces.push(Vec::with_capacity(PIECE_BYTES));
        }
        let index = self.pieces.len() - 1;
        let Some(piece) = self.pieces.last_mut() else { return };
        let place = (index << PLACE_BITS | piece.len()) as u32;
        piece.push(length);
        piece.extend_from_slice(&known.head.version.0.to_le_bytes());
        piece.extend_from_slice(&known.last_chunk.to_le_bytes());
        piece.extend_from_slice(name.as_bytes());
        self.slots.insert(hash, place);
        self.bytes += Table::bytes_of(name);
        self.set_end(place, known.head);
    }

    fn set_end(&mut self, place: u32, head: StreamHead) {
        if head.deleted != Version::ZERO || head.closed {
            self.ends.insert(place, (head.deleted, head.closed));
        } else if !self.ends.is_empty() {
            self.ends.remove(&place);
        }
    }

    fn name(&self, place: u32) -> Option<&[u8]> {
        split(self.entry(place)?).map(|(name, _, _)| name)
    }

    fn entry(&self, place: u32) -> Option<&[u8]> {
        let (piece, offset) = split_place(place);
        self.pieces.get(piece)?.get(offset..)
    }
}

fn split_place(place: u32) -> (usize, usize) {
    ((place >> PLACE_BITS) as usize, place as usize % PIECE_BYTES)
}

/// Splits the bytes from the beginning of an entry on into name, version and chunk.
fn split(entry: &[u8]) -> Option<(&[u8], u64, u32)> {
    let (length, rest) = entry.split_first()?;
    let (version, rest) = rest.split_first_chunk()?;
    let (last_chunk, rest) = rest.split_first_chunk()?;
    let name = rest.get(..usize::from(*length))?;
    Some((name, u64::from_le_bytes(*version), u32::from_le_bytes(*last_chunk)))
}
