//! openraft's log storage over the Raft log.

use std::fmt::Debug;
use std::io;
use std::ops::{Bound, RangeBounds, RangeInclusive};

use futures_util::{Stream, StreamExt, stream};
use openraft::OptionalSend;
use openraft::storage::{IOFlushed, LogState, RaftLogReader, RaftLogStorage};
use quorate_proto::LogId;
use quorate_store::Fault;
use tokio::sync::oneshot;

use super::entry;
use super::types::{self, Command, Entry, Payload, RaftLogId, Types, Vote};
use crate::host::Host;
use crate::log::{Done, LogEntry, RaftLog};

/// The greatest number of bytes of entries in one request to a follower, unless one entry alone is larger.
pub(crate) const REQUEST_BYTES: usize = 2 * 1024 * 1024;

/// The Raft log as openraft sees it. Clones share the log.
///
/// Invariants:
/// - An error of the log is an error here, and ends the core: there is no short read.
/// - Calls that openraft awaits inline return at once, except for a vote, which must be durable.
/// - Tasks do not wait for the disk: entries that are not in memory are read on another thread.
#[derive(Clone, Debug)]
pub(crate) struct Storage<H> {
    host: H,
    log: RaftLog,
    /// The newest entry that was applied when Raft started.
    applied: Option<LogId>,
}

impl<H: Host> Storage<H> {
    pub(crate) fn new(host: H, log: RaftLog, applied: Option<LogId>) -> Storage<H> {
        Storage { host, log, applied }
    }

    /// Returns true if the log holds all entries of the range.
    fn holds(&self, from: u64, until: u64) -> bool {
        let (first, end) = self.log.held();
        first <= from && until <= end
    }

    async fn read(&self, from: u64, until: u64, bytes_max: usize) -> io::Result<Vec<Entry>> {
        let log = self.log.clone();
        let read = move || log.read(from, until, bytes_max);
        // The newest entries are in memory: if the first entry of the range is, all of them are.
        let entries = if self.log.is_cached(from) { read() } else { self.host.run(read).await };
        let entries = entries.map_err(io::Error::other)?.into_iter();
        entries.map(|entry| entry::from_log(entry).map_err(io::Error::other)).collect()
    }
}

fn bounds(range: &impl RangeBounds<u64>) -> (u64, u64) {
    let start = match range.start_bound() {
        Bound::Included(start) => *start,
        Bound::Excluded(start) => start.saturating_add(1),
        Bound::Unbounded => 0,
    };
    let end = match range.end_bound() {
        Bound::Included(end) => end.saturating_add(1),
        Bound::Excluded(end) => *end,
        Bound::Unbounded => u64::MAX,
    };
    (start, end)
}

/// Returns a [`Done`] and the future that waits for it.
pub(crate) fn completion() -> (Done, impl Future<Output = Result<(), Fault>>) {
    let (sender, receiver) = oneshot::channel();
    let done: Done = Box::new(move |outcome| {
        let _nobody_waits = sender.send(outcome);
    });
    // A log that is gone completes nothing any more, so the wait never ends.
    let wait = async move {
        match receiver.await {
            Ok(outcome) => outcome,
            Err(_) => std::future::pending().await,
        }
    };
    (done, wait)
}

impl<H: Host> RaftLogReader<Types<H>> for Storage<H> {
    /// Returns the entries of the range that the log holds; the range may reach beyond them.
    async fn try_get_log_entries<B>(&mut self, range: B) -> io::Result<Vec<Entry>>
    where
        B: RangeBounds<u64> + Clone + Debug + OptionalSend,
    {
        let (start, end) = bounds(&range);
        let (first, after_last) = self.log.held();
        let (mut next, end) = (start.max(first), end.min(after_last));
        let mut entries = Vec::new();
        while next < end {
            let some = self.read(next, end, usize::MAX).await?;
            next += some.len() as u64;
            entries.extend(some);
        }
        Ok(entries)
    }

    /// Reads entries for a follower: limited by bytes, and always the first entry.
    ///
    /// A node that has just stepped down may purge or truncate entries that one of its replication tasks, which does
    /// not know of that yet, is about to read. Then the result is empty: openraft takes it for a heartbeat, and checks
    /// the vote before it sends one. Any other reason why an entry cannot be read is an error.
    async fn limited_get_log_entries(&mut self, start: u64, end: u64) -> io::Result<Vec<Entry>> {
        if !self.holds(start, end) {
            return Ok(Vec::new());
        }
        match self.read(start, end, REQUEST_BYTES).await {
            Err(_) if !self.holds(start, end) => Ok(Vec::new()),
            read => read,
        }
    }

