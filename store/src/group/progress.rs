//! Applying a group's progress: all of it, or nothing.

use std::collections::{BTreeMap, BTreeSet};

use quorate_proto::limits::{GROUP_FAILED_MAX, GROUP_WINDOW_MAX};
use quorate_proto::{Failed, GroupOutcome, GroupProgress, Parked, Position};

use super::Group;
use crate::format::group::GroupHead;
use crate::point::Point;

/// The fate of an event.
#[derive(Debug)]
enum Fate {
    Settled,
    Failed(Failed),
    Parked(Parked),
}

/// The number of events of each kind.
#[derive(Clone, Copy, Debug, Default)]
struct Counts {
    settled: usize,
    failed: usize,
    parked: usize,
}

impl Group {
    /// Applies the owner's progress, as of the entry at `point`, if no more than `parked_max` events are
    /// parked then; notes in `changed` which parked events were added or removed.
    pub(super) fn progress(
        &mut self,
        progress: GroupProgress,
        point: Point,
        parked_max: usize,
        changed: &mut BTreeSet<Position>,
    ) -> GroupOutcome {
        if progress.incarnation != self.head.incarnation {
            return GroupOutcome::NotFound;
        }
        let (floor, fates) = (progress.floor.max(self.head.floor), fates(progress, point));
        let is_there = |position: &Position| (Position(1)..=point.position).contains(position);
        let is_known = floor <= point.position.max(self.head.floor);
        if !is_known || !fates.keys().all(is_there) {
            return GroupOutcome::Stale;
        }
        if !self.counts_after(floor, &fates).are_allowed(parked_max) {
            return GroupOutcome::Full;
        }
        self.raise(floor);
        let mut count = 0;
        for (position, fate) in fates {
            count += u64::from(self.put(position, fate, changed));
        }
        GroupOutcome::Done(count)
    }

    fn raise(&mut self, floor: Position) {
        let GroupHead { floor: current, settled, .. } = &mut self.head;
        *current = floor;
        while settled.first().is_some_and(|position| *position <= floor) {
            settled.pop_first();
        }
    }

    /// Returns the counts once the floor is at `floor` and each event has met its fate.
    fn counts_after(&self, floor: Position, fates: &BTreeMap<Position, Fate>) -> Counts {
        let head = &self.head;
        let passed = head.settled.range(..=floor).count();
        let mut counts = Counts {
            settled: head.settled.len() - passed,
            failed: head.failed.len(),
            parked: self.parked.len(),
        };
        for (position, fate) in fates {
            let is_above = *position > floor;
            counts.settled -= usize::from(is_above && head.settled.contains(position));
            counts.failed -= usize::from(head.failed.contains_key(position));
            counts.parked -= usize::from(self.parked.contains_key(position));
            match fate {
                Fate::Settled => counts.settled += usize::from(is_above),
                Fate::Failed(_) => counts.failed += 1,
                Fate::Parked(_) => counts.parked += 1,
            }
        }
        counts
    }

    /// Gives an event its fate and takes it out of all else; returns true if the fate is a new one.
    fn put(&mut self, position: Position, fate: Fate, changed: &mut BTreeSet<Position>) -> bool {
        let head = &mut self.head;
        let was_settled = head.settled.remove(&position);
        let had_failed = head.failed.remove(&position);
        let was_parked = self.parked.remove(&position);
        if was_parked.is_some() || matches!(fate, Fate::Parked(_)) {
            changed.insert(position);
        }
        match fate {
            Fate::Settled if position > head.floor => {
                head.settled.insert(position);
                !was_settled
            }
            Fate::Settled => had_failed.is_some() || was_parked.is_some(),
            Fate::Failed(failed) => {
                head.failed.insert(position, failed);
                had_failed != Some(failed)
            }
            Fate::Parked(parked) => {
                let is_other = was_parked.as_ref() != Some(&parked);
                self.parked.insert(position, parked);
                is_other
            }
        }
    }
}

/// Returns the fate of each event; if progress names an event twice, the last fate counts.
fn fates(progress: GroupProgress, point: Point) -> BTreeMap<Position, Fate> {
    let GroupProgress { settled, failed, parked, .. } = progress;
    let settled = settled.into_iter().map(|position| (position, Fate::Settled));
    let failed = failed.into_iter().map(|failed| (failed.position, Fate::Failed(failed)));
    let parked = parked.into_iter().map(|parked| {
        let parked = Parked { parked_at: point.recorded_at, ..parked };
        (parked.position, Fate::Parked(parked))
    });
    settled.chain(failed).chain(parked).collect()
}

impl Counts {
    fn are_allowed(self, parked_max: usize) -> bool {
        let Counts { settled, failed, parked } = self;
        settled <= GROUP_WINDOW_MAX as usize && failed <= GROUP_FAILED_MAX && parked <= parked_max
    }
}
