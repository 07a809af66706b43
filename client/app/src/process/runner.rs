//! The runner of a process manager.

use std::future::{Future, pending};
use std::num::NonZeroUsize;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use quorate_client::{Client, RunnerKind};

use crate::clock::Clock;
use crate::process::cluster::Cluster;
use crate::process::error::ProcessError;
use crate::process::manager::ProcessManager;
use crate::process::running::Running;
use crate::process::settings::{OnFailure, Settings};
use crate::report::Reports;
use crate::status::State;

/// The time for the last bookmark when a runner is stopped.
const NOTE_TIME: Duration = Duration::from_secs(5);

/// Runs a process manager. Several runners may run the same one at once, in one process or in many: each reaction is
/// made once. They are no faster than one, which handles several [instances at once](ProcessRunner::lanes); the manager
/// keeps running while one of them does.
///
/// ```no_run
/// # use quorate_app::process::{ProcessError, ProcessManager};
/// # async fn example<M: ProcessManager>(client: quorate_client::Client, deadlines: M) -> Result<(), ProcessError> {
/// use quorate_app::process::{OnFailure, ProcessRunner};
/// let runner = ProcessRunner::new(client, deadlines).lanes(16).on_failure(OnFailure::Park);
/// let ctrl_c = async { drop(tokio::signal::ctrl_c().await) };
/// runner.run_until(ctrl_c).await?;
/// # Ok(()) }
/// ```
#[must_use = "nothing runs before `run`"]
pub struct ProcessRunner<M> {
    client: Client,
    manager: M,
    settings: Settings,
}

opaque_debug!(ProcessRunner<M>);

impl<M: ProcessManager> ProcessRunner<M> {
    /// Creates a runner of this manager on this cluster.
    pub fn new(client: Client, manager: M) -> ProcessRunner<M> {
        ProcessRunner { client, manager, settings: Settings::default() }
    }

    /// Reacts only to events after this position, if the manager never ran before; 0, the whole log, by default.
    pub fn after(mut self, position: u64) -> ProcessRunner<M> {
        self.settings.first = position;
        self
    }

    /// Sets the action on a trigger that cannot be settled; stopping by default.
    pub fn on_failure(mut self, on_failure: OnFailure) -> ProcessRunner<M> {
        self.settings.on_failure = on_failure;
        self
    }

    /// Sets how often the handler is called for one trigger while expectations on streams other than the instance's own
    /// are not met, before that counts as a failure; 10 by default, at least 1.
    pub fn attempts(mut self, attempts: u32) -> ProcessRunner<M> {
        self.settings.conflicts_max = attempts.max(1);
        self
    }

    /// Sets the number of instances that react at once; 8 by default, at least 1. The triggers of one instance are handled
    /// one after another, in the order of the log; of those of two instances the later one may be handled first. Where
    /// that matters, both belong to one instance, or one lane is enough.
    pub fn lanes(mut self, lanes: usize) -> ProcessRunner<M> {
        self.settings.lanes = lanes.max(1);
        self
    }

    /// Sets the number of events after which a bookmark is written; 1,000 by default. A bookmark is also written after
    /// 5 seconds without an event, and at a stop.
    pub fn bookmark_every(mut self, events: u64) -> ProcessRunner<M> {
        self.settings.bookmark_every = events.max(1);
        self
    }

    /// Sets the number of instances whose newest record is kept in memory; 10,000 by default. The others are read when
    /// they are needed.
    pub fn instances_kept(mut self, instances: NonZeroUsize) -> ProcessRunner<M> {
        self.settings.cached_max = instances;
        self
    }

    /// Sets the clock by which due times are judged; this machine's by default.
    pub fn clock(mut self, clock: impl Clock) -> ProcessRunner<M> {
        self.settings.clock = Arc::new(clock);
        self
    }

    /// Runs until it cannot go on. Dropping the future stops it, safely at any point.
    pub async fn run(self) -> Result<(), ProcessError> {
        self.run_until(pending()).await
    }

    /// Runs until `stop` is ready, then writes a bookmark; it also stops while it waits for the cluster.
    ///
    /// ```no_run
    /// # use quorate_app::process::{ProcessError, ProcessManager, ProcessRunner};
    /// # async fn example<M: ProcessManager>(runner: ProcessRunner<M>) -> Result<(), ProcessError> {
    /// let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    /// let running = tokio::spawn(runner.run_until(async { drop(stopped.await) }));
    /// drop(stop);
    /// running.await.expect("it does not panic")
    /// # }
    /// ```
    ///
    /// # Errors
    /// `Name` if the manager's name breaks the rules; `Stuck` as [`OnFailure`] describes; `Unreadable` if its own
    /// streams hold a record that it cannot read; `Refused` if its query is invalid. Trouble that may pass by itself, a
    /// lost connection or a change of leader, is no error: the runner waits until it is over. The error is logged too,
    /// for a task whose result is not read.
    pub async fn run_until(self, stop: impl Future<Output = ()>) -> Result<(), ProcessError> {
        let name = self.manager.name().to_owned();
        let board = Arc::clone(&self.settings.board);
        let (source, kind) = (Arc::new(self.client.clone()), RunnerKind::ProcessManager);
        let reports = Reports::begin(source, kind, name.clone(), board.watch());
        let ended = self.react_until(stop).await;
        match &ended {
            Ok(()) => board.enter(State::Stopped),
            Err(error) => {
                tracing::error!(manager = name, %error, "ended: it reacts to nothing any more");
                board.enter(State::Failed(error.to_string()));
            }
        }
        reports.last_word().await;
        ended
    }

    async fn react_until(self, stop: impl Future<Output = ()>) -> Result<(), ProcessError> {
        let ProcessRunner { client, manager, settings } = self;
        let log = Cluster { client, board: Arc::clone(&settings.board) };
        let mut stop = pin!(stop);
        let mut running = tokio::select! {
            biased;
            running = Running::begin(&log, &manager, settings) => running?,
            () = &mut stop => return Ok(()),
        };
        tokio::select! {
            error = running.go() => Err(error),
            () = stop => Ok(()),
        }?;
        // Without this bookmark the next run only begins a little earlier.
        tokio::time::timeout(NOTE_TIME, running.note()).await.unwrap_or(Ok(()))
    }
}
