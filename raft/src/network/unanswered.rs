//! Requests of a stream that wait for their answers: a stream that ends before all came has failed.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use futures_util::{Stream, StreamExt, stream};
use tonic::Status;

/// Counts the requests of one stream that are not answered yet.
///
/// A peer whose Raft stops ends its answers without a word. openraft takes such an end for one in order: it keeps
/// the request for another try, and that try goes by the command its leader gave last, which may long be carried
/// out and replaced by a checkpoint. Then entries are asked for that are purged, for ever, and commands that come
/// later are never looked at. After an error it waits for the next command instead.
#[derive(Clone, Debug, Default)]
pub(super) struct Unanswered(Arc<AtomicI64>);

impl Unanswered {
    /// Counts requests as they are taken.
    pub(super) fn requests<S: Stream>(&self, requests: S) -> impl Stream<Item = S::Item> + use<S> {
        let Unanswered(waiting) = self.clone();
        requests.inspect(move |_| {
            waiting.fetch_add(1, Ordering::AcqRel);
        })
    }

    /// The answers, one for each request, and an error if they end before all came.
    pub(super) fn answers<T>(
        self,
        answers: impl Stream<Item = Result<T, Status>>,
    ) -> impl Stream<Item = Result<T, Status>> {
        let Unanswered(waiting) = self.clone();
        let answers = answers.inspect(move |_| {
            waiting.fetch_sub(1, Ordering::AcqRel);
        });
        let end = stream::once(async move {
            let Unanswered(waiting) = self;
            let is_cut_off = waiting.load(Ordering::Acquire) > 0;
            is_cut_off.then(|| Err(Status::unavailable("it ended without an answer")))
        });
        answers.chain(end.filter_map(std::future::ready))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn ask(requests: usize, answers: usize) -> Vec<Result<usize, String>> {
        let unanswered = Unanswered::default();
        let sent: Vec<_> = unanswered.requests(stream::iter(0..requests)).collect().await;
        assert_eq!(sent.len(), requests);
        let answers = unanswered.answers(stream::iter((0..answers).map(Ok)));
        answers.map(|answer| answer.map_err(|status| status.message().to_owned())).collect().await
    }

    #[tokio::test]
    async fn answers_that_end_before_every_request_has_one_end_with_an_error() {
        let cut_off = || Err("it ended without an answer".to_owned());
        assert_eq!(ask(2, 2).await, [Ok(0), Ok(1)]);
        assert_eq!(ask(2, 1).await, [Ok(0), cut_off()]);
        assert_eq!(ask(1, 0).await, [cut_off()]);
        assert_eq!(ask(0, 0).await, []);
    }
}
