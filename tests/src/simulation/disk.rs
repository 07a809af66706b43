//! A node's disk: the one in memory that loses what was not synced, watched by the trace.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use quorate_store::vfs::{File, Lock, MemVfs, Open, Survival, Vfs};

use super::trace::{Trace, fold};

/// The disk of one node. It outlives the node's crashes.
#[derive(Clone, Debug)]
pub struct Disk {
    name: Arc<str>,
    memory: MemVfs,
    trace: Trace,
    /// Set: it says that what is written to the Raft log is durable although it is not.
    lies: Arc<AtomicBool>,
}

impl Disk {
    /// An empty disk of the node of that name.
    pub fn new(name: &str, trace: Trace) -> Disk {
        let lies = Arc::new(AtomicBool::new(false));
        Disk { name: name.into(), memory: MemVfs::new(), trace, lies }
    }

    /// Lets the power go in the middle of the disk's next changes, after so many.
    pub fn cut_after(&self, changes: u64) {
        self.memory.cut_after(changes);
    }

    /// Gives the power back; of what was not synced, what the seed says is there.
    pub fn restart(&self, seed: u64) {
        self.memory.restart(Survival::Seeded(seed));
    }

    /// From now on, syncing a file of the Raft log does nothing and says that it did.
    pub fn lie(&self) {
        self.lies.store(true, Ordering::Relaxed);
    }

    fn note(&self, what: &str, path: &Path, digest: u64) {
        self.trace.note(&self.name, format_args!("{what} {} {digest:x}", path.display()));
    }
}

impl Vfs for Disk {
    fn open(&self, path: &Path, how: Open) -> io::Result<Arc<dyn File>> {
        if how == Open::Create {
            self.note("create", path, 0);
        }
        let file = self.memory.open(path, how)?;
        Ok(Arc::new(DiskFile { disk: self.clone(), path: path.to_owned(), file }))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.note("rename to", to, 0);
        self.memory.rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.note("remove", path, 0);
        self.memory.remove(path)
    }

    fn exists(&self, path: &Path) -> io::Result<bool> {
        self.memory.exists(path)
    }

    fn list(&self, directory: &Path) -> io::Result<Vec<String>> {
        self.memory.list(directory)
    }

    fn create_directory(&self, directory: &Path) -> io::Result<()> {
        self.memory.create_directory(directory)
    }

    fn sync_directory(&self, directory: &Path) -> io::Result<()> {
        self.note("sync folder", directory, 0);
        self.memory.sync_directory(directory)
    }

    fn lock(&self, path: &Path) -> io::Result<Box<dyn Lock>> {
        self.memory.lock(path)
    }

    fn free_bytes(&self, directory: &Path) -> io::Result<u64> {
        self.memory.free_bytes(directory)
    }
}

#[derive(Debug)]
struct DiskFile {
    disk: Disk,
    path: PathBuf,
    file: Arc<dyn File>,
}

impl File for DiskFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        self.file.read_at(buffer, offset)
    }

    fn write_at(&self, buffer: &[u8], offset: u64) -> io::Result<()> {
        self.disk.note("write", &self.path, fold(offset, buffer));
        self.file.write_at(buffer, offset)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.disk.note("sync", &self.path, 0);
        let in_log = self.path.parent().is_some_and(|folder| folder.ends_with("log"));
        if in_log && self.disk.lies.load(Ordering::Relaxed) {
            return Ok(());
        }
        self.file.sync_data()
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.disk.note("set length of", &self.path, len);
        self.file.set_len(len)
    }

    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }
}
