//! The outcomes of events on their way to the log: one batch at a time, while the next one collects.

use std::collections::BTreeMap;

use quorate_proto::limits::{GROUP_CHANGE_POSITIONS_MAX, GROUP_FAILED_MAX, GROUP_PARKED_MAX};
use quorate_proto::{Failed, GroupProgress, Parked, Position, StreamName, Timestamp};

use super::{ConsumerId, DELAY_MS_MAX, Dispatcher, Entry, State, later};

/// The distance that the floor must move to be proposed although no event has an outcome: a group that matches
/// nothing should cost nothing.
const FLOOR_STEP: u64 = 100_000;

/// The outcome of an event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Settled,
    Failed {
        attempts: u32,
        due: Timestamp,
    },
    /// Parked, with the stream in which the event must wait again if the log has no room for it.
    Parked {
        attempts: u32,
        reason: String,
        stream: Option<StreamName>,
    },
}

/// The outcome of an event, and the deliveries to confirm when the outcome is durable.
#[derive(Debug)]
pub(super) struct Change {
    pub(super) kind: Kind,
    pub(super) confirm: Vec<(ConsumerId, u64)>,
}

impl Change {
    pub(super) fn new(kind: Kind) -> Change {
        Change { kind, confirm: Vec::new() }
    }
}

/// A change that was proposed, and the state before.
struct Sent {
    change: Change,
    /// True if the event held the floor.
    held: bool,
    /// True if the event was recorded in the log as failed.
    recorded: bool,
}

/// The changes that were proposed and are not decided yet.
pub(super) struct Batch {
    sent: BTreeMap<Position, Sent>,
    floor_before: Position,
}

impl Batch {
    /// Returns the number of the batch's events that count towards the window.
    pub(super) fn held_count(&self) -> usize {
        self.sent.len()
    }

    pub(super) fn speaks_of(&self, position: Position) -> bool {
        self.sent.contains_key(&position)
    }
}

impl<E> Dispatcher<E> {
    /// Returns the next proposal: none while one is on its way, or if there is nothing new. While `goes_on`, a
    /// floor that moved without outcomes is proposed rarely.
    pub(crate) fn propose(&mut self, goes_on: bool) -> Option<GroupProgress> {
        if self.in_flight.is_some() {
            return None;
        }
        let floor_before = self.proposed_floor;
        let sent = self.take_changes();
        let floor = self.floor();
        let step = if goes_on { FLOOR_STEP } else { 1 };
        if sent.is_empty() && floor.0 - floor_before.0 < step {
            return None;
        }
        let mut progress =
            GroupProgress { incarnation: self.incarnation, floor, ..GroupProgress::default() };
        for (position, Sent { change, held, .. }) in &sent {
            let position = *position;
            match &change.kind {
                // For most settled events the floor alone is enough.
                Kind::Settled if *held && position <= floor => {}
                Kind::Settled => progress.settled.push(position),
                Kind::Failed { attempts, due } => {
                    progress.failed.push(Failed { position, attempts: *attempts, due: *due });
                }
                Kind::Parked { attempts, reason, .. } => {
                    let (attempts, reason) = (*attempts, reason.clone());
                    let parked_at = Timestamp::default();
                    progress.parked.push(Parked { position, attempts, reason, parked_at });
                }
            }
        }
        self.above.extend(progress.settled.iter().filter(|settled| **settled > floor));
        self.above = self.above.split_off(&floor.next());
        self.proposed_floor = floor;
        self.in_flight = Some(Batch { sent, floor_before });
        Some(progress)
    }

    /// Takes out the changes for the next batch.
    fn take_changes(&mut self) -> BTreeMap<Position, Sent> {
        let (mut sent, mut deferred) = (BTreeMap::new(), BTreeMap::new());
        while sent.len() < GROUP_CHANGE_POSITIONS_MAX
            && let Some((position, change)) = self.changes.pop_first()
        {
            if !self.may_record(position, &change.kind) {
                deferred.insert(position, change);
                continue;
            }
            let held = self.holding.remove(&position);
            let recorded = match change.kind {
                Kind::Failed { .. } => !self.recorded.insert(position),
                Kind::Settled | Kind::Parked { .. } => self.recorded.remove(&position),
            };
            if let Kind::Parked { .. } = change.kind {
                self.parked += 1;
                self.parking -= 1;
            }
            sent.insert(position, Sent { change, held, recorded });
        }
        self.changes.append(&mut deferred);
        sent
    }

    /// Returns true if the log has room for this outcome; otherwise the event holds the floor until it has.
    fn may_record(&self, position: Position, kind: &Kind) -> bool {
        match kind {
            Kind::Settled => true,
            Kind::Failed { .. } => {
                self.recorded.contains(&position) || self.recorded.len() < GROUP_FAILED_MAX
            }
            Kind::Parked { .. } => self.parked < GROUP_PARKED_MAX,
        }
    }

    /// Returns true if there are outcomes that were not proposed yet, or the floor moved.
    pub(crate) fn has_news(&self) -> bool {
        !self.changes.is_empty() || self.floor() > self.proposed_floor
    }

    /// Records that the proposal is durable; returns the consumers to inform, with the numbers of their deliveries.
    pub(crate) fn applied(&mut self) -> Vec<(ConsumerId, u64)> {
        let sent = self.in_flight.take().map(|batch| batch.sent).unwrap_or_default();
        sent.into_values().flat_map(|sent| sent.change.confirm).collect()
    }

    /// Records that the log has no room for the proposal. It is proposed again, but the events that were to be parked
    /// are tried again: all groups together may have too many parked events.
    pub(crate) fn refused(&mut self, now: Timestamp) {
        self.put_back();
        let due = later(now, DELAY_MS_MAX);
        self.parks_from = due;
        let is_parked = |change: &Change| matches!(change.kind, Kind::Parked { .. });
        let parked = self.changes.iter().filter(|(_, change)| is_parked(change));
        let parked: Vec<Position> = parked.map(|(position, _)| *position).collect();
        for position in parked {
            let Some(change) = self.changes.get_mut(&position) else { continue };
            let Kind::Parked { attempts, stream, .. } = &mut change.kind else { continue };
            let (attempts, stream) = (*attempts, stream.take());
            change.kind = Kind::Failed { attempts, due };
            self.parking -= 1;
            let state = State::Waiting(None);
            let entry = Entry { attempts, stream: stream.clone(), state, left_by: None };
            self.entries.insert(position, entry);
            if self.line_up(position, stream) {
                self.retry_at(position, due);
            }
        }
    }

    /// Records that the proposal was not taken: it is proposed again, with later changes.
    pub(crate) fn put_back(&mut self) {
        let Some(Batch { sent, floor_before }) = self.in_flight.take() else { return };
        self.proposed_floor = floor_before;
        for (position, Sent { change, held, recorded }) in sent {
            if held {
                self.holding.insert(position);
            }
            match (&change.kind, recorded) {
                (Kind::Failed { .. }, false) => {
                    self.recorded.remove(&position);
                }
                (Kind::Settled | Kind::Parked { .. }, true) => {
                    self.recorded.insert(position);
                }
                _ => {}
            }
            match change.kind {
                Kind::Settled => {
                    self.above.remove(&position);
                }
                Kind::Parked { .. } => {
                    self.parked = self.parked.saturating_sub(1);
                    self.parking += 1;
                }
                Kind::Failed { .. } => {}
            }
            match self.changes.get_mut(&position) {
                // The later outcome counts.
                Some(later) => later.confirm.extend(change.confirm),
                None => {
                    self.changes.insert(position, change);
                }
            }
        }
    }
}
