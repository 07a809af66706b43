//! The effects of requests on groups, one after the other, up to the limits.

use bytes::Bytes;
use quorate_proto::limits::{
    GROUP_CHANGE_POSITIONS_MAX, GROUP_CHANGES_REMEMBERED, GROUP_PARKED_MAX,
};
use quorate_proto::{LogId, Query, RequestId};

use super::*;

/// The position of the last event.
const LAST: u64 = 200_000;

/// Groups, and the id of the next entry.
struct World {
    groups: Groups,
    at: LogId,
    id: Option<RequestId>,
}

impl World {
    /// Makes the group `g`, whose incarnation is 1, and which begins after position 0.
    fn new() -> World {
        let mut world = World { groups: Groups::default(), at: LogId::new(1, 1), id: None };
        assert_eq!(world.ask("g", GroupRequest::Create(definition(0))), GroupOutcome::Done(1));
        world
    }

    fn ask(&mut self, group: &str, request: GroupRequest) -> GroupOutcome {
        let term = self.at.term;
        self.ask_of(group, term, request)
    }

    fn ask_of(&mut self, group: &str, term: Term, request: GroupRequest) -> GroupOutcome {
        let (log_id, position) = (Some(self.at), Position(LAST));
        let recorded_at = Timestamp(self.at.index.0 as i64 * 10);
        let point = Point { log_id, position, recorded_at, digest: 0 };
        self.at.index = self.at.index.next();
        let id = self.id.take();
        self.groups.apply(ParsedGroup { name: name(group), term, id, request }, point)
    }

    /// Gives the next request this id.
    fn with_id(&mut self, id: u64) -> &mut World {
        self.id = Some(RequestId(u128::from(id).to_be_bytes()));
        self
    }

    fn report(&mut self, progress: GroupProgress) -> GroupOutcome {
        self.ask("g", GroupRequest::Progress(progress))
    }

    fn state(&self) -> GroupState {
        self.groups.state(&name("g")).expect("there")
    }

    /// Returns the events that are settled above the floor, failed, and parked.
    fn fates(&self) -> (Vec<u64>, Vec<u64>, Vec<u64>) {
        let GroupState { settled, failed, parked, .. } = self.state();
        let failed = failed.iter().map(|failed| failed.position.0);
        let numbers = |all: Vec<Position>| all.iter().map(|position| position.0).collect();
        (numbers(settled), failed.collect(), numbers(parked))
    }
}

fn name(name: &str) -> GroupName {
    GroupName::new(name).expect("a name")
}

fn definition(after: u64) -> GroupDefinition {
    let (query, settings) = (Query::everything(), GroupSettings::default());
    GroupDefinition { query, after: Position(after), settings }
}

/// Returns progress from the owner of incarnation 1.
fn progress_of(floor: u64, settled: &[u64], failed: &[u64], parked: &[u64]) -> GroupProgress {
    let failed_event = |at: &u64| failed_at(*at, 2, 5);
    let parked_event = |at: &u64| Parked {
        position: Position(*at),
        attempts: 3,
        reason: format!("event {at}"),
        parked_at: Timestamp(-1),
    };
    GroupProgress {
        incarnation: LogIndex(1),
        floor: Position(floor),
        settled: positions(settled),
        failed: failed.iter().map(failed_event).collect(),
        parked: parked.iter().map(parked_event).collect(),
    }
}

fn failed_at(position: u64, attempts: u32, due: i64) -> Failed {
    Failed { position: Position(position), attempts, due: Timestamp(due) }
}

fn positions(numbers: &[u64]) -> Vec<Position> {
    numbers.iter().copied().map(Position).collect()
}

fn these(numbers: &[u64]) -> Selection {
    Selection::Positions(positions(numbers))
}

