//! The next step for an event that failed: it is tried again a little later, or parked after the last attempt.

use quorate_proto::limits::GROUP_PARKED_MAX;
use quorate_proto::{Position, Timestamp, bounded_reason};

use super::{ConsumerId, DELAY_MS_MAX, Dispatcher, Kind, State, later};

impl<E> Dispatcher<E> {
    /// Records that an attempt failed. The event is tried again after `delay_ms`, or else as the settings require.
    pub(super) fn attempt_failed(
        &mut self,
        position: Position,
        reason: String,
        delay_ms: Option<u64>,
        confirm: Option<(ConsumerId, u64)>,
        now: Timestamp,
    ) {
        let Some(entry) = self.entries.get_mut(&position) else { return };
        entry.attempts = entry.attempts.saturating_add(1);
        if entry.attempts >= self.settings.attempts_max {
            return self.park(position, reason, confirm, now);
        }
        let delay_ms = delay_ms.unwrap_or_else(|| {
            let doublings = (entry.attempts - 1).min(32);
            let grown = self.settings.retry_delay_ms.saturating_mul(1 << doublings);
            grown.min(DELAY_MS_MAX.max(self.settings.retry_delay_ms))
        });
        self.try_again(position, delay_ms, confirm, now);
    }

    /// Parks an event, which is not tried any more. While too many are parked, it is tried again after all.
    pub(super) fn park(
        &mut self,
        position: Position,
        reason: String,
        confirm: Option<(ConsumerId, u64)>,
        now: Timestamp,
    ) {
        let Some(entry) = self.entries.get(&position) else { return };
        if self.parked + self.parking >= GROUP_PARKED_MAX || now < self.parks_from {
            return self.try_again(position, DELAY_MS_MAX, confirm, now);
        }
        self.parking += 1;
        let (attempts, stream) = (entry.attempts, entry.stream.clone());
        let reason = bounded_reason(reason);
        self.end(position, Kind::Parked { attempts, reason, stream }, confirm);
    }

    fn try_again(
        &mut self,
        position: Position,
        delay_ms: u64,
        confirm: Option<(ConsumerId, u64)>,
        now: Timestamp,
    ) {
        let Some(entry) = self.entries.get(&position) else { return };
        if let State::With { until, .. } = entry.state {
            self.timers.remove(&(until, position));
        }
        let attempts = entry.attempts;
        let due = later(now, delay_ms);
        self.retry_at(position, due);
        self.note(position, Kind::Failed { attempts, due }, confirm);
    }

    /// Sets the time of the next attempt at an event that nobody holds; it keeps its place in its stream.
    pub(super) fn retry_at(&mut self, position: Position, due: Timestamp) {
        if let Some(entry) = self.entries.get_mut(&position) {
            entry.state = State::Retry { due };
            self.retrying.insert(position);
            self.ready.remove(&position);
            self.timers.insert((due, position));
        }
    }
}
