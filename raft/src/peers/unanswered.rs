//! The requests of a stream that wait for their answers: openraft must not take one for answered before it is.

use std::collections::VecDeque;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures_util::{Stream, StreamExt, stream};
use quorate_store::defect::{Defect, is_present};
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use tokio_stream::wrappers::{ReceiverStream, WatchStream};
use tokio_util::sync::PollSender;
use tonic::Status;

use crate::adapter::types::RaftLogId;
use crate::histogram::Histogram;

/// The log id at which the log of a peer that took a request matches to its end, and the request.
pub(super) type Asked<T> = (Option<RaftLogId>, T);

/// An answer: the log id up to which the peer's log matches, or the peer's reason to refuse.
pub(super) type Answer<E> = Result<Result<Option<RaftLogId>, E>, Status>;

/// The requests of one stream that are not answered yet, and those that are still to be sent.
///
/// openraft takes the answer "matches up to N" for every request that it gave away and that ends at N or before, also
/// for later ones without entries, and dates the peer's consent by the last of them. Answers that were held back by
/// the network would so confirm a leader that was deposed before they arrived. Therefore:
/// - such an answer is left out, because the answer to the last of those requests reports the same;
/// - requests are taken from openraft only while it waits for an answer, so that none is added between the check
///   here and openraft's use of the answer.
///
/// A peer whose Raft stops ends its answers without an error. openraft takes that for a regular end: it keeps the
/// request for another try, and the new try uses the command that its leader gave last, which may long be carried
/// out and replaced by a checkpoint. Then openraft asks for ever for entries that are purged, and never looks at
/// later commands. After an error it waits for the next command instead.
pub(super) struct Unanswered<S, T> {
    /// The requests of openraft. None after their end: openraft panics when it is asked again.
    input: Option<S>,
    outgoing: PollSender<T>,
    /// The unanswered requests, in their order.
    sent: VecDeque<Sent>,
    /// The log id at which the last request ends that was sent.
    newest: Option<RaftLogId>,
    round_trips: Option<Arc<Histogram>>,
    /// The index at which the log is to begin; a request that ends before it would keep openraft from the purge.
    floor: Option<WatchStream<u64>>,
    first_kept: u64,
    is_over: bool,
}

/// A request that was sent.
struct Sent {
    end: Option<RaftLogId>,
    /// The time at which it was sent, if it has entries that the request before it had not.
    at: Option<Instant>,
}

