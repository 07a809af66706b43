//! Repair: a chunk that is damaged here is put in place again, from another node's bytes.

#![expect(clippy::unimplemented, reason = "lands next")]

use std::path::PathBuf;
use std::sync::Arc;

use crate::checkpoint::open_chunk;
use crate::chunk::{self, Chunk, ChunkSummary};
use crate::fault::Fault;
use crate::folder::Folder;
use crate::store::{Options, Store};
use crate::vfs::{File, Open};

/// A repair under way. It runs beside the store, wherever. Dropped, it leaves a file that the next repair or
/// the next open of the store removes.
#[derive(Debug)]
pub struct Repair {
    folder: Folder,
    options: Options,
    wanted: ChunkSummary,
    file: Option<Arc<dyn File>>,
}

impl Repair {
    /// What the chunk must be.
    pub fn wanted(&self) -> &ChunkSummary {
        &self.wanted
    }

    /// Puts bytes of the chunk's file; in any order, again if need be.
    pub fn put(&mut self, offset: u64, bytes: &[u8]) -> Result<(), Fault> {
        let path = self.path();
        let file = match &self.file {
            Some(file) => file,
            None => {
                let vfs = &self.folder.vfs;
                if vfs.exists(&path).map_err(Fault::io("find", &path))? {
                    vfs.remove(&path).map_err(Fault::io("remove", &path))?;
                }
                let file = vfs.open(&path, Open::Create).map_err(Fault::io("create", &path))?;
                self.file.insert(file)
            }
        };
        file.write_at(bytes, offset).map_err(Fault::io("write", &path))
    }

    /// Verifies every byte and puts the file in the place of the damaged one, durably; a power cut leaves the
    /// one or the other. The store in use learns of it by [`Store::finish_repair`].
    ///
    /// Errors: [`Fault::Damaged`] if the bytes are not the chunk; [`Fault::Foreign`] if they are of another one,
    /// or of one that was scavenged below floors that this node's checkpoint does not know. Another node's bytes
    /// may do. [`Fault::Io`]: the disk refuses.
    pub fn finish(self) -> Result<Repaired, Fault> {
        let (from, number) = (self.path(), self.wanted.number);
        let Some(file) = &self.file else {
            return Err(Fault::damaged(&from, 0, "nothing of it was put"));
        };
        let (vfs, directory) = (&*self.folder.vfs, &self.folder.chunks);
        let chunk = Chunk::open(vfs, &from, &self.options.identity(number), &self.wanted)?;
        chunk.verify()?;
        file.sync_data().map_err(Fault::io("sync", &from))?;
        let to = chunk::path(directory, number);
        vfs.rename(&from, &to).map_err(Fault::io("rename", &from))?;
        vfs.sync_directory(directory).map_err(Fault::io("sync", directory))?;
        let chunk = open_chunk(vfs, directory, &self.options, &self.wanted)?;
        Ok(Repaired { chunk })
    }

    fn path(&self) -> PathBuf {
        self.folder.chunks.join(format!("repair-{:010}", self.wanted.number))
    }
}

/// A whole chunk, in the place of the damaged one; goes to [`Store::finish_repair`].
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
    /// Learns that a read, a scrub or a scavenge found a chunk damaged: from now on reads of it answer that
    /// fault at once, until it is repaired. The number of the chunk, if the fault speaks of one in use.
    pub fn note_damage(&mut self, _fault: &Fault) -> Option<u64> {
        unimplemented!()
    }

    /// Begins to repair a chunk; `None` if there is no such chunk, or it is not damaged. One at a time for each
    /// chunk: the caller sees to it.
    pub fn begin_repair(&self, _number: u64) -> Option<Repair> {
        unimplemented!()
    }

    /// Puts the repaired chunk in its place, durably, and completes the retry window with its ids where they
    /// were missing. One that is not damaged any more (an install overtook the repair) is left as it is.
    pub fn finish_repair(&mut self, _repaired: Repaired) -> Result<(), Fault> {
        unimplemented!()
    }
}
