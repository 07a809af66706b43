//! The files of the log: the segment being written, the next one, those in use, and spare ones.
//!
//! ```text
//! segment-0000000007   in use, or to be used next: its header was synced before it got this name
//! spare-0000000003     was segment 3; whatever is in it, nothing counts
//! filling              is being written full of zeros
//! ```

use std::collections::{BTreeMap, VecDeque};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use quorate_store::Fault;
use quorate_store::vfs::{File, Open, Vfs};

use super::format::{self, BLOCK, Identity};

/// The most spare files that are kept; further ones are removed.
const SPARES_MAX: usize = 2;
/// The first segment of a log is short, so that a new node is up at once.
const FIRST_SEGMENT_BYTES: u64 = 4 * 1024 * 1024;
/// The least number of bytes that one step fills with zeros.
const STEP_BYTES: u64 = 1024 * 1024;

const FILLING: &str = "filling";

/// Returns the name of the segment in its use `number`.
pub(super) fn segment_name(number: u64) -> String {
    format!("segment-{number:010}")
}

fn spare_name(number: u64) -> String {
    format!("spare-{number:010}")
}

/// Returns the numbers of the segment files and of the spare files in a folder.
pub(super) fn list(vfs: &dyn Vfs, directory: &Path) -> Result<(Vec<u64>, Vec<u64>), Fault> {
    let names = vfs.list(directory).map_err(Fault::io("list", directory))?;
    let numbers = |prefix: &str| {
        let mut numbers: Vec<u64> =
            names.iter().filter_map(|name| name.strip_prefix(prefix)?.parse().ok()).collect();
        numbers.sort_unstable();
        numbers
    };
    Ok((numbers("segment-"), numbers("spare-")))
}

/// A segment that is, or is to be, written.
#[derive(Debug)]
pub(super) struct Segment {
    pub(super) number: u64,
    pub(super) file: Arc<dyn File>,
    pub(super) length: u64,
    /// The offset in the file at which the next batch begins.
    pub(super) end: u64,
}

impl Segment {
    /// Returns true if no batch was written to the segment in this use.
    pub(super) fn is_fresh(&self) -> bool {
        self.end == BLOCK
    }

    fn fits(&self, bytes: u64) -> bool {
        self.end.saturating_add(format::padded(bytes)) <= self.length
    }
}

/// A file on its way to become the next segment.
#[derive(Debug)]
struct Filling {
    file: Arc<dyn File>,
    filled: u64,
}

/// The outcome of a step of [`Segments::maintain`], as far as others must know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Maintained {
    /// Nothing was done, or the step prepared a part of the next segment.
    Nothing,
    /// The segment of that number is out of use.
    Retired(u64),
    /// There is no room for another segment. The space left in the existing ones can still be used.
    NoRoom,
}

/// All files of the log.
///
/// Invariants:
/// - numbers only grow: `next_number` is above every number a file of the folder ever had;
/// - `retained` are the segments before `current` that may hold what is still needed, with their lengths.
#[derive(Debug)]
pub(super) struct Segments {
    vfs: Arc<dyn Vfs>,
    directory: PathBuf,
    identity: Identity,
    segment_bytes: u64,
    next_number: u64,
    current: Option<Segment>,
    prepared: Option<Segment>,
    filling: Option<Filling>,
    retained: BTreeMap<u64, u64>,
    /// Files to be used again, the first retired first: so no file keeps for long what was deleted.
    spares: VecDeque<u64>,
}

impl Segments {
    /// Takes over the folder; no segment is changed. `used` are the segments that hold the log and their
    /// lengths, oldest first; the next batch of the last begins at `end`.
    pub(super) fn resume(
        vfs: Arc<dyn Vfs>,
        directory: &Path,
        identity: Identity,
        segment_bytes: u64,
        used: &[(u64, u64)],
        end: u64,
    ) -> Result<Segments, Fault> {
        vfs.sync_directory(directory).map_err(Fault::io("sync", directory))?;
        let (numbers, spares) = list(&*vfs, directory)?;
        let highest = numbers.iter().chain(&spares).max().copied().unwrap_or(0);
        let mut segments = Segments {
            vfs,
            directory: directory.to_owned(),
            identity,
            segment_bytes,
            next_number: highest + 1,
            current: None,
            prepared: None,
            filling: None,
            retained: used.iter().copied().collect(),
            spares: VecDeque::new(),
        };
        segments.remove_leftovers(spares)?;
        if let Some((number, length)) = segments.retained.pop_last() {
            let file = segments.open(&segment_name(number))?;
            segments.current = Some(Segment { number, file, length, end });
            segments.retire_newer(&numbers, number)?;
        }
        Ok(segments)
    }