#[test]
fn a_group_is_created_once_and_one_that_differs_is_a_conflict() {
    let mut world = World::new();
    let before = world.state();
    assert_eq!(before.floor, Position(0));
    assert_eq!((before.incarnation, before.revision), (LogIndex(1), LogIndex(1)));
    assert_eq!(world.ask("g", GroupRequest::Create(definition(0))), GroupOutcome::Done(0));
    assert_eq!(world.ask("g", GroupRequest::Create(definition(1))), GroupOutcome::Differs);
    assert_eq!(world.state(), before);
    assert_eq!(world.groups.revision(), LogIndex(1));
    assert_eq!(world.ask("h", GroupRequest::Create(definition(7))), GroupOutcome::Done(1));
    assert_eq!(world.groups.state(&name("h")).expect("there").floor, Position(7));
}

#[test]
fn what_is_asked_of_a_group_that_is_not_there_is_not_found_but_for_its_deletion() {
    let mut world = World::new();
    for request in [
        GroupRequest::Configure(GroupSettings::default()),
        GroupRequest::Reset(Position(1)),
        GroupRequest::Replay(Selection::All),
        GroupRequest::Drop(Selection::All),
        GroupRequest::Progress(GroupProgress::default()),
    ] {
        assert_eq!(world.ask("h", request), GroupOutcome::NotFound);
    }
    assert_eq!(world.ask("h", GroupRequest::Delete), GroupOutcome::Done(0));
    assert_eq!(world.groups.revision(), LogIndex(1));
    assert_eq!(world.ask("g", GroupRequest::Delete), GroupOutcome::Done(1));
    assert_eq!(world.groups.state(&name("g")), None);
    assert!(world.groups.revision() > LogIndex(1), "the owner must learn of it");
}

#[test]
fn settings_change_and_nothing_else_does() {
    let mut world = World::new();
    world.report(progress_of(3, &[5], &[2], &[1]));
    let before = world.state();
    let settings = GroupSettings { attempts_max: 3, ..GroupSettings::default() };
    assert_eq!(world.ask("g", GroupRequest::Configure(settings)), GroupOutcome::Done(1));
    let (revision, definition) = (LogIndex(3), GroupDefinition { settings, ..definition(0) });
    assert_eq!(world.state(), GroupState { definition, revision, ..before });
    assert_eq!(world.ask("g", GroupRequest::Configure(settings)), GroupOutcome::Done(0));
    assert_eq!(world.state().revision, revision, "they are the same");
}

#[test]
fn what_is_reported_of_an_event_replaces_what_was_reported_before() {
    let mut world = World::new();
    for (what, progress, done, settled, failed, parked) in [
        ("three ways", progress_of(0, &[3], &[4], &[5]), 3, vec![3], vec![4], vec![5]),
        ("the same again", progress_of(0, &[3], &[4], &[]), 0, vec![3], vec![4], vec![5]),
        ("round about", progress_of(0, &[4], &[5], &[3]), 3, vec![4], vec![5], vec![3]),
        ("the floor passes all", progress_of(6, &[], &[], &[]), 0, vec![], vec![5], vec![3]),
        ("a lower floor", progress_of(2, &[7], &[], &[]), 1, vec![7], vec![5], vec![3]),
        ("settled below", progress_of(6, &[2, 3, 5], &[], &[]), 2, vec![7], vec![], vec![]),
        ("failed below the floor", progress_of(6, &[], &[2], &[1]), 2, vec![7], vec![2], vec![1]),
        (
            "twice: the last counts",
            progress_of(6, &[9], &[9], &[9]),
            1,
            vec![7],
            vec![2],
            vec![1, 9],
        ),
        ("up to the floor", progress_of(7, &[], &[], &[]), 0, vec![], vec![2], vec![1, 9]),
    ] {
        assert_eq!(world.report(progress), GroupOutcome::Done(done), "{what}");
        assert_eq!(world.fates(), (settled, failed, parked), "{what}");
    }
    assert_eq!(world.state().floor, Position(7));
    assert_eq!(world.state().revision, LogIndex(1), "progress is no news to who reported it");
}

