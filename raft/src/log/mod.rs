//! The Raft log on disk: one ordered stream of batches over pre-written, recycled segments.
//!
//! Everything that Raft must not forget goes through one queue and into one stream of records: entries,
//! votes, committed marks, truncations, purges, what is remembered of peers. So "durable up to here" is one
//! statement about all of them, which is what openraft's flush callbacks mean by it.
//!
//! - [`RaftLog`] is the handle: what is handed to it can be read back at once, and is durable when its
//!   [`Done`] is called.
//! - [`LogWriter`] is the other end of the queue: a state machine whose steps somebody else drives, on a
//!   thread in production and inline in the simulation.
//! - `format` holds the bytes and `segments` the files; `image` is what records add up to, `entries` the
//!   index and the cache; `scan` finds the batches of a stopped log, `replay` adds them up and judges them.
//!
//! # How it stays safe
//!
//! A segment is a file of fixed length that was written full of zeros before, so that writing to it changes
//! no metadata. Each use of a file has a new, growing number, which is in its name, in its header and in every
//! checksum: what an earlier use left in it reads as nothing.
//!
//! What is queued while one sync runs becomes the next batch, and no batch is written before the one before
//! it is synced. A batch begins on a 4 KiB boundary and names its sequence number and the place of its
//! predecessor. The newest valid batch therefore proves which batches there were before it, and each of them
//! must be valid: damage cannot pass for an end.
//!
//! A start searches all boundaries of the newest segment. The newest batch is the only one that may never
//! have reached the disk (reading it proves nothing: after a failed fsync the page cache shows what the disk
//! does not have). It is therefore written once more, as a new batch that takes the old one's place in the
//! chain, and synced before anything is answered. What a torn write left is stepped over by the same batch.
//! Nothing that a chain holds is ever overwritten.
//!
//! Sources: Alagappan et al., "Protocol-Aware Recovery for Consensus-Based Storage" (FAST 2018) for telling
//! a torn tail from damage; Rebello et al., "Can Applications Recover from fsync Failures?" (ATC 2020).

mod entries;
mod format;
pub(crate) mod fuzz;
mod handle;
mod image;
mod open;
mod read;
mod replay;
mod scan;
mod segments;
mod shared;
#[cfg(test)]
mod tests;
mod writer;

use bytes::Bytes;
use quorate_proto::LogId;
use quorate_store::Fault;

pub use handle::RaftLog;
pub use open::LogReport;
pub(crate) use open::verify;
pub(crate) use scan::ADVICE;
pub use writer::{LogWriter, Reach};

/// Called once what was handed over with it, and everything before that, is durable; or with the fault
/// that stopped the log. Called in the order of the calls, on whatever drives the [`LogWriter`] (or at
/// once, when the log has stopped); it must not block.
pub type Done = Box<dyn FnOnce(Result<(), Fault>) + Send>;

/// Whose log it is, and its sizes.
#[derive(Clone, Debug)]
pub struct LogOptions {
    /// The cluster. A folder with the log of another one is refused.
    pub cluster: [u8; 16],
    /// The log's number in the cluster; 0 today.
    pub log: u32,
    /// The node. A folder with the log of another one is refused.
    pub node: u64,
    /// Length of a segment; rounded up to 4 KiB, at least [`LogOptions::SEGMENT_BYTES_MIN`]. A batch that
    /// is larger gets a segment of its own length.
    pub segment_bytes: u64,
    /// How many bytes of the newest entries are kept in memory; what is not durable yet stays there anyway.
    pub cache_bytes: usize,
    /// What the catalog holds. Entries up to here were flushed in this log, or announced by
    /// [`RaftLog::announce_install`]: a log that ends before is damaged.
    pub covered: Option<LogId>,
    /// How far the log was durable at some time, as something outside of it says: a log that ends before is
    /// damaged (see [`LogWriter::keep_reach`]).
    pub reach: Reach,
    /// The number of this start, which the log keeps: a log that has seen this start or a later one, or that lacks
    /// the start of `reach`, is damaged or has an older `boot` beside it. 0 where starts are not counted.
    pub boot: u64,
}

impl LogOptions {
    /// The length of a segment unless told otherwise.
    pub const SEGMENT_BYTES_DEFAULT: u64 = 64 * 1024 * 1024;
    /// The smallest segment.
    pub const SEGMENT_BYTES_MIN: u64 = 64 * 1024;
}

/// What an entry holds; the log does not look inside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EntryKind {
    /// Nothing.
    Blank,
    /// A command.
    Normal,
    /// A membership.
    Membership,
}

/// An entry of the Raft log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogEntry {
    /// Its name.
    pub id: LogId,
    /// What the payload is.
    pub kind: EntryKind,
    /// The bytes.
    pub payload: Bytes,
}

/// A vote of Raft, or the right to lead that came out of one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct VoteRecord {
    /// The term.
    pub term: u64,
    /// Whom it is for.
    pub node: u64,
    /// Whether a quorum granted it.
    pub committed: bool,
}

/// What this node remembers of a peer, so as to notice one that has forgotten.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PeerMemory {
    /// The peer.
    pub node: u64,
    /// The highest boot number it showed.
    pub boot: u64,
    /// The highest log id it acknowledged.
    pub acknowledged: Option<LogId>,
    /// The highest vote it showed.
    pub vote: VoteRecord,
}

/// The newest truncation of this log, which explains to peers why its end went back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TruncationRecord {
    /// The last entry that was kept.
    pub end: Option<LogId>,
    /// The vote in force then.
    pub vote: VoteRecord,
}

/// What the log holds, entries aside.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LogState {
    /// The last vote saved.
    pub vote: Option<VoteRecord>,
    /// The last committed mark, never beyond `last`.
    pub committed: Option<LogId>,
    /// All entries up to here are gone.
    pub purged: Option<LogId>,
    /// The last entry, or `purged` when there is none after it.
    pub last: Option<LogId>,
    /// The last entry that is durable on this node.
    pub flushed: Option<LogId>,
    /// The newest truncation.
    pub truncation: Option<TruncationRecord>,
    /// What is remembered of peers, by node.
    pub peers: Vec<PeerMemory>,
}
