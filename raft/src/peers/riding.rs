//! The requests to one follower, in which the report of a commit waits a moment for entries to ride with.
//!
//! openraft reports every commit to every follower at once: in a request without entries, if there are none to be
//! sent. Where one append follows the other, that is half of all requests, and each is sent and answered while the
//! next append waits for the same processors. The next request with entries reports the same commit.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::{Stream, StreamExt};
use openraft::AsyncRuntime;
use openraft::raft::AppendEntriesRequest;
use tokio::time::{Instant, Sleep, sleep};

use crate::adapter::types::{RaftLogId, TypeConfig};

/// The time for which a report waits, and the longest time between two requests with entries that lets the next report
/// wait: where entries come more seldom, a report is sent at once, and a follower learns of a commit without delay.
const WAIT: Duration = Duration::from_millis(1);

/// openraft's requests to one follower.
///
/// Invariants:
/// - a request is asked for at once when the log has an entry that was not sent;
/// - openraft is left unasked only while it wakes this stream for whatever it has next;
/// - openraft is left unasked for no longer than [`WAIT`], so any other news that it has is late by no more.
pub(super) struct Riding<S, L> {
    input: S,
    /// Returns the index of the last entry of this node's log.
    log_end: L,
    /// The index of the last entry that was sent.
    sent: u64,
    sent_at: Instant,
    /// True if the last two requests with entries followed each other within [`WAIT`].
    is_stream: bool,
    /// True if `input` had no request when it was last asked, and so wakes this stream for the next one.
    is_awaited: bool,
    wait: Pin<Box<Sleep>>,
    is_waiting: bool,
}

impl<S, L, R> Riding<S, L>
where
    S: Stream<Item = AppendEntriesRequest<TypeConfig<R>>> + Unpin,
    L: Fn() -> u64 + Unpin,
    R: AsyncRuntime,
{
    /// Returns the requests of `input`, which continue `first`.
    pub(super) fn new(first: &AppendEntriesRequest<TypeConfig<R>>, input: S, log_end: L) -> Self {
        Riding {
            input,
            log_end,
            sent: index(end(first)),
            sent_at: Instant::now(),
            is_stream: false,
            is_awaited: false,
            wait: Box::pin(sleep(Duration::ZERO)),
            is_waiting: false,
        }
    }

    /// Returns true if openraft is not to be asked yet.
    fn must_wait(&mut self, context: &mut Context<'_>) -> bool {
        if !self.is_stream || !self.is_awaited || (self.log_end)() > self.sent {
            self.is_waiting = false;
            return false;
        }
        if !self.is_waiting {
            self.is_waiting = true;
            self.wait.as_mut().reset(Instant::now() + WAIT);
        }
        self.is_waiting = self.wait.as_mut().poll(context).is_pending();
        self.is_waiting
    }

    fn note(&mut self, request: &AppendEntriesRequest<TypeConfig<R>>) {
        if !request.entries.is_empty() {
            let now = Instant::now();
            self.is_stream = now.duration_since(self.sent_at) < WAIT;
            self.sent_at = now;
        }
        self.sent = index(end(request));
    }
}

impl<S, L, R> Stream for Riding<S, L>
where
    S: Stream<Item = AppendEntriesRequest<TypeConfig<R>>> + Unpin,
    L: Fn() -> u64 + Unpin,
    R: AsyncRuntime,
{
    type Item = AppendEntriesRequest<TypeConfig<R>>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        if this.must_wait(context) {
            return Poll::Pending;
        }
        let next = this.input.poll_next_unpin(context);
        this.is_awaited = next.is_pending();
        if let Poll::Ready(Some(request)) = &next {
            this.note(request);
        }
        next
    }
}

/// Returns the log id at which a request ends.
pub(super) fn end<R: AsyncRuntime>(
    request: &AppendEntriesRequest<TypeConfig<R>>,
) -> Option<RaftLogId> {
    request.entries.last().map(|entry| entry.log_id).or(request.prev_log_id)
}

