//! The file `boot` of a node: the number of its starts, and a point up to which its log was durable at least.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use quorate_store::Fault;
use quorate_store::vfs::{File, Open, Vfs};

use super::format::{self, Started};
use crate::log::{ADVICE, Reach};

/// The name of the file.
pub(super) const BOOT: &str = "boot";
/// The distance between the two places, so large that no write of one place touches the other.
pub(super) const PLACE_BYTES: usize = 4096;

/// Returns the contents of the file before the node's first start.
pub(super) fn no_starts() -> Vec<u8> {
    let mut bytes = format::encode_boot(&Started::default());
    bytes.resize(2 * PLACE_BYTES, 0);
    bytes
}

/// The file `boot` of a node: it holds what the node must remember even if its log is gone.
///
/// The file has two places, written in turn, so that neither a start nor a note needs room on the disk, and so that
/// the previous contents survive a write that is cut off.
#[derive(Debug)]
pub(crate) struct Boot {
    path: PathBuf,
    file: Arc<dyn File>,
    started: Started,
    /// The number of the place that holds `started`.
    place: u64,
}

impl Boot {
    /// Reads the file; also returns true if one of its places does not decode.
    pub(super) fn open(vfs: &dyn Vfs, directory: &Path, how: Open) -> Result<(Boot, bool), Fault> {
        let path = directory.join(BOOT);
        let damaged = |why: &str| Fault::damaged(&path, 0, format!("{why}; {ADVICE}"));
        if !vfs.exists(&path).map_err(Fault::io("find", &path))? {
            return Err(damaged("it is missing, and the folder is a node's"));
        }
        let file = vfs.open(&path, how).map_err(Fault::io("open", &path))?;
        let mut bytes = vec![0; 2 * PLACE_BYTES];
        if file.len().map_err(Fault::io("read", &path))? < bytes.len() as u64 {
            return Err(damaged("it is cut short"));
        }
        file.read_at(&mut bytes, 0).map_err(Fault::io("read", &path))?;
        let (mut newest, mut is_torn) = (None, false);
        for (place, bytes) in (0..).zip(bytes.chunks(PLACE_BYTES)) {
            let written = bytes.get(..format::BOOT_BYTES).unwrap_or_default();
            match format::decode_boot(written) {
                Ok(started) => newest = newest.max(Some((started, place))),
                Err(_) if written.iter().all(|byte| *byte == 0) => {}
                Err(_) => is_torn = true,
            }
        }
        let (started, place) = newest.ok_or_else(|| damaged("it holds no number"))?;
        Ok((Boot { path, file, started, place }, is_torn))
    }

    pub(crate) fn times(&self) -> u64 {
        self.started.times
    }

    pub(crate) fn reach(&self) -> Reach {
        self.started.reach
    }

    /// Notes durably that the log reaches at least to `reach`.
    pub(crate) fn reaches(&mut self, reach: Reach) -> Result<(), Fault> {
        let reach = reach.max(self.started.reach);
        self.write(Started { reach, ..self.started })
    }

    fn write(&mut self, started: Started) -> Result<(), Fault> {
        let place = 1 - self.place;
        let encoded = format::encode_boot(&started);
        let written = self.file.write_at(&encoded, place * PLACE_BYTES as u64);
        written.map_err(Fault::io("write", &self.path))?;
        self.file.sync_data().map_err(Fault::io("sync", &self.path))?;
        (self.started, self.place) = (started, place);
        Ok(())
    }
}

/// Counts a start, durably: 1 the first time.
///
/// A place that does not decode may have been written by a start that was cut off, and that start may have shown its
/// number to others: that number is left out.
pub(crate) fn count_boot(vfs: &dyn Vfs, directory: &Path) -> Result<Boot, Fault> {
    let (mut boot, is_torn) = Boot::open(vfs, directory, Open::Write)?;
    let times = boot.started.times + 1 + u64::from(is_torn);
    boot.write(Started { times, ..boot.started })?;
    Ok(boot)
}
