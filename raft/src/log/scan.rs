//! Reads a log back from its segments: finds its batches and decodes them.

use std::path::{Path, PathBuf};

use bytes::Bytes;
use quorate_store::vfs::{Open, Vfs};
use quorate_store::{Fault, Malformed};

use super::format::{self, BLOCK, BatchHeader, Identity, Place, Record};
use super::segments::{self, segment_name};

/// The advice about damage, which ends the sentence about the fault.
pub(crate) const ADVICE: &str = "this node must not start with it: the others go on without it as long as they are \
     a majority: add a new node in its place with `quorate cluster replace`";

/// The contents of a log.
#[derive(Debug, Default)]
pub(super) struct Scan {
    /// The batches, oldest first; empty in a new log.
    pub(super) chain: Vec<Batch>,
    /// The segments that the chain leads through and their lengths, oldest first.
    pub(super) used: Vec<(u64, u64)>,
    /// The offset in the last of these segments at which the next batch may begin: behind a batch that may be torn.
    pub(super) end: u64,
}

/// A batch as it was found; its payloads were checked, and are kept for the newest batch only.
#[derive(Debug)]
pub(super) struct Batch {
    pub(super) place: Place,
    pub(super) header: BatchHeader,
    pub(super) records: Vec<Found>,
}

/// A record and its offset.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) offset: u64,
    pub(super) record: Record,
    /// The length of an entry's payload.
    pub(super) length: usize,
}

/// A batch of which at least the header was written.
struct Begun {
    path: PathBuf,
    offset: u64,
    sequence: u64,
}

/// One segment in memory.
struct Loaded {
    number: u64,
    path: PathBuf,
    bytes: Bytes,
    seed: format::Seed,
}

/// Reads all segments in use and finds the chain of batches; changes nothing.
///
/// # Errors
/// Damage; or a log that does not belong to `expected`.
pub(super) fn scan(
    vfs: &dyn Vfs,
    directory: &Path,
    expected: Option<Identity>,
) -> Result<Scan, Fault> {
    let (numbers, _) = segments::list(vfs, directory)?;
    let identity = check_headers(vfs, directory, &numbers, expected)?;
    let mut scan = Scan { end: BLOCK, ..Scan::default() };
    let Some(identity) = identity else { return Ok(scan) };
    let mut begun = Vec::new();
    for number in numbers.iter().rev() {
        let loaded = Loaded::read(vfs, directory, &identity, *number)?;
        let newest = loaded.newest_batch();
        begun.extend(loaded.last_begun(newest));
        if let Some((newest, header)) = newest {
            check_begun(&begun, header.sequence)?;
            scan.end = loaded.end_behind(newest, &header);
            let walk = Walk { vfs, directory, identity, numbers: &numbers };
            walk.back_from(loaded, newest, header.sequence, &mut scan)?;
            break;
        }
    }
    if scan.chain.is_empty() {
        check_begun(&begun, 0)?;
    }
    scan.chain.reverse();
    scan.used.reverse();
    Ok(scan)
}

/// Returns damage if a batch was begun too far behind the newest whole one. A batch is begun when the one before it
/// is durable, so only the successor of the newest may be unfinished; a later one proves that batches are lost.
fn check_begun(begun: &[Begun], newest: u64) -> Result<(), Fault> {
    let Some(further) = begun.iter().find(|begun| begun.sequence > newest.saturating_add(1)) else {
        return Ok(());
    };
    let Begun { path, offset, sequence } = further;
    let why = format!("batch {sequence} was begun here, so batch {} was durable", sequence - 1);
    let why = format!("{why}, but the newest whole one is {newest}; {ADVICE}");
    Err(Fault::damaged(path, *offset, why))
}

