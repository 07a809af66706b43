//! Chunks: immutable files of consecutive events, each with its own index.
#![allow(clippy::unimplemented, dead_code, unused_variables, reason = "bodies follow")]

use std::borrow::Borrow;
use std::ops::Range;
use std::path::{Path, PathBuf};

use quorate_proto::{EventId, Position, Timestamp, Version};

use crate::catalog::KeyState;
use crate::vfs::Vfs;
use crate::{Fault, Key, StoredEvent};

/// What a chunk is, whatever it holds; tied into every checksum of its file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ChunkIdentity {
    pub(crate) cluster: [u8; 16],
    pub(crate) log: u32,
    /// 1, 2, 3 …
    pub(crate) number: u64,
}

/// What the catalog keeps of a chunk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChunkSummary {
    /// 1, 2, 3 …
    pub number: u64,
    /// The first position it covers.
    pub first_position: Position,
    /// The last position it covers.
    pub last_position: Position,
    /// When the first event was recorded.
    pub first_recorded_at: Timestamp,
    /// When the last event was recorded.
    pub last_recorded_at: Timestamp,
    /// The sum of a 128-bit hash of each event: alike on every node.
    pub digest: u128,
    /// The length of the file on this node, in bytes.
    pub bytes: u64,
}

/// A chunk that was written, and what the catalog must learn about its keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Written {
    pub(crate) summary: ChunkSummary,
    /// Every key of the chunk, sorted, as [`crate::catalog::Catalog::commit`] takes it.
    pub(crate) keys: Vec<(Key, KeyState)>,
}

/// Where a chunk holds the events of a key.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Posting {
    /// Ascending; an ordinal is the position less the chunk's first.
    pub(crate) ordinals: Vec<u32>,
    /// Of a stream: the version of its first event here.
    pub(crate) first_version: Option<Version>,
    /// The last chunk before this one that holds the key.
    pub(crate) previous: Option<u64>,
}

/// The path of a chunk in the folder of chunks.
pub(crate) fn path(directory: &Path, number: u64) -> PathBuf {
    directory.join(format!("chunk-{number:010}"))
}

/// Writes a chunk of consecutive events (at least one). On return the file and its name are durable.
///
/// `previous` is asked once for every key, in ascending order. A file of that number, left by a crash
/// before the catalog knew it, is replaced.
pub(crate) fn write(
    vfs: &dyn Vfs,
    directory: &Path,
    identity: &ChunkIdentity,
    events: impl IntoIterator<Item: Borrow<StoredEvent>>,
    previous: &mut dyn FnMut(&Key) -> Result<Option<u64>, Fault>,
) -> Result<Written, Fault> {
    unimplemented!()
}

/// An open chunk. Keeps footer, block index and a sparse index of the dictionary in memory; everything else
/// is read when asked for, and checked every time.
#[derive(Debug)]
pub(crate) struct Chunk {}

impl Chunk {
    /// Opens the file at `path` and checks that it is the chunk that the catalog speaks of.
    pub(crate) fn open(
        vfs: &dyn Vfs,
        path: &Path,
        identity: &ChunkIdentity,
        expected: &ChunkSummary,
    ) -> Result<Chunk, Fault> {
        unimplemented!()
    }

    /// What the catalog keeps of it.
    pub(crate) fn summary(&self) -> &ChunkSummary {
        unimplemented!()
    }

    /// Where the events of a key are; `None` if the chunk holds none.
    pub(crate) fn find(&self, key: &Key) -> Result<Option<Posting>, Fault> {
        unimplemented!()
    }

    /// The events at these ascending ordinals, up to the first that brings their bodies to `budget_bytes`,
    /// so at least one. Ordinals that the chunk does not hold are passed over.
    pub(crate) fn read(
        &self,
        ordinals: impl IntoIterator<Item = u32>,
        budget_bytes: usize,
    ) -> Result<Vec<StoredEvent>, Fault> {
        unimplemented!()
    }

    /// The ids of all events, in order.
    pub(crate) fn ids(&self) -> Result<Vec<EventId>, Fault> {
        unimplemented!()
    }

    /// Ordinals outside which nothing was recorded between these times (inclusive); costs no I/O and may be
    /// wider than need be by a block on either side.
    pub(crate) fn ordinals_between(
        &self,
        from: Option<Timestamp>,
        until: Option<Timestamp>,
    ) -> Range<u32> {
        unimplemented!()
    }

    /// Checks every byte of the file and counts its events.
    pub(crate) fn verify(&self) -> Result<u64, Fault> {
        unimplemented!()
    }
}
