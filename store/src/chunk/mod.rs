//! Chunks: immutable files of consecutive events, each with its own index.

mod blocks;
mod draft;
mod file;
mod index;
mod keys;
mod postings;
mod reader;
mod rewrite;
mod scrub;
#[cfg(test)]
mod tests;
mod verify;
mod writer;

use std::path::{Path, PathBuf};

use quorate_proto::{Position, Timestamp, Version};

use crate::Key;
use crate::catalog::KeyState;

pub(crate) use reader::Chunk;
pub(crate) use rewrite::rewrite;
pub(crate) use verify::{ChunkKey, verify_alone};
pub(crate) use writer::write;

/// The identity of a chunk, whatever it holds; it enters every checksum of the chunk's file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ChunkIdentity {
    pub(crate) cluster: [u8; 16],
    pub(crate) log: u32,
    /// The number of the chunk: 1, 2, 3 …
    pub(crate) number: u64,
}

/// The catalog's data about a chunk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChunkSummary {
    /// The number of the chunk: 1, 2, 3 …
    pub number: u64,
    /// The first position that the chunk covers.
    pub first_position: Position,
    /// The last position that the chunk covers.
    pub last_position: Position,
    /// The time at which the first event was recorded.
    pub first_recorded_at: Timestamp,
    /// The time at which the last event was recorded.
    pub last_recorded_at: Timestamp,
    /// The sum of a 128-bit hash of each event, removed ones included: alike on every node.
    pub digest: u128,
}

/// A chunk that was written, with its keys for the catalog.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Written {
    pub(crate) summary: ChunkSummary,
    /// Every key of the chunk, sorted, as [`crate::catalog::Catalog::commit`] takes it.
    pub(crate) keys: Vec<(Key, KeyState)>,
}

/// The places of a key's events in a chunk.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Posting {
    /// The ordinals, ascending; an ordinal is the position less the first position of the chunk.
    pub(crate) ordinals: Vec<u32>,
    /// For a stream the version of its first event here.
    pub(crate) first_version: Option<Version>,
    /// The last chunk before this one that holds the key.
    pub(crate) previous: Option<u64>,
}

/// Returns the path of a chunk in the folder of chunks.
pub(crate) fn path(directory: &Path, number: u64) -> PathBuf {
    directory.join(format!("chunk-{number:010}"))
}
