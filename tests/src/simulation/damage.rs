//! Damages the files of a node that is off, as a wrong mount or a restored copy does, and undoes the damage.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use quorate_raft::Identity;
use quorate_store::vfs::{MemVfs, Open, Vfs};

use crate::random::Random;

/// The folder of a node.
const NODE: &str = "/node";
const FOLDERS: [&str; 3] = [NODE, "/node/log", "/node/chunks"];

/// The damage that is done to the files of a node that is off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Damage {
    /// All files of the Raft log are gone.
    LogGone,
    /// The newest segment of the Raft log is gone.
    NewestGone,
    /// The newest segment of the Raft log is empty.
    NewestEmptied,
    /// The newest segment of the Raft log ends early.
    NewestCut,
    /// The oldest of several segments of the Raft log is gone.
    HeadGone,
    /// The file with the node's identity is empty.
    IdentityEmptied,
    /// The file that counts the starts is empty.
    BootEmptied,
    /// The file that counts the starts is as it was some starts ago.
    OlderBoot,
    /// The newest segment of the Raft log is as it was some starts ago.
    OlderSegment,
    /// The Raft log is as it was some starts ago.
    OlderLog,
    /// The store's catalog, or the file that names it, is as it was some starts ago.
    OlderCatalog,
}

impl Damage {
    /// All kinds of damage; those that a start would not notice by itself come more often.
    const DRAWN: [Damage; 14] = [
        Damage::LogGone,
        Damage::LogGone,
        Damage::NewestGone,
        Damage::NewestGone,
        Damage::NewestEmptied,
        Damage::NewestCut,
        Damage::HeadGone,
        Damage::IdentityEmptied,
        Damage::BootEmptied,
        Damage::OlderBoot,
        Damage::OlderSegment,
        Damage::OlderLog,
        Damage::OlderLog,
        Damage::OlderCatalog,
    ];

    pub(super) fn draw(random: &mut Random) -> Damage {
        *random.pick(&Damage::DRAWN)
    }
}

/// The files of a node at some time, and the number of its starts until then.
#[derive(Clone, Debug)]
pub(super) struct Copy {
    files: BTreeMap<PathBuf, Vec<u8>>,
    starts: u64,
}

impl Copy {
    /// Copies the files from the disk of a node that is off.
    pub(super) fn of(disk: &MemVfs) -> io::Result<Copy> {
        let mut files = BTreeMap::new();
        for folder in FOLDERS.map(Path::new) {
            for name in disk.list(folder).unwrap_or_default() {
                let path = folder.join(name);
                // A folder has no bytes.
                if let Ok(bytes) = disk.read(&path) {
                    files.insert(path, bytes);
                }
            }
        }
        let starts = Identity::starts(disk, Path::new(NODE)).map_or(0, |(starts, _)| starts);
        Ok(Copy { files, starts })
    }

    /// Puts all files back, and removes all others.
    pub(super) fn put_back(&self, disk: &MemVfs) -> io::Result<()> {
        for path in Copy::of(disk)?.files.keys() {
            disk.remove(path)?;
        }
        for (path, bytes) in &self.files {
            write(disk, path, bytes)?;
        }
        FOLDERS.iter().try_for_each(|folder| disk.sync_directory(Path::new(folder)))
    }

    fn segments(&self) -> impl DoubleEndedIterator<Item = &PathBuf> {
        self.files.keys().filter(|path| {
            path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("segment-"))
        })
    }

    fn is_catalog(path: &Path) -> bool {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        name == "CURRENT" || name.starts_with("catalog-")
    }
}

fn write(disk: &MemVfs, path: &Path, bytes: &[u8]) -> io::Result<()> {
    let how = if disk.exists(path)? { Open::Write } else { Open::Create };
    let file = disk.open(path, how)?;
    file.set_len(bytes.len() as u64)?;
    file.write_at(bytes, 0)?;
    file.sync_data()
}

/// A node whose files were damaged.
#[derive(Debug)]
pub(super) struct Damaged {
    pub(super) damage: Damage,
    /// The files before the damage.
    pub(super) truth: Copy,
    /// True if the node must not start with the damaged files.
    pub(super) must_refuse: bool,
}

/// Damages the files of a node that is off. `None`, without a change, if the damage does not apply, or if
/// only the other nodes could notice it: a log that was copied since the node's newest start.
pub(super) fn damage(
    disk: &MemVfs,
    damage: Damage,
    older: Option<&Copy>,
) -> io::Result<Option<Damaged>> {
    let truth = Copy::of(disk)?;
    let Ok((_, reach)) = Identity::starts(disk, Path::new(NODE)) else { return Ok(None) };
    let file = |name: &str| Path::new(NODE).join(name);
    let newest = truth.segments().next_back().cloned();
    let Some(newest) = newest.filter(|_| reach.batch > 0) else { return Ok(None) };
    let was_noted = newest.to_string_lossy().ends_with(&format!("{:010}", reach.segment));
    // A start that was cut off counts, and the next start leaves out a number.
    let older = older.filter(|older| older.starts + 1 < reach.boot);
    let is_done = match (damage, older) {
        (Damage::LogGone, _) => {
            truth.segments().try_for_each(|path| disk.remove(path))?;
            true
        }
        (Damage::NewestGone, _) => was_noted && disk.remove(&newest).map(|()| true)?,
        (Damage::NewestEmptied, _) => disk.truncate(&newest, 0).map(|()| true)?,
        (Damage::NewestCut, _) => {
            let half = truth.files[&newest].len() as u64 / 2;
            disk.truncate(&newest, half).map(|()| true)?
        }
        (Damage::HeadGone, _) => {
            let oldest = truth.segments().next().filter(|oldest| **oldest != newest);
            oldest.map(|oldest| disk.remove(oldest)).transpose()?.is_some()
        }
        (Damage::IdentityEmptied, _) => disk.truncate(&file("identity"), 0).map(|()| true)?,
        (Damage::BootEmptied, _) => disk.truncate(&file("boot"), 0).map(|()| true)?,
        (Damage::OlderBoot, Some(older)) => {
            replace(disk, &truth, older, |path| path == file("boot"))?
        }
        (Damage::OlderSegment, Some(older)) => {
            replace(disk, &truth, older, |path| path == newest.as_path())?
        }
        (Damage::OlderLog, Some(older)) => {
            truth.segments().try_for_each(|path| disk.remove(path))?;
            older.segments().try_for_each(|path| write(disk, path, &older.files[path]))?;
            true
        }
        (Damage::OlderCatalog, Some(older)) => replace(disk, &truth, older, Copy::is_catalog)?,
        (_, None) => false,
    };
    FOLDERS.iter().try_for_each(|folder| disk.sync_directory(Path::new(folder)))?;
    let must_refuse = !matches!(damage, Damage::HeadGone | Damage::OlderCatalog);
    Ok(is_done.then_some(Damaged { damage, truth, must_refuse }))
}

/// Gives the first such file that differs its older bytes; false if there is none.
fn replace(
    disk: &MemVfs,
    truth: &Copy,
    older: &Copy,
    is_it: impl Fn(&Path) -> bool,
) -> io::Result<bool> {
    let differs = |(path, bytes): &(&PathBuf, &Vec<u8>)| {
        is_it(path) && truth.files.get(*path).is_some_and(|now| now != *bytes)
    };
    let Some((path, bytes)) = older.files.iter().find(differs) else { return Ok(false) };
    write(disk, path, bytes)?;
    Ok(true)
}