#[test]
fn the_log_says_when_an_event_was_parked() {
    let mut world = World::new();
    world.report(progress_of(0, &[], &[], &[5, 6]));
    let parked = world.groups.parked(&name("g"), Position(0), 9).expect("there");
    let event = |at: u64| Parked {
        position: Position(at),
        attempts: 3,
        reason: format!("event {at}"),
        parked_at: Timestamp(20),
    };
    assert_eq!(parked, [event(5), event(6)]);
    let page = |after, limit| world.groups.parked(&name("g"), Position(after), limit);
    assert_eq!(page(0, 1), Some(vec![event(5)]));
    assert_eq!(page(5, 9), Some(vec![event(6)]));
    assert_eq!(page(6, 9), Some(Vec::new()));
    assert_eq!(world.groups.parked(&name("h"), Position(0), 9), None);
}

#[test]
fn progress_of_another_term_or_life_or_of_events_that_are_not_there_changes_nothing() {
    let mut world = World::new();
    world.report(progress_of(2, &[4], &[5], &[6]));
    let before = world.state();
    let all = || progress_of(10, &[11], &[12], &[13]);
    for term in [0, 2] {
        let request = GroupRequest::Progress(all());
        assert_eq!(world.ask_of("g", Term(term), request), GroupOutcome::Stale);
    }
    let other = GroupProgress { incarnation: LogIndex(2), ..all() };
    assert_eq!(world.report(other), GroupOutcome::NotFound);
    for stale in [
        progress_of(LAST + 1, &[], &[], &[]),
        progress_of(u64::MAX, &[], &[], &[]),
        progress_of(7, &[8, LAST + 1], &[], &[]),
        progress_of(7, &[], &[0], &[]),
        progress_of(7, &[8], &[], &[u64::MAX]),
    ] {
        assert_eq!(world.report(stale), GroupOutcome::Stale);
    }
    assert_eq!(world.state(), before);
    assert_eq!(world.report(progress_of(LAST, &[], &[], &[LAST])), GroupOutcome::Done(1));
}

#[test]
fn a_group_that_begins_after_the_last_event_takes_progress_there() {
    let mut world = World::new();
    world.ask("g", GroupRequest::Reset(Position(LAST + 5)));
    let incarnation = LogIndex(2);
    let progress = GroupProgress { incarnation, ..progress_of(LAST + 5, &[3], &[], &[]) };
    assert_eq!(world.report(progress), GroupOutcome::Done(0));
    let progress = GroupProgress { incarnation, ..progress_of(LAST + 6, &[], &[], &[]) };
    assert_eq!(world.report(progress), GroupOutcome::Stale);
}

#[test]
fn a_reset_forgets_everything_and_refuses_progress_from_before() {
    let mut world = World::new();
    world.report(progress_of(2, &[4], &[5], &[6]));
    assert_eq!(world.ask("g", GroupRequest::Reset(Position(1))), GroupOutcome::Done(1));
    let state = world.state();
    assert_eq!(world.fates(), (vec![], vec![], vec![]));
    assert_eq!(
        (state.floor, state.incarnation, state.revision),
        (Position(1), LogIndex(3), LogIndex(3))
    );
    assert_eq!(state.definition, definition(0));
    assert_eq!(world.report(progress_of(9, &[], &[], &[])), GroupOutcome::NotFound);
    assert_eq!(world.state(), state);
    assert_eq!(world.ask("g", GroupRequest::Create(definition(0))), GroupOutcome::Done(0));
}

#[test]
fn what_is_replayed_is_due_at_once_and_tried_from_the_first_attempt_on() {
    let mut world = World::new();
    world.report(progress_of(9, &[], &[4], &[5, 6, 7]));
    let replay = |selection| GroupRequest::Replay(selection);
    assert_eq!(world.ask("g", replay(these(&[7, 4, 99, 7]))), GroupOutcome::Done(1));
    assert_eq!(world.fates(), (vec![], vec![4, 7], vec![5, 6]));
    assert_eq!(world.state().failed[1], failed_at(7, 0, 0));
    assert_eq!(world.state().revision, LogIndex(3));
    assert_eq!(world.ask("g", replay(these(&[99]))), GroupOutcome::Done(0));
    assert_eq!(world.state().revision, LogIndex(3), "nothing came of it");
    assert_eq!(world.ask("g", replay(Selection::All)), GroupOutcome::Done(2));
    assert_eq!(world.fates(), (vec![], vec![4, 5, 6, 7], vec![]));
}

