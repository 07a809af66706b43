//! A model of consumer groups without a thought of speed: one list of the fate of each event.

use std::collections::BTreeMap;

use bytes::Bytes;
use quorate_proto::limits::{
    GROUP_FAILED_MAX, GROUP_PARKED_MAX, GROUP_WINDOW_MAX, GROUPS_MAX, REASON_BYTES_MAX,
};
use quorate_proto::{
    Failed, GroupDefinition, GroupName, GroupOutcome, GroupProgress, GroupRequest, LogId, LogIndex,
    Parked, Position, RequestId, Selection, Term, Timestamp,
};
use quorate_store::{GroupState, Reader, command};

/// A request to a group, and the term in which the sender of progress leads.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    pub(crate) name: GroupName,
    pub(crate) term: Term,
    pub(crate) id: Option<RequestId>,
    pub(crate) request: GroupRequest,
}

impl Asked {
    pub(crate) fn encode(&self) -> Bytes {
        self.request.check().expect("a valid request");
        match &self.request {
            GroupRequest::Progress(progress) => {
                command::encode_group_progress(&self.name, self.term, progress)
            }
            request => command::encode_group(&self.name, self.id, request),
        }
    }
}

/// The place in the log at which a request is applied.
#[derive(Clone, Copy, Debug)]
pub(crate) struct At {
    pub(crate) log_id: LogId,
    /// The position of the last event.
    pub(crate) last: Position,
    pub(crate) time: Timestamp,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Fate {
    Settled,
    Failed(Failed),
    Parked(Parked),
}

#[derive(Clone, Debug)]
struct Group {
    definition: GroupDefinition,
    incarnation: LogIndex,
    revision: LogIndex,
    floor: Position,
    fates: BTreeMap<Position, Fate>,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct GroupsModel {
    groups: BTreeMap<GroupName, Group>,
    /// The answers to requests that have an id.
    counted: BTreeMap<RequestId, u64>,
}

impl GroupsModel {
    pub(crate) fn incarnation(&self, name: &GroupName) -> LogIndex {
        self.groups.get(name).map(|group| group.incarnation).unwrap_or_default()
    }

    pub(crate) fn ask(&mut self, asked: &Asked, at: At) -> GroupOutcome {
        if let Some(count) = asked.id.and_then(|id| self.counted.get(&id)) {
            return GroupOutcome::Done(*count);
        }
        let outcome = self.make(asked, at);
        if let (Some(id), GroupOutcome::Done(count)) = (asked.id, outcome) {
            self.counted.insert(id, count);
        }
        outcome
    }

    fn make(&mut self, asked: &Asked, at: At) -> GroupOutcome {
        let Asked { name, term, request, .. } = asked;
        let index = at.log_id.index;
        let count = self.groups.len();
        let group = self.groups.get_mut(name);
        match (request, group) {
            (GroupRequest::Progress(_), _) if *term != at.log_id.term => GroupOutcome::Stale,
            (GroupRequest::Create(definition), Some(group)) => {
                let is_same = group.definition == *definition;
                if is_same { GroupOutcome::Done(0) } else { GroupOutcome::Differs }
            }
            (GroupRequest::Create(_), None) if count >= GROUPS_MAX => GroupOutcome::Full,
            (GroupRequest::Create(definition), None) => {
                let group = Group::new(definition, definition.after, index);
                self.groups.insert(name.clone(), group);
                GroupOutcome::Done(1)
            }
            (GroupRequest::Delete, group) => {
                let count = u64::from(group.is_some());
                self.groups.remove(name);
                GroupOutcome::Done(count)
            }
            (_, None) => GroupOutcome::NotFound,
            (GroupRequest::Configure(settings), Some(group)) => {
                let is_new = group.definition.settings != *settings;
                group.definition.settings = *settings;
                group.revise(u64::from(is_new), index)
            }
            (GroupRequest::Reset(after), Some(group)) => {
                *group = Group::new(&group.definition, *after, index);
                GroupOutcome::Done(1)
            }
            (GroupRequest::Replay(selection), Some(group)) => {
                let selected = group.parked(selection);
                for position in &selected {
                    let failed = Failed { position: *position, attempts: 0, due: Timestamp(0) };
                    group.fates.insert(*position, Fate::Failed(failed));
                }
                group.revise(selected.len() as u64, index)
            }
            (GroupRequest::Drop(selection), Some(group)) => {
                let selected = group.parked(selection);
                for position in &selected {
                    group.fates.insert(*position, Fate::Settled);
                }
                group.forget_what_the_floor_says();
                group.revise(selected.len() as u64, index)
            }
            (GroupRequest::Progress(progress), Some(group)) => group.progress(progress, at),
        }
    }

