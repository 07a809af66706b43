//! Judging consumer groups: every event is given to a consumer, in the order that the strategy promises, and
//! each parked event was failed or parked by a consumer.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};

use quorate_proto::{Position, RecordedEvent, Strategy, StreamName, Version};

use super::Anomaly;
use super::canonical::Canonical;
use crate::history::{Consumed, Fate, History, Moment};

/// The sums over the group.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Shared {
    /// The number of events that were given to consumers.
    pub(super) deliveries: u64,
    /// The number of deliveries of events that had been delivered before.
    pub(super) redeliveries: u64,
    /// The number of events that are parked at the end.
    pub(super) parked: u64,
}

/// Judges the group of a history, if it has one.
pub(super) fn judge(history: &History, canonical: &Canonical<'_>) -> (Shared, Vec<Anomaly>) {
    let Some(consumed) = &history.consumed else { return (Shared::default(), Vec::new()) };
    let mut judge =
        Judge { consumed, canonical, first: BTreeMap::new(), shared: Shared::default() };
    judge.shared.parked = consumed.parked.len() as u64;
    let judged = judge
        .deliveries()
        .and_then(|()| judge.nothing_is_missing())
        .and_then(|()| judge.order())
        .and_then(|()| judge.parked());
    (judge.shared, judged.err().map(|what| Anomaly::WrongGroup { what }).into_iter().collect())
}

struct Judge<'a> {
    consumed: &'a Consumed,
    canonical: &'a Canonical<'a>,
    /// The moment at which each event was first given to a consumer.
    first: BTreeMap<Position, Moment>,
    shared: Shared,
}

impl Judge<'_> {
    fn deliveries(&mut self) -> Result<(), String> {
        for (moment, event) in &self.consumed.deliveries {
            self.shared.deliveries += 1;
            let position = event.position;
            if self.canonical.event(position) != Some(event) {
                return Err(format!(
                    "what was given out for position {position} is not in the log"
                ));
            }
            match self.first.entry(position) {
                Entry::Occupied(_) => self.shared.redeliveries += 1,
                Entry::Vacant(vacant) => {
                    vacant.insert(*moment);
                }
            }
        }
        Ok(())
    }

    /// Checks that every event that is visible at the end was given to a consumer.
    fn nothing_is_missing(&self) -> Result<(), String> {
        let end = self.canonical.end();
        let missing = self.of_users().find(|event| {
            let is_there = self.canonical.is_there(event.position, end);
            is_there && !self.first.contains_key(&event.position)
        });
        match missing {
            None => Ok(()),
            Some(event) => Err(format!("nobody was given the event at {}", event.position)),
        }
    }

    fn order(&self) -> Result<(), String> {
        match self.consumed.strategy {
            Strategy::RoundRobin => Ok(()),
            Strategy::Single => ascend(self.first.iter()),
            Strategy::ByStream => self.order_by_stream(),
        }
    }

    /// Checks that no event of a stream was given out before the one before it was settled.
    fn order_by_stream(&self) -> Result<(), String> {
        let mut streams: BTreeMap<&StreamName, Vec<(Version, Position)>> = BTreeMap::new();
        for event in self.of_users().filter(|event| self.first.contains_key(&event.position)) {
            streams.entry(&event.stream).or_default().push((event.version, event.position));
        }
        for (stream, events) in streams {
            for pair in events.windows(2) {
                let ((_, before), (version, position)) = (pair[0], pair[1]);
                let given = self.first[&position];
                let is_settled = self.consumed.parked.contains(&before)
                    || self.consumed.settlements.iter().any(|(moment, settled, fate)| {
                        *settled == before && *moment < given && *fate != Fate::Failed
                    });
                // An event that was removed meanwhile is settled by nobody.
                let is_there = self.canonical.is_there(before, self.canonical.end());
                if !is_settled && is_there {
                    return Err(format!(
                        "version {version} of `{stream}` was given out before {before} was settled"
                    ));
                }
            }
        }
        Ok(())
    }

    fn parked(&self) -> Result<(), String> {
        let asked = |fate: &Fate| matches!(fate, Fate::Parked | Fate::Failed);
        let by_somebody: BTreeSet<Position> = self
            .consumed
            .settlements
            .iter()
            .filter(|(_, _, fate)| asked(fate))
            .map(|(_, position, _)| *position)
            .collect();
        match self.consumed.parked.difference(&by_somebody).next() {
            None => Ok(()),
            Some(position) => Err(format!("nobody parked the event at {position}, and it is")),
        }
    }

    fn of_users(&self) -> impl Iterator<Item = &RecordedEvent> {
        let all = self.canonical.from(Position(1)).iter();
        all.filter(|event| !event.stream.is_system())
    }
}

fn ascend<'a>(first: impl Iterator<Item = (&'a Position, &'a Moment)>) -> Result<(), String> {
    let mut before = 0;
    for (position, moment) in first {
        if *moment < before {
            return Err(format!("the event at {position} was given out before one before it"));
        }
        before = *moment;
    }
    Ok(())
}
