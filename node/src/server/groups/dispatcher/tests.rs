//! Tests of single groups, and random ones of everything that can happen to a group.

use super::*;

mod begun;
mod random;

pub(super) fn position(number: u64) -> Position {
    Position(number)
}

pub(super) fn at(millisecond: i64) -> Timestamp {
    Timestamp(millisecond * 1_000)
}

pub(super) fn event(number: u64, stream: &str) -> Taken<()> {
    let stream = StreamName::new(stream).expect("a name");
    Taken { position: position(number), stream, bytes: 100, body: () }
}

fn settings(strategy: Strategy) -> GroupSettings {
    GroupSettings {
        strategy,
        timeout_ms: 30_000,
        attempts_max: 3,
        retry_delay_ms: 1_000,
        window: 8,
    }
}

fn dispatcher(strategy: Strategy) -> Dispatcher<()> {
    Dispatcher::new(settings(strategy), Known::default())
}

fn settled(number: u64, fate: Fate) -> Vec<Settlement> {
    vec![Settlement { number, fate }]
}

fn failed(reason: &str) -> Fate {
    Fate::Failed { reason: reason.to_owned(), delay_ms: None }
}

/// Hands out all possible deliveries: the consumer, number, position and attempt of each.
fn all(dispatcher: &mut Dispatcher<()>, now: Timestamp) -> Vec<(u64, u64, u64, u32)> {
    let next = || dispatcher.hand_out(now);
    std::iter::from_fn(next)
        .map(|one| (one.consumer.0, one.number, one.position.0, one.attempt))
        .collect()
}

#[test]
fn events_go_round_among_those_that_have_room() {
    let mut group = dispatcher(Strategy::RoundRobin);
    for number in 1..=6 {
        group.take(event(number, "order-1"));
    }
    let a = group.join("a".to_owned(), 2, false).expect("room");
    let b = group.join("b".to_owned(), 3, false).expect("room");
    let handed = all(&mut group, at(0));
    assert_eq!(handed, [(1, 1, 1, 1), (2, 1, 2, 1), (1, 2, 3, 1), (2, 2, 4, 1), (2, 3, 5, 1)]);
    group.set_open(b, false);
    assert_eq!(group.settle(a, settled(1, Fate::Acknowledged), at(1)), Ok(vec![]));
    assert_eq!(group.settle(b, settled(1, Fate::Skipped), at(1)), Ok(vec![]));
    assert_eq!(all(&mut group, at(1)), [(1, 3, 6, 1)], "the other one takes nothing now");
    let progress = group.propose(true).expect("progress");
    assert_eq!((progress.floor, progress.settled), (position(2), vec![]), "the floor says it all");
    assert!(group.propose(true).is_none(), "one at a time");
    assert_eq!(group.applied(), [(a, 1), (b, 1)]);
}

#[test]
fn what_is_settled_above_the_floor_is_told_by_position() {
    let mut group = dispatcher(Strategy::RoundRobin);
    for number in [1, 5, 9] {
        group.take(event(number, "order-1"));
    }
    group.read_through(position(20));
    let a = group.join("a".to_owned(), 8, false).expect("room");
    all(&mut group, at(0));
    group.settle(a, settled(3, Fate::Acknowledged), at(0)).expect("its own");
    let progress = group.propose(true).expect("progress");
    assert_eq!((progress.floor, progress.settled), (position(0), vec![position(9)]));
    group.applied();
    group.settle(a, settled(1, Fate::Acknowledged), at(0)).expect("its own");
    let progress = group.propose(true).expect("progress");
    assert_eq!((progress.floor, progress.settled), (position(4), vec![]));
    group.applied();
    group.settle(a, settled(2, Fate::Acknowledged), at(0)).expect("its own");
    assert_eq!(group.propose(true).expect("progress").floor, position(20));
}

#[test]
fn a_stream_goes_to_one_consumer_at_a_time_in_order() {
    let mut group = dispatcher(Strategy::ByStream);
    for (number, stream) in [(1, "a-1"), (2, "a-1"), (3, "b-1"), (4, "a-1")] {
        group.take(event(number, stream));
    }
    let a = group.join("a".to_owned(), 8, false).expect("room");
    assert_eq!(all(&mut group, at(0)), [(1, 1, 1, 1), (1, 2, 3, 1)]);
    // The stream waits for its event that failed.
    group.settle(a, settled(1, failed("no")), at(0)).expect("its own");
    assert_eq!(all(&mut group, at(999)), []);
    assert_eq!(group.next_due(), Some(at(1_000)));
    group.tick(at(1_000));
    assert_eq!(all(&mut group, at(1_000)), [(1, 3, 1, 2)]);
    group.settle(a, settled(3, Fate::Acknowledged), at(1_001)).expect("its own");
    assert_eq!(all(&mut group, at(1_001)), [(1, 4, 2, 1)]);
}

