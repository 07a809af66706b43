//! The status of a running projection or process manager.

use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

/// The interval at which the rate is measured.
const RATE_INTERVAL: Duration = Duration::from_millis(500);

/// The status of a running projection.
///
/// ```
/// use quorate_app::projection::{State, Status};
///
/// /// Returns the line of a dashboard.
/// fn line(name: &str, status: &Status) -> String {
///     match &status.state {
///         State::Live => format!("{name}: up to date"),
///         state => format!("{name}: {state}, {} behind, {:.0}/s", status.lag, status.events_per_second),
///     }
/// }
/// # let _ = line;
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Status {
    /// The current activity.
    pub state: State,
    /// Everything up to this position is in the model. After a start this is known when the state is not
    /// [`State::Starting`] any more.
    pub position: u64,
    /// The newest position of the log that the projection knows.
    pub head: u64,
    /// The number of positions between `position` and `head`; not all of them need hold events of its query.
    pub lag: u64,
    /// The events applied per second, lately.
    pub events_per_second: f64,
    /// The number of events applied since the start.
    pub applied: u64,
    /// The number of events parked since the start.
    pub parked: u64,
    /// The number of partitions; 0 while their bookmarks are not known. `position` is that of the slowest.
    pub partitions: u32,
    /// True if the model is made anew beside the live one.
    pub rebuilds: bool,
}

/// The activity of a running projection.
///
/// ```
/// use quorate_app::projection::State;
/// assert_eq!(State::CatchingUp.to_string(), "catching up");
/// assert_eq!(State::Retrying("locked".into()).to_string(), "retrying: locked");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// The projection opens its database, or asks the cluster.
    Starting,
    /// Another process runs the projection; this one is ready to take over.
    StandingBy,
    /// The projection applies events that were there before.
    CatchingUp,
    /// The projection applies events as they are appended.
    Live,
    /// The projection tries something again, for this reason.
    Retrying(String),
    /// The projection was stopped.
    Stopped,
    /// The projection failed, for this reason.
    Failed(String),
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            State::Starting => f.write_str("starting"),
            State::StandingBy => f.write_str("standing by"),
            State::CatchingUp => f.write_str("catching up"),
            State::Live => f.write_str("live"),
            State::Retrying(why) => write!(f, "retrying: {why}"),
            State::Stopped => f.write_str("stopped"),
            State::Failed(why) => write!(f, "failed: {why}"),
        }
    }
}

/// The place where the parts of a running projection or process manager report their activity, and others read it.
pub(crate) struct Board {
    inner: Mutex<Inner>,
    status: watch::Sender<Status>,
}

struct Inner {
    /// The state while the projection is neither catching up nor live.
    phase: Option<State>,
    positions: Vec<u64>,
    troubles: Vec<Option<String>>,
    head: u64,
    /// The position at which the subscription had caught up; none while the subscription is behind.
    caught_up: Option<u64>,
    applied: u64,
    parked: u64,
    rebuilds: bool,
    measured: Instant,
    applied_then: u64,
    rate: f64,
}

impl Board {
    pub(crate) fn new() -> Board {
        let inner = Inner {
            phase: Some(State::Starting),
            positions: Vec::new(),
            troubles: Vec::new(),
            head: 0,
            caught_up: None,
            applied: 0,
            parked: 0,
            rebuilds: false,
            measured: Instant::now(),
            applied_then: 0,
            rate: 0.0,
        };
        let status = watch::Sender::new(inner.status());
        Board { inner: Mutex::new(inner), status }
    }

    pub(crate) fn watch(&self) -> watch::Receiver<Status> {
        self.status.subscribe()
    }

    /// Enters a state other than catching up and being live.
    pub(crate) fn enter(&self, phase: State) {
        self.change(|inner| inner.phase = Some(phase));
    }

    /// Records that the partitions continue from their bookmarks.
    pub(crate) fn go_on(&self, positions: &[u64]) {
        self.change(|inner| {
            inner.phase = None;
            inner.positions = positions.to_vec();
            inner.troubles = vec![None; positions.len()];
            inner.caught_up = None;
        });
    }

