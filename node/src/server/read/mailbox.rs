//! The applied events that wait for one subscription; bounded.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use quorate_proto::Problem;
use quorate_store::StoredEvent;
use tokio::sync::Notify;

use super::cursor::Cursor;

/// The maximum bytes of events that wait for one subscription. Subscriptions share the events, not their places.
const WAITING_BYTES_MAX: usize = 1024 * 1024;
/// The maximum number of events that wait for one subscription.
const WAITING_EVENTS_MAX: usize = 4096;

/// The contents of a mailbox, as the subscription takes them.
#[derive(Debug)]
pub(super) enum Delivery {
    /// The next events, and the point up to which they are all that matches.
    Events { events: Vec<StoredEvent>, through: Cursor },
    /// Nothing matched up to this point.
    Nothing { through: Cursor },
    /// There was no room for the next event: the subscription must continue from the store.
    Overrun,
}

/// The place where one subscription's events wait.
///
/// Invariants:
/// - it holds all events that matched from when the place was taken up to `through`, in the order of the log,
///   less those that were taken out; after an overrun nothing is added any more;
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
    through: Cursor,
    is_overrun: bool,
    /// True if the subscription is to receive the progress of the log although no event came.
    reports_progress: bool,
    end: Option<Problem>,
}

impl Mailbox {
    /// Makes an empty mailbox for a subscription that reads everything up to `through` from the store itself.
    pub(super) fn new(through: Cursor) -> Mailbox {
        let contents = Contents {
            events: VecDeque::new(),
            bytes: 0,
            through,
            is_overrun: false,
            reports_progress: false,
            end: None,
        };
        Mailbox { contents: Mutex::new(contents), arrived: Notify::new() }
    }

    /// Puts an event in. Returns false if there is no room, which ends the mailbox.
    pub(super) fn put(&self, event: &StoredEvent, through: Cursor) -> bool {
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

    /// Records that the subscription's stream has an event that does not match.
    pub(super) fn pass(&self, through: Cursor) {
        self.lock().through = through;
    }

    /// Records that nothing else matched up to a position.
    pub(super) fn report_progress(&self, through: Cursor) {
        {
            let mut contents = self.lock();
            contents.through.position = contents.through.position.max(through.position);
            contents.reports_progress = true;
        }
        self.arrived.notify_one();
    }

    /// Marks the mailbox as overrun: the subscription must find all that is not in it in the store.
    pub(super) fn overrun(&self) {
        self.lock().is_overrun = true;
        self.arrived.notify_one();
    }

    /// Ends the subscription with this problem.
    pub(super) fn end(&self, problem: Problem) {
        self.lock().end = Some(problem);
        self.arrived.notify_one();
    }

    /// Waits for the next delivery; a delivery has about `budget_bytes` of events, and at least one event.
    pub(super) async fn take(&self, budget_bytes: usize) -> Result<Delivery, Problem> {
        loop {
            if let Some(delivery) = self.lock().take(budget_bytes)? {
                return Ok(delivery);
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
    fn take(&mut self, budget_bytes: usize) -> Result<Option<Delivery>, Problem> {
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
            let here =
                Cursor { position: last.position, version: all.version.map(|_| last.version) };
            let through = if self.events.is_empty() { all } else { here };
            if self.events.is_empty() {
                // After a burst thousands of subscriptions need not keep the room for the next one.
                self.events = VecDeque::new();
            }
            return Ok(Some(Delivery::Events { events, through }));
        }
        if self.is_overrun {
            return Ok(Some(Delivery::Overrun));
        }
        let reports = std::mem::take(&mut self.reports_progress);
        Ok(reports.then_some(Delivery::Nothing { through: self.through }))
    }
}
