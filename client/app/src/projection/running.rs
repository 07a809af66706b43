//! A projection or a rebuild that runs, as its starter sees it.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::error::ProjectionError;
use super::status::{Board, State, Status};
use super::worker::words_of;

/// A projection or a rebuild that runs. Dropping it stops it after the transaction that is in work.
#[must_use = "dropping it stops the projection"]
pub struct Running {
    projection: String,
    status: watch::Receiver<Status>,
    stop: watch::Sender<bool>,
    task: JoinHandle<Result<(), ProjectionError>>,
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
        let running = run(Arc::clone(&board), stopping);
        let task = tokio::spawn(async move {
            let ended = running.await;
            board.enter(match &ended {
                Ok(()) => State::Stopped,
                Err(error) => State::Failed(error.to_string()),
            });
            ended
        });
        Running { projection, status, stop, task }
    }

    /// What it does now.
    pub fn status(&self) -> Status {
        self.status.borrow().clone()
    }

    /// Tells of every change of what it does.
    pub fn watch(&self) -> watch::Receiver<Status> {
        self.status.clone()
    }

    /// Waits until everything up to a position (an append's, say) is in the model; ends early if the projection does.
    pub async fn reached(&self, position: u64, within: Duration) -> Result<(), ProjectionError> {
        let mut status = self.status.clone();
        let is_there = |status: &Status| {
            let has_ended = matches!(status.state, State::Stopped | State::Failed(_));
            status.position >= position || has_ended
        };
        // A board that is gone has told its last: the status says what that was.
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

    /// Stops it after the transaction that is in work, and waits for that.
    pub async fn stop(self) -> Result<(), ProjectionError> {
        self.stop.send_replace(true);
        self.wait().await
    }

    /// Waits until it ends: a projection because it cannot go on, a rebuild because it took the live one's place.
    pub async fn wait(self) -> Result<(), ProjectionError> {
        match self.task.await {
            Ok(ended) => ended,
            Err(error) => {
                let why = match error.try_into_panic() {
                    Ok(panic) => words_of(panic.as_ref()),
                    Err(cancelled) => cancelled.to_string(),
                };
                Err(ProjectionError::Panicked { projection: self.projection, why })
            }
        }
    }
}
