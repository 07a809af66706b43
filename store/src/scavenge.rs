//! Scavenging: chunks are written anew without the events that no reader can see any more.

#![expect(clippy::unimplemented, reason = "lands next")]

use std::sync::Arc;

use quorate_proto::LogIndex;

use crate::chunk::Chunk;
use crate::fault::Fault;
use crate::store::Store;

/// A scavenge under way, below the floors of the checkpoint that was the newest durable one when it began.
/// It runs beside the store, wherever; what it rewrites goes to [`Store::put_scavenged`]. Dropped, it leaves
/// nothing behind but chunks that are whole.
#[derive(Debug)]
pub struct Scavenge {
    checkpoint: LogIndex,
}

impl Scavenge {
    /// The log index of the checkpoint whose floors are obeyed.
    pub fn checkpoint(&self) -> LogIndex {
        self.checkpoint
    }

    /// How many chunks are still to be looked at.
    pub fn remaining(&self) -> usize {
        unimplemented!()
    }

    /// Looks at one chunk and writes it anew if enough would go: the time of reading and writing one chunk, at
    /// most. What was written is durable, but counts only after [`Store::put_scavenged`].
    ///
    /// Errors: a chunk or the catalog that cannot be read (the caller tells [`Store::note_damage`]; the next
    /// step goes on behind that chunk), or the disk that cannot be written to.
    pub fn step(&mut self) -> Result<ScavengeStep, Fault> {
        unimplemented!()
    }
}

/// What a step of a scavenge did.
#[derive(Debug)]
pub enum ScavengeStep {
    /// The chunk of this number stays as it is: nothing, or too little, would go.
    Kept(u64),
    /// A chunk was written anew; goes to [`Store::put_scavenged`].
    Rewritten(Scavenged),
    /// All chunks were looked at.
    Done,
}

/// A chunk that was written anew, beside the one in use.
#[derive(Debug)]
pub struct Scavenged {
    number: u64,
    events_removed: u64,
    bytes_before: u64,
    bytes_after: u64,
    #[expect(dead_code, reason = "lands next")]
    source: Arc<Chunk>,
}

impl Scavenged {
    /// The chunk's number.
    pub fn number(&self) -> u64 {
        self.number
    }

    /// How many events leave the disk.
    pub fn events_removed(&self) -> u64 {
        self.events_removed
    }

    /// The length of the file in use.
    pub fn bytes_before(&self) -> u64 {
        self.bytes_before
    }

    /// The length of the new file.
    pub fn bytes_after(&self) -> u64 {
        self.bytes_after
    }
}

impl Store {
    /// Begins a scavenge below the floors of the newest durable checkpoint; `None` before the first, or
    /// without a chunk. One at a time: the caller sees to it.
    pub fn begin_scavenge(&self) -> Option<Scavenge> {
        unimplemented!()
    }

    /// Puts a chunk that was written anew in the place of the one that it was made of. Open scans keep what
    /// they read. If that one is not in use any more (a repair overtook the scavenge), nothing happens.
    pub fn put_scavenged(&mut self, _scavenged: Scavenged) {
        unimplemented!()
    }
}
