//! Repair: a chunk that is damaged here is put in place again, from another node's bytes.

use std::path::PathBuf;
use std::sync::Arc;

use quorate_proto::LogIndex;

use crate::checkpoint::{chunk_file_bytes_max, open_chunk, open_chunk_at, window};
use crate::chunk::Chunk;
use crate::fault::Fault;
use crate::files::Folder;
use crate::format::chunk::ChunkSummary;
use crate::options::Options;
use crate::store::Store;
use crate::vfs::{File, Open};
use crate::view::ChunkSlot;

/// A repair under way. It may run on any thread, beside the store. If it is dropped, its file stays until the
/// next repair or the next open of the store removes it.
#[derive(Debug)]
pub struct Repair {
    folder: Folder,
    options: Options,
    wanted: ChunkSummary,
    /// The log index of this node's own durable checkpoint.
    checkpoint: Option<LogIndex>,
    file: Option<Arc<dyn File>>,
}

impl Repair {
    /// The summary of the chunk that is wanted.
    pub fn wanted(&self) -> &ChunkSummary {
        &self.wanted
    }

    /// Writes bytes of the chunk's file, in any order; a range may be written more than once.
    pub fn put(&mut self, offset: u64, bytes: &[u8]) -> Result<(), Fault> {
        let path = self.path();
        if offset.saturating_add(bytes.len() as u64) > chunk_file_bytes_max(&self.options) {
            return Err(Fault::foreign(&path, "it is too long for a chunk"));
        }
        let file = match &self.file {
            Some(file) => file,
            None => {
                self.folder.remove_if_there(&path)?;
                let vfs = &self.folder.vfs;
                let file = vfs.open(&path, Open::Create).map_err(Fault::io("create", &path))?;
                self.file.insert(file)
            }
        };
        file.write_at(bytes, offset).map_err(Fault::io("write", &path))
    }

    /// Verifies every byte and puts the file in the place of the damaged one, durably: after a power cut the
    /// old file or the new one is there. [`Store::finish_repair`] makes the open store use the new one.
    ///
    /// Errors: [`Fault::Damaged`] if the bytes are not the chunk; [`Fault::Foreign`] if they are another
    /// chunk, or one scavenged below floors that this node's checkpoint does not know. Another node's copy
    /// may still be good. [`Fault::Io`] if the disk refuses.
    pub fn finish(self) -> Result<Repaired, Fault> {
        let (from, number) = (self.path(), self.wanted.number);
        let Some(file) = &self.file else {
            return Err(Fault::damaged(&from, 0, "nothing of it was put"));
        };
        let (vfs, directory) = (&*self.folder.vfs, &self.folder.chunks);
        let chunk = open_chunk_at(&self.folder, &self.options, &self.wanted, &from)?;
        chunk.check_scavenged(self.checkpoint)?;
        chunk.verify()?;
        file.sync_data().map_err(Fault::io("sync", &from))?;
        let to = self.folder.chunk(number);
        vfs.rename(&from, &to).map_err(Fault::io("rename", &from))?;
        vfs.sync_directory(directory).map_err(Fault::io("sync", directory))?;
        let chunk = open_chunk(&self.folder, &self.options, &self.wanted)?;
        Ok(Repaired { chunk })
    }

    fn path(&self) -> PathBuf {
        self.folder.chunks.join(format!("repair-{:010}", self.wanted.number))
    }
}

/// A whole chunk, in the place of the damaged one; it is to be given to [`Store::finish_repair`].
#[derive(Debug)]
pub struct Repaired {
    chunk: Arc<Chunk>,
}

impl Repaired {
    /// The chunk's number.
    pub fn number(&self) -> u64 {
        self.chunk.summary().number
    }
}

impl Store {
    /// Notes that a read, a scrub or a scavenge found a chunk damaged: until the chunk is repaired, reads of
    /// it return that fault at once. Returns the chunk's number if the fault is damage of a chunk in use.
    pub fn note_damage(&mut self, fault: &Fault) -> Option<u64> {
        let path = fault.path().filter(|_| fault.is_damage())?;
        let is_it = |slot: &&ChunkSlot| self.folder.chunk(slot.number()) == path;
        let slot = self.view.chunks.iter().find(is_it)?;
        let number = slot.number();
        if let ChunkSlot::Whole(chunk) = slot {
            // An open scan may still read the file that was there before.
            if chunk.refutes(fault) {
                return None;
            }
            // Readers keep the old file when another takes its name. If this fails, the file is gone already.
            let _ = chunk.hold();
            self.put_slot(ChunkSlot::damaged(slot.summary().clone(), fault.clone()));
        }
        Some(number)
    }

    /// Begins to repair a chunk; `None` if there is no such chunk, or it is not damaged. The caller must not
    /// begin a second repair of a chunk while one is under way.
    pub fn begin_repair(&self, number: u64) -> Option<Repair> {
        let slot = self.view.slot(number).filter(|slot| slot.fault().is_some())?;
        let (folder, options) = (self.folder.clone(), self.options.clone());
        let wanted = slot.summary().clone();
        let checkpoint = self.view.catalog.state().log_id.map(|id| id.index);
        Some(Repair { folder, options, wanted, checkpoint, file: None })
    }

    /// Reads from the repaired chunk from now on, and adds its ids to the retry window if they were missing
    /// (see [`Store::must_repair`]). Does nothing if the chunk is whole already, because an install came in
    /// between.
    pub fn finish_repair(&mut self, repaired: Repaired) {
        let number = repaired.number();
        if self.view.slot(number).is_none_or(|slot| slot.fault().is_none()) {
            return;
        }
        self.put_slot(ChunkSlot::Whole(repaired.chunk));
        if self.lacks_ids {
            self.complete_window();
        }
    }

    /// Fills the window from the chunks: nothing was applied since the open, so that they hold all its ids.
    fn complete_window(&mut self) {
        let mut chunks = self.view.chunks.to_vec();
        let window = window(&mut chunks, self.point.position, &self.options);
        self.view = Arc::new(self.view.with_chunks(chunks.into()));
        self.lacks_ids = window.is_none();
        match window {
            Some(window) => self.shared.replace(&self.view, self.point, window),
            None => self.shared.publish(&self.view, self.point),
        }
    }

    /// Replaces the slot of a chunk: by another file, or by its damage. Open scans keep what they read.
    pub(crate) fn put_slot(&mut self, slot: ChunkSlot) {
        let mut chunks = self.view.chunks.clone();
        let place = chunks.binary_search_by_key(&slot.number(), ChunkSlot::number);
        let place = place.ok().and_then(|index| Arc::make_mut(&mut chunks).get_mut(index));
        *place.expect("the caller found the chunk in this view") = slot;
        self.view = Arc::new(self.view.with_chunks(chunks));
        self.shared.publish(&self.view, self.point);
    }
}