/// Reads all headers, before anything else, to check whose log it is.
fn check_headers(
    vfs: &dyn Vfs,
    directory: &Path,
    numbers: &[u64],
    expected: Option<Identity>,
) -> Result<Option<Identity>, Fault> {
    let mut identity = None;
    for number in numbers {
        let path = directory.join(segment_name(*number));
        let file = vfs.open(&path, Open::Read).map_err(Fault::io("open", &path))?;
        let length = file.len().map_err(Fault::io("read", &path))?;
        if length < BLOCK {
            let why = format!("it has {length} bytes, too few for a segment; {ADVICE}");
            return Err(Fault::damaged(&path, length, why));
        }
        let mut header = vec![0; BLOCK as usize];
        file.read_at(&mut header, 0).map_err(Fault::io("read", &path))?;
        let (found, use_number, written) = format::decode_segment_header(&header)
            .map_err(|malformed| fault(&path, 0, malformed))?;
        let expected = expected.or(identity).unwrap_or(found);
        if found != expected {
            return Err(Fault::foreign(&path, foreign(&found, &expected)));
        }
        if use_number != *number {
            let why = format!("its header says that it is segment {use_number}; {ADVICE}");
            return Err(Fault::damaged(&path, 0, why));
        }
        if length != written {
            let why = format!("it has {length} bytes, but was written with {written}; {ADVICE}");
            return Err(Fault::damaged(&path, length.min(written), why));
        }
        identity = Some(found);
    }
    Ok(identity)
}

fn foreign(found: &Identity, expected: &Identity) -> String {
    let describe = |identity: &Identity| {
        let cluster = u128::from_be_bytes(identity.cluster);
        format!("log {} of node {} of cluster {cluster:032x}", identity.log, identity.node)
    };
    format!("it belongs to {}, and this is {}", describe(found), describe(expected))
}

fn fault(path: &Path, offset: u64, malformed: Malformed) -> Fault {
    match malformed.is_unknown() {
        true => Fault::foreign(path, malformed.to_string()),
        false => Fault::damaged(path, offset, format!("{malformed}; {ADVICE}")),
    }
}

impl Loaded {
    fn read(
        vfs: &dyn Vfs,
        directory: &Path,
        identity: &Identity,
        number: u64,
    ) -> Result<Loaded, Fault> {
        let path = directory.join(segment_name(number));
        let file = vfs.open(&path, Open::Read).map_err(Fault::io("open", &path))?;
        let length = file.len().map_err(Fault::io("read", &path))?;
        let mut bytes = vec![0; usize::try_from(length).unwrap_or(usize::MAX)];
        file.read_at(&mut bytes, 0).map_err(Fault::io("read", &path))?;
        Ok(Loaded { number, path, bytes: bytes.into(), seed: identity.seed(number) })
    }

    fn from(&self, offset: u64) -> &[u8] {
        usize::try_from(offset).ok().and_then(|offset| self.bytes.get(offset..)).unwrap_or_default()
    }

    /// Returns the header of the whole batch at `offset`, if there is one.
    fn whole_batch(&self, offset: u64) -> Option<BatchHeader> {
        let bytes = self.from(offset);
        format::decode_batch_header(bytes, self.seed)
            .filter(|header| format::is_whole(bytes, header, self.seed))
    }

    /// Searches all boundaries for the last batch of this use, whatever lies between.
    fn newest_batch(&self) -> Option<(u64, BatchHeader)> {
        let mut newest = None;
        let mut offset = BLOCK;
        while offset < self.bytes.len() as u64 {
            offset += match self.whole_batch(offset) {
                Some(header) => {
                    newest = Some((offset, header));
                    format::padded(header.length.into())
                }
                None => BLOCK,
            };
        }
        newest
    }

    /// Returns the batch with the highest number of those that were begun behind the newest whole one.
    fn last_begun(&self, newest: Option<(u64, BatchHeader)>) -> Option<Begun> {
        let mut offset =
            newest.map_or(BLOCK, |(newest, header)| newest + format::padded(header.length.into()));
        let mut last: Option<Begun> = None;
        while offset < self.bytes.len() as u64 {
            let header = format::decode_batch_header(self.from(offset), self.seed);
            if let Some(header) = header
                && last.as_ref().is_none_or(|last| last.sequence < header.sequence)
            {
                let (path, sequence) = (self.path.clone(), header.sequence);
                last = Some(Begun { path, offset, sequence });
            }
            // Behind a header, the bytes are data of users, up to the end of its batch.
            offset += header.map_or(BLOCK, |header| format::padded(header.length.into()));
        }
        last
    }

