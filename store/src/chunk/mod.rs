//! Chunks: immutable files of consecutive events, each with its own index.
//!
//! A chunk knows no other: a key's last chunk before comes in as a number, and goes out as one. The room uses the
//! formats, the files and the block cache, and neither the catalog nor the view.

mod ahead;
mod blocks;
mod draft;
mod file;
mod index;
mod keys;
mod merge;
mod postings;
mod reader;
mod rewrite;
mod scrub;
#[cfg(test)]
mod tests;
mod verify;
mod writer;

use quorate_proto::Version;

pub(crate) use keys::KeyFinder;
pub(crate) use merge::Merge;
pub(crate) use reader::Chunk;
pub(crate) use rewrite::rewrite;
pub(crate) use verify::{ChunkKey, verify_alone};
pub(crate) use writer::{KeyEvents, write};

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
