//! The store's folder: the catalog in use, the chunks, and files that an unfinished seal or install left behind.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use super::cache::BlockCache;
use crate::fault::Fault;
use crate::format::current;
use crate::vfs::{Open, Vfs};

const CURRENT: &str = "CURRENT";
pub(crate) const CURRENT_NEW: &str = "CURRENT.new";
const CURRENT_BYTES_MAX: u64 = 64;
const FETCHED: &str = "install-";

/// A folder with `CURRENT`, the catalog that it names, and `chunks/`.
#[derive(Clone, Debug)]
pub(crate) struct Folder {
    pub(crate) vfs: Arc<dyn Vfs>,
    path: PathBuf,
    pub(crate) chunks: Arc<Path>,
    /// The cache of blocks and pages read last from the chunks.
    pub(crate) cache: Arc<BlockCache>,
    /// The number of installs since the folder was opened. Locked while a file gets the name of a chunk.
    epoch: Arc<Mutex<u64>>,
}

impl Folder {
    /// Creates the folders if they do not exist.
    pub(crate) fn open(
        vfs: Arc<dyn Vfs>,
        path: &Path,
        block_cache_bytes: usize,
    ) -> Result<Folder, Fault> {
        let chunks: Arc<Path> = path.join("chunks").into();
        vfs.create_directory(&chunks).map_err(Fault::io("create", &chunks))?;
        let cache = BlockCache::over(vfs.clone(), block_cache_bytes);
        let epoch = Arc::new(Mutex::new(0));
        Ok(Folder { vfs, path: path.to_owned(), chunks, cache, epoch })
    }

    /// Returns the path of the catalog with this number.
    pub(crate) fn catalog(&self, number: u64) -> PathBuf {
        self.path.join(current::catalog_name(number))
    }

    /// Returns the path of the chunk with this number.
    pub(crate) fn chunk(&self, number: u64) -> PathBuf {
        chunk_path(&self.chunks, number)
    }

    /// Returns the path of a chunk that was fetched from another node whole, until it gets its own name.
    pub(crate) fn fetched(&self, number: u64) -> PathBuf {
        self.chunks.join(format!("{FETCHED}{number:010}"))
    }

    /// Returns the path of a chunk that is being sealed.
    pub(crate) fn draft(&self, number: u64) -> PathBuf {
        self.chunks.join(format!("seal-{number:010}"))
    }

    /// Gives a sealed chunk its own name, durably. Does nothing and returns false if an install came between:
    /// the name then belongs to another chunk.
    pub(crate) fn publish(&self, number: u64, epoch: u64) -> Result<bool, Fault> {
        let current = self.epoch.lock().unwrap_or_else(PoisonError::into_inner);
        if *current != epoch {
            return Ok(false);
        }
        self.name_chunk(&self.draft(number), number)?;
        self.sync_chunks()?;
        Ok(true)
    }

    /// Puts an installed checkpoint in place: names its catalog, then gives the fetched chunks their own
    /// names. After a power cut in between [`Folder::adopt`] does the rest. Returns the new epoch.
    pub(crate) fn install(&self, catalog: u64, fetched: &[u64]) -> Result<u64, Fault> {
        let mut epoch = self.epoch.lock().unwrap_or_else(PoisonError::into_inner);
        *epoch += 1;
        self.set_current(catalog)?;
        for number in fetched {
            self.name_chunk(&self.fetched(*number), *number)?;
        }
        self.sync_chunks()?;
        Ok(*epoch)
    }

    /// Gives a fetched chunk its own name.
    pub(crate) fn adopt(&self, number: u64) -> Result<(), Fault> {
        self.name_chunk(&self.fetched(number), number)?;
        self.sync_chunks()
    }

    fn name_chunk(&self, from: &Path, number: u64) -> Result<(), Fault> {
        let to = self.chunk(number);
        self.vfs.rename(from, &to).map_err(Fault::io("rename", from))
    }

    fn sync_chunks(&self) -> Result<(), Fault> {
        self.vfs.sync_directory(&self.chunks).map_err(Fault::io("sync", &self.chunks))
    }

    /// Returns the number of the catalog in use; `None` in a new folder.
    ///
    /// Error: [`Fault::Damaged`] for a folder that has chunks but names no catalog. The chunks are somebody's
    /// events, and founding an empty store over them would remove them.
    pub(crate) fn current(&self) -> Result<Option<u64>, Fault> {
        let number = read_current(&*self.vfs, &self.path)?;
        if number.is_none() && self.list(&self.chunks)?.iter().any(|name| is_of_chunks(name)) {
            return Err(nameless(&self.path));
        }
        Ok(number)
    }

