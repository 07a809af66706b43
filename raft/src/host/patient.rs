//! A file system that waits when there are no more descriptors, which is no fault of the disk.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use quorate_store::vfs::{File, Lock, Open, Vfs};

/// The system's error numbers when the process, or all processes, have as many descriptors as they may.
const ALL_TAKEN: [i32; 2] = [24, 23];
/// The time until the call is tried again.
const REST: Duration = Duration::from_millis(20);
/// The number of vain tries after which a warning is logged again.
const WARN_EVERY: u32 = 250;

/// A file system that waits where the one inside runs out of descriptors. Descriptors come back when connections and
/// files are closed; an error instead would stop the node.
#[derive(Debug)]
pub(super) struct Patient<V>(pub(super) V);

impl<V: Vfs> Vfs for Patient<V> {
    fn open(&self, path: &Path, how: Open) -> io::Result<Arc<dyn File>> {
        wait_out(|| self.0.open(path, how), rest)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.0.rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.0.remove(path)
    }

    fn exists(&self, path: &Path) -> io::Result<bool> {
        self.0.exists(path)
    }

    fn list(&self, directory: &Path) -> io::Result<Vec<String>> {
        wait_out(|| self.0.list(directory), rest)
    }

    fn create_directory(&self, directory: &Path) -> io::Result<()> {
        wait_out(|| self.0.create_directory(directory), rest)
    }

    fn sync_directory(&self, directory: &Path) -> io::Result<()> {
        // Only opening the folder can fail for want of a descriptor, so no failed sync is repeated.
        wait_out(|| self.0.sync_directory(directory), rest)
    }

    fn lock(&self, path: &Path) -> io::Result<Box<dyn Lock>> {
        wait_out(|| self.0.lock(path), rest)
    }

    fn free_bytes(&self, directory: &Path) -> io::Result<u64> {
        self.0.free_bytes(directory)
    }
}

fn rest() {
    #[allow(clippy::disallowed_methods, reason = "nothing signals when a descriptor is free")]
    thread::sleep(REST);
}

/// Tries until there is a descriptor, or until the call fails for another reason.
fn wait_out<T>(attempt: impl Fn() -> io::Result<T>, mut rest: impl FnMut()) -> io::Result<T> {
    let mut tries: u32 = 0;
    loop {
        let done = attempt();
        let error = done.as_ref().err().and_then(io::Error::raw_os_error);
        if error.is_none_or(|error| !ALL_TAKEN.contains(&error)) {
            return done;
        }
        if tries.is_multiple_of(WARN_EVERY) {
            tracing::warn!(
                "no file can be opened before others are closed: raise the limit of open files"
            );
        }
        tries = tries.wrapping_add(1);
        rest();
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    #[test]
    fn running_out_of_descriptors_is_waited_out_and_nothing_else_is() {
        for (code, rests) in [(24, 3), (23, 3), (5, 0)] {
            let left = Cell::new(3);
            let attempt = || match left.get() {
                0 => Ok(()),
                _ => Err(io::Error::from_raw_os_error(code)),
            };
            let mut rested = 0;
            let done = wait_out(attempt, || {
                rested += 1;
                left.set(left.get() - 1);
            });
            assert_eq!((done.is_ok(), rested), (rests > 0, rests), "{code}");
        }
    }
}
