//! Opening a log: read it back, check the result, make it durable, continue it.

use std::io::ErrorKind;
use std::path::Path;
use std::sync::Arc;

use quorate_proto::LogId;
use quorate_store::Fault;
use quorate_store::vfs::Vfs;

use super::format::{BLOCK, Identity, Place, Record, padded};
use super::image::Image;
use super::replay::Replay;
use super::scan::{Batch, Scan, scan};
use super::segments::Segments;
use super::shared::{Inner, Shared};
use super::writer::{LogWriter, Start};
use super::{LogOptions, PeerMemory, VoteRecord};

/// The greatest number of bytes in a batch, unless it holds a single larger entry.
const BATCH_BYTES_MAX: u64 = 4 * 1024 * 1024;

/// The result of reading the log back, in the two parts that a start needs.
struct Found {
    /// The state that all batches but the newest lead to.
    before: Image,
    /// The newest batch; `None` in a new log.
    newest: Option<Batch>,
    /// The number of entries that were appended before the newest batch.
    ticket: u64,
}

/// Opens or creates the log; see [`RaftLog::open`](super::RaftLog::open).
pub(super) fn open(
    vfs: Arc<dyn Vfs>,
    directory: &Path,
    options: &LogOptions,
) -> Result<(Arc<Shared>, LogWriter), Fault> {
    vfs.create_directory(directory).map_err(Fault::io("create", directory))?;
    let LogOptions { cluster, log, node, .. } = *options;
    let identity = Identity { cluster, log, node };
    let segment_bytes = padded(options.segment_bytes.max(LogOptions::SEGMENT_BYTES_MIN));
    let mut scan = scan(&*vfs, directory, Some(identity))?;
    let newest = scan.chain.pop();
    let mut replay = Replay::new(directory, options.cache_bytes);
    let found = replay_all(&scan, newest, &mut replay, options)?;

    let (used, end) = (&scan.used, scan.end.max(BLOCK));
    let segments =
        Segments::resume(Arc::clone(&vfs), directory, identity, segment_bytes, used, end)?;
    if let Some(own) = own(options) {
        replay.image.peers.insert(node, own);
    }
    let inner = Inner::new(replay.image, replay.entries, replay.ticket);
    let batch_bytes = BATCH_BYTES_MAX.min(segment_bytes / 4);
    let shared = Shared::new(vfs, directory.to_owned(), identity, batch_bytes, inner);
    let shared = Arc::new(shared);
    let writer = take_over(&shared, segments, found, options)?;
    Ok((shared, writer))
}

/// Applies all batches and checks the result before anything is changed.
fn replay_all(
    scan: &Scan,
    newest: Option<Batch>,
    replay: &mut Replay<'_>,
    options: &LogOptions,
) -> Result<Found, Fault> {
    replay.check_reaches(newest.as_ref(), options.reach)?;
    let oldest = scan.chain.first().or(newest.as_ref());
    if let Some(oldest) = oldest {
        replay.begin(oldest);
    }
    for batch in &scan.chain {
        replay.add(batch)?;
    }
    let (before, ticket) = (replay.image.clone(), replay.ticket);
    if let Some(newest) = &newest {
        replay.add(newest)?;
    }
    if let Some(oldest) = oldest {
        replay.check_complete(oldest.place)?;
    }
    replay.check_starts(options)?;
    if let Some(covered) = options.covered {
        replay.check_covers(covered)?;
    }
    Ok(Found { before, newest, ticket })
}

/// Returns the record about the node itself: the number of this start.
fn own(options: &LogOptions) -> Option<PeerMemory> {
    let LogOptions { node, boot, .. } = *options;
    let vote = VoteRecord::default();
    (boot > 0).then_some(PeerMemory { node, boot, acknowledged: None, vote })
}

/// Writes the newest batch once more, in the same place in the chain, and syncs it.
fn take_over(
    shared: &Arc<Shared>,
    segments: Segments,
    found: Found,
    options: &LogOptions,
) -> Result<LogWriter, Fault> {
    let (sequence, previous) = match &found.newest {
        Some(newest) => (newest.header.sequence.saturating_sub(1), newest.header.previous),
        None => (0, Place::default()),
    };
    let start = Start { image: found.before, sequence, previous, boot: options.boot };
    let mut writer = LogWriter::new(Arc::clone(shared), segments, start);
    let records = found.newest.map_or(Vec::new(), |newest| newest.records);
    let mut records: Vec<Record> = records
        .into_iter()
        .map(|found| found.record)
        .filter(|record| match record {
            Record::Image(_) => false,
            // This start's number takes the place of the last one's.
            Record::Peer(peer) => options.boot == 0 || peer.node != options.node,
            _ => true,
        })
        .collect();
    records.extend(own(options).map(Record::Peer));
    records.extend(shared.lock().clamp_committed().map(Record::Committed));
    writer.begin(&records, found.ticket + 1)?;
    Ok(writer)
}

/// The result of [`Identity::verify_log`](crate::Identity::verify_log).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LogReport {
    /// The number of segments in use.
    pub segments: u64,
    /// The number of bytes in use in these segments.
    pub bytes: u64,
    /// The number of entries after the last purged one.
    pub entries: u64,
    /// The last entry.
    pub last: Option<LogId>,
}

/// Checks every byte in use of a stopped node's log; changes nothing. Of the options, it uses the identity of the log
/// and the points up to which the log must reach.
///
/// # Errors
/// The same errors as of [`RaftLog::open`](super::RaftLog::open).
pub(crate) fn verify(
    vfs: &dyn Vfs,
    directory: &Path,
    options: &LogOptions,
) -> Result<LogReport, Fault> {
    let LogOptions { cluster, log, node, .. } = *options;
    let mut scan = match vfs.list(directory) {
        Err(error) if error.kind() == ErrorKind::NotFound => Scan::default(),
        _ => scan(vfs, directory, Some(Identity { cluster, log, node }))?,
    };
    let bytes = scan.chain.iter().map(|batch| padded(batch.header.length.into())).sum::<u64>();
    let segments = scan.used.len() as u64;
    let newest = scan.chain.pop();
    let mut replay = Replay::new(directory, 0);
    replay_all(&scan, newest, &mut replay, options)?;
    let (entries, last) = (replay.entries.len(), replay.image.end);
    Ok(LogReport { segments, bytes: bytes + segments * BLOCK, entries, last })
}
