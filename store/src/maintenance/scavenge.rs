//! Scavenging: chunks are written anew without the events that no reader can see any more.
//!
//! A node scavenges whenever it likes, and other nodes need not. The removed events were below the floor of
//! their stream, so that no read and no condition would have looked at them. While a retry may still be
//! compared with a removed event, its place and its id stay (a *stub*).
//!
//! The floors are those of the newest durable checkpoint, not those of later entries: after a restart the
//! entries after the checkpoint are applied again, and must find what they found the first time. The new file
//! names that checkpoint, so that the file is never given to a node whose own checkpoint is older.

use std::sync::Arc;

use quorate_proto::limits::RETRY_WINDOW;
use quorate_proto::{LogIndex, Position, StreamName};

use crate::checkpoint::open_chunk;
use crate::chunk::{self, Chunk};
use crate::fault::Fault;
use crate::files::Folder;
use crate::options::Options;
use crate::retention::Floors;
use crate::store::Store;
use crate::view::{ChunkSlot, Shared, View};

/// A scavenge under way: one pass over all chunks that there were when it began. It may run on any thread;
/// rewritten chunks go to [`Store::put_scavenged`]. If it is dropped, it leaves only whole chunks.
///
/// Between steps it holds on to no chunk and no checkpoint, so that it may be arbitrarily slow.
#[derive(Debug)]
pub struct Scavenge {
    folder: Folder,
    options: Options,
    shared: Arc<Shared>,
    /// The number of the next chunk.
    next: u64,
    /// The number of the last chunk.
    last: u64,
}

impl Scavenge {
    /// The number of chunks that are still to be looked at.
    pub fn remaining(&self) -> u64 {
        (self.last + 1).saturating_sub(self.next)
    }

    /// Looks at one chunk and rewrites it if at least one event can be removed, as deleted events must leave
    /// the disk. To remove stubs alone it rewrites a chunk once, when all of it lies outside of the retry
    /// window. A step takes at most the time to read and write one chunk and to look up its streams, and the
    /// memory of its index. Chunks that are known to be damaged are passed over.
    ///
    /// The new file is durable on return, in the place of the old one; after a power cut either of them is
    /// there. [`Store::put_scavenged`] makes the open store use it.
    ///
    /// Errors: if [`Fault::is_damage`], a damaged chunk (to be given to [`Store::note_damage`]; the next step
    /// goes on with the chunk after it) or a damaged catalog; else the disk refused.
    pub fn step(&mut self) -> Result<ScavengeStep, Fault> {
        let number = self.next;
        if number > self.last {
            return Ok(ScavengeStep::Done);
        }
        self.next += 1;
        let view = self.shared.get().view;
        match view.slot(number) {
            Some(ChunkSlot::Whole(chunk)) => self.scavenge(&view, chunk),
            _ => Ok(ScavengeStep::Kept(number)),
        }
    }

    fn scavenge(&self, view: &View, source: &Arc<Chunk>) -> Result<ScavengeStep, Fault> {
        let number = source.summary().number;
        let state = view.catalog.state();
        let Some(log_id) = state.log_id else { return Ok(ScavengeStep::Kept(number)) };
        let mut floors = Floors::at(state.point());
        let mut cut = |stream: &StreamName| floors.floor(view, stream);
        let keep_stub_from = Position(state.position.0.saturating_sub(RETRY_WINDOW)).next();
        let (vfs, directory) = (&*self.folder.vfs, &self.folder.chunks);
        let (identity, index) = (self.options.identity(number), log_id.index);
        let written =
            chunk::rewrite(vfs, directory, &identity, source, &mut cut, keep_stub_from, index)?;
        let Some(summary) = written else { return Ok(ScavengeStep::Kept(number)) };
        let chunk = open_chunk(&self.folder, &self.options, &summary)?;
        let source = source.clone();
        Ok(ScavengeStep::Rewritten(Scavenged { source, chunk, checkpoint: index }))
    }
}

/// The result of a step of a scavenge.
#[derive(Debug)]
pub enum ScavengeStep {
    /// The chunk of this number stays as it is.
    Kept(u64),
    /// A chunk was rewritten; to be given to [`Store::put_scavenged`].
    Rewritten(Scavenged),
    /// All chunks have been looked at.
    Done,
}

/// A rewritten chunk, and the chunk that it was made from.
#[derive(Debug)]
pub struct Scavenged {
    source: Arc<Chunk>,
    chunk: Arc<Chunk>,
    checkpoint: LogIndex,
}

impl Scavenged {
    /// The chunk's number.
    pub fn number(&self) -> u64 {
        self.chunk.summary().number
    }

    /// The log index of the checkpoint whose floors decided which events were removed.
    pub fn checkpoint(&self) -> LogIndex {
        self.checkpoint
    }

    /// The number of events that were removed.
    pub fn events_removed(&self) -> u64 {
        u64::from(self.source.count() - self.chunk.count())
    }

    /// The length of the old file.
    pub fn bytes_before(&self) -> u64 {
        self.source.bytes()
    }

    /// The length of the new file.
    pub fn bytes_after(&self) -> u64 {
        self.chunk.bytes()
    }
}

impl Store {
    /// Begins a scavenge below the floors of the newest durable checkpoint; `None` if there is no chunk. The
    /// caller must not begin a second scavenge while one is under way.
    pub fn begin_scavenge(&self) -> Option<Scavenge> {
        let last = self.view.chunks.last()?.summary().number;
        let (folder, options) = (self.folder.clone(), self.options.clone());
        Some(Scavenge { folder, options, shared: self.shared.clone(), next: 1, last })
    }

    /// Reads from a rewritten chunk from now on. Open scans keep what they read. Does nothing if the chunk
    /// that it was made from is not in use any more, because an install or a repair came in between.
    pub fn put_scavenged(&mut self, scavenged: Scavenged) {
        let number = scavenged.number();
        if let Some(ChunkSlot::Whole(current)) = self.view.slot(number)
            && Arc::ptr_eq(current, &scavenged.source)
        {
            self.put_slot(ChunkSlot::Whole(scavenged.chunk));
        }
    }
}
