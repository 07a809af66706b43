//! A disk in memory that loses unsynced changes when its power is cut, and that can be made to fail.

mod content;
mod disk;
#[cfg(test)]
mod tests;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use super::{File, Lock, Open, Vfs};
use disk::{Disk, FileId};

pub use disk::{Counters, Survival};

/// A disk in memory, for tests and the simulation: deterministic, without threads and without time.
///
/// Clones are handles to one disk; [`MemVfs::fork`] makes a second disk. It remembers, for the content of
/// each file and for each name, the state that programs see and the durable state. A power cut test is:
///
/// ```
/// # use quorate_store::vfs::{MemVfs, Open, Survival, Vfs};
/// # use std::path::Path;
/// # fn work(vfs: &MemVfs) -> std::io::Result<()> {
/// #     vfs.open(Path::new("/file"), Open::Create)?.write_at(b"bytes", 0)?;
/// #     vfs.sync_directory(Path::new("/"))
/// # }
/// for changes in 0.. {
///     let vfs = MemVfs::new();
///     vfs.cut_after(changes);
///     let done = work(&vfs).is_ok();
///     vfs.restart(Survival::Seeded(changes));
///     // … open again, and check that nothing is lost that `work` relied on …
///     if done {
///         break;
///     }
/// }
/// ```
#[derive(Clone, Debug, Default)]
pub struct MemVfs {
    disk: Arc<Mutex<Disk>>,
    hangs: Arc<(Mutex<bool>, Condvar)>,
}

impl MemVfs {
    /// An empty disk without bounds.
    pub fn new() -> MemVfs {
        MemVfs::default()
    }

    /// Returns another disk with the same files, names, unsynced changes, faults that are still to come, and
    /// counters. Files that are open here are not open there.
    #[must_use]
    pub fn fork(&self) -> MemVfs {
        let mut copy = self.disk().clone();
        copy.close_everything();
        MemVfs { disk: Arc::new(Mutex::new(copy)), hangs: Arc::default() }
    }

    /// Lets `changes` more operations that [`Counters::changes`] counts succeed. The power is cut during the
    /// next one: that operation fails, and its change may or may not become durable, and every operation of
    /// any kind fails from then on, until [`MemVfs::restart`].
    pub fn cut_after(&self, changes: u64) {
        self.disk().cut_after = Some(changes);
    }

    /// Cuts the power if it is not cut yet, and restores it: the disk holds what `survival` leaves, files
    /// opened and locks taken before are dead, and faults that were still to come are called off.
    pub fn restart(&self, survival: Survival) {
        self.disk().restart(survival);
    }

    /// Lets `syncs` more syncs of files succeed; the one after them fails, once. The changes that it should
    /// have made durable never will be, though they can still be read until the next restart.
    pub fn fail_sync_after(&self, syncs: u64) {
        self.disk().fail_sync_after = Some(syncs);
    }

    /// Makes every sync of a file wait, as on a disk that hangs, until `hang(false)`.
    pub fn hang(&self, hangs: bool) {
        let (is_hanging, changed) = &*self.hangs;
        *is_hanging.lock().unwrap_or_else(PoisonError::into_inner) = hangs;
        changed.notify_all();
    }

    fn wait_while_it_hangs(&self) {
        let (is_hanging, changed) = &*self.hangs;
        let is_hanging = is_hanging.lock().unwrap_or_else(PoisonError::into_inner);
        drop(changed.wait_while(is_hanging, |is_hanging| *is_hanging));
    }

    /// Sets the number of bytes that all files together may have; `None` = no bound. A write above it fails
    /// with `StorageFull` and changes nothing.
    pub fn set_capacity(&self, bytes: Option<u64>) {
        self.disk().capacity = bytes;
    }

    /// Flips one bit of a file, in the durable content and in what programs read.
    ///
    /// Errors: `NotFound`, or `UnexpectedEof` when the file ends before that byte.
    pub fn flip_bit(&self, path: &Path, byte: u64, bit: u8) -> io::Result<()> {
        let mut disk = self.disk();
        let file = disk.find(path)?;
        let flipped = disk.content(file).flip_bit(in_memory(byte)?, bit);
        if flipped { Ok(()) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
    }

    /// Cuts a file off, in the durable content and in what programs read. Error: `NotFound`.
    pub fn truncate(&self, path: &Path, len: u64) -> io::Result<()> {
        let mut disk = self.disk();
        let file = disk.find(path)?;
        disk.content(file).truncate(in_memory(len)?);
        Ok(())
    }

    /// Returns all that programs would read of a file. Error: `NotFound`.
    pub fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        let mut disk = self.disk();
        let file = disk.find(path)?;
        Ok(disk.content(file).bytes())
    }