impl<S, T> Unanswered<S, T>
where
    S: Stream<Item = Asked<T>> + Unpin,
    T: Send + 'static,
{
    /// Returns the requests for the peer: `first` at once, and those of `input` while answers are awaited.
    pub(super) fn new(first: Asked<T>, input: S) -> (Unanswered<S, T>, impl Stream<Item = T>) {
        let (outgoing, rest) = mpsc::channel(1);
        let (end, first) = first;
        let unanswered = Unanswered {
            input: Some(input),
            outgoing: PollSender::new(outgoing),
            // Its round trip would include connecting.
            sent: VecDeque::from([Sent { end, at: None }]),
            newest: end,
            round_trips: None,
            floor: None,
            first_kept: 0,
            is_over: false,
        };
        (unanswered, stream::iter([first]).chain(ReceiverStream::new(rest)))
    }

    /// Ends the stream with an error once an unanswered request has entries that are to be purged.
    pub(super) fn above(self, floor: watch::Receiver<u64>) -> Unanswered<S, T> {
        Unanswered { floor: Some(WatchStream::new(floor)), ..self }
    }

    /// Counts the round trips of the requests that have entries, but for the first.
    pub(super) fn timed_by(self, round_trips: Arc<Histogram>) -> Unanswered<S, T> {
        Unanswered { round_trips: Some(round_trips), ..self }
    }

    /// Returns the answers that openraft may see, and an error if they end before all requests are answered.
    pub(super) fn answers<E>(
        mut self,
        mut answers: impl Stream<Item = Answer<E>> + Unpin,
    ) -> impl Stream<Item = Answer<E>> {
        stream::poll_fn(move |context| self.poll(&mut answers, context))
    }

    fn poll<E>(
        &mut self,
        answers: &mut (impl Stream<Item = Answer<E>> + Unpin),
        context: &mut Context<'_>,
    ) -> Poll<Option<Answer<E>>> {
        while !self.is_over {
            self.ask(context);
            let error = match answers.poll_next_unpin(context) {
                Poll::Pending if !self.is_too_slow(context) => return Poll::Pending,
                Poll::Pending => Some(Err(Status::aborted("it is too slow for the log"))),
                Poll::Ready(Some(Ok(Ok(matching)))) if self.has_its_answer() => {
                    if self.may_be_passed_on(matching) {
                        return Poll::Ready(Some(Ok(Ok(matching))));
                    }
                    // The answer to the last request that this one could be taken for reports the same.
                    continue;
                }
                Poll::Ready(Some(Ok(Ok(_)))) => {
                    Some(Err(Status::internal("it answered what it was not asked")))
                }
                Poll::Ready(None) if self.sent.is_empty() => None,
                Poll::Ready(None) => Some(Err(Status::unavailable("it ended without an answer"))),
                Poll::Ready(refusal) => refusal,
            };
            self.is_over = true;
            self.input = None;
            self.end_requests();
            return Poll::Ready(error);
        }
        Poll::Ready(None)
    }

    fn is_too_slow(&mut self, context: &mut Context<'_>) -> bool {
        let Some(floor) = &mut self.floor else { return false };
        while let Poll::Ready(Some(first_kept)) = floor.poll_next_unpin(context) {
            self.first_kept = first_kept;
        }
        let oldest = self.sent.front().and_then(|oldest| oldest.end);
        oldest.is_some_and(|oldest| oldest.index < self.first_kept)
    }

    /// Takes the requests that are ready and for which the connection has room.
    fn ask(&mut self, context: &mut Context<'_>) {
        while let Some(input) = &mut self.input {
            match self.outgoing.poll_reserve(context) {
                Poll::Pending => return,
                // The answers show why no request is taken any more.
                Poll::Ready(Err(_)) => self.input = None,
                Poll::Ready(Ok(())) => match input.poll_next_unpin(context) {
                    Poll::Pending => return,
                    Poll::Ready(None) => self.input = None,
                    Poll::Ready(Some((end, request))) => {
                        self.note(end);
                        // The room is reserved; if the connection is lost since, the request stays unanswered.
                        let _lost = self.outgoing.send_item(request);
                    }
                },
            }
        }
        self.end_requests();
    }

    fn note(&mut self, end: Option<RaftLogId>) {
        let is_timed = self.round_trips.is_some() && end > self.newest;
        self.newest = end;
        self.sent.push_back(Sent { end, at: is_timed.then(Instant::now) });
    }

    /// Takes the oldest request as answered; returns false if there is none.
    fn has_its_answer(&mut self) -> bool {
        let Some(answered) = self.sent.pop_front() else { return false };
        if let (Some(at), Some(round_trips)) = (answered.at, &self.round_trips) {
            round_trips.observe(at.elapsed());
        }
        true
    }

    /// Ends the requests, at which the peer ends its answers.
    fn end_requests(&mut self) {
        // A reservation would keep the channel open.
        self.outgoing.abort_send();
        self.outgoing.close();
    }

    fn may_be_passed_on(&self, matching: Option<RaftLogId>) -> bool {
        is_present(Defect::OneAnswerForAll) || self.sent.iter().all(|sent| sent.end > matching)
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;
    use quorate_store::defect::put_back;

    use super::*;
    use crate::adapter::types::log_id;

    type PlainAnswer = Result<Option<u64>, String>;

    fn up_to(index: u64) -> Option<RaftLogId> {
        Some(log_id(1, index))
    }

    fn plain(answer: Answer<&str>) -> PlainAnswer {
        match answer {
            Ok(Ok(matching)) => Ok(matching.map(|id| id.index)),
            Ok(Err(refusal)) => Err(refusal.to_owned()),
            Err(status) => Err(status.message().to_owned()),
        }
    }

    /// A peer that gets requests which end at given indexes.
    struct Peer {
        answers: mpsc::UnboundedSender<Answer<&'static str>>,
        passed_on: stream::BoxStream<'static, PlainAnswer>,
        requests: stream::BoxStream<'static, Option<RaftLogId>>,
    }

    fn ask(ends: &[u64]) -> Peer {
        let mut ends = ends.iter().map(|end| (up_to(*end), up_to(*end))).collect::<Vec<_>>();
        let first = ends.remove(0);
        let (unanswered, requests) = Unanswered::new(first, stream::iter(ends));
        let (answers, incoming) = mpsc::unbounded_channel();
        let incoming = tokio_stream::wrappers::UnboundedReceiverStream::new(incoming);
        let passed_on = unanswered.answers(incoming).map(plain).boxed();
        Peer { answers, passed_on, requests: requests.boxed() }
    }

    impl Peer {
        fn answers(&self, answer: Answer<&'static str>) {
            self.answers.send(answer).expect("somebody waits for it");
        }

        fn next(&mut self) -> Option<Option<PlainAnswer>> {
            self.passed_on.next().now_or_never()
        }

        /// Checks that all requests were sent.
        fn takes(&mut self, count: usize) {
            for nth in 0..count {
                assert_eq!(self.next(), None, "before request {nth}");
                let request = self.requests.next().now_or_never();
                assert!(request.flatten().is_some(), "request {nth} is not sent");
            }
        }
    }

    #[test]
    fn an_answer_is_passed_on_only_when_all_requests_that_it_would_pass_for_have_theirs() {
        let mut peer = ask(&[20, 20]);
        peer.takes(2);
        peer.answers(Ok(Ok(up_to(20))));
        assert_eq!(peer.next(), None);
        peer.answers(Ok(Ok(up_to(20))));
        assert_eq!(peer.next(), Some(Some(Ok(Some(20)))));
    }

    #[test]
    fn one_answer_that_passes_for_all_is_found_when_it_is_put_back() {
        put_back(Some(Defect::OneAnswerForAll));
        let mut peer = ask(&[20, 20]);
        peer.takes(2);
        peer.answers(Ok(Ok(up_to(20))));
        assert_eq!(
            peer.next(),
            Some(Some(Ok(Some(20)))),
            "the test before this one could not fail"
        );
        put_back(None);
    }

    #[test]
    fn an_answer_does_not_wait_for_requests_with_later_entries() {
        let mut peer = ask(&[20, 30]);
        peer.takes(2);
        peer.answers(Ok(Ok(up_to(20))));
        assert_eq!(peer.next(), Some(Some(Ok(Some(20)))));
        peer.answers(Ok(Ok(up_to(30))));
        assert_eq!(peer.next(), Some(Some(Ok(Some(30)))));
    }

    #[test]
    fn an_answer_that_waits_is_not_passed_on_when_what_it_waits_for_is_refused() {
        let mut peer = ask(&[20, 20]);
        peer.takes(2);
        peer.answers(Ok(Ok(up_to(20))));
        peer.answers(Ok(Err("a higher vote")));
        assert_eq!(peer.next(), Some(Some(Err("a higher vote".to_owned()))));
        assert_eq!(peer.next(), Some(None));
    }

    #[test]
    fn requests_are_taken_only_while_an_answer_is_waited_for() {
        let mut peer = ask(&[10, 20]);
        assert!(peer.requests.next().now_or_never().is_some());
        assert!(peer.requests.next().now_or_never().is_none());
        assert_eq!(peer.next(), None);
        assert!(peer.requests.next().now_or_never().is_some());
    }

    #[test]
    fn the_requests_end_when_there_are_no_more() {
        let mut peer = ask(&[10]);
        peer.takes(1);
        assert_eq!(peer.next(), None);
        assert_eq!(peer.requests.next().now_or_never(), Some(None));
    }

    #[test]
    fn answers_that_end_before_every_request_has_one_end_with_an_error() {
        for answered in 0..=2 {
            let mut peer = ask(&[10, 20]);
            peer.takes(2);
            (1..=answered).for_each(|nth| peer.answers(Ok(Ok(up_to(nth * 10)))));
            drop(peer.answers);
            let passed_on: Vec<PlainAnswer> =
                peer.passed_on.collect().now_or_never().expect("it has ended");
            let mut expected: Vec<PlainAnswer> =
                (1..=answered).map(|nth| Ok(Some(nth * 10))).collect();
            if answered < 2 {
                expected.push(Err("it ended without an answer".to_owned()));
            }
            assert_eq!(passed_on, expected);
        }
    }

    #[test]
    fn round_trips_are_counted_of_requests_with_entries_but_for_the_first() {
        // The third request only reports a commit: it ends where the second does.
        let mut ends = [10, 20, 20, 30].map(|end| (up_to(end), up_to(end))).into_iter();
        let first = ends.next().expect("four requests");
        let (unanswered, mut requests) = Unanswered::new(first, stream::iter(ends));
        let round_trips = Arc::new(Histogram::default());
        let (answers, incoming) = mpsc::unbounded_channel::<Answer<&str>>();
        let incoming = tokio_stream::wrappers::UnboundedReceiverStream::new(incoming);
        let mut passed_on = unanswered.timed_by(round_trips.clone()).answers(incoming).boxed();
        for _ in 0..4 {
            assert!(passed_on.next().now_or_never().is_none());
            assert!(requests.next().now_or_never().flatten().is_some());
        }
        assert_eq!(round_trips.observations().count(), 0);
        for answered in [10, 20, 20] {
            answers.send(Ok(Ok(up_to(answered)))).expect("somebody waits for it");
        }
        while passed_on.next().now_or_never().is_some() {}
        assert_eq!(round_trips.observations().count(), 1);
        answers.send(Ok(Ok(up_to(30)))).expect("somebody waits for it");
        assert!(passed_on.next().now_or_never().is_some());
        assert_eq!(round_trips.observations().count(), 2);
    }

    #[test]
    fn an_answer_to_nothing_is_an_error() {
        let mut peer = ask(&[10]);
        peer.answers(Ok(Ok(up_to(10))));
        peer.answers(Ok(Ok(up_to(10))));
        assert_eq!(peer.next(), Some(Some(Ok(Some(10)))));
        assert_eq!(peer.next(), Some(Some(Err("it answered what it was not asked".to_owned()))));
    }

    #[tokio::test]
    async fn a_stream_ends_when_what_it_waits_for_is_to_be_purged() {
        let ends = [20, 30].map(|end| (up_to(end), up_to(end)));
        let (floor, watched) = watch::channel(20);
        let (unanswered, _requests) = Unanswered::new(ends[0], stream::iter([ends[1]]));
        let (answers, incoming) = mpsc::channel::<Answer<&str>>(1);
        let answers_to = unanswered.above(watched).answers(ReceiverStream::new(incoming));
        let mut passed_on = std::pin::pin!(answers_to.map(plain));
        assert_eq!(passed_on.next().now_or_never(), None);
        answers.send(Ok(Ok(up_to(20)))).await.expect("somebody waits for it");
        assert_eq!(passed_on.next().await, Some(Ok(Some(20))));
        floor.send_replace(21);
        assert_eq!(passed_on.next().now_or_never(), None);
        floor.send_replace(31);
        assert_eq!(passed_on.next().await, Some(Err("it is too slow for the log".to_owned())));
        assert_eq!(passed_on.next().await, None);
    }
}
