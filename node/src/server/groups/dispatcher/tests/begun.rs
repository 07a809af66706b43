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
