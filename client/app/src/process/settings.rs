//! The settings of a process manager's runner.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use crate::clock::{Clock, SystemClock};
use crate::status::Board;

/// The action on a trigger that cannot be settled: its handler fails, or its reaction is refused.
///
/// ```no_run
/// # use quorate_app::process::{ProcessManager, ProcessRunner};
/// # fn example<M: ProcessManager>(client: quorate_client::Client, deadlines: M) -> ProcessRunner<M> {
/// use quorate_app::process::OnFailure;
/// ProcessRunner::new(client, deadlines).on_failure(OnFailure::Park)
/// # }
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnFailure {
    /// Ends with an error. The manager begins with the same trigger when it is run again.
    #[default]
    Stop,
    /// Records the trigger in the instance's stream, as a `ProcessParked` with the reason, and goes on with the next.
    /// It is not tried again by itself, and a due time counts as fired: it is
    /// [listed, replayed or dropped](crate::process#parked-triggers) by somebody who looks at the reason.
    Park,
}

/// The settings of a runner.
#[derive(Clone)]
pub(crate) struct Settings {
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) first: u64,
    pub(crate) on_failure: OnFailure,
    pub(crate) conflicts_max: u32,
    /// The number of instances that react at once.
    pub(crate) lanes: usize,
    pub(crate) bookmark_every: u64,
    pub(crate) idle: Duration,
    pub(crate) cached_max: NonZeroUsize,
    /// The board that shows the manager's progress.
    pub(crate) board: Arc<Board>,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            clock: Arc::new(SystemClock),
            first: 0,
            on_failure: OnFailure::default(),
            conflicts_max: 10,
            lanes: 8,
            bookmark_every: 1_000,
            idle: Duration::from_secs(5),
            cached_max: NonZeroUsize::new(10_000).expect("not zero"),
            board: Arc::new(Board::new()),
        }
    }
}
