//! The Raft log on disk: one ordered stream of batches over pre-written, recycled segments.
//!
//! All state that Raft must not forget goes through one queue and into one stream of records: entries,
//! votes, committed marks, truncations, purges, memories of peers. So "durable up to here" is one
//! statement about all of them, which is what openraft's flush callbacks mean by it.
//!
//! - [`RaftLog`] is the handle: records that are handed to it can be read back at once, and are durable when
//!   their [`Done`] is called.
//! - [`LogWriter`] is the other end of the queue: a state machine whose steps somebody else drives, on a
//!   thread in production and inline in the simulation.
//! - `format` holds the bytes and `segments` the files; `image` is the state that the records lead to, `entries` the
//!   index and the cache; `scan` finds the batches of a stopped log, `replay` applies them and checks the result.
//!
//! # How it stays safe
//!
//! A segment is a file of fixed length that was written full of zeros before, so that writing to it changes
//! no metadata. Each use of a file has a new, growing number, which is in its name, in its header and in every
//! checksum: bytes that an earlier use left in the file do not pass these checks.
//!
//! Records that are queued while one sync runs become the next batch, and no batch is written before the one
//! before it is synced. A batch begins on a 4 KiB boundary and names its sequence number and the place of its
//! predecessor. The newest valid batch therefore proves which batches there were before it, and each of them
//! must be valid: damage cannot pass for an end.
//!
//! A start searches all boundaries of the newest segment. The newest batch is the only one that may never
//! have reached the disk (reading it proves nothing: after a failed fsync the page cache shows bytes that the disk
//! does not have). It is therefore written once more, as a new batch that takes the old one's place in the
//! chain, and synced before anything is answered. The new batch begins behind the remains of a torn write.
//! No batch of a chain is ever overwritten.
//!
//! # An example
//!
//! The log of one node, with small batches. Each line is a batch: its offset, its sequence number and that of its
//! predecessor, its records (an entry is `term.index`), and how far the log was durable when it was written.
//!
//! ```text
//! segment 1    4096   1       image, vote for term 1
//!              8192   2 → 1   entries 1.1 and 1.2
//!             12288   3 → 2   entry 1.3, committed 1.2                            flushed 1.2
//!             16384   4 → 3   vote for term 2, truncated after 1.2, entry 2.3     flushed 1.3
//!             20480   5 → 4   entry 2.4, torn: the power failed while it was written
//! ```
//!
//! Entry 1.3 was not committed, and the leader of term 2 has another entry at index 3; so batch 4 truncates the log.
//! Batch 3 stays on the disk. A start applies the records in order, and the log is 1.1, 1.2, 2.3.
//!
//! Batch 5 fails its checksum and follows the newest valid batch, so it was never durable, and nothing in it was
//! acknowledged: it is a torn tail. The start writes the records of batch 4 once more at 24576, behind the torn batch,
//! again as `4 → 3`, and syncs them; the next batch is `5 → 4` at 28672.
//!
//! Two other logs are damaged, and the node does not start with them. If batch 3 fails its checksum, batch 4 still
//! names it as its predecessor. If the header at 20480 is that of a batch 6, then batch 5 was durable and is missing.
//!
//! Sources: Alagappan et al., "Protocol-Aware Recovery for Consensus-Based Storage" (FAST 2018) for distinguishing
//! a torn tail from damage; Rebello et al., "Can Applications Recover from fsync Failures?" (ATC 2020).

mod entries;
mod format;
#[cfg(feature = "fuzz")]
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

/// Called once the records that were handed over with it, and all before them, are durable; or with the fault
/// that stopped the log. Called in the order of the calls, on whatever drives the [`LogWriter`] (or at
/// once, when the log has stopped); it must not block.
pub type Done = Box<dyn FnOnce(Result<(), Fault>) + Send>;

/// The identity and the sizes of a log, and what is known of it elsewhere.
#[derive(Clone, Debug)]
pub struct LogOptions {
    /// The cluster. A folder with the log of another cluster is refused.
    pub cluster: [u8; 16],
    /// The log's number in the cluster; 0 today.
    pub log: u32,
    /// The node. A folder with the log of another node is refused.
    pub node: u64,
    /// The length of a segment; rounded up to 4 KiB, at least [`LogOptions::SEGMENT_BYTES_MIN`]. A batch that
    /// is larger gets a segment of its own length.
    pub segment_bytes: u64,
    /// The number of bytes of the newest entries that are kept in memory; entries that are not durable yet stay anyway.
    pub cache_bytes: usize,
    /// The newest entry in the catalog. Entries up to it were flushed in this log, or announced by
    /// [`RaftLog::announce_install`]: a log that ends before it is damaged.
    pub covered: Option<LogId>,
    /// A point up to which the log was durable at some time, as noted outside of the log: a log that ends before it is
    /// damaged (see [`LogWriter::keep_reach`]).
    pub reach: Reach,
    /// The number of this start, which the log keeps: a log that has seen this start or a later one, or that lacks
    /// the start of `reach`, is damaged or has an older `boot` beside it. 0 where starts are not counted.
    pub boot: u64,
}

impl LogOptions {
    /// The default length of a segment.
    pub const SEGMENT_BYTES_DEFAULT: u64 = 64 * 1024 * 1024;
    /// The smallest length of a segment.
    pub const SEGMENT_BYTES_MIN: u64 = 64 * 1024;
}

/// The kind of an entry's payload; the log does not look inside the payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EntryKind {
    /// An empty payload.
    Blank,
    /// A command.
    Normal,
    /// A membership.
    Membership,
}

/// An entry of the Raft log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogEntry {
    /// The entry's id.
    pub id: LogId,
    /// The kind of the payload.
    pub kind: EntryKind,
    /// The bytes of the payload.
    pub payload: Bytes,
}

/// A vote of Raft, or the right to lead that resulted from one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct VoteRecord {
    /// The term of the vote.
    pub term: u64,
    /// The node that the vote is for.
    pub node: u64,
    /// True if a quorum granted it.
    pub committed: bool,
}

/// The memory that this node has of a peer, so as to notice if the peer has forgotten something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PeerMemory {
    /// The peer.
    pub node: u64,
    /// The highest boot number that the peer showed.
    pub boot: u64,
    /// The highest log id that the peer acknowledged.
    pub acknowledged: Option<LogId>,
    /// The highest vote that the peer showed.
    pub vote: VoteRecord,
}

impl PeerMemory {
    /// Returns the memory of a peer of which nothing is known; a log that is given it forgets the peer.
    pub fn nothing(node: u64) -> PeerMemory {
        PeerMemory { node, boot: 0, acknowledged: None, vote: VoteRecord::default() }
    }
}

/// The newest truncation of this log, which explains to peers why its end went back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TruncationRecord {
    /// The last entry that was kept.
    pub end: Option<LogId>,
    /// The vote in force at the truncation.
    pub vote: VoteRecord,
}

/// The state of the log, entries aside.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LogState {
    /// The vote that was saved last.
    pub vote: Option<VoteRecord>,
    /// The newest committed mark, never beyond `last`.
    pub committed: Option<LogId>,
    /// The last purged entry: all entries up to it are gone.
    pub purged: Option<LogId>,
    /// The last entry, or `purged` when there is none after it.
    pub last: Option<LogId>,
    /// The last entry that is durable on this node.
    pub flushed: Option<LogId>,
    /// The newest truncation.
    pub truncation: Option<TruncationRecord>,
    /// The memories of peers, by node.
    pub peers: Vec<PeerMemory>,
}