    /// Asserts that a reader sees exactly these groups.
    pub(crate) fn check(&self, reader: &Reader) {
        let names: Vec<_> = reader.groups().into_iter().map(|summary| summary.name).collect();
        assert_eq!(names, self.groups.keys().cloned().collect::<Vec<_>>());
        for (summary, (name, group)) in reader.groups().iter().zip(&self.groups) {
            let (state, parked) = group.state();
            let count = |all: usize| all as u64;
            assert_eq!(summary.definition, state.definition);
            assert_eq!((summary.incarnation, summary.floor), (state.incarnation, state.floor));
            assert_eq!(
                (summary.settled, summary.failed, summary.parked),
                (count(state.settled.len()), count(state.failed.len()), count(parked.len()))
            );
            assert_eq!(reader.group_revision(name), Some(state.revision));
            assert!(reader.groups_revision() >= state.revision);
            assert_eq!(reader.group(name), Some(state), "{name}");
            assert_eq!(reader.parked(name, Position(0), usize::MAX), Some(parked), "{name}");
        }
    }
}

impl Group {
    fn new(definition: &GroupDefinition, floor: Position, index: LogIndex) -> Group {
        let (definition, fates) = (definition.clone(), BTreeMap::new());
        Group { definition, incarnation: index, revision: index, floor, fates }
    }

    fn revise(&mut self, count: u64, index: LogIndex) -> GroupOutcome {
        if count > 0 {
            self.revision = index;
        }
        GroupOutcome::Done(count)
    }

    fn parked(&self, selection: &Selection) -> Vec<Position> {
        let is_meant = |position: &Position| match selection {
            Selection::All => true,
            Selection::Positions(positions) => positions.contains(position),
        };
        let parked = self.fates.iter().filter(|(_, fate)| matches!(fate, Fate::Parked(_)));
        parked.map(|(position, _)| *position).filter(is_meant).collect()
    }

    fn progress(&mut self, progress: &GroupProgress, at: At) -> GroupOutcome {
        if progress.incarnation != self.incarnation {
            return GroupOutcome::NotFound;
        }
        let mut after = self.clone();
        after.floor = after.floor.max(progress.floor);
        let mut reported = BTreeMap::new();
        reported.extend(progress.settled.iter().map(|position| (*position, Fate::Settled)));
        reported
            .extend(progress.failed.iter().map(|failed| (failed.position, Fate::Failed(*failed))));
        reported.extend(progress.parked.iter().map(|parked| {
            assert!(parked.reason.len() <= REASON_BYTES_MAX);
            let parked = Parked { parked_at: at.time, ..parked.clone() };
            (parked.position, Fate::Parked(parked))
        }));
        let is_no_event = |position: &Position| position.0 == 0 || *position > at.last;
        if after.floor > self.floor.max(at.last) || reported.keys().any(is_no_event) {
            return GroupOutcome::Stale;
        }
        let known = |group: &Group, position: &Position| match group.fates.get(position) {
            None if *position <= after.floor => Some(Fate::Settled),
            fate => fate.cloned(),
        };
        let is_news =
            |(position, fate): &(&Position, &Fate)| known(self, position).as_ref() != Some(*fate);
        let count = reported.iter().filter(is_news).count() as u64;
        after.fates.extend(reported);
        after.forget_what_the_floor_says();
        let (state, parked) = after.state();
        if state.settled.len() > GROUP_WINDOW_MAX as usize
            || state.failed.len() > GROUP_FAILED_MAX
            || parked.len() > GROUP_PARKED_MAX
        {
            return GroupOutcome::Full;
        }
        *self = after;
        GroupOutcome::Done(count)
    }

    fn forget_what_the_floor_says(&mut self) {
        let floor = self.floor;
        self.fates.retain(|position, fate| *position > floor || *fate != Fate::Settled);
    }

    fn state(&self) -> (GroupState, Vec<Parked>) {
        let (mut settled, mut failed, mut parked) = (Vec::new(), Vec::new(), Vec::new());
        for (position, fate) in &self.fates {
            match fate {
                Fate::Settled => settled.push(*position),
                Fate::Failed(one) => failed.push(*one),
                Fate::Parked(one) => parked.push(one.clone()),
            }
        }
        let state = GroupState {
            definition: self.definition.clone(),
            incarnation: self.incarnation,
            revision: self.revision,
            floor: self.floor,
            settled,
            failed,
            parked: parked.iter().map(|parked| parked.position).collect(),
        };
        (state, parked)
    }
}
