//! Files and names of a disk in memory, and the power that can be cut.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};

use super::content::{Content, Dice};

/// The unsynced changes that survive a power cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Survival {
    /// No change that was not synced.
    Nothing,
    /// Everything: the program was killed, but the power stayed on.
    Everything,
    /// Any subset, drawn from the seed: every unsynced change of names (creating, renaming, removing)
    /// survives whole or not at all; every 512-byte sector of a file holds what it held at some moment
    /// since the last sync, independently of every other sector, and so does the file's length.
    Seeded(u64),
}

/// The work done on a disk since it was made, failed operations included.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Operations that change something or make it durable: create, write, set length, rename, remove,
    /// create folder, sync file, sync folder.
    pub changes: u64,
    /// Successful syncs of files and folders.
    pub syncs: u64,
    /// Bytes given to writes.
    pub bytes_written: u64,
}

/// The identity of a file, independent of its names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct FileId(u64);

/// A change of names that was made but not synced; each is made whole or not at all.
#[derive(Clone, Debug)]
struct Renaming {
    /// The names, each with the file that it has afterwards, if any; all in one folder.
    names: Vec<(PathBuf, Option<FileId>)>,
}

#[derive(Clone, Debug, Default)]
struct Node {
    content: Content,
    handles: usize,
}

/// The whole disk.
///
/// Invariants:
/// - `live` is `durable` with all `pending` changes made, in order;
/// - every file that a name or a handle points to is in `files`.
#[derive(Clone, Debug, Default)]
pub(super) struct Disk {
    files: BTreeMap<FileId, Node>,
    next_file: u64,
    directories: BTreeSet<PathBuf>,
    live: BTreeMap<PathBuf, FileId>,
    durable: BTreeMap<PathBuf, FileId>,
    pending: Vec<Renaming>,
    locks: BTreeSet<PathBuf>,
    /// The number of restarts; files that were opened before the last one are dead.
    pub(super) era: u64,
    powerless: bool,
    /// Changes that are still let through before the power goes.
    pub(super) cut_after: Option<u64>,
    /// Syncs that still succeed before one fails.
    pub(super) fail_sync_after: Option<u64>,
    pub(super) capacity: Option<u64>,
    pub(super) counters: Counters,
}

/// The fate of a change of the disk.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    /// The change is made.
    Made,
    /// The power is cut during the change: it may or may not become durable, and the program never learns.
    CutOff,
}

impl Fate {
    pub(super) fn answer(self) -> io::Result<()> {
        match self {
            Fate::Made => Ok(()),
            Fate::CutOff => Err(no_power()),
        }
    }
}

impl Disk {
    /// Fails if the power is cut; every operation begins here.
    pub(super) fn check_power(&self) -> io::Result<()> {
        if self.powerless { Err(no_power()) } else { Ok(()) }
    }

    /// Counts a change and decides its fate; every operation that changes something begins here.
    pub(super) fn begin_change(&mut self) -> io::Result<Fate> {
        self.check_power()?;
        self.counters.changes += 1;
        match &mut self.cut_after {
            None => Ok(Fate::Made),
            Some(0) => {
                self.powerless = true;
                Ok(Fate::CutOff)
            }
            Some(left) => {
                *left -= 1;
                Ok(Fate::Made)
            }
        }
    }

    pub(super) fn find(&self, path: &Path) -> io::Result<FileId> {
        self.live.get(path).copied().ok_or_else(|| missing(path))
    }

    pub(super) fn has(&self, path: &Path) -> bool {
        self.live.contains_key(path) || self.has_directory(path)
    }

    pub(super) fn has_directory(&self, path: &Path) -> bool {
        path.parent().is_none() || path.as_os_str().is_empty() || self.directories.contains(path)
    }

    pub(super) fn names_in(&self, directory: &Path) -> impl Iterator<Item = &Path> {
        let inside = move |path: &&PathBuf| path.parent() == Some(directory);
        self.live.keys().filter(inside).map(PathBuf::as_path)
    }

    pub(super) fn create(&mut self, path: &Path) -> io::Result<FileId> {
        if self.has(path) {
            let why = format!("{} exists", path.display());
            return Err(io::Error::new(io::ErrorKind::AlreadyExists, why));
        }
        let parent = path.parent().unwrap_or(Path::new(""));
        if !self.has_directory(parent) {
            return Err(missing(parent));
        }
        let fate = self.begin_change()?;
        let file = FileId(self.next_file);
        self.next_file += 1;
        self.files.insert(file, Node::default());
        self.change_names(vec![(path.to_owned(), Some(file))]);
        fate.answer().map(|()| file)
    }

    pub(super) fn rename(&mut self, from: &Path, to: &Path) -> io::Result<()> {
        let file = self.find(from)?;
        let fate = self.begin_change()?;
        self.change_names(vec![(from.to_owned(), None), (to.to_owned(), Some(file))]);
        fate.answer()
    }

    pub(super) fn remove(&mut self, path: &Path) -> io::Result<()> {
        self.find(path)?;
        let fate = self.begin_change()?;
        self.change_names(vec![(path.to_owned(), None)]);
        fate.answer()
    }

    pub(super) fn create_directory(&mut self, directory: &Path) -> io::Result<()> {
        if self.has_directory(directory) {
            return self.check_power();
        }
        let fate = self.begin_change()?;
        if fate == Fate::Made {
            self.directories.extend(directory.ancestors().map(Path::to_owned));
        }
        fate.answer()
    }