#[test]
fn what_is_given_up_is_settled_also_above_the_floor() {
    let mut world = World::new();
    world.report(progress_of(5, &[6], &[], &[4, 7, 9]));
    let drop = |selection| GroupRequest::Drop(selection);
    assert_eq!(world.ask("g", drop(these(&[4, 7, 1]))), GroupOutcome::Done(2));
    assert_eq!(world.fates(), (vec![6, 7], vec![], vec![9]));
    assert_eq!(world.ask("g", drop(Selection::All)), GroupOutcome::Done(1));
    assert_eq!(world.fates(), (vec![6, 7, 9], vec![], vec![]));
    assert_eq!(world.ask("g", drop(Selection::All)), GroupOutcome::Done(0));
}

#[test]
fn a_request_that_is_asked_again_is_made_once_and_gets_the_first_answer() {
    let mut world = World::new();
    world.report(progress_of(9, &[], &[], &[5, 6, 7]));
    let replay = |numbers| GroupRequest::Replay(these(numbers));
    assert_eq!(world.with_id(1).ask("g", replay(&[5, 6])), GroupOutcome::Done(2));
    let revision = world.state().revision;
    world.report(progress_of(9, &[], &[], &[5]));
    assert_eq!(world.with_id(1).ask("g", replay(&[5, 6])), GroupOutcome::Done(2));
    assert_eq!(world.fates(), (vec![], vec![6], vec![5, 7]), "5 failed again meanwhile");
    assert_eq!(world.state().revision, revision, "it is no news");
    assert_eq!(world.with_id(2).ask("g", replay(&[5, 6])), GroupOutcome::Done(1));

    assert_eq!(world.with_id(3).ask("g", GroupRequest::Delete), GroupOutcome::Done(1));
    assert_eq!(world.with_id(3).ask("g", GroupRequest::Delete), GroupOutcome::Done(1));
    assert_eq!(world.with_id(4).ask("g", GroupRequest::Delete), GroupOutcome::Done(0));
    assert_eq!(world.ask("g", GroupRequest::Create(definition(0))), GroupOutcome::Done(1));
    assert_eq!(world.with_id(4).ask("g", GroupRequest::Delete), GroupOutcome::Done(0));
    assert_eq!(world.with_id(3).ask("g", GroupRequest::Delete), GroupOutcome::Done(1));
    assert_eq!(world.state().floor, Position(0), "it was not removed a second time");
    assert_eq!(world.with_id(9).ask("h", GroupRequest::Reset(Position(0))), GroupOutcome::NotFound);
}

#[test]
fn so_many_requests_are_remembered_and_a_boundary_keeps_them() {
    let mut world = World::new();
    let newest = GROUP_CHANGES_REMEMBERED as u64;
    for id in 0..=newest {
        world.with_id(id).ask("g", GroupRequest::Reset(Position(id)));
    }
    let rows = world.groups.take_changed();
    assert_eq!(rows.len(), 2);
    let restored = from_rows(&[rows]);
    assert_eq!(restored.remembered, world.groups.remembered);
    assert!(world.groups.take_changed().is_empty(), "nothing changed since");
    world.groups = restored;
    world.with_id(1).ask("g", GroupRequest::Reset(Position(7)));
    assert_eq!(world.state().floor, Position(newest), "it is remembered");
    world.with_id(0).ask("g", GroupRequest::Reset(Position(7)));
    assert_eq!(world.state().floor, Position(7), "it is forgotten");
    assert_eq!(world.groups.remembered.counts().len(), GROUP_CHANGES_REMEMBERED);
}

/// Sends progress on events in as many changes as it takes; `make` makes a change of some of them.
fn fill(world: &mut World, numbers: &[u64], make: impl Fn(&[u64]) -> GroupProgress) {
    for some in numbers.chunks(GROUP_CHANGE_POSITIONS_MAX) {
        assert_eq!(world.report(make(some)), GroupOutcome::Done(some.len() as u64));
    }
}

