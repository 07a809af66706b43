//! Consumers report the events that they work on, and ask for more time.

use std::time::Duration;

use futures_util::StreamExt;
use quorate_client::{Consumer, Delivery, Position};
use tokio::time::timeout;

use crate::fake_groups::{GroupNode, JoinedConsumer, client};

/// The longest time to wait: much longer than any of the tests takes.
const PATIENCE: Duration = Duration::from_secs(30);
/// The time after which no message is expected: longer than the timeout that the node sends, 600 ms.
const SILENCE: Duration = Duration::from_secs(1);

async fn next(consumer: &mut Consumer) -> Delivery {
    consumer.try_next().await.expect("no error").expect("an event")
}

async fn begun(joined: &mut JoinedConsumer) -> Vec<u64> {
    timeout(PATIENCE, joined.begun()).await.expect("it is reported in time")
}

#[tokio::test]
async fn a_delivery_is_begun_when_the_application_takes_it_and_not_before() {
    let mut node = GroupNode::start().await;
    let mut consumer = client(&[&node]).group("billing").consume().start();
    let mut joined = node.joining().await.let_in(&node.address).await;
    for number in 1..=2 {
        joined.deliver(number, 10 * number).await;
    }
    let one = next(&mut consumer).await;
    assert_eq!(one.timeout, Duration::from_millis(600));
    assert_eq!(begun(&mut joined).await, [1]);
    assert!(timeout(SILENCE, joined.begun()).await.is_err(), "nothing else was begun or extended");
    consumer.extend(&one);
    assert_eq!(begun(&mut joined).await, [1], "the application asks for more time");
    consumer.ack(&one);
    next(&mut consumer).await;
    assert_eq!(begun(&mut joined).await, [2]);
}

#[tokio::test]
async fn more_time_is_asked_for_by_itself_until_the_event_is_settled_or_the_maximum_is_reached() {
    let mut node = GroupNode::start().await;
    let consume = client(&[&node]).group("billing").consume();
    let mut consumer = consume.extend_up_to(Duration::from_millis(700)).start();
    let mut joined = node.joining().await.let_in(&node.address).await;
    for number in 1..=2 {
        joined.deliver(number, 10 * number).await;
    }
    let one = next(&mut consumer).await;
    for _ in 0..2 {
        assert_eq!(begun(&mut joined).await, [1]);
    }
    consumer.ack(&one);
    joined.settled().await.expect("it is there");
    next(&mut consumer).await;
    let mut reports = 0;
    while let Ok(numbers) = timeout(SILENCE, joined.begun()).await {
        assert_eq!(numbers, [2], "what is settled needs no time");
        reports += 1;
    }
    assert!((2..=4).contains(&reports), "once, and at each third of the timeout: {reports}");
}

#[tokio::test]
async fn what_was_taken_back_before_it_was_begun_is_not_handed_out() {
    let mut node = GroupNode::start().await;
    let mut consumer = client(&[&node]).group("billing").consume().start();
    let mut joined = node.joining().await.let_in(&node.address).await;
    for number in 1..=3 {
        joined.deliver(number, 10 * number).await;
    }
    let one = next(&mut consumer).await;
    assert!(!one.has_lapsed());
    joined.confirm(&[], &[1, 2]).await;
    joined.deliver(4, 40).await;
    let lapsed = async {
        while !one.has_lapsed() {
            tokio::task::yield_now().await;
        }
    };
    timeout(PATIENCE, lapsed).await.expect("whoever works on it can see that");
    assert_eq!(next(&mut consumer).await.event.position, Position(30));
    assert_eq!(next(&mut consumer).await.event.position, Position(40));
    assert!(begun(&mut joined).await.contains(&1));
}

#[tokio::test]
async fn what_is_taken_as_from_a_stream_is_begun_too_and_what_was_taken_back_is_not_handed_out() {
    let mut node = GroupNode::start().await;
    let mut consumer = client(&[&node]).group("billing").consume().start();
    let mut joined = node.joining().await.let_in(&node.address).await;
    for number in 1..=3 {
        joined.deliver(number, 10 * number).await;
    }
    let one = consumer.next().await.expect("an event").expect("no error");
    assert_eq!(begun(&mut joined).await, [1]);
    joined.confirm(&[], &[1, 2]).await;
    while !one.has_lapsed() {
        tokio::task::yield_now().await;
    }
    let next = consumer.next().await.expect("an event").expect("no error");
    assert_eq!(next.event.position, Position(30));
    assert_eq!(begun(&mut joined).await, [3]);
}

#[tokio::test]
async fn more_time_is_asked_for_in_the_rhythm_of_the_timeout_that_was_sent_last() {
    let mut node = GroupNode::start().await;
    let consume = client(&[&node]).group("billing").consume();
    let mut consumer = consume.extend_up_to(Duration::from_secs(600)).start();
    let mut joined = node.joining().await.let_in(&node.address).await;
    joined.deliver(1, 10).await;
    let one = next(&mut consumer).await;
    joined.deliver(2, 20).await;
    joined.set_timeout(600_000).await;
    joined.confirm(&[], &[1]).await;
    while !one.has_lapsed() {
        tokio::task::yield_now().await;
    }
    let two = next(&mut consumer).await;
    assert_eq!(two.timeout, Duration::from_secs(600), "as it was set since it came");
    // A third of ten minutes is longer than any test here waits.
    joined.set_timeout(90).await;
    let mut times = 0;
    while times < 5 {
        times += begun(&mut joined).await.iter().filter(|number| **number == 2).count();
    }
    consumer.ack(&two);
    joined.deliver(3, 30).await;
    assert_eq!(next(&mut consumer).await.timeout, Duration::from_millis(600));
}