    pub(super) fn sync_directory(&mut self, directory: &Path) -> io::Result<()> {
        let fate = self.begin_change()?;
        if fate == Fate::Made {
            self.counters.syncs += 1;
            let inside = |change: &mut Renaming| {
                change.names.iter().any(|(path, _)| path.parent() == Some(directory))
            };
            let synced: Vec<Renaming> = self.pending.extract_if(.., inside).collect();
            for change in synced {
                point(&mut self.durable, &change);
            }
            self.forget_lost_files();
        }
        fate.answer()
    }

    pub(super) fn sync(&mut self, file: FileId) -> io::Result<()> {
        let fate = self.begin_change()?;
        if fate == Fate::Made {
            self.counters.syncs += 1;
            let fails = self.fail_sync_after == Some(0);
            self.fail_sync_after = self.fail_sync_after.and_then(|left| left.checked_sub(1));
            let content = self.content(file);
            if fails {
                content.lose_pending();
                return Err(io::Error::other("the disk failed to sync (injected)"));
            }
            content.sync();
        }
        fate.answer()
    }

    pub(super) fn write(&mut self, file: FileId, bytes: &[u8], offset: usize) -> io::Result<()> {
        let end = offset.checked_add(bytes.len()).ok_or(io::ErrorKind::FileTooLarge)?;
        self.check_space(file, end)?;
        let fate = self.begin_change()?;
        self.counters.bytes_written += bytes.len() as u64;
        self.content(file).write(bytes, offset);
        fate.answer()
    }

    pub(super) fn resize(&mut self, file: FileId, len: usize) -> io::Result<()> {
        self.check_space(file, len)?;
        let fate = self.begin_change()?;
        self.content(file).resize(len);
        fate.answer()
    }

    fn check_space(&mut self, file: FileId, end: usize) -> io::Result<()> {
        self.check_power()?;
        let growth = end.saturating_sub(self.content(file).len()) as u64;
        if growth > self.free_bytes() {
            return Err(io::ErrorKind::StorageFull.into());
        }
        Ok(())
    }

    pub(super) fn free_bytes(&self) -> u64 {
        const WHEN_UNBOUNDED: u64 = 1 << 40;
        let Some(capacity) = self.capacity else { return WHEN_UNBOUNDED };
        let used: usize = self.files.values().map(|node| node.content.len()).sum();
        capacity.saturating_sub(used as u64)
    }

    pub(super) fn content(&mut self, file: FileId) -> &mut Content {
        &mut self.files.get_mut(&file).expect("a handle or a name keeps it").content
    }

    pub(super) fn add_handle(&mut self, file: FileId) {
        self.files.get_mut(&file).expect("a name keeps it").handles += 1;
    }

    pub(super) fn drop_handle(&mut self, file: FileId) {
        self.files.get_mut(&file).expect("the handle kept it").handles -= 1;
        self.forget_lost_files();
    }

    /// Takes the lock; returns true if it was free.
    pub(super) fn lock(&mut self, path: &Path) -> bool {
        self.locks.insert(path.to_owned())
    }

    pub(super) fn unlock(&mut self, path: &Path) {
        self.locks.remove(path);
    }

    /// Restores the power: applies what `survival` leaves, and closes everything.
    pub(super) fn restart(&mut self, survival: Survival) {
        let mut dice = Dice::new(match survival {
            Survival::Seeded(seed) => seed,
            Survival::Nothing | Survival::Everything => 0,
        });
        for change in std::mem::take(&mut self.pending) {
            let survives = match survival {
                Survival::Nothing => false,
                Survival::Everything => true,
                Survival::Seeded(_) => dice.below(2) == 0,
            };
            if survives {
                point(&mut self.durable, &change);
            }
        }
        for node in self.files.values_mut() {
            match survival {
                Survival::Nothing => node.content.keep_durable(),
                Survival::Everything => node.content.keep_everything(),
                Survival::Seeded(_) => node.content.keep_some(&mut dice),
            }
        }
        self.live.clone_from(&self.durable);
        self.close_everything();
        self.powerless = false;
        self.cut_after = None;
        self.fail_sync_after = None;
    }

    /// Closes all files and locks, as on a copy of the disk.
    pub(super) fn close_everything(&mut self) {
        self.files.values_mut().for_each(|node| node.handles = 0);
        self.locks.clear();
        self.era += 1;
        self.forget_lost_files();
    }

    fn change_names(&mut self, names: Vec<(PathBuf, Option<FileId>)>) {
        let change = Renaming { names };
        point(&mut self.live, &change);
        self.pending.push(change);
        self.forget_lost_files();
    }

    /// Removes files that have neither a name (live, durable or pending) nor a handle.
    fn forget_lost_files(&mut self) {
        let pending = self.pending.iter().flat_map(|change| &change.names);
        let named: BTreeSet<FileId> = pending
            .filter_map(|(_, file)| *file)
            .chain(self.live.values().copied())
            .chain(self.durable.values().copied())
            .collect();
        self.files.retain(|file, node| node.handles > 0 || named.contains(file));
    }
}

fn point(names: &mut BTreeMap<PathBuf, FileId>, change: &Renaming) {
    for (path, file) in &change.names {
        match file {
            Some(file) => names.insert(path.clone(), *file),
            None => names.remove(path),
        };
    }
}

pub(super) fn no_power() -> io::Error {
    io::Error::other("the power is cut (injected)")
}

fn missing(path: &Path) -> io::Error {
    io::Error::new(io::ErrorKind::NotFound, format!("there is no {}", path.display()))
}