#[test]
fn what_exceeds_a_limit_changes_nothing() {
    let window = u64::from(GROUP_WINDOW_MAX);
    let mut world = World::new();
    let numbers: Vec<u64> = (2..2 + window).collect();
    fill(&mut world, &numbers, |some| progress_of(0, some, &[], &[]));
    let before = world.state();
    assert_eq!(
        world.report(progress_of(0, &[2 + window], &[3], &[])),
        GroupOutcome::Done(2),
        "one leaves"
    );
    assert_eq!(world.report(progress_of(0, &[3], &[], &[])), GroupOutcome::Full);
    assert_eq!(world.report(progress_of(0, &[3], &[], &[2])), GroupOutcome::Done(2));
    assert_eq!(world.ask("g", GroupRequest::Drop(Selection::All)), GroupOutcome::Full);
    assert_eq!(
        world.report(progress_of(3, &[2, LAST], &[], &[])),
        GroupOutcome::Done(2),
        "the floor made room"
    );
    assert_eq!(world.state().settled.len(), before.settled.len());

    let mut world = World::new();
    let numbers: Vec<u64> = (1..=GROUP_FAILED_MAX as u64).collect();
    fill(&mut world, &numbers, |some| progress_of(0, &[], some, &[]));
    assert_eq!(world.report(progress_of(0, &[], &[LAST], &[])), GroupOutcome::Full);
    assert_eq!(world.report(progress_of(0, &[], &[1], &[LAST, LAST - 1])), GroupOutcome::Done(2));
    assert_eq!(world.ask("g", GroupRequest::Replay(Selection::All)), GroupOutcome::Full);
    world.report(progress_of(0, &[1], &[], &[]));
    assert_eq!(world.ask("g", GroupRequest::Replay(Selection::All)), GroupOutcome::Done(1));
    assert_eq!(world.state().parked, [Position(LAST)], "what had no room stays parked");

    let mut world = World::new();
    let numbers: Vec<u64> = (1..=GROUP_PARKED_MAX as u64).collect();
    fill(&mut world, &numbers, |some| progress_of(0, &[], &[], some));
    assert_eq!(world.report(progress_of(9, &[], &[], &[LAST])), GroupOutcome::Full);
    assert_eq!(world.state().floor, Position(0));
    assert_eq!(world.report(progress_of(9, &[1], &[], &[LAST])), GroupOutcome::Done(2));
}

#[test]
fn all_groups_together_park_no_more_than_the_limit_allows() {
    let mut world = World::new();
    let numbers: Vec<u64> = (1..=GROUP_PARKED_MAX as u64).collect();
    for number in 0..GROUPS_PARKED_MAX / GROUP_PARKED_MAX {
        let incarnation = world.at.index;
        let group = format!("g-{number}");
        world.ask(&group, GroupRequest::Create(definition(0)));
        for some in numbers.chunks(GROUP_CHANGE_POSITIONS_MAX) {
            let progress = GroupProgress { incarnation, ..progress_of(0, &[], &[], some) };
            let outcome = world.ask(&group, GroupRequest::Progress(progress));
            assert_eq!(outcome, GroupOutcome::Done(some.len() as u64));
        }
    }
    assert_eq!(world.report(progress_of(0, &[2], &[], &[1])), GroupOutcome::Full);
    assert_eq!(world.report(progress_of(0, &[2], &[], &[])), GroupOutcome::Done(1));
    assert_eq!(world.ask("g-3", GroupRequest::Drop(these(&[7]))), GroupOutcome::Done(1));
    assert_eq!(
        world.report(progress_of(0, &[], &[], &[1])),
        GroupOutcome::Done(1),
        "one made room"
    );
}

#[test]
fn there_are_no_more_groups_than_the_limit_allows() {
    let mut world = World::new();
    for number in 1..GROUPS_MAX {
        let created = world.ask(&format!("g-{number}"), GroupRequest::Create(definition(0)));
        assert_eq!(created, GroupOutcome::Done(1));
    }
    assert_eq!(world.ask("one-more", GroupRequest::Create(definition(0))), GroupOutcome::Full);
    assert_eq!(world.ask("g-7", GroupRequest::Create(definition(0))), GroupOutcome::Done(0));
    world.ask("g-7", GroupRequest::Delete);
    assert_eq!(world.ask("one-more", GroupRequest::Create(definition(0))), GroupOutcome::Done(1));
    let names: Vec<GroupName> =
        world.groups.summaries_after(None).map(|one| GroupSummary::from(one).name).collect();
    assert!(names.len() == GROUPS_MAX && names.is_sorted());
}