#[test]
fn a_stream_keeps_its_consumer_while_that_has_room() {
    let mut group = dispatcher(Strategy::ByStream);
    for name in ["a", "b", "c"] {
        group.join(name.to_owned(), 1, false).expect("room");
    }
    let mut consumers = BTreeSet::new();
    for number in 1..=20 {
        group.take(event(number, "order-7"));
        let handed = group.hand_out(at(0)).expect("an event");
        consumers.insert(handed.consumer);
        let acknowledged = settled(handed.number, Fate::Acknowledged);
        group.settle(handed.consumer, acknowledged, at(0)).expect("its own");
        group.propose(true);
        group.applied();
    }
    assert_eq!(consumers.len(), 1);
}

#[test]
fn a_single_consumer_gets_everything_in_order_and_the_next_one_takes_over() {
    let mut group = dispatcher(Strategy::Single);
    for number in 1..=4 {
        group.take(event(number, "order-1"));
    }
    let a = group.join("a".to_owned(), 2, false).expect("room");
    let b = group.join("b".to_owned(), 8, false).expect("room");
    assert_eq!(all(&mut group, at(0)), [(1, 1, 1, 1), (1, 2, 2, 1)]);
    group.settle(a, settled(1, failed("no")), at(0)).expect("its own");
    assert_eq!(all(&mut group, at(0)), [], "what comes after it waits for it");
    group.leave(a, Left::Gracefully, at(1));
    assert_eq!(all(&mut group, at(1)), []);
    group.tick(at(1_000));
    let handed = all(&mut group, at(1_000));
    assert_eq!(handed, [(2, 1, 1, 2), (2, 2, 2, 1), (2, 3, 3, 1), (2, 4, 4, 1)]);
    assert_eq!(b.0, 2);
}

#[test]
fn an_event_that_fails_too_often_is_parked_with_the_last_reason() {
    let mut group = dispatcher(Strategy::RoundRobin);
    group.take(event(1, "order-1"));
    let a = group.join("a".to_owned(), 1, false).expect("room");
    let mut now = at(0);
    for number in 1..=3 {
        group.tick(now);
        let handed = group.hand_out(now).expect("it is due");
        assert_eq!((handed.number, handed.attempt), (number, u32::try_from(number).expect("few")));
        let reason = format!("no {number}");
        group.settle(a, settled(number, failed(&reason)), now).expect("its own");
        now = group.next_due().unwrap_or(now);
    }
    assert_eq!(now, at(3_000), "one second, then two");
    let progress = group.propose(true).expect("progress");
    assert_eq!((progress.floor, progress.failed.len()), (position(1), 0));
    assert_eq!((progress.parked[0].attempts, progress.parked[0].reason.as_str()), (3, "no 3"));
    assert_eq!(group.applied(), [(a, 1), (a, 2), (a, 3)], "all of them are durable now");
}

#[test]
fn a_consumer_that_is_too_slow_or_lost_costs_an_attempt_and_one_that_leaves_does_not() {
    let mut group = dispatcher(Strategy::RoundRobin);
    group.take(event(1, "order-1"));
    let a = group.join("a".to_owned(), 1, false).expect("room");
    assert_eq!(all(&mut group, at(0)), [(1, 1, 1, 1)]);
    group.leave(a, Left::Gracefully, at(5));
    let b = group.join("b".to_owned(), 1, false).expect("room");
    assert_eq!(all(&mut group, at(5)), [(2, 1, 1, 1)]);
    group.tick(at(30_005));
    assert_eq!(all(&mut group, at(30_005)), [(2, 2, 1, 2)]);
    // To settle an event too late has no effect; to settle one that the consumer never had is a mistake.
    assert_eq!(group.settle(b, settled(1, Fate::Acknowledged), at(30_006)), Ok(vec![1]));
    assert!(group.settle(b, settled(3, Fate::Acknowledged), at(30_006)).is_err());
    group.leave(b, Left::Lost, at(30_007));
    let c = group.join("c".to_owned(), 1, false).expect("room");
    group.tick(at(30_007));
    assert_eq!(all(&mut group, at(30_007)), [(3, 1, 1, 3)]);
    group.leave(c, Left::Lost, at(30_008));
    let progress = group.propose(true).expect("progress");
    assert_eq!((progress.parked[0].attempts, progress.floor), (3, position(1)));
    assert_eq!(progress.parked[0].reason, "consumer `c` was lost");
}