fn index(end: Option<RaftLogId>) -> u64 {
    end.map_or(0, |end| end.index)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU64, Ordering};

    use futures_util::FutureExt;
    use openraft_rt_tokio::TokioRuntime;
    use tokio::sync::mpsc;
    use tokio::task::yield_now;
    use tokio::time::advance;
    use tokio_stream::wrappers::UnboundedReceiverStream;

    use super::*;
    use crate::adapter::types::{Entry, Payload, Vote, log_id};

    type Request = AppendEntriesRequest<TypeConfig<TokioRuntime>>;

    /// A leader with a log of the given length, all of which is sent, and openraft's requests to one follower.
    struct Leader {
        log: Arc<AtomicU64>,
        openraft: mpsc::UnboundedSender<Request>,
        requests: Pin<Box<dyn Stream<Item = Request>>>,
    }

    /// The request that brings an entry, or reports a commit.
    fn request(end: u64, has_entry: bool) -> Request {
        let id = |index| Some(log_id(1, index));
        let entry = |index| Entry { log_id: log_id(1, index), payload: Payload::Blank };
        AppendEntriesRequest {
            vote: Vote::new_committed(1, 1),
            prev_log_id: id(end - u64::from(has_entry)),
            leader_commit: id(end - u64::from(has_entry)),
            entries: has_entry.then(|| entry(end)).into_iter().collect(),
        }
    }

    impl Leader {
        fn new(length: u64) -> Leader {
            let log = Arc::new(AtomicU64::new(length));
            let (openraft, input) = mpsc::unbounded_channel();
            let (first, end) = (request(length, true), log.clone());
            let input = UnboundedReceiverStream::new(input);
            let requests = Riding::new(&first, input, move || end.load(Ordering::Relaxed));
            Leader { log, openraft, requests: Box::pin(requests) }
        }

        /// Sends an entry, after which there is nothing else to send.
        fn sends_an_entry(&mut self) {
            self.appends();
            assert_eq!(self.next(), Some(1));
            assert_eq!(self.next(), None);
        }

        fn appends(&self) {
            let end = self.log.fetch_add(1, Ordering::Relaxed) + 1;
            self.openraft.send(request(end, true)).expect("somebody takes it");
        }

        fn commits(&self) {
            let end = self.log.load(Ordering::Relaxed);
            self.openraft.send(request(end, false)).expect("somebody takes it");
        }

        /// Returns the number of entries in the next request; none if there is no request now.
        fn next(&mut self) -> Option<usize> {
            let next = self.requests.next().now_or_never();
            next.map(|request| request.expect("openraft lives").entries.len())
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_report_waits_for_the_next_entry_where_one_follows_the_other() {
        let mut leader = Leader::new(7);
        leader.sends_an_entry();
        leader.commits();
        assert_eq!(leader.next(), None, "openraft is not asked");
        advance(WAIT / 2).await;
        assert_eq!(leader.next(), None);
        leader.log.fetch_add(1, Ordering::Relaxed);
        assert_eq!(leader.next(), Some(0), "openraft decides what is sent when there is an entry");
    }

    #[tokio::test(start_paused = true)]
    async fn a_report_is_sent_when_no_entry_follows() {
        let mut leader = Leader::new(7);
        leader.sends_an_entry();
        leader.commits();
        assert_eq!(leader.next(), None);
        advance(2 * WAIT).await;
        assert_eq!(leader.next(), Some(0));
        assert_eq!(leader.next(), None);
        leader.commits();
        assert_eq!(leader.next(), None, "the wait begins again");
        // The wait itself wakes whoever waits for a request.
        let sent = tokio::time::timeout(3 * WAIT, leader.requests.next()).await;
        assert!(sent.is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn a_report_is_sent_at_once_where_entries_come_seldom() {
        let mut leader = Leader::new(7);
        advance(2 * WAIT).await;
        leader.sends_an_entry();
        leader.commits();
        assert_eq!(leader.next(), Some(0));
    }

    #[tokio::test(start_paused = true)]
    async fn an_entry_that_comes_while_nobody_asks_for_requests_wakes_whoever_waits() {
        let mut leader = Leader::new(7);
        leader.appends();
        assert_eq!(leader.next(), Some(1));
        let begun = Instant::now();
        let append = async {
            yield_now().await;
            leader.log.fetch_add(1, Ordering::Relaxed);
            leader.openraft.send(request(9, true)).expect("somebody takes it");
        };
        let (next, ()) = tokio::join!(leader.requests.next(), append);
        assert_eq!(next.map(|request| request.entries.len()), Some(1));
        assert_eq!(begun.elapsed(), Duration::ZERO);
    }
}
