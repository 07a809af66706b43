//! Consumers go on when their stream is lost, and get the right outcome in the end.

use std::time::Duration;

use quorate_client::{
    Consistency, Consumer, ErrorKind, Outcome, ParkedEvent, Position, Problem, Selection,
};
use quorate_proto::wire::v1;
use quorate_proto::wire::v1::settlement::Fate;
use tokio::time::timeout;

use crate::fake_groups::{GroupNode, PARKED_MAX, client};

/// The longest time to wait: much longer than any of the tests takes.
const PATIENCE: Duration = Duration::from_secs(30);

fn gone() -> Problem {
    Problem::new(ErrorKind::NotFound, Outcome::NotAppended, "there is no such group")
}

fn numbers(settlements: &[v1::Settlement]) -> Vec<u64> {
    settlements.iter().map(|settlement| settlement.number).collect()
}

fn consume(nodes: &[&GroupNode]) -> Consumer {
    client(nodes).group("billing").consume().name("worker-1").window(8).start()
}

#[tokio::test]
async fn a_consumer_joins_again_elsewhere_and_what_it_settles_of_the_lost_stream_is_dropped() {
    let (mut first, mut second) = (GroupNode::start().await, GroupNode::start().await);
    let mut consumer = consume(&[&first, &second]);
    let joining = first.joining().await;
    let v1::JoinGroup { group, consumer: name, window, tells_begun } = joining.join.clone();
    assert_eq!((group.as_str(), name.as_str(), window), ("billing", "worker-1", 8));
    assert!(tells_begun);
    let mut joined = joining.let_in(&first.address).await;
    joined.deliver(1, 10).await;
    joined.deliver(2, 20).await;
    let one = consumer.try_next().await.expect("no error").expect("an event");
    consumer.ack(&one);
    assert_eq!(numbers(&joined.settled().await.expect("it is there")), [1]);
    let two = consumer.try_next().await.expect("no error").expect("an event");
    joined.lose().await;

    let mut joined = second.joining().await.let_in(&second.address).await;
    joined.deliver(1, 20).await;
    let again = consumer.try_next().await.expect("no error").expect("an event");
    assert_eq!((two.event.position, again.event.position), (Position(20), Position(20)));
    // The number of the delivery on the lost stream would settle another event here.
    consumer.ack(&two);
    consumer.fail(&again, "broken");
    let settled = joined.settled().await.expect("it is there");
    assert_eq!(numbers(&settled), [1]);
    assert!(matches!(&settled[0].fate, Some(Fate::Failed(failure)) if failure.reason == "broken"));
}

#[tokio::test]
async fn what_came_with_a_lost_stream_and_was_not_taken_is_not_handed_out() {
    let mut node = GroupNode::start().await;
    let mut consumer = consume(&[&node]);
    let mut joined = node.joining().await.let_in(&node.address).await;
    joined.deliver(1, 10).await;
    let one = consumer.try_next().await.expect("no error").expect("an event");
    joined.deliver(2, 20).await;
    consumer.ack(&one);
    joined.settled().await.expect("it is there");
    joined.lose().await;
    let joined = node.joining().await.let_in(&node.address).await;
    joined.deliver(1, 30).await;
    let next = consumer.try_next().await.expect("no error").expect("an event");
    assert_eq!(next.event.position, Position(30), "20 goes to somebody else by now");
}

#[tokio::test]
async fn a_consumer_goes_to_the_leader_when_it_learns_where_that_is() {
    let (mut follower, mut leader) = (GroupNode::start().await, GroupNode::start().await);
    let mut consumer = consume(&[&follower]);
    let mut passed = follower.joining().await.let_in(&leader.address).await;
    let joined = leader.joining().await.let_in(&leader.address).await;
    assert!(passed.settled().await.is_none(), "it leaves the follower in order");
    passed.end();
    joined.deliver(1, 10).await;
    let one = consumer.try_next().await.expect("no error").expect("an event");
    assert_eq!(one.event.position, Position(10));
}

#[tokio::test]
async fn a_group_that_is_not_there_ends_the_consumer_and_trouble_does_not() {
    let mut node = GroupNode::start().await;
    let mut consumer = consume(&[&node]);
    let problem = |kind| Problem::new(kind, Outcome::NotAppended, "a reason");
    node.joining().await.refuse(problem(ErrorKind::Overloaded)).await;
    node.joining().await.refuse(problem(ErrorKind::NotReady)).await;
    let joined = node.joining().await.let_in(&node.address).await;
    joined.lose().await;
    node.joining().await.refuse(problem(ErrorKind::NotFound)).await;
    let refused = consumer.try_next().await.expect_err("there is no such group");
    assert_eq!(refused.kind, ErrorKind::NotFound);
    assert!(consumer.try_next().await.expect("it was reported").is_none());
}

