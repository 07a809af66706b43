//! Consumer groups: their state according to the log, changed in place as the log is applied.
//!
//! The room uses the formats alone. It reads no events: which of them a group gets is decided by the group's owner.

mod progress;
mod rows;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::Arc;

use quorate_proto::limits::{
    GROUP_FAILED_MAX, GROUP_PARKED_MAX, GROUP_WINDOW_MAX, GROUPS_MAX, GROUPS_PARKED_MAX,
};
use quorate_proto::{
    Failed, GroupDefinition, GroupName, GroupOutcome, GroupProgress, GroupRequest, GroupSettings,
    GroupSummary, LogIndex, Parked, Position, Selection, Term, Timestamp,
};

use crate::format::command::ParsedGroup;
use crate::format::group::{GroupHead, Remembered};
use crate::point::Point;

pub(crate) use rows::{Row, check_row};

/// The state of a group, from which its owner goes on; it lacks only the reasons for which events are parked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupState {
    /// The group's definition. It gives the position where the group once began; `floor` is where it goes on.
    pub definition: GroupDefinition,
    /// The log index of the entry that created the group or reset it last.
    pub incarnation: LogIndex,
    /// The log index of the last entry that changed the group otherwise than by progress: replays, drops,
    /// resets and changes of its settings.
    pub revision: LogIndex,
    /// The position up to which every event is settled, except those that failed or are parked.
    pub floor: Position,
    /// The settled events above the floor, ascending.
    pub settled: Vec<Position>,
    /// The failed events that wait to be tried again, ascending by position.
    pub failed: Vec<Failed>,
    /// The parked events, ascending.
    pub parked: Vec<Position>,
}

/// All groups, after an entry of the log: a function of the log.
#[derive(Debug, Default)]
pub(crate) struct Groups {
    groups: BTreeMap<GroupName, Group>,
    /// The groups changed since the last boundary, with their parked events that came, changed or went.
    changed: BTreeMap<GroupName, BTreeSet<Position>>,
    /// The log index of the last entry that changed any group otherwise than by progress, or of the
    /// checkpoint that the groups were read from.
    revision: LogIndex,
    /// The answers to the newest requests that have an id.
    remembered: Remembered,
}

/// One group.
///
/// Invariants:
/// - a position is in at most one of the settled, the failed and the parked events;
/// - none of these holds more than its limit allows.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Group {
    head: GroupHead,
    parked: BTreeMap<Position, Parked>,
}

impl Groups {
    /// Applies a request of the entry at `point`. A request that was made before under the same id gets its
    /// first answer instead.
    pub(crate) fn apply(&mut self, parsed: ParsedGroup, point: Point) -> GroupOutcome {
        let ParsedGroup { name, term, id, request } = parsed;
        if let Some(count) = id.and_then(|id| self.remembered.count_of(id)) {
            return GroupOutcome::Done(count);
        }
        let outcome = self.make(&name, term, request, point);
        if let (Some(id), GroupOutcome::Done(count)) = (id, outcome) {
            self.remembered.note(id, count);
        }
        outcome
    }

    /// Makes a request. `term` is the term in which the sender of progress led.
    fn make(
        &mut self,
        name: &GroupName,
        term: Term,
        request: GroupRequest,
        point: Point,
    ) -> GroupOutcome {
        let entry = point.log_id.unwrap_or_default();
        let outcome = match request {
            GroupRequest::Progress(_) if term != entry.term => return GroupOutcome::Stale,
            GroupRequest::Progress(progress) => {
                let room = self.room_for_parked(name, &progress);
                let Some(group) = self.groups.get_mut(name) else { return GroupOutcome::NotFound };
                let mut parked = BTreeSet::new();
                let outcome = group.progress(progress, point, room, &mut parked);
                if matches!(outcome, GroupOutcome::Done(_)) {
                    self.changed(name).extend(parked);
                }
                return outcome;
            }
            GroupRequest::Create(definition) => self.create(name, definition, entry.index),
            GroupRequest::Delete => self.delete(name),
            GroupRequest::Configure(settings) => self.configure(name, settings),
            GroupRequest::Reset(after) => self.reset(name, after, entry.index),
            GroupRequest::Replay(selection) => self.take_parked(name, &selection, Group::replay),
            GroupRequest::Drop(selection) => self.take_parked(name, &selection, Group::give_up),
        };
        if matches!(outcome, GroupOutcome::Done(1..)) {
            self.revise(name, entry.index);
        }
        outcome
    }