    /// Takes the segments out of use that were got ready and never held a batch: the first batch of this start
    /// may need one, and there may be no room for another file. An older segment without a use may not be touched
    /// yet, see [`Segments::retire_unused`].
    fn retire_newer(&mut self, numbers: &[u64], current: u64) -> Result<(), Fault> {
        for number in numbers.iter().filter(|number| **number > current) {
            let path = self.path(*number);
            let length = self.open(&segment_name(*number))?.len();
            self.retire(*number, length.map_err(Fault::io("read", &path))?)?;
        }
        Ok(())
    }

    fn remove_leftovers(&mut self, spares: Vec<u64>) -> Result<(), Fault> {
        let filling = self.directory.join(FILLING);
        if self.vfs.exists(&filling).map_err(Fault::io("look for", &filling))? {
            self.vfs.remove(&filling).map_err(Fault::io("remove", &filling))?;
        }
        for number in spares {
            let path = self.directory.join(spare_name(number));
            let length = self.open(&spare_name(number))?.len().map_err(Fault::io("read", &path))?;
            if length == self.segment_bytes && self.spares.len() < SPARES_MAX {
                self.spares.push_back(number);
            } else {
                self.vfs.remove(&path).map_err(Fault::io("remove", &path))?;
            }
        }
        Ok(())
    }

    /// Takes all segments out of use that hold nothing of the log. Only after the newest batch is
    /// durable: before that, one of them may hold its only durable copy.
    pub(super) fn retire_unused(&mut self) -> Result<(), Fault> {
        let (numbers, _) = list(&*self.vfs, &self.directory)?;
        let current = self.current.as_ref().map(|segment| segment.number);
        for number in numbers {
            if Some(number) != current && !self.retained.contains_key(&number) {
                let path = self.directory.join(segment_name(number));
                let file = self.open(&segment_name(number))?;
                self.retire(number, file.len().map_err(Fault::io("read", &path))?)?;
            }
        }
        Ok(())
    }

    /// Returns the number of the segment that is written to; 0 in a new log.
    pub(super) fn current_number(&self) -> u64 {
        self.current.as_ref().map_or(0, |segment| segment.number)
    }

    /// Returns a segment with room for a batch of so many bytes: the current one, or the next.
    pub(super) fn with_room(&mut self, bytes: u64) -> Result<&mut Segment, Fault> {
        let current = match self.current.take() {
            Some(segment) if segment.fits(bytes) => segment,
            full => {
                let next = self.next_segment(full.is_none(), bytes)?;
                if let Some(full) = &full {
                    self.clear_rest(full)?;
                }
                self.retained.extend(full.map(|full| (full.number, full.length)));
                next
            }
        };
        Ok(self.current.insert(current))
    }

    /// Writes zeros over what an earlier use left behind the last batch: each use may end there, so nothing else would.
    /// No batch relies on the zeros, so they need not be durable.
    fn clear_rest(&self, full: &Segment) -> Result<(), Fault> {
        let path = self.path(full.number);
        // A batch that was torn by a power cut may reach beyond its end.
        let end = full.end.min(full.length);
        write_zeros(&*full.file, end, full.length).map_err(Fault::io("write", &path))
    }

    fn next_segment(&mut self, first: bool, bytes: u64) -> Result<Segment, Fault> {
        if let Some(prepared) = self.prepared.take() {
            if prepared.fits(bytes) {
                return Ok(prepared);
            }
            self.retire(prepared.number, prepared.length)?;
        }
        let needed = BLOCK + format::padded(bytes);
        let usual =
            if first { self.segment_bytes.min(FIRST_SEGMENT_BYTES) } else { self.segment_bytes };
        if needed <= usual && usual == self.segment_bytes {
            if let Some(spare) = self.spares.pop_front() {
                return self.adopt_spare(spare);
            }
            while !self.fill(self.segment_bytes)? {}
            return self.adopt_filled();
        }
        self.discard_filling()?;
        self.create_filled(needed.max(usual))?;
        self.adopt_filled()
    }

    /// Returns true if a step of [`Segments::maintain`] would do something.
    pub(super) fn is_due(&self, needed: u64, may_fill: bool) -> bool {
        let may_prepare = may_fill || !self.spares.is_empty();
        self.oldest_unneeded(needed).is_some() || self.wants_next() && may_prepare
    }

    /// Does one bounded step of the work ahead: takes the oldest segment before `needed` out of use, or gets the
    /// next one ready. Filling the next one, if allowed, keeps ahead of writing: `fill` is the number of bytes
    /// of the last batch.
    pub(super) fn maintain(&mut self, needed: u64, fill: Option<u64>) -> Result<Maintained, Fault> {
        if let Some((number, length)) = self.oldest_unneeded(needed) {
            self.retire(number, length)?;
            self.retained.remove(&number);
            return Ok(Maintained::Retired(number));
        }
        if !self.wants_next() {
            return Ok(Maintained::Nothing);
        }
        if let Some(spare) = self.spares.pop_front() {
            self.prepared = Some(self.adopt_spare(spare)?);
        } else if let Some(written) = fill {
            match self.fill(STEP_BYTES.max(written.saturating_mul(4))) {
                Ok(true) => self.prepared = Some(self.adopt_filled()?),
                Ok(false) => {}
                // No part of the file is in use yet.
                Err(Fault::Io { source, .. }) if source.kind() == ErrorKind::StorageFull => {
                    self.discard_filling()?;
                    return Ok(Maintained::NoRoom);
                }
                Err(fault) => return Err(fault),
            }
        }
        Ok(Maintained::Nothing)
    }

