//! The deliveries that a consumer holds on its stream: which are worked on, and when more time is requested.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::time::Instant;

/// The number of requests for more time within one timeout: a message that comes late does no harm.
const EXTENSIONS_PER_TIMEOUT: u32 = 3;
/// The shortest time between requests for more time, whatever timeout a node sends.
const REST_MIN: Duration = Duration::from_millis(3);

/// A delivery that is not settled.
struct Held {
    has_lapsed: Arc<AtomicBool>,
    timeout: Duration,
    /// The time at which the work on it began.
    begun: Option<Instant>,
    /// The time at which more time is requested, unless the delivery is settled before.
    extended_at: Option<Instant>,
}

/// All deliveries of the open stream that are not settled, by their numbers.
pub(super) struct Work {
    /// The time after the beginning of the work during which more time is requested automatically.
    extended_up_to: Duration,
    held: BTreeMap<u64, Held>,
    extensions: BTreeSet<(Instant, u64)>,
    /// The deliveries that are worked on, which is still to be reported to the leader.
    unreported: BTreeSet<u64>,
}

impl Work {
    pub(super) fn new(extended_up_to: Duration) -> Work {
        let (held, extensions, unreported) = Default::default();
        Work { extended_up_to, held, extensions, unreported }
    }

    /// Adds a new delivery. Returns the flag that shows whether it has lapsed.
    pub(super) fn give(&mut self, number: u64, timeout: Duration) -> Arc<AtomicBool> {
        let has_lapsed = Arc::new(AtomicBool::new(false));
        let (begun, extended_at) = (None, None);
        let held = Held { has_lapsed: has_lapsed.clone(), timeout, begun, extended_at };
        self.held.insert(number, held);
        has_lapsed
    }

    /// Notes that the work on a delivery begins or continues: its time begins anew.
    pub(super) fn begin(&mut self, number: u64, now: Instant) {
        let Some(held) = self.held.get_mut(&number) else { return };
        self.unreported.insert(number);
        let begun = *held.begun.get_or_insert(now);
        if let Some(was) = held.extended_at.take() {
            self.extensions.remove(&(was, number));
        }
        let next = now + rhythm(held.timeout);
        if is_allowed(begun, next, self.extended_up_to) {
            held.extended_at = Some(next);
            self.extensions.insert((next, number));
        }
    }

    /// Sets another timeout of the group, and requests more time early enough for it.
    pub(super) fn set_timeout(&mut self, timeout: Duration, now: Instant) {
        for (number, held) in &mut self.held {
            held.timeout = timeout;
            let Some(begun) = held.begun else { continue };
            let next = now + rhythm(timeout);
            let is_sooner = held.extended_at.is_none_or(|at| next < at);
            if is_sooner && is_allowed(begun, next, self.extended_up_to) {
                if let Some(was) = held.extended_at.replace(next) {
                    self.extensions.remove(&(was, *number));
                }
                self.extensions.insert((next, *number));
            }
        }
    }

    /// Removes a delivery: nothing more is reported of it.
    pub(super) fn settle(&mut self, number: u64) {
        self.unreported.remove(&number);
        if let Some(Held { extended_at: Some(at), .. }) = self.held.remove(&number) {
            self.extensions.remove(&(at, number));
        }
    }

    /// Removes a delivery that was taken back.
    pub(super) fn lapse(&mut self, number: u64) {
        if let Some(held) = self.held.get(&number) {
            held.has_lapsed.store(true, Ordering::Release);
        }
        self.settle(number);
    }

    /// Removes all deliveries: their stream is lost.
    pub(super) fn clear(&mut self) {
        for held in std::mem::take(&mut self.held).into_values() {
            held.has_lapsed.store(true, Ordering::Release);
        }
        self.extensions.clear();
        self.unreported.clear();
    }

    /// Returns the time at which [`Work::extend`] has something to do next.
    pub(super) fn next_extension(&self) -> Option<Instant> {
        self.extensions.first().map(|(at, _)| *at)
    }

    /// Requests more time for the deliveries that are still worked on.
    pub(super) fn extend(&mut self, now: Instant) {
        while let Some((at, number)) = self.extensions.first().copied().filter(|(at, _)| *at <= now)
        {
            self.extensions.remove(&(at, number));
            self.begin(number, now);
        }
    }

    pub(super) fn is_reported(&self) -> bool {
        self.unreported.is_empty()
    }

    /// Takes at most `count` of the deliveries that are still to be reported.
    pub(super) fn take_unreported(&mut self, count: usize) -> Vec<u64> {
        let numbers: Vec<u64> = self.unreported.iter().copied().take(count).collect();
        for number in &numbers {
            self.unreported.remove(number);
        }
        numbers
    }
}

/// Returns the time between two requests for more time.
fn rhythm(timeout: Duration) -> Duration {
    (timeout / EXTENSIONS_PER_TIMEOUT).max(REST_MIN)
}

/// Returns true if more time may still be requested at `at`.
fn is_allowed(begun: Instant, at: Instant, extended_up_to: Duration) -> bool {
    begun.checked_add(extended_up_to).is_none_or(|last| at < last)
}