    /// Returns the counters of the work done so far.
    pub fn counters(&self) -> Counters {
        self.disk().counters
    }

    /// Locks the disk. A panic elsewhere does not make it wrong: no operation stops halfway.
    fn disk(&self) -> MutexGuard<'_, Disk> {
        self.disk.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Vfs for MemVfs {
    fn open(&self, path: &Path, how: Open) -> io::Result<Arc<dyn File>> {
        let mut disk = self.disk();
        disk.check_power()?;
        let file = match how {
            Open::Read | Open::Write => disk.find(path)?,
            Open::Create => disk.create(path)?,
        };
        disk.add_handle(file);
        let writable = how != Open::Read;
        Ok(Arc::new(MemFile { vfs: self.clone(), file, era: disk.era, writable }))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.disk().rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.disk().remove(path)
    }

    fn exists(&self, path: &Path) -> io::Result<bool> {
        let disk = self.disk();
        disk.check_power()?;
        Ok(disk.has(path))
    }

    fn list(&self, directory: &Path) -> io::Result<Vec<String>> {
        let disk = self.disk();
        disk.check_power()?;
        if !disk.has_directory(directory) {
            return Err(io::ErrorKind::NotFound.into());
        }
        let names = disk.names_in(directory).filter_map(|path| path.file_name()?.to_str());
        Ok(names.map(str::to_owned).collect())
    }

    fn create_directory(&self, directory: &Path) -> io::Result<()> {
        self.disk().create_directory(directory)
    }

    fn sync_directory(&self, directory: &Path) -> io::Result<()> {
        self.disk().sync_directory(directory)
    }

    fn lock(&self, path: &Path) -> io::Result<Box<dyn Lock>> {
        let mut disk = self.disk();
        disk.check_power()?;
        if !disk.lock(path) {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        Ok(Box::new(MemLock { vfs: self.clone(), path: path.to_owned(), era: disk.era }))
    }

    fn free_bytes(&self, _directory: &Path) -> io::Result<u64> {
        let disk = self.disk();
        disk.check_power()?;
        Ok(disk.free_bytes())
    }
}

#[derive(Debug)]
struct MemFile {
    vfs: MemVfs,
    file: FileId,
    era: u64,
    writable: bool,
}

impl MemFile {
    fn disk(&self) -> io::Result<MutexGuard<'_, Disk>> {
        let disk = self.vfs.disk();
        disk.check_power()?;
        if disk.era == self.era { Ok(disk) } else { Err(disk::no_power()) }
    }

    fn writable_disk(&self) -> io::Result<MutexGuard<'_, Disk>> {
        if !self.writable {
            return Err(io::ErrorKind::PermissionDenied.into());
        }
        self.disk()
    }
}

impl File for MemFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        let offset = in_memory(offset)?;
        let read = self.disk()?.content(self.file).read(buffer, offset);
        read.ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
    }

    fn write_at(&self, buffer: &[u8], offset: u64) -> io::Result<()> {
        self.writable_disk()?.write(self.file, buffer, in_memory(offset)?)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.vfs.wait_while_it_hangs();
        self.disk()?.sync(self.file)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.writable_disk()?.resize(self.file, in_memory(len)?)
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.disk()?.content(self.file).len() as u64)
    }
}

impl Drop for MemFile {
    fn drop(&mut self) {
        let mut disk = self.vfs.disk();
        if disk.era == self.era {
            disk.drop_handle(self.file);
        }
    }
}

#[derive(Debug)]
struct MemLock {
    vfs: MemVfs,
    path: PathBuf,
    era: u64,
}

impl Lock for MemLock {}

impl Drop for MemLock {
    fn drop(&mut self) {
        let mut disk = self.vfs.disk();
        if disk.era == self.era {
            disk.unlock(&self.path);
        }
    }
}

fn in_memory(number: u64) -> io::Result<usize> {
    usize::try_from(number).map_err(|_| io::ErrorKind::FileTooLarge.into())
}
