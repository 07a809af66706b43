//! Reading entries back: from memory, or from disk with every checksum checked.

use std::path::Path;

use bytes::Bytes;
use quorate_proto::LogId;
use quorate_store::Fault;

use super::format::{self, Place, Record};
use super::scan::ADVICE;
use super::shared::{Inner, Shared};
use super::{EntryKind, LogEntry};

/// The number of bytes that are read from disk at once, unless a single entry is larger.
const SPAN_BYTES: u64 = 1024 * 1024;

/// An entry to be returned, and its source.
struct Wanted {
    id: LogId,
    kind: EntryKind,
    source: Source,
}

enum Source {
    Memory(Bytes),
    Disk { place: Place, length: u64 },
}

/// See [`RaftLog::read`](super::RaftLog::read).
pub(super) fn read(
    shared: &Shared,
    from: u64,
    until: u64,
    bytes_max: usize,
) -> Result<Vec<LogEntry>, Fault> {
    let wanted = plan(shared, from, until, bytes_max)?;
    fetch(shared, &wanted).map_err(|fault| {
        // The entry may have been purged, and its segment used again, in the meantime.
        let inner = shared.lock();
        if inner.entries.get(from).is_some() {
            return fault;
        }
        missing(&shared.directory, &inner, from)
    })
}

/// Returns the fault for an entry that is not there.
pub(super) fn missing(directory: &Path, inner: &Inner, index: u64) -> Fault {
    let (first, until) = (inner.entries.first(), inner.entries.until());
    let why =
        format!("there is no entry {index}; the log holds those from {first} to before {until}");
    let error = std::io::Error::new(std::io::ErrorKind::NotFound, why);
    Fault::io("read from the log in", directory)(error)
}

/// Returns the entries to read, and the source of each; all entries of the range must be there.
fn plan(shared: &Shared, from: u64, until: u64, bytes_max: usize) -> Result<Vec<Wanted>, Fault> {
    let inner = shared.lock();
    if let Some(fault) = &inner.failed {
        return Err(fault.clone());
    }
    if from < until && until > inner.entries.until() {
        return Err(missing(&shared.directory, &inner, until - 1));
    }
    let (mut wanted, mut bytes) = (Vec::new(), 0_usize);
    for index in from..until {
        let slot = inner.entries.get(index);
        let slot = slot.ok_or_else(|| missing(&shared.directory, &inner, index))?;
        bytes = bytes.saturating_add(slot.length as usize);
        if !wanted.is_empty() && bytes > bytes_max {
            break;
        }
        let source = match (inner.entries.cached(index), slot.place) {
            (Some(payload), _) => Source::Memory(payload.clone()),
            (None, Some(place)) => Source::Disk { place, length: slot.record_bytes() },
            (None, None) => return Err(missing(&shared.directory, &inner, index)),
        };
        let id = LogId::new(slot.term, index);
        wanted.push(Wanted { id, kind: slot.kind, source });
    }
    Ok(wanted)
}

fn fetch(shared: &Shared, wanted: &[Wanted]) -> Result<Vec<LogEntry>, Fault> {
    let mut entries = Vec::with_capacity(wanted.len());
    let mut span = Span::default();
    for (nth, Wanted { id, kind, source }) in wanted.iter().enumerate() {
        let payload = match source {
            Source::Memory(payload) => payload.clone(),
            Source::Disk { place, length } => {
                if span.find(*place, *length).is_none() {
                    span = Span::read(shared, wanted.get(nth..).unwrap_or_default())?;
                }
                let record = span.find(*place, *length).unwrap_or_default();
                check(shared, *place, &record, *id, *kind)?
            }
        };
        entries.push(LogEntry { id: *id, kind: *kind, payload });
    }
    Ok(entries)
}

/// Returns the payload, if the bytes are the record of that entry.
fn check(
    shared: &Shared,
    place: Place,
    bytes: &Bytes,
    id: LogId,
    kind: EntryKind,
) -> Result<Bytes, Fault> {
    match format::decode_record(bytes, shared.identity.seed(place.number)) {
        Ok(Record::Entry(entry)) if entry.id == id && entry.kind == kind => Ok(entry.payload),
        found => {
            let why = match found {
                Ok(_) => format!("another record is where entry {id} must be; {ADVICE}"),
                Err(malformed) => format!("entry {id} cannot be read: {malformed}; {ADVICE}"),
            };
            Err(Fault::damaged(&shared.segment_path(place.number), place.offset, why))
        }
    }
}

/// Bytes of one segment, read at once.
#[derive(Default)]
struct Span {
    place: Place,
    bytes: Bytes,
}

impl Span {
    /// Reads the first of these records, and the records that follow it closely in the same segment.
    fn read(shared: &Shared, wanted: &[Wanted]) -> Result<Span, Fault> {
        let mut records = wanted.iter().map_while(|wanted| match wanted.source {
            Source::Disk { place, length } => Some((place, place.offset + length)),
            Source::Memory(_) => None,
        });
        let Some((first, mut end)) = records.next() else { return Ok(Span::default()) };
        for (place, record_end) in records {
            if place.number != first.number || record_end.saturating_sub(first.offset) > SPAN_BYTES
            {
                break;
            }
            end = end.max(record_end);
        }
        let mut bytes = vec![0; (end - first.offset) as usize];
        let path = shared.segment_path(first.number);
        let file = shared.file(first.number)?;
        file.read_at(&mut bytes, first.offset).map_err(Fault::io("read", &path))?;
        Ok(Span { place: first, bytes: bytes.into() })
    }

    fn find(&self, place: Place, length: u64) -> Option<Bytes> {
        if place.number != self.place.number {
            return None;
        }
        let from = usize::try_from(place.offset.checked_sub(self.place.offset)?).ok()?;
        let until = from.checked_add(usize::try_from(length).ok()?)?;
        (until <= self.bytes.len()).then(|| self.bytes.slice(from..until))
    }
}