    /// Notes that a group has changed in a way that its owner must learn of.
    fn revise(&mut self, name: &GroupName, index: LogIndex) {
        self.revision = index;
        self.changed(name);
        if let Some(group) = self.groups.get_mut(name) {
            group.head.revision = index;
        }
    }

    /// Returns the number of parked events that a group may have after progress that parks some.
    fn room_for_parked(&self, name: &GroupName, progress: &GroupProgress) -> usize {
        if progress.parked.is_empty() {
            return GROUP_PARKED_MAX;
        }
        let others = self.groups.iter().filter(|(other, _)| *other != name);
        let parked: usize = others.map(|(_, group)| group.parked.len()).sum();
        GROUP_PARKED_MAX.min(GROUPS_PARKED_MAX.saturating_sub(parked))
    }

    /// Returns a group's parked events that changed since the last boundary; the group itself counts as changed.
    fn changed(&mut self, name: &GroupName) -> &mut BTreeSet<Position> {
        self.changed.entry(name.clone()).or_default()
    }

    fn create(
        &mut self,
        name: &GroupName,
        definition: GroupDefinition,
        index: LogIndex,
    ) -> GroupOutcome {
        if let Some(there) = self.groups.get(name) {
            let is_same = *there.head.definition == definition;
            return if is_same { GroupOutcome::Done(0) } else { GroupOutcome::Differs };
        }
        if self.groups.len() >= GROUPS_MAX {
            return GroupOutcome::Full;
        }
        let floor = definition.after;
        let head = GroupHead::new(definition.into(), floor, index);
        self.groups.insert(name.clone(), Group { head, parked: BTreeMap::new() });
        GroupOutcome::Done(1)
    }

    fn delete(&mut self, name: &GroupName) -> GroupOutcome {
        let Some(group) = self.groups.remove(name) else { return GroupOutcome::Done(0) };
        self.changed(name).extend(group.parked.into_keys());
        GroupOutcome::Done(1)
    }

    fn configure(&mut self, name: &GroupName, settings: GroupSettings) -> GroupOutcome {
        let Some(group) = self.groups.get_mut(name) else { return GroupOutcome::NotFound };
        if group.head.definition.settings == settings {
            return GroupOutcome::Done(0);
        }
        Arc::make_mut(&mut group.head.definition).settings = settings;
        GroupOutcome::Done(1)
    }

    fn reset(&mut self, name: &GroupName, after: Position, index: LogIndex) -> GroupOutcome {
        let Some(group) = self.groups.get_mut(name) else { return GroupOutcome::NotFound };
        let parked = std::mem::take(&mut group.parked);
        group.head = GroupHead::new(group.head.definition.clone(), after, index);
        self.changed(name).extend(parked.into_keys());
        GroupOutcome::Done(1)
    }

    /// Takes the selected events out of the parked ones, oldest first, until `take` has no room for another.
    fn take_parked(
        &mut self,
        name: &GroupName,
        selection: &Selection,
        take: impl Fn(&mut Group, Position) -> bool,
    ) -> GroupOutcome {
        let Some(group) = self.groups.get_mut(name) else { return GroupOutcome::NotFound };
        let selected = group.selected(selection);
        let is_any = !selected.is_empty();
        let taken = selected.into_iter().take_while(|position| take(group, *position));
        let taken: Vec<Position> = taken.collect();
        if taken.is_empty() {
            return if is_any { GroupOutcome::Full } else { GroupOutcome::Done(0) };
        }
        let count = taken.len() as u64;
        self.changed(name).extend(taken);
        GroupOutcome::Done(count)
    }

