//! A file system that counts the bytes read and written, separately for chunks and for the catalog.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use quorate_store::vfs::{File, Lock, Open, OsVfs, Vfs};

/// The bytes read and written in one kind of files.
#[derive(Debug, Default)]
pub(crate) struct Bytes {
    read: AtomicU64,
    written: AtomicU64,
}

impl Bytes {
    pub(crate) fn read(&self) -> u64 {
        self.read.load(Ordering::Relaxed)
    }

    pub(crate) fn written(&self) -> u64 {
        self.written.load(Ordering::Relaxed)
    }
}

/// The operating system's file system, with its bytes counted.
#[derive(Clone, Debug, Default)]
pub(crate) struct Counting {
    pub(crate) chunks: Arc<Bytes>,
    pub(crate) catalog: Arc<Bytes>,
}

#[derive(Debug)]
struct Counted {
    file: Arc<dyn File>,
    bytes: Arc<Bytes>,
}

impl Vfs for Counting {
    fn open(&self, path: &Path, how: Open) -> io::Result<Arc<dyn File>> {
        let is_chunk = path.parent().is_some_and(|folder| folder.ends_with("chunks"));
        let bytes = if is_chunk { &self.chunks } else { &self.catalog };
        Ok(Arc::new(Counted { file: OsVfs.open(path, how)?, bytes: bytes.clone() }))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        OsVfs.rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        OsVfs.remove(path)
    }

    fn exists(&self, path: &Path) -> io::Result<bool> {
        OsVfs.exists(path)
    }

    fn list(&self, directory: &Path) -> io::Result<Vec<String>> {
        OsVfs.list(directory)
    }

    fn create_directory(&self, directory: &Path) -> io::Result<()> {
        OsVfs.create_directory(directory)
    }

    fn sync_directory(&self, directory: &Path) -> io::Result<()> {
        OsVfs.sync_directory(directory)
    }

    fn lock(&self, path: &Path) -> io::Result<Box<dyn Lock>> {
        OsVfs.lock(path)
    }

    fn free_bytes(&self, directory: &Path) -> io::Result<u64> {
        OsVfs.free_bytes(directory)
    }
}

impl File for Counted {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        self.bytes.read.fetch_add(buffer.len() as u64, Ordering::Relaxed);
        self.file.read_at(buffer, offset)
    }

    fn write_at(&self, buffer: &[u8], offset: u64) -> io::Result<()> {
        self.bytes.written.fetch_add(buffer.len() as u64, Ordering::Relaxed);
        self.file.write_at(buffer, offset)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.file.set_len(len)
    }

    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }
}