    /// Records that a partition applied `events` events, and everything up to `position` is in the model.
    pub(crate) fn moved(&self, partition: u32, position: u64, events: u64) {
        self.change(|inner| {
            if let Some(at) = inner.positions.get_mut(partition as usize) {
                *at = position;
            }
            if let Some(trouble) = inner.troubles.get_mut(partition as usize) {
                *trouble = None;
            }
            inner.applied += events;
        });
    }

    pub(crate) fn parked(&self) {
        self.change(|inner| inner.parked += 1);
    }

    /// Records that a partition tries something again.
    pub(crate) fn trouble(&self, partition: u32, why: String) {
        self.change(|inner| {
            if let Some(trouble) = inner.troubles.get_mut(partition as usize) {
                *trouble = Some(why);
            }
        });
    }

    /// Records that the only partition tries something again, maybe before its bookmark is known.
    pub(crate) fn tries_again(&self, why: String) {
        self.change(|inner| match inner.troubles.first_mut() {
            Some(trouble) => *trouble = Some(why),
            None => inner.phase = Some(State::Retrying(why)),
        });
    }

    /// Records that the only partition succeeded at what it tried again.
    pub(crate) fn succeeded(&self) {
        self.change(|inner| match inner.troubles.first_mut() {
            Some(trouble) => *trouble = None,
            None => inner.phase = Some(State::Starting),
        });
    }

    /// Records whether the model is made anew beside the live one.
    pub(crate) fn rebuilds(&self, rebuilds: bool) {
        self.change(|inner| inner.rebuilds = rebuilds);
    }

    /// Records that the log has at least this length.
    pub(crate) fn head(&self, position: u64) {
        self.change(|inner| inner.head = inner.head.max(position));
    }

    pub(crate) fn caught_up(&self, position: u64) {
        self.change(|inner| {
            inner.head = inner.head.max(position);
            inner.caught_up = Some(position);
        });
    }

    pub(crate) fn fell_behind(&self) {
        self.change(|inner| inner.caught_up = None);
    }

    /// Measures the rate, even if nothing else happened.
    pub(crate) fn measure(&self) {
        self.change(|_| ());
    }

    fn change(&self, change: impl FnOnce(&mut Inner)) {
        let mut inner = self.lock();
        change(&mut inner);
        inner.measure();
        let status = inner.status();
        self.status.send_if_modified(|shown| {
            let differs = *shown != status;
            *shown = status;
            differs
        });
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn measure(&mut self) {
        let elapsed = self.measured.elapsed();
        if elapsed >= RATE_INTERVAL {
            self.rate = (self.applied - self.applied_then) as f64 / elapsed.as_secs_f64();
            self.applied_then = self.applied;
            self.measured = Instant::now();
        }
    }

    fn status(&self) -> Status {
        let position = self.positions.iter().copied().min().unwrap_or_default();
        let head = self.head.max(position);
        Status {
            state: self.state(position),
            position,
            head,
            lag: head - position,
            events_per_second: self.rate,
            applied: self.applied,
            parked: self.parked,
            partitions: u32::try_from(self.positions.len()).unwrap_or(u32::MAX),
            rebuilds: self.rebuilds,
        }
    }

    fn state(&self, position: u64) -> State {
        if let Some(phase) = &self.phase {
            return phase.clone();
        }
        if let Some(why) = self.troubles.iter().flatten().next() {
            return State::Retrying(why.clone());
        }
        match self.caught_up {
            Some(at) if position >= at => State::Live,
            _ => State::CatchingUp,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_live_when_every_partition_has_what_was_there_before() {
        let board = Board::new();
        let status = board.watch();
        assert_eq!(status.borrow().state, State::Starting);
        board.go_on(&[3, 0]);
        board.caught_up(9);
        board.moved(0, 9, 2);
        assert_eq!(status.borrow().state, State::CatchingUp);
        assert_eq!((status.borrow().position, status.borrow().lag), (0, 9));
        board.trouble(1, "locked".into());
        assert_eq!(status.borrow().state, State::Retrying("locked".into()));
        board.moved(1, 9, 1);
        assert_eq!(status.borrow().state, State::Live);
        assert_eq!((status.borrow().position, status.borrow().applied), (9, 3));
        board.fell_behind();
        assert_eq!(status.borrow().state, State::CatchingUp);
    }
}
