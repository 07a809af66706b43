//! Scavenging: chunks are written anew without the events that no reader can see any more.
//!
//! A node scavenges whenever it likes, and others need not: what is gone was below the floor of its stream, so
//! that no read and no condition would have looked at it, and while a retry may still be compared with it, its
//! place and its id stay (a *stub*).
//!
//! Floors are those of the newest durable checkpoint, never those of what was applied since: after a restart
//! the entries behind the checkpoint are applied again, and must find what they found the first time. Which
//! checkpoint it was stands in the new file, so that it is never given to a node whose own is older.

use std::sync::Arc;

use quorate_proto::limits::RETRY_WINDOW;
use quorate_proto::{LogIndex, Position, StreamName};

use crate::checkpoint::open_chunk;
use crate::chunk::{self, Chunk};
use crate::fault::Fault;
use crate::folder::Folder;
use crate::life::Floors;
use crate::slot::ChunkSlot;
use crate::store::{Options, Store, point_of};
use crate::view::{Shared, View};

/// A scavenge under way: once over all chunks that there were when it began. It runs beside the store, wherever;
/// what it rewrites goes to [`Store::put_scavenged`]. Dropped, it leaves nothing behind but chunks that are whole.
///
/// Between steps it holds on to no chunk and no checkpoint, so that it may be as slow as one likes.
#[derive(Debug)]
pub struct Scavenge {
    folder: Folder,
    options: Options,
    shared: Arc<Shared>,
    /// The chunk that is next.
    next: u64,
    /// The last chunk of all.
    last: u64,
}

impl Scavenge {
    /// How many chunks are still to be looked at.
    pub fn remaining(&self) -> u64 {
        (self.last + 1).saturating_sub(self.next)
    }

    /// Looks at one chunk, and writes it anew if events would go: be it one, as what was deleted must leave the
    /// disk. For stubs alone it does so once, when the whole chunk lies outside of the retry window. It takes the
    /// time of reading and writing one chunk and of looking up its streams, at most, and the memory of its index.
    /// Chunks that are known to be damaged are passed over.
    ///
    /// What was written is durable, and has the place of the old file; a power cut leaves the one or the other.
    /// The store in use learns of it by [`Store::put_scavenged`].
    ///
    /// Errors: if [`Fault::is_damage`], of a chunk (the caller tells [`Store::note_damage`]; the next step goes on
    /// behind that chunk) or the catalog; else the disk refuses.
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
        let mut floors = Floors::at(point_of(state));
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

/// What a step of a scavenge did.
#[derive(Debug)]
pub enum ScavengeStep {
    /// The chunk of this number stays as it is.
    Kept(u64),
    /// A chunk was written anew; goes to [`Store::put_scavenged`].
    Rewritten(Scavenged),
    /// All chunks were looked at.
    Done,
}

/// A chunk that was written anew, and the one that it was made of.
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

    /// The log index of the checkpoint whose floors it was written by.
    pub fn checkpoint(&self) -> LogIndex {
        self.checkpoint
    }

    /// How many events left the disk.
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
    /// Begins a scavenge below the floors of the newest durable checkpoint; `None` without a chunk. One at a
    /// time: the caller sees to it.
    pub fn begin_scavenge(&self) -> Option<Scavenge> {
        let last = self.view.chunks.last()?.summary().number;
        let (folder, options) = (self.folder.clone(), self.options.clone());
        Some(Scavenge { folder, options, shared: self.shared.clone(), next: 1, last })
    }

    /// Reads from a chunk that was written anew from now on. Open scans keep what they read. If the one that it
    /// was made of is not in use any more, because an install or a repair came in between, nothing happens.
    pub fn put_scavenged(&mut self, scavenged: Scavenged) {
        let number = scavenged.number();
        if let Some(ChunkSlot::Whole(current)) = self.view.slot(number)
            && Arc::ptr_eq(current, &scavenged.source)
        {
            self.put_slot(ChunkSlot::Whole(scavenged.chunk));
        }
    }
}
