//! The events that consumers have begun, and those that they only hold: the time of an event begins with the work on
//! it, and an event that nobody began costs no attempt.

use std::collections::BTreeSet;

use quorate_proto::limits::GROUP_TIMEOUT_MS_MAX;
use quorate_proto::{Invalid, Position, Timestamp};
use quorate_store::defect::{Defect, is_present};

use super::consumers::Seen;
use super::{ConsumerId, Dispatcher, Left, State, later, never_given};

impl<E> Dispatcher<E> {
    /// Begins the time of these events anew, because a consumer works on them now or still. Returns the numbers of the
    /// events that the consumer does not have any more.
    ///
    /// # Errors
    /// The consumer never held one of the events; those before it count.
    pub(crate) fn begin(
        &mut self,
        id: ConsumerId,
        numbers: Vec<u64>,
        now: Timestamp,
    ) -> Result<Vec<u64>, Invalid> {
        let mut lapsed = Vec::new();
        for number in numbers {
            match self.consumers.find_delivery(id, number) {
                Seen::Held(position) => self.begin_one(position, now),
                Seen::Before => lapsed.push(number),
                Seen::Never => return Err(never_given(number)),
            }
        }
        Ok(lapsed)
    }

    fn begin_one(&mut self, position: Position, now: Timestamp) {
        let Some(entry) = self.entries.get_mut(&position) else { return };
        let State::With { until, begun, .. } = &mut entry.state else { return };
        let had = begun.map(|_| *until);
        if had.is_some() && is_present(Defect::IgnoredExtension) {
            return;
        }
        let since = *begun.get_or_insert(now);
        self.timers.remove(&(*until, position));
        let latest = later(since, GROUP_TIMEOUT_MS_MAX);
        let next = later(now, self.settings.timeout_ms).min(latest);
        // A consumer that works keeps the time that it has, although the group's timeout is shorter by now.
        *until = had.map_or(next, |had| next.max(had));
        self.timers.insert((*until, position));
    }

    /// Takes back an event that a consumer did not begin, if another consumer has room for it; else it stays.
    pub(super) fn leave_unbegun(
        &mut self,
        position: Position,
        id: ConsumerId,
        number: u64,
        now: Timestamp,
    ) -> bool {
        let strategy = self.settings.strategy;
        let Some(entry) = self.entries.get_mut(&position) else { return false };
        if self.consumers.choose(strategy, entry.stream.as_ref(), Some(id)).is_some() {
            entry.left_by = Some(id);
            self.consumers.release(id, number, false);
            self.give_back(position);
            return true;
        }
        if let State::With { until, .. } = &mut entry.state {
            self.timers.remove(&(*until, position));
            *until = later(now, self.settings.timeout_ms);
            self.timers.insert((*until, position));
        }
        false
    }

    /// Takes back the events that a consumer holds.
    pub(crate) fn leave(&mut self, id: ConsumerId, how: Left, now: Timestamp) {
        let Some((name, held)) = self.consumers.leave(id) else { return };
        let has_begun = |position: &Position| {
            let entry = self.entries.get(position);
            entry.is_some_and(|entry| matches!(entry.state, State::With { begun: Some(_), .. }))
        };
        let mut tried: BTreeSet<Position> = held.values().copied().filter(has_begun).collect();
        // A consumer that dies of an event may not have reported that it began the event.
        tried.extend(held.values().next().filter(|_| tried.is_empty()));
        for (_, position) in held {
            if how == Left::Lost && tried.contains(&position) {
                let reason = format!("consumer `{name}` was lost");
                self.attempt_failed(position, reason, Some(0), None, now);
            } else {
                self.give_back(position);
            }
        }
    }
}
