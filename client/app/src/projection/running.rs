//! A running projection or rebuild, as the code that started it sees it.

use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use quorate_client::{Position, RunnerKind};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::error::ProjectionError;
use super::worker::words_of;
use crate::report::Reports;
use crate::source::EventSource;
use crate::status::{Board, State, Status};

/// A running projection or rebuild. Dropping it stops it after the current transaction.
///
/// ```no_run
/// # use quorate_app::projection::{ProjectionError, Running};
/// # async fn example(orders: Running, done: quorate_client::Done) -> Result<(), ProjectionError> {
/// use std::time::Duration;
/// // A request that wrote something shows the model only after it has that, too.
/// orders.reached(done.position, Duration::from_secs(5)).await?;
/// println!("{} events behind", orders.status().lag);
/// orders.stop().await?;
/// # Ok(()) }
/// ```
#[derive(Debug)]
#[must_use = "dropping it stops the projection"]
pub struct Running {
    projection: String,
    status: watch::Receiver<Status>,
    stop: watch::Sender<bool>,
    task: JoinHandle<Result<(), ProjectionError>>,
    reports: Option<Reports>,
}

impl Running {
    pub(super) fn spawn<F>(
        projection: String,
        run: impl FnOnce(Arc<Board>, watch::Receiver<bool>) -> F,
    ) -> Running
    where
        F: Future<Output = Result<(), ProjectionError>> + Send + 'static,
    {
        let board = Arc::new(Board::new());
        let (stop, stopping) = watch::channel(false);
        let status = board.watch();
        let running = AssertUnwindSafe(run(Arc::clone(&board), stopping)).catch_unwind();
        let name = projection.clone();
        let task = tokio::spawn(async move {
            let ended = match running.await {
                Ok(ended) => ended,
                Err(panic) => {
                    let (projection, why) = (name.clone(), words_of(panic.as_ref()));
                    Err(ProjectionError::Panicked { projection, why })
                }
            };
            match &ended {
                Ok(()) => {
                    tracing::info!(projection = name, "ended as requested");
                    board.enter(State::Stopped);
                }
                Err(error) => {
                    tracing::error!(projection = name, %error, "ended: its model stands still");
                    board.enter(State::Failed(error.to_string()));
                }
            }
            ended
        });
        Running { projection, status, stop, task, reports: None }
    }

    /// Reports its progress to the cluster, beside its work.
    pub(super) fn reporting<E: EventSource>(mut self, source: Arc<E>) -> Running {
        let (name, status) = (self.projection.clone(), self.status.clone());
        self.reports = Some(Reports::begin(source, RunnerKind::Projection, name, status));
        self
    }

    /// Returns the current status.
    pub fn status(&self) -> Status {
        self.status.borrow().clone()
    }

    /// Returns a receiver that sees every change of the status.
    pub fn watch(&self) -> watch::Receiver<Status> {
        self.status.clone()
    }

    /// Waits until the model has everything up to a position (of an append, for example). Fails if it ends before.
    pub async fn reached(
        &self,
        position: impl Into<Position>,
        within: Duration,
    ) -> Result<(), ProjectionError> {
        let position = position.into().0;
        let mut status = self.status.clone();
        let is_there = |status: &Status| {
            let has_ended = matches!(status.state, State::Stopped | State::Failed(_));
            status.position >= position || has_ended
        };
        // A board that is gone has set its last status.
        let _ = tokio::time::timeout(within, status.wait_for(is_there)).await;
        let Status { state, position: actual, .. } = self.status();
        if actual >= position {
            return Ok(());
        }
        let (projection, wanted) = (self.projection.clone(), position);
        Err(match state {
            State::Stopped | State::Failed(_) => {
                ProjectionError::Ended { projection, actual, wanted, state }
            }
            _ => ProjectionError::NotReached { projection, actual, wanted },
        })
    }

    /// Waits until it has ended, and returns [`State::Stopped`] or [`State::Failed`]. An application can wait for
    /// several at once, and for its own end beside them; it may also call this again afterwards.
    ///
    /// ```no_run
    /// # use quorate_app::projection::Running;
    /// # async fn example(orders: Running, customers: Running, stop_requested: impl Future<Output = ()>) {
    /// tokio::select! {
    ///     ended = orders.ended() => println!("orders: {ended}"),
    ///     ended = customers.ended() => println!("customers: {ended}"),
    ///     () = stop_requested => {}
    /// }
    /// # }
    /// ```
    pub async fn ended(&self) -> State {
        let mut status = self.status.clone();
        let has_ended = |status: &Status| matches!(status.state, State::Stopped | State::Failed(_));
        // A board that is gone has set its last status.
        let _ = status.wait_for(has_ended).await;
        self.status().state
    }

    /// Stops it after the current transaction, and waits for its end.
    pub async fn stop(self) -> Result<(), ProjectionError> {
        self.stop.send_replace(true);
        self.wait().await
    }

    /// Waits until it ends: a projection when it cannot go on or is stopped, a rebuild also when it is done.
    pub async fn wait(self) -> Result<(), ProjectionError> {
        let ended = self.task.await;
        if let Some(reports) = self.reports {
            reports.last_word().await;
        }
        match ended {
            Ok(ended) => ended,
            // The runtime ended before the task did.
            Err(error) => {
                let (projection, why) = (self.projection, error.to_string());
                Err(ProjectionError::Panicked { projection, why })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn whoever_waits_hears_that_a_projection_ended_and_how() {
        let failing = Running::spawn("orders".to_owned(), |_, _| async {
            let (projection, parked, last) = ("orders".to_owned(), 10_000, "no".to_owned());
            Err(ProjectionError::TooManyParked { projection, parked, last })
        });
        let State::Failed(why) = failing.ended().await else { panic!("it did not fail") };
        assert!(why.contains("as many as it may have"), "{why}");
        assert_eq!(failing.status().state, State::Failed(why));
        assert!(matches!(failing.wait().await, Err(ProjectionError::TooManyParked { .. })));

        let stopped = Running::spawn("orders".to_owned(), |_, _| async { Ok(()) });
        assert_eq!(stopped.ended().await, State::Stopped);
    }

    #[tokio::test]
    async fn a_projection_that_panics_is_reported_as_failed() {
        let panicking = Running::spawn("orders".to_owned(), |_, _| async { panic!("oh no") });
        let State::Failed(why) = panicking.ended().await else { panic!("it did not fail") };
        assert_eq!(why, "projection `orders` panicked: oh no");
        let ended = panicking.wait().await;
        assert!(matches!(ended, Err(ProjectionError::Panicked { .. })), "{ended:?}");
    }
}