#[tokio::test]
async fn closing_waits_until_everything_settled_is_durable() {
    let mut node = GroupNode::start().await;
    let mut consumer = consume(&[&node]);
    let mut joined = node.joining().await.let_in(&node.address).await;
    for number in 1..=3 {
        joined.deliver(number, 10 * number).await;
        let delivery = consumer.try_next().await.expect("no error").expect("an event");
        if number < 3 {
            consumer.ack(&delivery);
            assert_eq!(numbers(&joined.settled().await.expect("it is there")), [number]);
        } else {
            consumer.park(&delivery, "not now");
        }
    }
    let closing = tokio::spawn(consumer.close());
    assert_eq!(numbers(&joined.settled().await.expect("what was not sent yet")), [3]);
    assert!(joined.settled().await.is_none(), "it leaves");
    joined.confirm(&[1, 3], &[]).await;
    assert!(!closing.is_finished());
    // A settlement that came too late will be delivered again; closing does not wait for it.
    joined.confirm(&[], &[2]).await;
    joined.end();
    closing.await.expect("it ran").expect("all is durable");
}

#[tokio::test]
async fn closing_reports_what_is_not_known_to_be_durable() {
    let mut node = GroupNode::start().await;
    let mut consumer = consume(&[&node]);
    let mut joined = node.joining().await.let_in(&node.address).await;
    joined.deliver(1, 10).await;
    let delivery = consumer.try_next().await.expect("no error").expect("an event");
    consumer.ack(&delivery);
    let closing = tokio::spawn(consumer.close());
    assert_eq!(numbers(&joined.settled().await.expect("it is there")), [1]);
    joined.lose().await;
    let unknown = closing.await.expect("it ran").expect_err("nobody confirmed it");
    assert_eq!(unknown.outcome, Outcome::Unknown);
    assert!(unknown.message.ends_with("delivered again: 10"), "{}", unknown.message);
}

#[tokio::test]
async fn a_consumer_that_is_dropped_leaves_in_order() {
    let mut node = GroupNode::start().await;
    let mut consumer = consume(&[&node]);
    let mut joined = node.joining().await.let_in(&node.address).await;
    joined.deliver(1, 10).await;
    let delivery = consumer.try_next().await.expect("no error").expect("an event");
    consumer.ack(&delivery);
    drop(consumer);
    assert_eq!(numbers(&joined.settled().await.expect("it is sent all the same")), [1]);
    assert!(joined.settled().await.is_none());
}

#[tokio::test]
async fn what_breaks_a_rule_is_reported_before_a_node_is_asked() {
    let node = GroupNode::start().await;
    for (group, window) in [("", 1), ("billing", 0)] {
        let mut consumer = client(&[&node]).group(group).consume().window(window).start();
        let refused = consumer.try_next().await.expect_err("a broken rule");
        assert_eq!(refused.kind, ErrorKind::Invalid);
    }
}
#[tokio::test]
async fn closing_ends_although_an_error_that_ends_the_consumer_finds_no_room() {
    let mut node = GroupNode::start().await;
    let consumer = client(&[&node]).group("billing").consume().window(1).start();
    let joined = node.joining().await.let_in(&node.address).await;
    // Nobody takes the event, and there is no room for another.
    joined.deliver(1, 10).await;
    joined.lose().await;
    node.joining().await.refuse(gone()).await;
    timeout(PATIENCE, consumer.close()).await.expect("it ends").expect("nothing was settled");
}