    /// Returns the first boundary behind the newest batch, and behind a torn batch that may follow it.
    fn end_behind(&self, newest: u64, header: &BatchHeader) -> u64 {
        let end = newest + format::padded(header.length.into());
        let torn = format::decode_batch_header(self.from(end), self.seed);
        end + torn.map_or(BLOCK, |torn| format::padded(torn.length.into()))
    }

    fn decode(&self, offset: u64, keep_payloads: bool) -> Result<Batch, Fault> {
        let damaged = || {
            let why = "a batch fails its checksum, and batches that were written after it was durable follow";
            Fault::damaged(&self.path, offset, format!("{why}; {ADVICE}"))
        };
        let header = self.whole_batch(offset).ok_or_else(damaged)?;
        let from = usize::try_from(offset).map_err(|_| damaged())?;
        let batch = self.bytes.slice(from..from + header.length as usize);
        let records = format::decode_batch(&batch, &header, self.seed)
            .map_err(|malformed| fault(&self.path, offset, malformed))?;
        let found = |(at, record)| found(offset + at, record, keep_payloads);
        let records = records.into_iter().map(found).collect();
        Ok(Batch { place: Place { number: self.number, offset }, header, records })
    }
}

fn found(offset: u64, mut record: Record, keep_payloads: bool) -> Found {
    let mut length = 0;
    if let Record::Entry(entry) = &mut record {
        length = entry.payload.len();
        // A slice would keep the whole segment in memory.
        entry.payload =
            if keep_payloads { Bytes::copy_from_slice(&entry.payload) } else { Bytes::new() };
    }
    Found { offset, record, length }
}

/// The walk from the newest batch back to the oldest.
struct Walk<'a> {
    vfs: &'a dyn Vfs,
    directory: &'a Path,
    identity: Identity,
    numbers: &'a [u64],
}

impl Walk<'_> {
    fn back_from(
        &self,
        mut loaded: Loaded,
        newest: u64,
        newest_sequence: u64,
        scan: &mut Scan,
    ) -> Result<(), Fault> {
        scan.used.push((loaded.number, loaded.bytes.len() as u64));
        let (mut offset, mut sequence) = (newest, newest_sequence);
        loop {
            let batch = loaded.decode(offset, scan.chain.is_empty())?;
            if batch.header.sequence != sequence {
                let why = format!("batch {} stands where {sequence} must", batch.header.sequence);
                return Err(Fault::damaged(&loaded.path, offset, format!("{why}; {ADVICE}")));
            }
            let previous = batch.header.previous;
            let opens =
                matches!(batch.records.first(), Some(Found { record: Record::Image(_), .. }));
            scan.chain.push(batch);
            if previous.number != loaded.number && !opens {
                let why = format!("the first batch has no image; {ADVICE}");
                return Err(Fault::damaged(&loaded.path, offset, why));
            }
            if previous == Place::default() || self.is_gone(previous.number)? {
                return Ok(());
            }
            let here = Place { number: loaded.number, offset };
            if previous >= here {
                let why = format!("a batch names one behind it as the one before; {ADVICE}");
                return Err(Fault::damaged(&loaded.path, offset, why));
            }
            if previous.number != loaded.number {
                loaded = Loaded::read(self.vfs, self.directory, &self.identity, previous.number)?;
                scan.used.push((loaded.number, loaded.bytes.len() as u64));
            }
            (offset, sequence) = (previous.offset, sequence.saturating_sub(1));
        }
    }

    /// Returns true if the segment was recycled: then all segments before it were, too.
    fn is_gone(&self, number: u64) -> Result<bool, Fault> {
        if self.numbers.contains(&number) {
            return Ok(false);
        }
        if self.numbers.iter().any(|other| *other < number) {
            let path = self.directory.join(segment_name(number));
            let why = format!("it is missing, though older segments are there; {ADVICE}");
            return Err(Fault::damaged(&path, 0, why));
        }
        Ok(true)
    }
}