/// Returns the groups of the rows, put one over the other.
fn from_rows(commits: &[Vec<Row>]) -> Groups {
    let mut table = BTreeMap::new();
    for (key, value) in commits.iter().flatten() {
        match value {
            Some(value) => table.insert(key.clone(), value.clone()),
            None => table.remove(key),
        };
    }
    let mut groups = Groups::at(LogIndex(0));
    for (key, value) in table {
        groups.put_row(&Bytes::from(key), Bytes::from(value)).expect("a good row");
    }
    groups
}

#[test]
fn a_boundary_writes_what_changed_since_the_one_before() {
    let mut world = World::new();
    world.ask("h", GroupRequest::Create(definition(0)));
    world.report(progress_of(9, &[11], &[2], &[3, 4, 5]));
    let mut commits = vec![world.groups.take_changed()];
    assert_eq!(commits[0].len(), 2 + 3);
    assert!(world.groups.take_changed().is_empty(), "nothing changed since");
    for (request, rows) in [
        (GroupRequest::Progress(progress_of(9, &[12], &[], &[6])), 2),
        (GroupRequest::Progress(progress_of(10, &[13], &[], &[])), 1),
        (GroupRequest::Progress(progress_of(LAST + 1, &[], &[], &[3])), 0),
        (GroupRequest::Replay(these(&[4])), 2),
        (GroupRequest::Drop(these(&[5])), 2),
        (GroupRequest::Replay(these(&[5])), 0),
        (GroupRequest::Create(definition(0)), 0),
        (GroupRequest::Reset(Position(3)), 3),
        (GroupRequest::Delete, 1),
        (GroupRequest::Create(definition(4)), 1),
    ] {
        world.ask("g", request.clone());
        let changed = world.groups.take_changed();
        assert!(changed.is_sorted_by_key(|(key, _)| key.clone()));
        assert_eq!(changed.len(), rows, "{request:?}");
        commits.push(changed);
        assert_eq!(from_rows(&commits).groups, world.groups.groups, "{request:?}");
    }
}

#[test]
fn a_group_that_comes_again_between_two_boundaries_has_none_of_the_old_rows() {
    let mut world = World::new();
    world.report(progress_of(9, &[], &[], &[3, 4]));
    let first = world.groups.take_changed();
    world.ask("g", GroupRequest::Delete);
    world.ask("g", GroupRequest::Create(definition(0)));
    let incarnation = world.state().incarnation;
    world.report(GroupProgress { incarnation, ..progress_of(9, &[], &[], &[4, 5]) });
    let second = world.groups.take_changed();
    assert_eq!(from_rows(&[first, second]).groups, world.groups.groups);
    assert_eq!(world.fates(), (vec![], vec![], vec![4, 5]));
}

#[test]
fn rows_that_contradict_each_other_are_malformed() {
    let mut world = World::new();
    world.report(progress_of(2, &[4], &[5], &[6]));
    let mut rows = world.groups.take_changed();
    let (parked, value) = rows.pop().expect("of what is parked");
    let (head, definition) = rows.pop().expect("of the group");
    let mut groups = Groups::default();
    let bytes = |bytes: Option<Vec<u8>>| Bytes::from(bytes.expect("is put"));
    let (parked, value) = (Bytes::from(parked), bytes(value));
    assert!(groups.put_row(&parked, value.clone()).is_err(), "the group is not there");
    groups.put_row(&Bytes::from(head), bytes(definition)).expect("a good row");
    for settled_or_failed in [4_u8, 5] {
        let mut key = parked.to_vec();
        *key.last_mut().expect("a position") = settled_or_failed;
        assert!(groups.put_row(&Bytes::from(key), value.clone()).is_err());
    }
    groups.put_row(&parked, value).expect("a good row");
}
