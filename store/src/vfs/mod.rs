//! The interface to the file system: everything that `store` and `raft` do with files goes through it. It uses
//! nothing else in the crate.

use std::fmt::Debug;
use std::io;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

mod mem;
mod os;

pub use mem::{Counters, MemVfs, Survival};
pub use os::OsVfs;

/// The way in which a file is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Open {
    /// An existing file, to be read only.
    Read,
    /// An existing file, to be read and written.
    Write,
    /// A file that must not exist yet, to be read and written.
    Create,
}

/// A file system. Paths are as the operating system takes them.
///
/// Durability: written bytes survive a power cut once [`File::sync_data`] of the file returned; the creation,
/// renaming or removal of a file does once [`Vfs::sync_directory`] of its folder returned after it.
pub trait Vfs: Debug + Send + Sync + 'static {
    /// Opens or creates a file. Errors: `NotFound`, `AlreadyExists`, or that of the device.
    fn open(&self, path: &Path, how: Open) -> io::Result<Arc<dyn File>>;
    /// Renames a file, replacing the file of the new name; both lie in one folder.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Removes a file.
    fn remove(&self, path: &Path) -> io::Result<()>;
    /// Returns true if there is a file or folder of that name.
    fn exists(&self, path: &Path) -> io::Result<bool>;
    /// Returns the names of the files in a folder, sorted; folders and names that are not UTF-8 are left out.
    fn list(&self, directory: &Path) -> io::Result<Vec<String>>;
    /// Creates a folder and those above it, durably; one that exists is left as it is.
    fn create_directory(&self, directory: &Path) -> io::Result<()>;
    /// Makes the names in a folder durable.
    fn sync_directory(&self, directory: &Path) -> io::Result<()>;
    /// Keeps a second process from this folder for as long as the lock lives. Error: `WouldBlock` if
    /// another process holds it.
    fn lock(&self, path: &Path) -> io::Result<Box<dyn Lock>>;
    /// Takes the lock without writing anything; `None` if there is no lock file, or if the file system cannot
    /// lock a file that is open for reading only.
    fn lock_if_there(&self, path: &Path) -> io::Result<Option<Box<dyn Lock>>> {
        if self.exists(path)? { self.lock(path).map(Some) } else { Ok(None) }
    }
    /// Returns the number of bytes that can still be written to the device that holds `directory`.
    fn free_bytes(&self, directory: &Path) -> io::Result<u64>;
}

/// An open file; closed when dropped.
#[allow(
    clippy::len_without_is_empty,
    reason = "the length of a file is an operation that can fail"
)]
pub trait File: Debug + Send + Sync {
    /// Fills the whole buffer. Error: `UnexpectedEof` when the file ends before.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()>;
    /// Writes the whole buffer; a file that is shorter grows, with zeros before `offset`.
    fn write_at(&self, buffer: &[u8], offset: u64) -> io::Result<()>;
    /// Makes all written bytes, and the length, durable (fdatasync).
    fn sync_data(&self) -> io::Result<()>;
    /// Cuts the file or lets it grow with zeros.
    fn set_len(&self, len: u64) -> io::Result<()>;
    /// Returns the length in bytes.
    fn len(&self) -> io::Result<u64>;
    /// Returns false if a read at this offset would wait for the device; true also where that is not known.
    fn is_at_hand(&self, _offset: u64) -> bool {
        true
    }
    /// Tells the system that a range of the file will be read soon.
    fn will_read(&self, _range: Range<u64>) {}
}

/// A held lock; released when dropped.
pub trait Lock: Debug + Send + Sync {}
