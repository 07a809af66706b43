//! Subscriptions go on when the node that served them is lost.

use crate::fake::{Node, Read, client};
use crate::reads::{event, events, point};
use quorate_client::{Cursor, ErrorKind, Message, Position, Query, Subscription};
use quorate_proto::wire::v1::read_response::Message as Wire;
use quorate_proto::wire::{message_bytes, v1};
use quorate_proto::{Invalid, Problem};
use tonic::Status;

fn mark(position: u64, version: Option<u64>) -> v1::Cursor {
    v1::Cursor { position, version }
}

async fn next(subscription: &mut Subscription) -> Message {
    subscription.try_next().await.expect("no problem").expect("a message")
}

async fn position(subscription: &mut Subscription) -> u64 {
    match next(subscription).await {
        Message::Event(event) => event.position.0,
        other => panic!("no event: {other:?}"),
    }
}

async fn lose(read: Read) {
    read.answers.send(Err(Status::unavailable("gone"))).await.expect("the client listens");
}

#[tokio::test]
async fn a_subscription_goes_on_at_another_node_behind_the_last_event_and_reports_falling_behind() {
    let (mut first, mut second) = (Node::start().await, Node::start().await);
    let client = client(&[&first, &second], |builder| builder);
    let mut subscription = client.read(Query::category("order")).after(1).follow();
    let serving = tokio::spawn(async move {
        let read = first.read().await;
        assert_eq!((read.request.after, read.request.follow), (1, true));
        point(&read, 4, None).await;
        events(&read, &[2, 4]).await;
        read.send(Wire::CaughtUp(mark(5, None))).await;
        read.send(Wire::Progress(mark(9, None))).await;
        lose(read).await;
        let read = second.read().await;
        // The subscription has passed everything up to 9.
        assert_eq!((read.request.after, read.request.follow), (9, true));
        point(&read, 10, None).await;
        events(&read, &[10]).await;
        read.send(Wire::CaughtUp(mark(10, None))).await;
        (second, read)
    });
    assert_eq!((position(&mut subscription).await, position(&mut subscription).await), (2, 4));
    let at = |position| Cursor { position: Position(position), version: None };
    assert_eq!(next(&mut subscription).await, Message::CaughtUp(at(5)));
    assert_eq!(next(&mut subscription).await, Message::Progress(at(9)));
    assert_eq!(next(&mut subscription).await, Message::FellBehind(at(9)));
    assert_eq!(position(&mut subscription).await, 10);
    assert_eq!(next(&mut subscription).await, Message::CaughtUp(at(10)));
    serving.await.expect("it served");
}

#[tokio::test]
async fn a_subscription_of_a_stream_goes_on_by_version_and_ends_at_its_limit() {
    let mut node = Node::start().await;
    let client = client(&[&node], |builder| builder);
    let mut subscription = client.read("order-1").limit(3).follow();
    let serving = tokio::spawn(async move {
        let read = node.read().await;
        point(&read, 4, Some(2)).await;
        events(&read, &[2, 4]).await;
        // The node ends the read without an error.
        drop(read);
        let read = node.read().await;
        assert_eq!((read.request.after, read.request.limit), (2, Some(1)));
        point(&read, 6, Some(3)).await;
        events(&read, &[6]).await;
        read.send(Wire::End(v1::Empty {})).await;
    });
    for expected in [2, 4, 6] {
        assert_eq!(position(&mut subscription).await, expected);
    }
    assert_eq!(subscription.try_next().await, Ok(None));
    assert_eq!(subscription.try_next().await, Ok(None));
    serving.await.expect("it served");
}

/// A node that hands out an event twice, or that goes back, must not be believed.
#[tokio::test]
async fn what_comes_twice_is_not_handed_out_twice() {
    let mut node = Node::start().await;
    let client = client(&[&node], |builder| builder);
    let mut subscription = client.read(Query::everything()).follow();
    let serving = tokio::spawn(async move {
        let read = node.read().await;
        point(&read, 4, None).await;
        events(&read, &[2, 2]).await;
        let read = node.read().await;
        assert_eq!(read.request.after, 2);
        point(&read, 4, None).await;
        read.send(Wire::CaughtUp(mark(1, None))).await;
        let read = node.read().await;
        assert_eq!(read.request.after, 2);
        point(&read, 4, None).await;
        let batch = v1::EventBatch { events: vec![event(4)] };
        read.send(Wire::Events(message_bytes(&batch).into())).await;
        (node, read)
    });
    assert_eq!((position(&mut subscription).await, position(&mut subscription).await), (2, 4));
    serving.await.expect("it served");
}

#[tokio::test]
async fn a_subscription_that_breaks_a_rule_ends_with_the_rule() {
    let mut node = Node::start().await;
    let client = client(&[&node], |builder| builder);
    for mut subscription in [
        client.read("order-1").backwards().follow(),
        client.read("order-1").before(7).follow(),
        client.read("").follow(),
    ] {
        let refused = subscription.try_next().await.expect_err("a rule");
        assert_eq!(refused.kind, ErrorKind::Invalid, "{refused:?}");
    }
    let mut subscription = client.read("order-1").follow();
    let serving = tokio::spawn(async move {
        let read = node.read().await;
        let refusal = Problem::from(Invalid::new("stream", "is wrong"));
        read.answers.send(Err(refusal.into())).await.expect("the client listens");
    });
    let refused = subscription.try_next().await.expect_err("a rule");
    assert_eq!((refused.kind, refused.field.as_str()), (ErrorKind::Invalid, "stream"));
    serving.await.expect("it served");
}
