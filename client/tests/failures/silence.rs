//! Tests of reads, lists and subscriptions at a node that is connected and does nothing, or fails again and again.

use std::time::Duration;

use crate::fake::{Node, client};
use crate::fake_groups::{self, GROUPS, GroupNode, LISTED_EVERY};
use crate::reads::{events, point};
use quorate_client::{ErrorKind, Message, Outcome, Position, Problem, Query};
use quorate_proto::wire::v1::read_response::Message as Wire;
use quorate_proto::wire::{LIFE_SIGN_EVERY, v1};
use tokio::time::{Instant, timeout};
use tonic::Status;

/// The longest time to wait: much longer than any of the tests takes.
const PATIENCE: Duration = Duration::from_secs(30);

#[tokio::test]
async fn a_read_whose_node_falls_silent_goes_on_at_another() {
    let (mut first, mut second) = (Node::start().await, Node::start().await);
    let short = Duration::from_millis(900);
    let client = client(&[&first, &second], |builder| builder.deadline(short));
    let reading = tokio::spawn(client.read(Query::everything()).collect());
    let silent = first.read().await;
    point(&silent, 8, None).await;
    events(&silent, &[2]).await;
    // The silent node stays connected.
    let read = timeout(PATIENCE, second.read()).await.expect("the silent node is given up");
    assert_eq!(read.request.after, 2);
    point(&read, 8, None).await;
    events(&read, &[4]).await;
    read.send(Wire::End(v1::Empty {})).await;
    assert_eq!(reading.await.expect("it ran").expect("an answer").events.len(), 2);
    drop(silent);
}

#[tokio::test]
async fn reads_and_lists_that_hear_nothing_end_by_their_deadline() {
    let mut node = Node::start().await;
    let short = Duration::from_millis(600);
    let client = client(&[&node], |builder| builder.deadline(short));
    let reading = tokio::spawn(client.read(Query::everything()).collect());
    let collecting = tokio::spawn(client.streams().collect());
    let serving = tokio::spawn(async move {
        let mut silent = Vec::new();
        loop {
            let read = node.read().await;
            point(&read, 8, None).await;
            silent.push(read);
        }
    });
    let late = timeout(PATIENCE, reading).await.expect("it ends").expect("it ran");
    assert_eq!(late.expect_err("nothing came").kind, ErrorKind::Deadline);
    let late = timeout(PATIENCE, collecting).await.expect("it ends").expect("it ran");
    assert_eq!(late.expect_err("nothing came").kind, ErrorKind::Deadline);
    serving.abort();
}

#[tokio::test]
async fn a_failure_that_repeats_after_the_point_is_not_asked_for_without_rest_nor_for_ever() {
    let mut node = Node::start().await;
    let deadline = Duration::from_secs(1);
    let client = client(&[&node], |builder| builder.deadline(deadline));
    let begun = Instant::now();
    let mut reading = tokio::spawn(client.read(Query::everything()).collect());
    let mut asked = 0;
    let result = loop {
        tokio::select! {
            result = &mut reading => break result,
            read = node.read() => {
                asked += 1;
                point(&read, 8, None).await;
                let _ = read.answers.send(Err(Status::unavailable("gone"))).await;
            }
        }
        assert!(begun.elapsed() < PATIENCE, "it never ends");
    };
    assert_eq!(result.expect("it ran").expect_err("it failed").kind, ErrorKind::Unavailable);
    assert!(begun.elapsed() >= deadline / 2, "it might have got better");
    assert!((3..20).contains(&asked), "asked {asked} times");
}

#[tokio::test]
async fn what_no_node_can_do_and_does_not_pass_by_itself_ends_a_read_and_in_the_end_a_subscription()
{
    let damaged = || Problem::new(ErrorKind::Damaged, Outcome::NotAppended, "a chunk is damaged");
    let (mut first, mut second) = (Node::start().await, Node::start().await);
    let client = client(&[&first, &second], |builder| builder);
    let serving = tokio::spawn(async move {
        loop {
            let read = tokio::select! {
                read = first.read() => read,
                read = second.read() => read,
            };
            point(&read, 8, None).await;
            let _ = read.answers.send(Err(damaged().into())).await;
        }
    });
    let reading = client.read(Query::everything()).collect();
    let problem = timeout(PATIENCE, reading).await.expect("it ends").expect_err("it is damaged");
    assert_eq!(problem.kind, ErrorKind::Damaged);
    let mut subscription = client.read(Query::everything()).follow();
    let problem =
        timeout(PATIENCE, subscription.try_next()).await.expect("it ends").expect_err("damaged");
    assert_eq!(problem.kind, ErrorKind::Damaged);
    serving.abort();
}

#[tokio::test]
async fn a_subscription_leaves_a_node_that_gives_no_sign_of_life() {
    let (mut first, mut second) = (Node::start().await, Node::start().await);
    let client = client(&[&first, &second], |builder| builder);
    let mut subscription = client.read(Query::everything()).follow();
    let following = tokio::spawn(async move {
        for expected in [2, 4] {
            match subscription.try_next().await.expect("no problem").expect("a message") {
                Message::Event(event) => assert_eq!(event.position, Position(expected)),
                other => panic!("no event: {other:?}"),
            }
        }
    });
    let silent = first.read().await;
    point(&silent, 8, None).await;
    events(&silent, &[2]).await;
    events(&silent, &[]).await;
    let last_sign = Instant::now();
    let read = timeout(PATIENCE, second.read()).await.expect("the silent node is given up");
    assert!(last_sign.elapsed() > LIFE_SIGN_EVERY * 2, "it waits for a node that has nothing new");
    assert_eq!(read.request.after, 2);
    point(&read, 8, None).await;
    events(&read, &[4]).await;
    following.await.expect("it was fed");
    drop(silent);
}