    /// Names another catalog, whose file is durable. Durable on return; a power cut leaves the old or the new.
    pub(crate) fn set_current(&self, number: u64) -> Result<(), Fault> {
        let (path, new) = (self.path.join(CURRENT), self.path.join(CURRENT_NEW));
        self.remove_if_there(&new)?;
        let file = self.vfs.open(&new, Open::Create).map_err(Fault::io("create", &new))?;
        file.write_at(&current::encode(number), 0).map_err(Fault::io("write", &new))?;
        file.sync_data().map_err(Fault::io("sync", &new))?;
        self.vfs.rename(&new, &path).map_err(Fault::io("rename", &new))?;
        self.sync()
    }

    /// Removes what no checkpoint names: other catalogs, files under temporary names, and chunks that were written but
    /// not committed. Whole fetched chunks stay for the next install, and so do files that the store did not make. The
    /// removal need not be durable, but the name of the catalog in use must be durable before the others are removed: a
    /// program that was killed may have renamed `CURRENT` and synced nothing.
    pub(crate) fn clean(
        &self,
        catalog: Option<u64>,
        chunks: impl Iterator<Item = u64>,
    ) -> Result<(), Fault> {
        if catalog.is_some() {
            self.sync()?;
        }
        let catalog = catalog.map(current::catalog_name);
        for name in self.list(&self.path)? {
            let is_other_catalog = is_of_catalogs(&name) && Some(&name) != catalog.as_ref();
            if is_other_catalog || name == CURRENT_NEW {
                self.remove(&self.path.join(name))?;
            }
        }
        let known: BTreeSet<PathBuf> = chunks.map(|number| self.chunk(number)).collect();
        for name in self.list(&self.chunks)? {
            let path = self.chunks.join(&name);
            let is_fetched = name.starts_with(FETCHED) && path.extension().is_none();
            if !is_of_chunks(&name) {
                tracing::warn!("`{}` is not the store's; it is left alone", path.display());
            } else if !known.contains(&path) && !is_fetched {
                self.remove(&path)?;
            }
        }
        Ok(())
    }

    /// Removes a file that an earlier interruption may have left there.
    pub(crate) fn remove_if_there(&self, path: &Path) -> Result<(), Fault> {
        if self.vfs.exists(path).map_err(Fault::io("find", path))? {
            self.remove(path)?;
        }
        Ok(())
    }

    /// Removes a catalog that is no longer in use; readers that have it open can go on.
    pub(crate) fn remove_catalog(&self, number: u64) -> Result<(), Fault> {
        self.remove(&self.catalog(number))
    }

    fn sync(&self) -> Result<(), Fault> {
        self.vfs.sync_directory(&self.path).map_err(Fault::io("sync", &self.path))
    }

    fn remove(&self, path: &Path) -> Result<(), Fault> {
        self.vfs.remove(path).map_err(Fault::io("remove", path))
    }

    fn list(&self, directory: &Path) -> Result<Vec<String>, Fault> {
        self.vfs.list(directory).map_err(Fault::io("list", directory))
    }
}

/// Returns the path of a chunk in the folder of chunks.
pub(crate) fn chunk_path(directory: &Path, number: u64) -> PathBuf {
    directory.join(format!("chunk-{number:010}"))
}

/// Returns the fault of a folder that has chunks, but no name of the catalog that lists them.
pub(crate) fn nameless(directory: &Path) -> Fault {
    Fault::damaged(&directory.join(CURRENT), 0, "it is missing, though there are chunks")
}

/// Returns true if the store gives such a name to a file of the folder `chunks`.
pub(crate) fn is_of_chunks(name: &str) -> bool {
    let (stem, suffix) = name.split_once('.').map_or((name, None), |(stem, end)| (stem, Some(end)));
    let numbered = |prefix: &str| stem.strip_prefix(prefix).is_some_and(is_number);
    match suffix {
        None => ["chunk-", "seal-", FETCHED, "repair-"].into_iter().any(numbered),
        Some("new") => numbered("chunk-"),
        Some("part") => numbered(FETCHED),
        Some(_) => false,
    }
}

/// Returns true if the store gives such a name to a catalog.
pub(crate) fn is_of_catalogs(name: &str) -> bool {
    name.strip_prefix("catalog-").is_some_and(is_number)
}

fn is_number(digits: &str) -> bool {
    !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit())
}

/// Returns the number of the catalog that a store's folder has in use; `None` if it names none.
pub(crate) fn read_current(vfs: &dyn Vfs, directory: &Path) -> Result<Option<u64>, Fault> {
    let path = directory.join(CURRENT);
    if !vfs.exists(&path).map_err(Fault::io("find", &path))? {
        return Ok(None);
    }
    let file = vfs.open(&path, Open::Read).map_err(Fault::io("open", &path))?;
    let length = file.len().map_err(Fault::io("read", &path))?.min(CURRENT_BYTES_MAX);
    let mut line = vec![0; usize::try_from(length).unwrap_or_default()];
    file.read_at(&mut line, 0).map_err(Fault::io("read", &path))?;
    let number = current::decode(&line);
    number.map(Some).map_err(|malformed| Fault::damaged(&path, 0, malformed.to_string()))
}
