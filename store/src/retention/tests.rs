//! The rules that records make, by table.

use std::sync::Arc;

use proptest::prelude::*;
use quorate_proto::{ChangeKind, Position, Setting, SettingsChange, Timestamp, Version};

use super::record::Moment;
use super::rules::{Chain, Rules};
use crate::format::retention::{FormerLimits, Limits, Record};

fn count(count: Setting) -> SettingsChange {
    SettingsChange { max_count: count, ..SettingsChange::default() }
}

fn age(age: Setting) -> SettingsChange {
    SettingsChange { max_age_us: age, ..SettingsChange::default() }
}

fn truncate(before: u64) -> SettingsChange {
    SettingsChange { truncate_before: Some(before), ..SettingsChange::default() }
}

/// Returns the moment at a position, with a log time of ten times the position.
fn at(position: u64) -> Moment {
    let time = Timestamp(position as i64 * 10);
    Moment { position: Position(position), time, version: Version(5) }
}

/// Returns the record of a category or path after changes at these positions.
fn scope(changes: &[(u64, SettingsChange)]) -> Option<Arc<Record>> {
    let mut record = Record::default();
    changes.iter().for_each(|(position, change)| record.change_scope(change, at(*position)));
    Some(Arc::new(record))
}

/// Returns the record of a stream at version 5 after changes at these positions.
fn stream(changes: &[(u64, ChangeKind)]) -> Option<Arc<Record>> {
    let mut record = Record::default();
    changes.iter().for_each(|(position, change)| record.change_stream(change, at(*position)));
    Some(Arc::new(record))
}

/// Returns the rules of a stream at position 100 and log time 1000.
fn rules(own: Option<Arc<Record>>, above: &[Option<Arc<Record>>]) -> Rules {
    let above = above.iter().flatten().cloned().collect();
    Chain { own, above }.rules(Position(100), Timestamp(1000))
}

fn counts(rules: &Rules) -> Vec<(u64, u64)> {
    rules.counts.iter().map(|(until, count)| (until.0, *count)).collect()
}

#[test]
fn nothing_is_hidden_without_a_record() {
    assert_eq!(rules(None, &[]), Rules { first: Version(1), ..Rules::default() });
}

#[test]
fn a_truncation_only_moves_up_and_no_further_than_what_was_there() {
    let settings = |change| ChangeKind::Settings(change);
    for (changes, first) in
        [(vec![truncate(3)], 3), (vec![truncate(3), truncate(2)], 3), (vec![truncate(99)], 6)]
    {
        let own: Vec<_> = changes.iter().map(|change| (9, settings(*change))).collect();
        assert_eq!(rules(stream(&own), &[]).first, Version(first), "{changes:?}");
    }
    for (changes, position) in [
        (vec![(9, truncate(3))], 3),
        (vec![(9, truncate(3)), (10, truncate(2))], 3),
        (vec![(9, truncate(99))], 9),
    ] {
        let above = [scope(&[(4, truncate(1))]), scope(&changes)];
        assert_eq!(rules(None, &above).position, Position(position), "{changes:?}");
    }
}

#[test]
fn the_nearest_that_has_a_setting_wins_for_each_setting_apart() {
    let both = SettingsChange { max_age_us: Setting::Put(50), ..count(Setting::Put(9)) };
    let own = || stream(&[(1, ChangeKind::Settings(count(Setting::Put(3))))]);
    let category = scope(&[(2, both)]);
    let path = scope(&[(3, age(Setting::Put(7))), (4, count(Setting::Put(1)))]);
    let all = rules(own(), &[category.clone(), path.clone()]);
    assert_eq!((counts(&all), all.time), (vec![(100, 3)], Some(Timestamp(950))));
    let without_own = rules(None, &[category, path.clone()]);
    assert_eq!((counts(&without_own), without_own.time), (vec![(100, 9)], Some(Timestamp(950))));
    let path_alone = rules(None, &[path]);
    assert_eq!((counts(&path_alone), path_alone.time), (vec![(100, 1)], Some(Timestamp(993))));
}

