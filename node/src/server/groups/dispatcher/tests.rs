//! Tests of single groups, most of them as scripts, and random ones of everything that can happen to a group.

use quorate_proto::limits::GROUP_TIMEOUT_MS_MAX;

use super::*;

mod random;
mod scripts;

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
fn work_that_goes_on_has_its_time_anew_for_up_to_a_week() {
    let mut group = dispatcher(Strategy::RoundRobin);
    group.take(event(1, "order-1"));
    let a = group.join("a".to_owned(), 1, true).expect("room");
    group.hand_out(at(0)).expect("an event");
    let week = i64::try_from(GROUP_TIMEOUT_MS_MAX).expect("it fits");
    let mut now = 0;
    while now < week {
        assert_eq!(group.begin(a, vec![1], at(now)), Ok(vec![]));
        assert_eq!(group.tick(at(now)), []);
        now += 29_000;
    }
    assert_eq!(group.tick(at(week)), [(a, 1)], "there is an end to it");
    let never = group.begin(a, vec![2], at(now)).expect_err("it was not given");
    assert_eq!(never.field, "number");
}
