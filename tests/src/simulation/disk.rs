//! A node's disk: a disk in memory that loses unsynced changes, with its changes noted in the trace.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use quorate_store::vfs::{File, Lock, MemVfs, Open, Survival, Vfs};

use super::trace::{Trace, fold};
use crate::random::Random;

/// The disk of one node. It outlives the node's crashes.
#[derive(Clone, Debug)]
pub struct Disk {
    name: Arc<str>,
    memory: MemVfs,
    trace: Trace,
    is_off: Arc<AtomicBool>,
    is_liar: Arc<AtomicBool>,
    /// If set, syncing a file does nothing and reports success.
    lies: Arc<AtomicBool>,
    hangs: Arc<AtomicBool>,
}

impl Disk {
    /// An empty disk of the node `name`.
    pub fn new(name: &str, trace: Trace) -> Disk {
        let [is_off, is_liar, lies, hangs] =
            [(), (), (), ()].map(|()| Arc::new(AtomicBool::new(false)));
        Disk { name: name.into(), memory: MemVfs::new(), trace, is_off, is_liar, lies, hangs }
    }

    /// Returns the disk in memory, to change its files while the node is off.
    pub(super) fn memory(&self) -> &MemVfs {
        &self.memory
    }

    /// Lets `changes` more changes of the disk succeed, and cuts the power during the next one.
    pub fn cut_after(&self, changes: u64) {
        self.memory.cut_after(changes);
    }

    /// Cuts the power now.
    pub fn cut(&self) {
        self.memory.cut_after(0);
        self.is_off.store(true, Ordering::Relaxed);
    }

    /// Restores the power; the seed decides which unsynced changes are there.
    pub fn restart(&self, seed: u64) {
        self.memory.restart(Survival::Seeded(seed));
        self.is_off.store(false, Ordering::Relaxed);
    }

    /// Removes all files in these folders.
    ///
    /// # Errors
    /// The disk is off.
    pub fn wipe(&self, folders: &[&Path]) -> io::Result<()> {
        for folder in folders {
            for name in self.memory.list(folder).unwrap_or_default() {
                let path = folder.join(name);
                if self.memory.read(&path).is_ok() {
                    self.note("wipe", &path, 0);
                    self.memory.remove(&path)?;
                }
            }
            self.memory.sync_directory(folder)?;
        }
        Ok(())
    }

    /// Flips a bit, drawn from the seed, of a sealed chunk in a folder; false if there is none.
    pub fn flip_in_a_chunk(&self, folder: &Path, seed: u64) -> bool {
        let mut random = Random::new(seed);
        let is_chunk = |name: &String| name.starts_with("chunk-") && !name.contains('.');
        let names = self.memory.list(folder).unwrap_or_default();
        let names: Vec<String> = names.into_iter().filter(is_chunk).collect();
        if names.is_empty() {
            return false;
        }
        let path = folder.join(random.pick(&names));
        let length = self.memory.read(&path).map_or(0, |bytes| bytes.len() as u64);
        if length == 0 {
            return false;
        }
        let (byte, bit) = (random.below(length), random.below(8) as u8);
        self.note("flip a bit of", &path, byte);
        self.memory.flip_bit(&path, byte, bit).is_ok()
    }

    /// Leaves room for `bytes` more bytes; `None` = no bound.
    pub fn leave_room(&self, bytes: Option<u64>) {
        const ALL: u64 = u64::MAX / 2;
        self.memory.set_capacity(Some(ALL));
        let used = self.memory.free_bytes(Path::new("/")).map_or(0, |free| ALL - free);
        self.memory.set_capacity(bytes.map(|bytes| used + bytes));
    }

    /// Makes every sync of the log's writer wait, until `hang(false)`.
    pub fn hang(&self, hangs: bool) {
        self.hangs.store(hangs, Ordering::Relaxed);
    }

    /// Waits while the disk hangs.
    pub(super) async fn answers(&self) {
        while self.hangs.load(Ordering::Relaxed) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// From now on the disk lies about the syncs of the log's writer.
    pub fn make_liar(&self) {
        self.is_liar.store(true, Ordering::Relaxed);
    }

    /// Runs the sync of a batch of the log's writer. On a lying disk the batch is not durable.
    pub(super) fn while_lying<T>(&self, sync: impl FnOnce() -> T) -> T {
        self.lies.store(self.is_liar.load(Ordering::Relaxed), Ordering::Relaxed);
        let synced = sync();
        self.lies.store(false, Ordering::Relaxed);
        synced
    }

    fn note(&self, what: &str, path: &Path, digest: u64) {
        if !self.is_off.load(Ordering::Relaxed) {
            self.trace.note(&self.name, format_args!("{what} {} {digest:x}", path.display()));
        }
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
        if self.disk.lies.load(Ordering::Relaxed) {
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