    /// Reads entries for apply, in pages, so that memory is limited however far apply is behind. An entry that is
    /// committed and not applied is never purged: a missing first entry is an error, not an entry to be skipped.
    async fn entries_stream<B>(
        &mut self,
        range: B,
    ) -> impl Stream<Item = io::Result<Entry>> + OptionalSend
    where
        B: RangeBounds<u64> + Clone + Debug + OptionalSend,
    {
        let (start, end) = bounds(&range);
        let (first, after_last) = self.log.held();
        let is_purged = self.log.purged().is_some_and(|purged| purged.index.0 >= start);
        let start = if is_purged { start } else { start.max(first) };
        let pages = stream::unfold(
            (self.clone(), start, end.min(after_last)),
            |(storage, next, end)| async move {
                if next >= end {
                    return None;
                }
                let page = storage.read(next, end, REQUEST_BYTES).await;
                // No item may follow an error.
                let next = page.as_ref().map_or(end, |page| next + page.len() as u64);
                let items = match page {
                    Ok(page) => page.into_iter().map(Ok).collect(),
                    Err(error) => vec![Err(error)],
                };
                Some((stream::iter(items), (storage, next, end)))
            },
        );
        pages.flatten()
    }

    async fn read_vote(&mut self) -> io::Result<Option<Vote>> {
        Ok(self.log.state().vote.map(types::vote))
    }

    /// Returns the last log id of every term.
    async fn get_key_log_ids(
        &mut self,
        range: RangeInclusive<RaftLogId>,
    ) -> io::Result<Vec<RaftLogId>> {
        let indexes = range.start().index..=range.end().index;
        let firsts = self.log.key_log_ids(indexes).map_err(io::Error::other)?;
        let ends = firsts.windows(2).filter_map(|pair| match pair {
            [one, next] if one.term != next.term => self.log.log_id(next.index.0 - 1),
            _ => None,
        });
        Ok(ends.chain(firsts.last().copied()).map(types::theirs).collect())
    }
}

impl<H: Host> RaftLogStorage<Types<H>> for Storage<H> {
    type LogReader = Storage<H>;

    async fn get_log_state(&mut self) -> io::Result<LogState<Types<H>>> {
        let state = self.log.state();
        Ok(LogState {
            last_purged_log_id: state.purged.map(types::theirs),
            last_log_id: state.last.map(types::theirs),
        })
    }

    async fn get_log_reader(&mut self) -> Storage<H> {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &Vote) -> io::Result<()> {
        let (done, saved) = completion();
        self.log.save_vote(types::vote_record(vote), done);
        saved.await.map_err(io::Error::other)
    }

    async fn save_committed(&mut self, committed: Option<RaftLogId>) -> io::Result<()> {
        if let Some(committed) = committed {
            self.log.save_committed(types::ours(committed));
        }
        Ok(())
    }

    /// Returns a committed log id that is not beyond what is applied. openraft calls this once, when it starts, and
    /// waits until everything up to the result is applied. The result is less than the mark only if the replay
    /// waits for space; then a leader reports the mark again later.
    async fn read_committed(&mut self) -> io::Result<Option<RaftLogId>> {
        let committed = self.log.state().committed;
        Ok(committed.min(self.applied).map(types::theirs))
    }

    async fn append<I>(&mut self, entries: I, flushed: IOFlushed<Types<H>>) -> io::Result<()>
    where
        I: IntoIterator<Item = Entry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let entries = entries.into_iter().map(taken).collect();
        let done: Done =
            Box::new(move |outcome| flushed.io_completed(outcome.map_err(io::Error::other)));
        self.log.append(entries, done);
        Ok(())
    }

    async fn truncate_after(&mut self, end: Option<RaftLogId>) -> io::Result<()> {
        // Any later acknowledgement is queued behind the truncation, whose error would show there.
        self.log.truncate_after(end.map(types::ours), Box::new(|_| ()));
        Ok(())
    }

    async fn purge(&mut self, upto: RaftLogId) -> io::Result<()> {
        self.log.purge(types::ours(upto));
        Ok(())
    }
}

/// Converts an entry for the log, and reports to its proposer that it is taken.
fn taken(entry: Entry) -> LogEntry {
    if let Payload::Normal(Command { proposal: Some(proposal), .. }) = &entry.payload {
        proposal.taken();
    }
    entry::to_log(entry)
}