#[test]
fn what_a_former_value_hid_stays_hidden() {
    let put = |value| count(Setting::Put(value));
    for (changes, expected) in [
        // Widened: the newest 2 up to the change, and the newest 8 now.
        (vec![(10, put(2)), (20, put(8))], vec![(19, 2), (100, 8)]),
        // Narrowed: the value in force now hides all that the former one hid.
        (vec![(10, put(8)), (20, put(2))], vec![(100, 2)]),
        (vec![(10, put(2)), (20, count(Setting::Clear))], vec![(19, 2)]),
        (vec![(10, put(4)), (20, put(2)), (30, put(8))], vec![(29, 2), (100, 8)]),
        (vec![(10, put(2)), (20, put(4)), (30, put(8))], vec![(19, 2), (29, 4), (100, 8)]),
        (vec![(10, put(2)), (20, truncate(1)), (30, put(8))], vec![(29, 2), (100, 8)]),
    ] {
        assert_eq!(counts(&rules(None, &[scope(&changes)])), expected, "{changes:?}");
    }
    for (changes, time) in [
        (vec![(10, age(Setting::Put(30))), (20, age(Setting::Clear))], 170),
        (vec![(10, age(Setting::Put(30))), (20, age(Setting::Put(10_000)))], 170),
        (vec![(10, age(Setting::Put(30))), (20, age(Setting::Put(40)))], 960),
    ] {
        let rules = rules(None, &[scope(&changes)]);
        assert_eq!(rules.time, Some(Timestamp(time)), "{changes:?}");
    }
}

#[test]
fn a_wider_value_counts_only_while_no_nearer_one_does() {
    let put = |value| count(Setting::Put(value));
    let path = scope(&[(10, put(2))]);
    for (category, expected) in [
        // The category's value came in between: events that the path's hid until then stay hidden.
        (vec![(20, put(50))], vec![(19, 2), (100, 50)]),
        // The category's value went again: the path's is in force again.
        (vec![(20, put(50)), (30, count(Setting::Clear))], vec![(100, 2)]),
        // The category's value was there before: the path's never was in force.
        (vec![(5, put(50))], vec![(100, 50)]),
    ] {
        let found = rules(None, &[scope(&category), path.clone()]);
        assert_eq!(counts(&found), expected, "{category:?}");
    }
    // A stream's own value protects it, also from a value that its category got and gave up meanwhile.
    let own = [(10, put(50)), (40, count(Setting::Clear))];
    let own: Vec<_> = own.map(|(at, change)| (at, ChangeKind::Settings(change))).to_vec();
    let category = scope(&[(20, put(1)), (30, count(Setting::Clear))]);
    assert_eq!(counts(&rules(stream(&own), &[category])), vec![(39, 50)]);
}

#[test]
fn a_deletion_hides_all_and_settings_outlive_it() {
    let settings = ChangeKind::Settings(count(Setting::Put(2)));
    let wider = ChangeKind::Settings(count(Setting::Put(9)));
    for (end, is_closed) in [(ChangeKind::Delete, false), (ChangeKind::Tombstone, true)] {
        let record = stream(&[(10, settings), (20, wider), (30, end)]).expect("a record");
        assert_eq!((record.deleted, record.closed), (Version(5), is_closed));
        assert_eq!(record.former.len(), 0);
        let rules = rules(Some(record), &[]);
        assert_eq!((rules.first, counts(&rules)), (Version(6), vec![(100, 9)]));
    }
}

#[test]
fn an_age_longer_than_log_time_hides_nothing() {
    let record = scope(&[(10, age(Setting::Put(i64::MAX as u64)))]);
    let rules = rules(None, &[record]);
    assert_eq!(rules.time, Some(Timestamp(1000 - i64::MAX)));
    let limits = Limits { max_count: None, max_age_us: Some(u64::MAX) };
    let record = Record { limits, ..Record::default() };
    let chain = Chain { own: Some(Arc::new(record)), above: Vec::new() };
    assert!(chain.rules(Position(1), Timestamp(i64::MIN)).time < Some(Timestamp(0)));
}

#[test]
fn limits_are_found_by_position() {
    let limits = |max_count| Limits { max_count, max_age_us: None };
    let former = |until, max_count| FormerLimits {
        limits: limits(max_count),
        until: Position(until),
        until_time: Timestamp(0),
    };
    let record = Record {
        limits: limits(Some(3)),
        former: vec![former(9, None), former(19, Some(2))].into(),
        ..Record::default()
    };
    for (position, expected) in [(1, None), (9, None), (10, Some(2)), (19, Some(2)), (20, Some(3))]
    {
        assert_eq!(record.limits_at(Position(position)).max_count, expected, "{position}");
    }
}

