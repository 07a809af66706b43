//! The rules that hide events of one stream, made from its records without a look at the events.

use std::collections::BTreeMap;
use std::sync::Arc;

use quorate_proto::{Position, Timestamp, Version};

use crate::format::retention::{Limits, Record};

/// The records that a stream lies under.
#[derive(Clone, Debug, Default)]
pub(crate) struct Chain {
    /// The record of the stream itself.
    pub(crate) own: Option<Arc<Record>>,
    /// The records of its category and of its paths, the longest first.
    pub(crate) above: Vec<Arc<Record>>,
}

/// The rules that hide events of a stream: each hides events by itself.
///
/// Invariant: `counts` ascends in both position and count, so that none makes another needless.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Rules {
    /// Hides the versions below this one.
    pub(crate) first: Version,
    /// Hides the positions below this one.
    pub(crate) position: Position,
    /// Hides the times before this one.
    pub(crate) time: Option<Timestamp>,
    /// Pairs of p and n, each hiding the events up to position p that have at least n newer versions up to p.
    pub(crate) counts: Vec<(Position, u64)>,
}

impl Chain {
    /// Returns the rules at a position and log time.
    pub(crate) fn rules(&self, now: Position, time: Timestamp) -> Rules {
        let own = self.own.as_deref();
        let first = own.map_or(1, |own| own.truncate_before.max(own.deleted.next().0)).max(1);
        let above = self.above.iter().map(|record| record.truncate_before);
        let position = Position(above.max().unwrap_or_default());
        let mut rules = Rules { first: Version(first), position, ..Rules::default() };
        for (end, time) in self.ends(now, time).into_iter().rev() {
            let limits = self.in_force(end);
            if let Some(age) = limits.max_age_us {
                let age = i64::try_from(age).unwrap_or(i64::MAX);
                let cutoff = Timestamp(time.0.saturating_sub(age));
                rules.time = rules.time.max(Some(cutoff));
            }
            let least = rules.counts.last().map(|(_, count)| *count);
            if let Some(count) =
                limits.max_count.filter(|count| least.is_none_or(|least| *count < least))
            {
                rules.counts.push((end, count));
            }
        }
        rules.counts.reverse();
        rules
    }

    /// Returns the ends of limits, with log time there, and now: between two of them nothing changes.
    fn ends(&self, now: Position, time: Timestamp) -> BTreeMap<Position, Timestamp> {
        let mut ends = BTreeMap::new();
        for record in self.records() {
            record.former.with(|all| {
                ends.extend(all.iter().map(|former| (former.until, former.until_time)));
            });
        }
        ends.insert(now, time);
        ends
    }

    /// Returns the limits that counted for the stream at a position: each setting from the nearest record.
    pub(super) fn in_force(&self, position: Position) -> Limits {
        let mut limits = Limits::default();
        for record in self.records() {
            let own = record.limits_at(position);
            limits.max_count = limits.max_count.or(own.max_count);
            limits.max_age_us = limits.max_age_us.or(own.max_age_us);
        }
        limits
    }

    fn records(&self) -> impl Iterator<Item = &Record> {
        self.own.iter().chain(&self.above).map(|record| &**record)
    }
}
