//! The time of an event begins with the work on it.

use quorate_proto::limits::GROUP_TIMEOUT_MS_MAX;

use super::*;

fn begin(group: &mut Dispatcher<()>, id: ConsumerId, number: u64, now: Timestamp) {
    assert_eq!(group.begin(id, vec![number], now), Ok(vec![]));
}

#[test]
fn what_nobody_has_begun_stays_with_its_consumer_and_costs_no_attempt() {
    let mut group = dispatcher(Strategy::RoundRobin);
    for number in 1..=3 {
        group.take(event(number, "order-1"));
    }
    let a = group.join("a".to_owned(), 2, true).expect("room");
    assert_eq!(all(&mut group, at(0)), [(1, 1, 1, 1), (1, 2, 2, 1)]);
    begin(&mut group, a, 1, at(5));
    assert_eq!(group.tick(at(30_004)), []);
    assert_eq!(group.tick(at(30_005)), [(a, 1)], "only what was begun has lapsed");
    assert_eq!(all(&mut group, at(30_005)), [(1, 3, 1, 2)]);
    assert_eq!(group.settle(a, settled(1, Fate::Acknowledged), at(30_006)), Ok(vec![1]));
    assert_eq!(group.tick(at(200_000)), []);
    for number in [2, 3] {
        assert_eq!(group.settle(a, settled(number, Fate::Acknowledged), at(200_000)), Ok(vec![]));
    }
    assert_eq!(all(&mut group, at(200_000)), [(1, 4, 3, 1)], "its first attempt");
}

#[test]
fn what_nobody_has_begun_goes_to_another_consumer_with_room_after_the_timeout() {
    for strategy in [Strategy::RoundRobin, Strategy::ByStream] {
        let mut group = dispatcher(strategy);
        group.take(event(1, "order-1"));
        let a = group.join("a".to_owned(), 1, true).expect("room");
        all(&mut group, at(0));
        let b = group.join("b".to_owned(), 1, true).expect("room");
        assert_eq!(group.tick(at(30_000)), [(a, 1)]);
        assert_eq!(all(&mut group, at(30_000)), [(b.0, 1, 1, 1)], "without an attempt");
        assert_eq!(group.begin(a, vec![1], at(30_001)), Ok(vec![1]), "it is told once more");
    }
}

#[test]
fn work_that_goes_on_has_its_time_anew_for_up_to_a_week() {
    let mut group = dispatcher(Strategy::RoundRobin);
    group.take(event(1, "order-1"));
    let a = group.join("a".to_owned(), 1, true).expect("room");
    all(&mut group, at(0));
    let week = i64::try_from(GROUP_TIMEOUT_MS_MAX).expect("it fits");
    let mut now = 0;
    while now < week {
        begin(&mut group, a, 1, at(now));
        assert_eq!(group.tick(at(now)), []);
        now += 29_000;
    }
    assert_eq!(group.tick(at(week)), [(a, 1)], "there is an end to it");
    let never = group.begin(a, vec![2], at(now)).expect_err("it was not given");
    assert_eq!(never.field, "number");
}

#[test]
fn a_consumer_that_is_lost_has_tried_what_it_began_or_else_the_first_that_it_held() {
    for (begun, tried) in [(vec![2], vec![2]), (vec![2, 3], vec![2, 3]), (vec![], vec![1])] {
        let mut group = dispatcher(Strategy::RoundRobin);
        for number in 1..=4 {
            group.take(event(number, "order-1"));
        }
        let a = group.join("a".to_owned(), 4, true).expect("room");
        all(&mut group, at(0));
        assert_eq!(group.begin(a, begun, at(0)), Ok(vec![]));
        group.leave(a, Left::Lost, at(1));
        group.tick(at(1));
        group.join("b".to_owned(), 4, true).expect("room");
        let handed = all(&mut group, at(1));
        let again: Vec<u64> = handed.iter().filter(|one| one.3 == 2).map(|one| one.2).collect();
        assert_eq!((handed.len(), again), (4, tried));
    }
}

#[test]
fn a_changed_timeout_counts_from_the_next_extension_and_takes_no_time_away() {
    let mut group = dispatcher(Strategy::RoundRobin);
    for number in 1..=3 {
        group.take(event(number, "order-1"));
    }
    let a = group.join("a".to_owned(), 3, true).expect("room");
    all(&mut group, at(0));
    begin(&mut group, a, 1, at(0));
    begin(&mut group, a, 2, at(0));
    group.configure(GroupSettings { timeout_ms: 1_000, ..settings(Strategy::RoundRobin) });
    // An event begun now has the new time; an extension does not shorten the old one.
    begin(&mut group, a, 3, at(10));
    begin(&mut group, a, 1, at(10));
    assert_eq!(group.tick(at(1_009)), []);
    assert_eq!(group.tick(at(1_010)), [(a, 3)]);
    begin(&mut group, a, 1, at(29_500));
    assert_eq!(group.tick(at(30_000)), [(a, 2)], "it was worked on for as long as it was given");
    assert_eq!(group.tick(at(30_499)), []);
    assert_eq!(group.tick(at(30_500)), [(a, 1)], "its last extension was a short one");
    group.configure(GroupSettings { timeout_ms: 60_000, ..settings(Strategy::RoundRobin) });
    let again: Vec<u64> = all(&mut group, at(30_500)).iter().map(|handed| handed.1).collect();
    assert_eq!(again, [4, 5, 6]);
    begin(&mut group, a, 4, at(30_500));
    assert!(!group.tick(at(90_499)).contains(&(a, 4)));
    assert!(group.tick(at(90_500)).contains(&(a, 4)));
}