#[tokio::test]
async fn closing_reports_what_was_settled_in_vain_on_streams_that_were_lost() {
    let mut node = GroupNode::start().await;
    let mut consumer = consume(&[&node]);
    let mut joined = node.joining().await.let_in(&node.address).await;
    let mut taken = Vec::new();
    for number in 1..=4 {
        joined.deliver(number, 10 * number).await;
        taken.push(consumer.try_next().await.expect("no error").expect("an event"));
    }
    consumer.ack(&taken[0]);
    consumer.ack(&taken[1]);
    joined.settled().await.expect("it is there");
    joined.lose().await;
    let joining = node.joining().await;
    consumer.ack(&taken[2]);
    let mut joined = joining.let_in(&node.address).await;
    joined.deliver(1, 20).await;
    let again = consumer.try_next().await.expect("no error").expect("an event");
    consumer.ack(&taken[3]);
    consumer.ack(&again);
    joined.settled().await.expect("it is there");
    joined.confirm(&[1], &[]).await;
    let closing = tokio::spawn(consumer.close());
    assert!(joined.settled().await.is_none(), "it leaves");
    joined.end();
    let unknown = closing.await.expect("it ran").expect_err("three were settled in vain");
    assert!(unknown.message.ends_with("delivered again: 10, 30, 40"), "{}", unknown.message);

    // The result is the same when the group is gone, and the error was handed out.
    let mut consumer = consume(&[&node]);
    let mut joined = node.joining().await.let_in(&node.address).await;
    joined.deliver(1, 50).await;
    let delivery = consumer.try_next().await.expect("no error").expect("an event");
    consumer.ack(&delivery);
    joined.settled().await.expect("it is there");
    joined.lose().await;
    node.joining().await.refuse(gone()).await;
    consumer.try_next().await.expect_err("there is no such group");
    assert!(consumer.try_next().await.expect("it was reported").is_none());
    let unknown = consumer.close().await.expect_err("nobody confirmed it");
    assert!(unknown.message.ends_with("delivered again: 50"), "{}", unknown.message);
}

#[tokio::test]
async fn closing_does_not_doubt_what_the_group_has_settled_since_by_whomever() {
    let (mut first, mut second) = (GroupNode::start().await, GroupNode::start().await);
    for (settled, parked, doubted) in [
        (vec![10, 30], vec![40], Some("delivered again: 20")),
        (vec![10, 20], vec![30], Some("delivered again: 30, 40")),
        (vec![10, 20, 30, 40], vec![], None),
    ] {
        *second.settled.lock().expect("no panic") = v1::FindSettledResponse { settled, parked };
        let mut consumer = consume(&[&first, &second]);
        let mut joined = first.joining().await.let_in(&first.address).await;
        for number in 1..=4 {
            joined.deliver(number, 10 * number).await;
            let delivery = consumer.try_next().await.expect("no error").expect("an event");
            match number {
                4 => consumer.park(&delivery, "poison"),
                _ => consumer.ack(&delivery),
            }
            joined.settled().await.expect("it is there");
        }
        // The old leader goes, and the new one has no event for this consumer.
        joined.lose().await;
        let mut joined = second.joining().await.let_in(&second.address).await;
        let closing = tokio::spawn(consumer.close());
        assert!(joined.settled().await.is_none(), "it leaves");
        joined.end();
        let closed = timeout(PATIENCE, closing).await.expect("it ends").expect("it ran");
        match doubted {
            None => closed.expect("everything is settled"),
            Some(doubted) => {
                let unknown = closed.expect_err("one is not settled");
                assert!(unknown.message.ends_with(doubted), "{}", unknown.message);
            }
        }
    }
}

#[tokio::test]
async fn a_consumer_that_is_dropped_leaves_although_a_settler_lives() {
    let mut node = GroupNode::start().await;
    let mut consumer = consume(&[&node]);
    let mut joined = node.joining().await.let_in(&node.address).await;
    joined.deliver(1, 10).await;
    let delivery = consumer.try_next().await.expect("no error").expect("an event");
    let settler = consumer.settler();
    settler.ack(&delivery);
    drop(consumer);
    let settled = timeout(PATIENCE, joined.settled()).await.expect("in time");
    assert_eq!(numbers(&settled.expect("it is sent all the same")), [1]);
    assert!(timeout(PATIENCE, joined.settled()).await.expect("it leaves at once").is_none());
    settler.ack(&delivery);
}

#[tokio::test]
async fn a_large_lot_of_parked_events_is_listed_in_pages() {
    let node = GroupNode::start().await;
    let billing = client(&[&node]).group("billing");
    let positions = |parked: Vec<ParkedEvent>| parked.into_iter().map(|one| one.position.0);
    let all: Vec<u64> = positions(billing.parked().await.expect("listed")).collect();
    assert_eq!(all, (1..=PARKED_MAX).collect::<Vec<_>>());
    let some = billing.parked_as(100, 701, Consistency::Local).await.expect("listed");
    assert_eq!(positions(some).collect::<Vec<_>>(), (101..=801).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_call_reports_what_its_own_lost_attempt_did() {
    let node = GroupNode::start().await;
    let billing = client(&[&node]).group("billing");
    assert_eq!(billing.delete().await, Ok(true), "the first attempt removed it");
    assert_eq!(billing.delete().await, Ok(false), "another call did");
    let node = GroupNode::start().await;
    let billing = client(&[&node]).group("billing");
    assert_eq!(billing.replay(Selection::All).await, Ok(3), "so many did the first attempt");
    assert_eq!(billing.replay(Selection::All).await, Ok(0), "another call did");
}
