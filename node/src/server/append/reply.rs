//! The receiver of a request's answer, which is answered exactly once.

use quorate_proto::Outcome;
use tokio::sync::oneshot;

use super::super::problem;
use super::admission::Admitted;
use super::answer::Answer;

/// The receiver of the answer; called where commands are applied, so it must be short.
type Callback = Box<dyn FnOnce(Answer) + Send>;

/// A request that waits for its answer, and the room that it takes until then. Every reply is answered: one
/// that is dropped answers that the outcome is unknown.
pub(crate) struct Reply(Option<(Callback, Option<Admitted>)>);

impl Reply {
    pub(crate) fn new(deliver: impl FnOnce(Answer) + Send + 'static, admitted: Admitted) -> Reply {
        Reply(Some((Box::new(deliver), Some(admitted))))
    }

    /// Makes a reply for a task that waits for the answer, with the room that the request takes; none if somebody
    /// else holds it, or it takes none.
    pub(crate) fn channel(admitted: Option<Admitted>) -> (Reply, oneshot::Receiver<Answer>) {
        let (sender, receiver) = oneshot::channel();
        let deliver = Box::new(move |answer| drop(sender.send(answer)));
        (Reply(Some((deliver, admitted))), receiver)
    }

    /// Delivers the answer and gives the room back.
    pub(crate) fn answer(mut self, answer: Answer) {
        if let Some((deliver, _room)) = self.0.take() {
            deliver(answer);
        }
    }
}

impl Drop for Reply {
    fn drop(&mut self) {
        if let Some((deliver, _room)) = self.0.take() {
            deliver(Answer::Lost(problem::stopping(Outcome::Unknown)));
        }
    }
}