    /// Returns the summaries of the groups, by name: of those after a name, or of all.
    pub(crate) fn summaries_after(
        &self,
        name: Option<&GroupName>,
    ) -> impl Iterator<Item = Summary> {
        let after = (name.map_or(Bound::Unbounded, Bound::Excluded), Bound::Unbounded);
        self.groups.range::<GroupName, _>(after).map(|(name, group)| group.summary(name))
    }

    /// Returns the summary of one group.
    pub(crate) fn summary(&self, name: &GroupName) -> Option<Summary> {
        Some(self.groups.get(name)?.summary(name))
    }

    pub(crate) fn revision(&self) -> LogIndex {
        self.revision
    }

    pub(crate) fn revision_of(&self, name: &GroupName) -> Option<LogIndex> {
        Some(self.groups.get(name)?.head.revision)
    }

    pub(crate) fn state(&self, name: &GroupName) -> Option<GroupState> {
        let Group { head, parked } = self.groups.get(name)?;
        Some(GroupState {
            definition: GroupDefinition::clone(&head.definition),
            incarnation: head.incarnation,
            revision: head.revision,
            floor: head.floor,
            settled: head.settled.iter().copied().collect(),
            failed: head.failed.values().copied().collect(),
            parked: parked.keys().copied().collect(),
        })
    }

    /// Returns at most `limit` parked events of a group after a position.
    pub(crate) fn parked(
        &self,
        name: &GroupName,
        after: Position,
        limit: usize,
    ) -> Option<Vec<Parked>> {
        let parked = &self.groups.get(name)?.parked;
        let after = parked.range((Bound::Excluded(after), Bound::Unbounded));
        Some(after.take(limit).map(|(_, parked)| parked.clone()).collect())
    }
}

/// A summary whose definition is still shared, so that it is cheap to make under the lock on the groups.
#[derive(Debug)]
pub(crate) struct Summary {
    name: GroupName,
    definition: Arc<GroupDefinition>,
    incarnation: LogIndex,
    floor: Position,
    settled: u64,
    failed: u64,
    parked: u64,
}

impl From<Summary> for GroupSummary {
    fn from(summary: Summary) -> GroupSummary {
        let Summary { name, definition, incarnation, floor, settled, failed, parked } = summary;
        let definition = GroupDefinition::clone(&definition);
        GroupSummary { name, definition, incarnation, floor, settled, failed, parked }
    }
}

impl GroupHead {
    fn new(definition: Arc<GroupDefinition>, floor: Position, index: LogIndex) -> GroupHead {
        let (settled, failed) = (BTreeSet::new(), BTreeMap::new());
        GroupHead { definition, incarnation: index, revision: index, floor, settled, failed }
    }
}

impl Group {
    fn summary(&self, name: &GroupName) -> Summary {
        let Group { head, parked } = self;
        Summary {
            name: name.clone(),
            definition: head.definition.clone(),
            incarnation: head.incarnation,
            floor: head.floor,
            settled: head.settled.len() as u64,
            failed: head.failed.len() as u64,
            parked: parked.len() as u64,
        }
    }

    /// Returns the parked events that are selected, ascending.
    fn selected(&self, selection: &Selection) -> BTreeSet<Position> {
        match selection {
            Selection::All => self.parked.keys().copied().collect(),
            Selection::Positions(positions) => {
                let is_parked = |position: &Position| self.parked.contains_key(position);
                positions.iter().copied().filter(is_parked).collect()
            }
        }
    }

    /// Lets a parked event be tried again, at once and from the first attempt on.
    fn replay(&mut self, position: Position) -> bool {
        let has_room = self.head.failed.len() < GROUP_FAILED_MAX;
        if has_room && self.parked.remove(&position).is_some() {
            let failed = Failed { position, attempts: 0, due: Timestamp(0) };
            self.head.failed.insert(position, failed);
        }
        has_room
    }

    /// Gives a parked event up: it counts as settled, which must be noted if it is above the floor.
    fn give_up(&mut self, position: Position) -> bool {
        let is_above = position > self.head.floor;
        let has_room = !is_above || self.head.settled.len() < GROUP_WINDOW_MAX as usize;
        if has_room && self.parked.remove(&position).is_some() && is_above {
            self.head.settled.insert(position);
        }
        has_room
    }
}
