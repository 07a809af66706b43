//! The real file system.

use std::fs;
use std::io;
use std::num::NonZeroU64;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

use rustix::fs::Advice;
use rustix::io::{Errno, ReadWriteFlags};

use super::{File, Lock, Open, Vfs};

/// The file system of the operating system.
#[derive(Clone, Copy, Debug, Default)]
pub struct OsVfs;

#[derive(Debug)]
struct OsFile(fs::File);

/// Holds the file open: the operating system releases the lock when the file is closed, by a crash too.
#[derive(Debug)]
struct OsLock(#[allow(dead_code, reason = "held for its lock, which ends with it")] fs::File);

impl Vfs for OsVfs {
    fn open(&self, path: &Path, how: Open) -> io::Result<Arc<dyn File>> {
        let mut options = fs::OpenOptions::new();
        options.read(true);
        match how {
            Open::Read => {}
            Open::Write => {
                options.write(true);
            }
            Open::Create => {
                options.write(true).create_new(true);
            }
        }
        Ok(Arc::new(OsFile(options.open(path)?)))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn exists(&self, path: &Path) -> io::Result<bool> {
        path.try_exists()
    }

    fn list(&self, directory: &Path) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(directory)? {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                continue;
            }
            // Our own files have no such names: it is somebody else's file.
            names.extend(entry.file_name().into_string().ok());
        }
        names.sort_unstable();
        Ok(names)
    }

    fn create_directory(&self, directory: &Path) -> io::Result<()> {
        if directory.as_os_str().is_empty() || directory.is_dir() {
            return Ok(());
        }
        let parent = directory.parent().unwrap_or(Path::new(""));
        self.create_directory(parent)?;
        match fs::create_dir(directory) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            // Another process may have made it just now.
            Err(_) if !directory.is_dir() => {
                let what = match directory.is_symlink() {
                    true => "a symbolic link to nothing that is a folder",
                    false => "a file, not a folder",
                };
                return Err(io::Error::new(io::ErrorKind::NotADirectory, format!("it is {what}")));
            }
            _ => {}
        }
        self.sync_directory(parent)
    }

    fn sync_directory(&self, directory: &Path) -> io::Result<()> {
        let here = Path::new(".");
        let directory = if directory.as_os_str().is_empty() { here } else { directory };
        fs::File::open(directory)?.sync_all()
    }

    fn lock(&self, path: &Path) -> io::Result<Box<dyn Lock>> {
        let file = fs::OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(path)?;
        file.try_lock().map_err(io::Error::from)?;
        Ok(Box::new(OsLock(file)))
    }

    fn lock_if_there(&self, path: &Path) -> io::Result<Option<Box<dyn Lock>>> {
        let file = match fs::File::open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        match file.try_lock() {
            Ok(()) => Ok(Some(Box::new(OsLock(file)))),
            Err(fs::TryLockError::WouldBlock) => Err(io::ErrorKind::WouldBlock.into()),
            // Some network file systems lock only files that are open for writing.
            Err(fs::TryLockError::Error(_)) => Ok(None),
        }
    }

    fn free_bytes(&self, directory: &Path) -> io::Result<u64> {
        let device = rustix::fs::statvfs(directory)?;
        Ok(device.f_bavail.saturating_mul(device.f_frsize))
    }
}

impl File for OsFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        self.0.read_exact_at(buffer, offset)
    }

    fn write_at(&self, buffer: &[u8], offset: u64) -> io::Result<()> {
        self.0.write_all_at(buffer, offset)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.0.sync_data()
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.set_len(len)
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }

    fn is_at_hand(&self, offset: u64) -> bool {
        let mut byte = [0];
        let buffers = &mut [io::IoSliceMut::new(&mut byte)];
        let read = rustix::io::preadv2(&self.0, buffers, offset, ReadWriteFlags::NOWAIT);
        read != Err(Errno::AGAIN)
    }

    fn will_read(&self, range: Range<u64>) {
        // A fault of the range shows when it is read.
        let length = NonZeroU64::new(range.end.saturating_sub(range.start));
        let _ = rustix::fs::fadvise(&self.0, range.start, length, Advice::WillNeed);
    }
}

impl Lock for OsLock {}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn files_whose_names_are_not_utf8_are_left_out() {
        let folder = tempfile::tempdir().expect("a folder");
        for name in [b"one".as_slice(), b"caf\xe9", b"two\nlines"] {
            fs::write(folder.path().join(OsStr::from_bytes(name)), "").expect("written");
        }
        fs::create_dir(folder.path().join("lost+found")).expect("a folder");
        assert_eq!(OsVfs.list(folder.path()).expect("listed"), ["one", "two\nlines"]);
    }

    #[test]
    fn a_folder_that_is_none_is_named_for_what_it_is() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = |name: &str| folder.path().join(name);
        fs::write(path("file"), "").expect("written");
        symlink(path("file"), path("to-file")).expect("linked");
        symlink(path("nowhere"), path("dangling")).expect("linked");
        for (name, what) in [
            ("file", "a file, not a folder"),
            ("to-file", "a symbolic link to nothing that is a folder"),
            ("dangling", "a symbolic link to nothing that is a folder"),
        ] {
            let refused = OsVfs.create_directory(&path(name)).expect_err(name);
            assert!(refused.to_string().contains(what), "{refused}");
        }
        fs::create_dir(path("real")).expect("a folder");
        symlink(path("real"), path("link")).expect("linked");
        OsVfs.create_directory(&path("link")).expect("it is there");
        OsVfs.create_directory(&path("new/below")).expect("created");
    }

    #[test]
    fn a_lock_holds_under_every_path_and_is_looked_for_without_writing() {
        let folder = tempfile::tempdir().expect("a folder");
        let (lock, link) = (folder.path().join("node/lock"), folder.path().join("link"));
        fs::create_dir(folder.path().join("node")).expect("a folder");
        symlink(folder.path().join("node"), &link).expect("linked");
        let by_link = link.join("lock");
        assert!(OsVfs.lock_if_there(&lock).expect("looked").is_none());
        assert!(!lock.exists(), "it was made");
        let held = OsVfs.lock(&lock).expect("locked");
        for refused in [OsVfs.lock(&by_link).err(), OsVfs.lock_if_there(&by_link).err()] {
            assert_eq!(refused.expect("it is held").kind(), io::ErrorKind::WouldBlock);
        }
        drop(held);
        let held = OsVfs.lock_if_there(&by_link).expect("looked").expect("it is there");
        assert!(OsVfs.lock(&lock).is_err(), "it is held");
        drop(held);
        OsVfs.lock(&lock).expect("it is free");
    }
}