#[test]
fn no_more_is_taken_in_than_the_window_while_the_oldest_is_not_settled() {
    let mut group = dispatcher(Strategy::RoundRobin);
    let a = group.join("a".to_owned(), 100, false).expect("room");
    for number in 1..=8 {
        assert!(group.has_room());
        group.take(event(number, "order-1"));
    }
    assert!(!group.has_room());
    all(&mut group, at(0));
    for number in 2..=8 {
        group.settle(a, settled(number, Fate::Acknowledged), at(0)).expect("its own");
    }
    group.propose(true).expect("progress");
    group.applied();
    assert!(!group.has_room(), "what is settled above the floor is kept in the log");
    group.settle(a, settled(1, failed("no")), at(0)).expect("its own");
    group.propose(true).expect("progress");
    group.applied();
    assert!(group.has_room(), "what failed does not hold up the others");
}

#[test]
fn a_new_owner_goes_on_from_what_the_log_knows() {
    let due = at(500);
    let known = Known {
        incarnation: LogIndex(7),
        floor: position(3),
        settled: BTreeSet::from([position(5)]),
        failed: vec![
            (Failed { position: position(2), attempts: 2, due }, None),
            (Failed { position: position(6), attempts: 1, due: at(0) }, None),
        ],
        parked_above: BTreeSet::from([position(7)]),
        parked: 1,
    };
    let mut group: Dispatcher<()> = Dispatcher::new(settings(Strategy::RoundRobin), known);
    let a = group.join("a".to_owned(), 8, false).expect("room");
    group.tick(at(0));
    assert_eq!(all(&mut group, at(0)), [(1, 1, 6, 2)]);
    group.settle(a, settled(1, Fate::Acknowledged), at(0)).expect("its own");
    for number in 4..=8 {
        group.take(event(number, "order-1"));
    }
    assert_eq!(all(&mut group, at(0)), [(1, 2, 4, 1), (1, 3, 8, 1)]);
    let progress = group.propose(true).expect("progress");
    assert_eq!((progress.floor, &progress.settled), (position(3), &vec![position(6)]));
    assert_eq!(progress.incarnation, LogIndex(7));
    group.applied();
    group.tick(due);
    assert_eq!(all(&mut group, due), [(1, 4, 2, 3)]);
}

#[test]
fn what_was_not_taken_is_proposed_again_with_what_came_later() {
    let mut group = dispatcher(Strategy::RoundRobin);
    group.take(event(1, "order-1"));
    group.take(event(2, "order-1"));
    let a = group.join("a".to_owned(), 8, false).expect("room");
    all(&mut group, at(0));
    let fail = Fate::Failed { reason: "no".to_owned(), delay_ms: Some(0) };
    group.settle(a, settled(1, fail), at(0)).expect("its own");
    let progress = group.propose(true).expect("progress");
    assert_eq!((progress.floor, progress.failed.len()), (position(1), 1));
    group.tick(at(0));
    assert_eq!(all(&mut group, at(0)), [(1, 3, 1, 2)]);
    group.settle(a, settled(3, Fate::Acknowledged), at(1)).expect("its own");
    group.put_back();
    assert_eq!(group.floor(), position(0), "nothing of it is in the log");
    let progress = group.propose(true).expect("progress");
    assert_eq!(
        (progress.floor, progress.failed.len(), progress.settled.len()),
        (position(1), 0, 0)
    );
    assert_eq!(group.applied().len(), 2);
}

#[test]
fn a_group_that_matches_nothing_tells_its_floor_rarely() {
    let mut group = dispatcher(Strategy::RoundRobin);
    group.read_through(position(99_999));
    assert!(group.propose(true).is_none());
    group.read_through(position(100_000));
    assert_eq!(group.propose(true).expect("progress").floor, position(100_000));
}