    fn oldest_unneeded(&self, needed: u64) -> Option<(u64, u64)> {
        let (number, length) = self.retained.first_key_value()?;
        (*number < needed).then_some((*number, *length))
    }

    fn wants_next(&self) -> bool {
        let room = |segment: &Segment| segment.length.saturating_sub(segment.end);
        self.prepared.is_none()
            && self.current.as_ref().is_some_and(|current| room(current) < self.segment_bytes / 2)
    }

    /// Takes a segment out of use, durably: one at a time, oldest first, so that no gap can come to be.
    fn retire(&mut self, number: u64, length: u64) -> Result<(), Fault> {
        let path = self.directory.join(segment_name(number));
        if length == self.segment_bytes && self.spares.len() < SPARES_MAX {
            let spare = self.directory.join(spare_name(number));
            self.vfs.rename(&path, &spare).map_err(Fault::io("rename", &path))?;
            self.spares.push_back(number);
        } else {
            self.vfs.remove(&path).map_err(Fault::io("remove", &path))?;
        }
        self.sync_directory()
    }

    /// Goes on filling the next file; returns true if it is full.
    fn fill(&mut self, step: u64) -> Result<bool, Fault> {
        let path = self.directory.join(FILLING);
        if self.filling.is_none() {
            self.create_filled(0)?;
        }
        let Some(filling) = &mut self.filling else { return Ok(false) };
        let until = filling.filled.saturating_add(step).min(self.segment_bytes);
        write_zeros(&*filling.file, filling.filled, until).map_err(Fault::io("write", &path))?;
        filling.file.sync_data().map_err(Fault::io("sync", &path))?;
        filling.filled = until;
        Ok(until == self.segment_bytes)
    }

    fn create_filled(&mut self, length: u64) -> Result<(), Fault> {
        let path = self.directory.join(FILLING);
        let file = self.vfs.open(&path, Open::Create).map_err(Fault::io("create", &path))?;
        write_zeros(&*file, 0, length).map_err(Fault::io("write", &path))?;
        self.filling = Some(Filling { file, filled: length });
        Ok(())
    }

    fn discard_filling(&mut self) -> Result<(), Fault> {
        if self.filling.take().is_some() {
            let path = self.directory.join(FILLING);
            self.vfs.remove(&path).map_err(Fault::io("remove", &path))?;
        }
        Ok(())
    }

    fn adopt_filled(&mut self) -> Result<Segment, Fault> {
        let filling = self.filling.take().expect("it was filled just now");
        self.adopt(FILLING, filling.file, filling.filled)
    }

    fn adopt_spare(&mut self, number: u64) -> Result<Segment, Fault> {
        let file = self.open(&spare_name(number))?;
        self.adopt(&spare_name(number), file, self.segment_bytes)
    }

    /// Makes a file a segment with the next number. The header is durable before the name is given, so a
    /// segment whose header fails its checksum is damaged.
    fn adopt(&mut self, name: &str, file: Arc<dyn File>, length: u64) -> Result<Segment, Fault> {
        let number = self.next_number;
        self.next_number += 1;
        let from = self.directory.join(name);
        let to = self.directory.join(segment_name(number));
        let header = format::encode_segment_header(&self.identity, number, length);
        file.write_at(&header, 0).map_err(Fault::io("write", &from))?;
        file.sync_data().map_err(Fault::io("sync", &from))?;
        self.vfs.rename(&from, &to).map_err(Fault::io("rename", &from))?;
        self.sync_directory()?;
        Ok(Segment { number, file, length, end: BLOCK })
    }

    pub(super) fn identity(&self) -> &Identity {
        &self.identity
    }

    pub(super) fn path(&self, number: u64) -> PathBuf {
        self.directory.join(segment_name(number))
    }

    fn open(&self, name: &str) -> Result<Arc<dyn File>, Fault> {
        let path = self.directory.join(name);
        self.vfs.open(&path, Open::Write).map_err(Fault::io("open", &path))
    }

    fn sync_directory(&self) -> Result<(), Fault> {
        self.vfs.sync_directory(&self.directory).map_err(Fault::io("sync", &self.directory))
    }
}

fn write_zeros(file: &dyn File, from: u64, until: u64) -> std::io::Result<()> {
    let zeros = vec![0; (STEP_BYTES.min(until - from)) as usize];
    let mut offset = from;
    while offset < until {
        let part = zeros.get(..(until - offset).min(STEP_BYTES) as usize).unwrap_or_default();
        file.write_at(part, offset)?;
        offset += part.len() as u64;
    }
    Ok(())
}
