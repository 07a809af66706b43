//! What was applied and is asked for, waiting for one reader that follows; bounded.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use quorate_proto::Problem;
use quorate_store::StoredEvent;
use tokio::sync::Notify;

use super::Mark;

/// Most bytes of events that wait for one reader. Readers share the events, not the places.
const WAITING_BYTES_MAX: usize = 1024 * 1024;
/// Most events that wait for one reader.
const WAITING_EVENTS_MAX: usize = 4096;

/// What a reader finds in its mailbox.
#[derive(Debug)]
pub(super) enum Letter {
    /// The next events, and how far all that matches is out with them.
    Events { events: Vec<StoredEvent>, through: Mark },
    /// Nothing matched up to here.
    Nothing { through: Mark },
    /// There was no room for what came next: it must be looked for in the store.
    Overrun,
}

/// Where one reader's events wait.
///
/// Invariants:
/// - what waits is all that matched between when the place was taken and `through`, in the order of the log,
///   less what was taken out; once it is overrun nothing is added any more;
/// - it holds at most [`WAITING_EVENTS_MAX`] events and, but for one event, [`WAITING_BYTES_MAX`] bytes.
#[derive(Debug)]
pub(crate) struct Mailbox {
    contents: Mutex<Contents>,
    arrived: Notify,
}

#[derive(Debug)]
struct Contents {
    events: VecDeque<StoredEvent>,
    bytes: usize,
    through: Mark,
    is_overrun: bool,
    /// Whether the reader is to be told how far all is, though nothing came.
    tells_progress: bool,
    end: Option<Problem>,
}

impl Mailbox {
    /// An empty one of a reader that looks into the store for all up to here itself.
    pub(super) fn new(through: Mark) -> Mailbox {
        let contents = Contents {
            events: VecDeque::new(),
            bytes: 0,
            through,
            is_overrun: false,
            tells_progress: false,
            end: None,
        };
        Mailbox { contents: Mutex::new(contents), arrived: Notify::new() }
    }

    /// Puts an event in; false if there is no room, which ends the mailbox.
    pub(super) fn put(&self, event: &StoredEvent, through: Mark) -> bool {
        let mut contents = self.lock();
        let has_room = contents.events.len() < WAITING_EVENTS_MAX
            && (contents.events.is_empty() || contents.bytes + event.size() <= WAITING_BYTES_MAX);
        if has_room && !contents.is_overrun {
            contents.bytes += event.size();
            contents.events.push_back(event.clone());
            contents.through = through;
        } else {
            contents.is_overrun = true;
        }
        drop(contents);
        self.arrived.notify_one();
        has_room
    }

    /// Notes an event of the stream that is followed, which does not match.
    pub(super) fn pass(&self, through: Mark) {
        self.lock().through = through;
    }

    /// Tells that nothing else matched up to a position.
    pub(super) fn tell_progress(&self, through: Mark) {
        {
            let mut contents = self.lock();
            contents.through.position = contents.through.position.max(through.position);
            contents.tells_progress = true;
        }
        self.arrived.notify_one();
    }

    /// There is no room any more: all that is not here must be looked for in the store.
    pub(super) fn overrun(&self) {
        self.lock().is_overrun = true;
        self.arrived.notify_one();
    }

    /// Ends the reader with this problem.
    pub(super) fn end(&self, problem: Problem) {
        self.lock().end = Some(problem);
        self.arrived.notify_one();
    }

    /// Waits for the next letter; events come about `budget_bytes` at a time, at least one.
    pub(super) async fn take(&self, budget_bytes: usize) -> Result<Letter, Problem> {
        loop {
            if let Some(letter) = self.lock().take(budget_bytes)? {
                return Ok(letter);
            }
            self.arrived.notified().await;
        }
    }

    fn lock(&self) -> MutexGuard<'_, Contents> {
        // No code that holds the lock can leave the contents half changed.
        self.contents.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Contents {
    fn take(&mut self, budget_bytes: usize) -> Result<Option<Letter>, Problem> {
        if let Some(problem) = &self.end {
            return Err(problem.clone());
        }
        let mut events = Vec::new();
        let mut bytes = 0;
        while bytes < budget_bytes
            && let Some(event) = self.events.pop_front()
        {
            bytes += event.size();
            events.push(event);
        }
        self.bytes -= bytes;
        if let Some(last) = events.last() {
            let all = self.through;
            let here = Mark { position: last.position, version: all.version.map(|_| last.version) };
            let through = if self.events.is_empty() { all } else { here };
            if self.events.is_empty() {
                // A burst is over: thousands of readers need not keep the room for the next.
                self.events = VecDeque::new();
            }
            return Ok(Some(Letter::Events { events, through }));
        }
        if self.is_overrun {
            return Ok(Some(Letter::Overrun));
        }
        let tells = std::mem::take(&mut self.tells_progress);
        Ok(tells.then_some(Letter::Nothing { through: self.through }))
    }
}