#[test]
fn what_the_log_has_no_room_to_park_is_tried_on_and_holds_up_nothing_else() {
    let mut group = dispatcher(Strategy::ByStream);
    for (number, stream) in [(1, "a-1"), (2, "b-1"), (3, "a-1")] {
        group.take(event(number, stream));
    }
    let a = group.join("a".to_owned(), 8, false).expect("room");
    assert_eq!(all(&mut group, at(0)), [(1, 1, 1, 1), (1, 2, 2, 1)]);
    group.settle(a, settled(1, Fate::Parked("broken".to_owned())), at(0)).expect("its own");
    group.settle(a, settled(2, Fate::Acknowledged), at(0)).expect("its own");
    assert_eq!(group.propose(true).expect("progress").parked.len(), 1);
    group.refused(at(0));
    let progress = group.propose(true).expect("progress");
    assert_eq!((progress.floor, progress.parked.len()), (position(2), 0));
    assert_eq!((progress.failed[0].position, progress.failed[0].due), (position(1), at(60_000)));
    assert_eq!(group.applied(), [(a, 1), (a, 2)]);
    assert_eq!(all(&mut group, at(1)), [], "its stream waits for it again");
    group.take(event(4, "c-1"));
    assert_eq!(all(&mut group, at(1)), [(1, 3, 4, 1)]);
    group.settle(a, settled(3, Fate::Parked("broken".to_owned())), at(2)).expect("its own");
    let progress = group.propose(true).expect("progress");
    assert_eq!((progress.failed.len(), progress.parked.len()), (1, 0), "not even tried");
    group.tick(at(60_000));
    assert_eq!(all(&mut group, at(60_000)), [(1, 4, 1, 2)]);
}

#[test]
fn the_last_consumer_to_leave_has_the_floor_told() {
    let mut group = dispatcher(Strategy::RoundRobin);
    group.read_through(position(7));
    assert!(group.has_news() && group.propose(true).is_none());
    assert_eq!(group.propose(false).expect("progress").floor, position(7));
    group.applied();
    assert!(!group.has_news() && group.propose(false).is_none());
}

#[test]
fn a_stream_that_waits_leaves_memory_to_others() {
    let mut group = dispatcher(Strategy::ByStream);
    let large = |number, stream| Taken { bytes: WAITING_BYTES_MAX / 4, ..event(number, stream) };
    for number in 1..=6 {
        group.take(large(number, "a-1"));
    }
    assert!(group.has_room(), "what waits is not kept");
    group.take(large(7, "b-1"));
    let a = group.join("a".to_owned(), 8, false).expect("room");
    let bodies = |group: &mut Dispatcher<()>| {
        let mut bodies = Vec::new();
        while let Some(handed) = group.hand_out(at(0)) {
            bodies.push((handed.position.0, handed.body.is_some()));
            group.settle(a, settled(handed.number, Fate::Acknowledged), at(0)).expect("its own");
        }
        bodies
    };
    let bodies = bodies(&mut group);
    assert_eq!(bodies.len(), 7);
    assert_eq!((bodies[0], bodies[5]), ((1, true), (6, false)), "what was let go is read again");
    assert!(bodies.contains(&(7, true)));
    assert_eq!(group.waiting_bytes, 0);
}

#[test]
fn parked_events_that_somebody_replays_are_tried_from_the_first_attempt_on() {
    let known = Known { floor: position(9), parked: 1, ..Known::default() };
    let mut group: Dispatcher<()> = Dispatcher::new(settings(Strategy::RoundRobin), known);
    let a = group.join("a".to_owned(), 8, false).expect("room");
    let replayed = Failed { position: position(4), attempts: 0, due: at(0) };
    group.take_failed(vec![(replayed, None), (replayed, None)]);
    group.set_parked(0);
    group.tick(at(0));
    assert_eq!(all(&mut group, at(0)), [(1, 1, 4, 1)]);
    group.settle(a, settled(1, Fate::Acknowledged), at(0)).expect("its own");
    let progress = group.propose(true).expect("progress");
    assert_eq!((progress.floor, progress.settled), (position(9), vec![position(4)]));
}

#[test]
fn an_event_that_was_removed_is_settled_without_a_word() {
    let mut group = dispatcher(Strategy::ByStream);
    group.take(event(1, "order-1"));
    group.take(event(2, "order-1"));
    group.join("a".to_owned(), 8, false).expect("room");
    let handed = group.hand_out(at(0)).expect("an event");
    group.gone(&handed);
    assert_eq!(all(&mut group, at(0)), [(1, 2, 2, 1)], "its stream goes on");
    assert_eq!(group.propose(true).expect("progress").floor, position(1));
    assert_eq!(group.applied(), []);
}
