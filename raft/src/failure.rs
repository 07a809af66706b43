//! The first failure that keeps the node from going on, shared by everybody who must know of it.

use std::fmt::Display;
use std::sync::Arc;

use tokio::sync::watch;

/// Holds the reason why the node cannot go on, if there is one. Clones share it; the first report counts.
#[derive(Clone, Debug)]
pub(crate) struct Failure(Arc<watch::Sender<Option<String>>>);

impl Failure {
    pub(crate) fn new() -> Failure {
        Failure(Arc::new(watch::Sender::new(None)))
    }

    /// Reports that the node cannot go on.
    pub(crate) fn report(&self, why: impl Display) {
        self.0.send_if_modified(|failure| {
            if failure.is_some() {
                return false;
            }
            tracing::error!("this node cannot go on: {why}");
            *failure = Some(why.to_string());
            true
        });
    }

    /// Returns the reason that was reported, if there was a report.
    pub(crate) fn get(&self) -> Option<String> {
        self.0.borrow().clone()
    }

    /// Waits for a report and returns its reason.
    pub(crate) async fn reported(&self) -> String {
        let mut changes = self.0.subscribe();
        let reported = changes.wait_for(Option::is_some).await;
        // The sender lives as long as `self`.
        reported.map_or_else(|_| String::new(), |why| why.clone().unwrap_or_default())
    }
}