#[tokio::test]
async fn a_consumer_leaves_a_node_that_gives_no_sign_of_life() {
    let (mut leader, mut other) = (GroupNode::start().await, GroupNode::start().await);
    let mut consumer = fake_groups::client(&[&leader, &other]).group("billing").consume().start();
    let silent = leader.joining().await.let_in(&leader.address).await;
    silent.deliver(1, 10).await;
    consumer.try_next().await.expect("no error").expect("an event");
    silent.confirm(&[], &[]).await;
    let last_sign = Instant::now();
    // The silent node stays connected, and the other one names it as the leader.
    let joining = timeout(PATIENCE, other.joining()).await.expect("the silent node is given up");
    assert!(last_sign.elapsed() > LIFE_SIGN_EVERY * 2, "an idle group is not silent");
    let through = joining.let_in(&leader.address).await;
    through.deliver(1, 20).await;
    let next = timeout(PATIENCE, consumer.try_next()).await.expect("in time");
    assert_eq!(next.expect("no error").expect("an event").event.position, Position(20));
    drop(silent);
}

#[tokio::test]
async fn a_node_that_lets_a_consumer_in_and_nothing_more_is_joined_again_after_growing_rests() {
    let mut node = GroupNode::start().await;
    let consumer = fake_groups::client(&[&node]).group("billing").consume().start();
    let begun = Instant::now();
    for _ in 0..6 {
        node.joining().await.let_in(&node.address).await.lose().await;
    }
    assert!(begun.elapsed() > Duration::from_secs(1), "joined six times in {:?}", begun.elapsed());
    let joined = node.joining().await.let_in(&node.address).await;
    joined.confirm(&[], &[]).await;
    joined.lose().await;
    let worked_until = Instant::now();
    node.joining().await.let_in(&node.address).await;
    assert!(worked_until.elapsed() < Duration::from_secs(1), "it worked meanwhile");
    drop(consumer);
}

#[tokio::test]
async fn a_scavenge_ends_when_its_node_is_connected_and_silent() {
    let node = Node::start().await;
    let client = client(&[&node], |builder| builder);
    let begun = Instant::now();
    let mut chunks = Vec::new();
    let scavenging = client.scavenge(|now| chunks.push(now.chunks));
    let late = timeout(PATIENCE, scavenging).await.expect("it ends").expect_err("it hangs");
    assert_eq!((late.kind, late.outcome), (ErrorKind::Deadline, Outcome::NotAppended));
    assert!(begun.elapsed() > LIFE_SIGN_EVERY * 2, "a chunk takes its time");
    assert_eq!(chunks, [1, 2], "what says nothing new is a sign of life");
}

#[tokio::test]
async fn a_list_of_groups_may_take_its_time_and_ends_by_its_deadline_when_nothing_comes() {
    let node = GroupNode::start().await;
    // A third of the deadline, and the extra time allowed beyond it, are shorter than the list takes.
    let deadline = Duration::from_secs(1);
    let client = fake_groups::client(&[&node]).with_deadline(deadline);
    let groups = timeout(PATIENCE, client.groups()).await.expect("it ends").expect("a list");
    assert_eq!(groups.len(), GROUPS);
    *node.list_hangs.lock().expect("no panic") = true;
    let begun = Instant::now();
    let late = timeout(PATIENCE, client.groups()).await.expect("it ends").expect_err("it hangs");
    assert_eq!(late.kind, ErrorKind::Deadline);
    assert!(begun.elapsed() >= LISTED_EVERY * GROUPS as u32);
}

#[tokio::test]
async fn a_change_of_a_group_that_nobody_answers_ends_by_its_deadline_with_an_unknown_outcome() {
    let node = GroupNode::start().await;
    let client = fake_groups::client(&[&node]).with_deadline(Duration::from_millis(600));
    let billing = client.group("billing");
    let created = billing.create(Query::everything()).send();
    let late = timeout(PATIENCE, created).await.expect("it ends").expect_err("nobody answers");
    assert_eq!((late.kind, late.outcome), (ErrorKind::Deadline, Outcome::Unknown));
    let late = timeout(PATIENCE, billing.reset(0)).await.expect("it ends");
    let late = late.expect_err("nobody answers");
    assert_eq!((late.kind, late.outcome), (ErrorKind::Deadline, Outcome::Unknown));
}

#[tokio::test]
async fn a_change_of_members_that_ends_half_way_is_asked_for_again() {
    let node = Node::start().await;
    let client = client(&[&node], |builder| builder);
    let mut shown = Vec::new();
    let added = client.add_member("127.0.0.1:7804", false, |now| shown.push(now.matched)).await;
    assert_eq!(added, Ok(4));
    assert_eq!(shown, [3, 9], "a message without news is a sign of life");
}
