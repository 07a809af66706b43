//! The open files of chunks, those used last: few descriptors are enough for any number of chunks.

use std::fmt;
use std::io;
use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use lru::LruCache;

use crate::vfs::{File, Open, Vfs};

/// The number of files of chunks that are open at most, beside those that another file has replaced. Of 1,024
/// descriptors enough are left for the log, peers and clients.
const OPEN_MAX: NonZeroUsize = NonZeroUsize::new(256).expect("not zero");

/// The name of a file in the cache and among the open files: never given twice while the process lives, so that a
/// cached piece of a chunk is not taken for a piece of the file that replaced it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct FileId(pub(super) u64);

/// The open files of chunks; a file that is not open is opened again when it is needed.
pub(crate) struct OpenFiles {
    vfs: Arc<dyn Vfs>,
    files: Mutex<LruCache<FileId, Arc<dyn File>>>,
}

impl OpenFiles {
    /// Returns a set without any open file.
    pub(crate) fn new(vfs: Arc<dyn Vfs>) -> OpenFiles {
        OpenFiles { vfs, files: Mutex::new(LruCache::new(OPEN_MAX)) }
    }

    /// Returns a file, if it is open.
    pub(crate) fn get(&self, id: FileId) -> Option<Arc<dyn File>> {
        self.files().get(&id).cloned()
    }

    /// Opens a file for reading.
    pub(crate) fn open(&self, path: &Path) -> io::Result<Arc<dyn File>> {
        self.vfs.open(path, Open::Read)
    }

    /// Keeps a file open; the file that was used longest ago is closed for it.
    pub(crate) fn keep(&self, id: FileId, file: Arc<dyn File>) {
        self.files().put(id, file);
    }

    /// Closes a file, once nobody reads from it.
    pub(crate) fn close(&self, id: FileId) {
        self.files().pop(&id);
    }

    fn files(&self) -> MutexGuard<'_, LruCache<FileId, Arc<dyn File>>> {
        self.files.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for OpenFiles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OpenFiles").field("open", &self.files().len()).finish_non_exhaustive()
    }
}