/// A category and a path that one of two streams lies in, whose events and changes follow each other. The
/// records are kept once as they are, and once with all the limits that they ever had.
#[derive(Default)]
struct Log {
    pruned: [Record; 3],
    whole: [Record; 3],
    /// The positions of the stream's events, by version.
    events: Vec<u64>,
    position: u64,
}

/// The stream, its category, its path.
const SCOPES: usize = 3;

impl Log {
    fn step(&mut self, step: Step) {
        self.position += 1;
        let at = Moment { version: Version(self.events.len() as u64), ..at(self.position) };
        match step {
            Step::Event => self.events.push(self.position),
            Step::Delete => {
                self.pruned[0].change_stream(&ChangeKind::Delete, at);
                self.whole[0].change_stream(&ChangeKind::Delete, at);
            }
            Step::Set(0, change) => {
                self.pruned[0].change_stream(&ChangeKind::Settings(change), at);
                self.whole[0].set(&change, at, at.version.next().0);
            }
            Step::Set(scope, change) => {
                self.pruned[scope].change_scope(&change, at);
                self.whole[scope].set(&change, at, at.position.0);
            }
        }
    }

    /// Returns the versions of the stream that are not hidden.
    fn visible(&self, records: &[Record; 3]) -> Vec<u64> {
        let [own, above @ ..] = records.clone().map(Arc::new);
        let chain = Chain { own: Some(own), above: above.to_vec() };
        let rules = chain.rules(Position(self.position), Timestamp(self.position as i64 * 10));
        let version_at =
            |until: Position| self.events.partition_point(|position| *position <= until.0) as u64;
        let is_visible = |version: &u64| {
            let position = self.events[*version as usize - 1];
            let is_counted_out = |(until, count): &(Position, u64)| {
                until.0 >= position && version.saturating_add(*count) <= version_at(*until)
            };
            *version >= rules.first.0
                && position >= rules.position.0
                && rules.time.is_none_or(|time| position as i64 * 10 >= time.0)
                && !rules.counts.iter().any(is_counted_out)
        };
        (1..=self.events.len() as u64).filter(is_visible).collect()
    }
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Event,
    Delete,
    Set(usize, SettingsChange),
}

fn any_step() -> impl Strategy<Value = Step> {
    let setting = |most: u64| {
        prop_oneof![
            2 => Just(Setting::Keep),
            1 => Just(Setting::Clear),
            3 => (0..most).prop_map(Setting::Put),
        ]
    };
    let truncation = prop_oneof![3 => Just(None), 1 => (0..40_u64).prop_map(Some)];
    let set = (0..SCOPES, setting(8), setting(200), truncation);
    let set = set.prop_map(|(scope, max_count, max_age_us, truncate_before)| {
        Step::Set(scope, SettingsChange { max_count, max_age_us, truncate_before })
    });
    prop_oneof![10 => Just(Step::Event), 1 => Just(Step::Delete), 10 => set]
}

proptest! {
    #[test]
    fn what_is_forgotten_of_limits_hides_and_shows_nothing(
        steps in proptest::collection::vec(any_step(), 0..60)
    ) {
        let mut log = Log::default();
        for step in steps {
            log.step(step);
            prop_assert_eq!(log.visible(&log.pruned), log.visible(&log.whole), "{:?}", step);
        }
    }
}

#[test]
fn a_truncation_makes_room_for_more_limits_and_a_stricter_limit_does_not() {
    let put = |value| count(Setting::Put(value));
    let changes = [(10, put(9)), (20, put(8)), (30, put(7))];
    for (last, left) in [(put(1), 4), (truncate(20), 1), (truncate(19), 2), (truncate(40), 0)] {
        let record = scope(&[&changes[..], &[(40, last)]].concat()).expect("a record");
        assert_eq!(record.former.len(), left, "{last:?}");
    }
    let own = |change| ChangeKind::Settings(change);
    for (last, left) in [(truncate(5), 1), (truncate(6), 0)] {
        let record = stream(&[(10, own(put(9))), (20, own(last))]).expect("a record");
        assert_eq!(record.former.len(), left, "{last:?}");
    }
}
