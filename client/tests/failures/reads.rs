//! Reads go on when the node that served them is lost.

use crate::fake::{Node, Read, client};
use quorate_client::{ErrorKind, Position, Query, Version};
use quorate_proto::wire::v1::consistency::Level;
use quorate_proto::wire::v1::read_response::Message;
use quorate_proto::wire::{message_bytes, v1};
use quorate_proto::{Invalid, Outcome, Problem};
use tonic::Status;

pub(crate) fn event(position: u64) -> v1::RecordedEvent {
    let event = v1::NewEvent {
        id: vec![position as u8; 16].into(),
        r#type: "Made".into(),
        schema: 1,
        ..v1::NewEvent::default()
    };
    let stream = "order-1".to_owned();
    // The stream has every second event of the log.
    let version = position / 2;
    v1::RecordedEvent { position, stream, version, recorded_at: 0, event: Some(event) }
}

pub(crate) async fn point(read: &Read, as_of: u64, version: Option<u64>) {
    read.send(Message::Point(v1::ReadPoint { as_of, version, ..Default::default() })).await;
}

pub(crate) async fn events(read: &Read, positions: &[u64]) {
    let events = positions.iter().copied().map(event).collect();
    read.send(Message::Events(message_bytes(&v1::EventBatch { events }).into())).await;
}

#[tokio::test]
async fn a_lost_query_goes_on_at_another_node_where_it_stopped_and_at_the_same_point() {
    let (mut first, mut second) = (Node::start().await, Node::start().await);
    let client = client(&[&first, &second], |builder| builder);
    let query = client.read(Query::category("order")).after(1).limit(4);
    let reading = tokio::spawn(query.collect());
    let read = first.read().await;
    assert_eq!((read.request.after, read.request.before, read.request.limit), (1, None, Some(4)));
    point(&read, 40, None).await;
    events(&read, &[2, 4]).await;
    read.answers.send(Err(Status::unavailable("gone"))).await.expect("the client listens");

    let read = second.read().await;
    assert_eq!((read.request.after, read.request.before), (4, Some(41)));
    assert_eq!(read.request.limit, Some(2));
    let level = read.request.consistency.as_ref().and_then(|consistency| consistency.level);
    assert_eq!(level, Some(Level::AtLeast(40)));
    point(&read, 50, None).await;
    events(&read, &[6, 8]).await;
    read.send(Message::End(v1::Empty {})).await;

    let answer = reading.await.expect("it ran").expect("an answer");
    assert_eq!(answer.as_of, Position(40));
    let positions: Vec<u64> = answer.events.iter().map(|event| event.position.0).collect();
    assert_eq!(positions, [2, 4, 6, 8]);
}

#[tokio::test]
async fn a_lost_stream_read_goes_on_by_version_and_backwards_too() {
    let (mut first, mut second) = (Node::start().await, Node::start().await);
    let client = client(&[&first, &second], |builder| builder);
    let reading = tokio::spawn(client.read("order-1").backwards().collect());
    let read = first.read().await;
    point(&read, 40, Some(20)).await;
    events(&read, &[40, 38]).await;
    drop(read);

    let read = second.read().await;
    assert_eq!((read.request.after, read.request.before), (0, Some(19)));
    point(&read, 40, Some(20)).await;
    events(&read, &[36]).await;
    read.send(Message::End(v1::Empty {})).await;
    let answer = reading.await.expect("it ran").expect("an answer");
    assert_eq!((answer.version, answer.events.len()), (Version(20), 3));
}

#[tokio::test]
async fn what_breaks_a_rule_is_reported_at_once_and_asked_of_nobody_else() {
    let mut node = Node::start().await;
    let client = client(&[&node], |builder| builder);
    let reading = tokio::spawn(client.read("order-1").collect());
    let read = node.read().await;
    let refused = Problem::from(Invalid::new("types", "are wrong"));
    read.answers.send(Err(refused.clone().into())).await.expect("the client listens");
    assert_eq!(reading.await.expect("it ran"), Err(refused));

    let never_sent = client.read("").collect().await.expect_err("no name");
    assert_eq!(never_sent.kind, ErrorKind::Invalid);
}

#[tokio::test]
async fn a_lost_read_goes_on_after_the_same_snapshot() {
    let (mut first, mut second) = (Node::start().await, Node::start().await);
    let client = client(&[&first, &second], |builder| builder);
    let reading = tokio::spawn(client.read("order-1").with_snapshot().collect());
    let read = first.read().await;
    assert!(read.request.with_snapshot);
    let snapshot = v1::Snapshot {
        stream: "order-1".to_owned(),
        version: 17,
        data: "state".into(),
        ..v1::Snapshot::default()
    };
    let snapshot = Some(snapshot);
    let point = v1::ReadPoint { as_of: 40, version: Some(20), snapshot, ..Default::default() };
    read.send(Message::Point(point.clone())).await;
    drop(read);

    let read = second.read().await;
    let v1::ReadRequest { after, before, with_snapshot, .. } = read.request;
    assert_eq!((after, before, with_snapshot), (17, Some(21), false));
    read.send(Message::Point(v1::ReadPoint { snapshot: None, ..point })).await;
    events(&read, &[36, 38, 40]).await;
    read.send(Message::End(v1::Empty {})).await;
    let answer = reading.await.expect("it ran").expect("an answer");
    assert_eq!(answer.snapshot.map(|snapshot| snapshot.version), Some(Version(17)));
    assert_eq!((answer.version, answer.events.len()), (Version(20), 3));
}

#[tokio::test]
async fn a_lost_read_that_passed_a_snapshot_over_goes_on_without_one_and_still_says_so() {
    let (mut first, mut second) = (Node::start().await, Node::start().await);
    let client = client(&[&first, &second], |builder| builder);
    let request = client.read("order-1").with_snapshot().snapshot_schema_max(2);
    let reading = tokio::spawn(request.collect());
    let read = first.read().await;
    assert_eq!((read.request.with_snapshot, read.request.snapshot_schema_max), (true, Some(2)));
    let passed_over = v1::ReadPoint {
        as_of: 40,
        version: Some(20),
        snapshot_schema_passed_over: 3,
        ..Default::default()
    };
    read.send(Message::Point(passed_over)).await;
    events(&read, &[36]).await;
    drop(read);

    let read = second.read().await;
    let v1::ReadRequest { after, with_snapshot, snapshot_schema_max, .. } = read.request;
    assert_eq!((after, with_snapshot, snapshot_schema_max), (18, false, None));
    point(&read, 50, Some(20)).await;
    events(&read, &[38, 40]).await;
    read.send(Message::End(v1::Empty {})).await;
    let answer = reading.await.expect("it ran").expect("an answer");
    assert_eq!((answer.snapshot, answer.snapshot_schema_passed_over), (None, Some(3)));
    assert_eq!((answer.version, answer.events.len()), (Version(20), 3));

    let zero = client.read("order-1").with_snapshot().snapshot_schema_max(0);
    assert_eq!(zero.collect().await.expect_err("no schema").kind, ErrorKind::Invalid);
}

/// Lets two nodes serve a read: one begins and is lost, and the other cannot give the rest as of the same point.
async fn lose_and_refuse(first: &mut Node, second: &mut Node) {
    let read = first.read().await;
    assert_eq!(read.request.continues, None);
    let point = v1::ReadPoint { as_of: 40, log_index: 9, log_time: 7, ..Default::default() };
    read.send(Message::Point(point)).await;
    events(&read, &[2, 4]).await;
    drop(read);
    let read = second.read().await;
    let continues = Some(v1::LogPoint { as_of: 40, log_index: 9, log_time: 7 });
    assert_eq!((read.request.after, read.request.continues), (4, continues));
    let removed = Problem::new(ErrorKind::Removed, Outcome::NotAppended, "read again");
    read.answers.send(Err(removed.into())).await.expect("the client listens");
}

#[tokio::test]
async fn a_read_into_memory_begins_again_where_events_of_its_rest_were_removed() {
    let (mut first, mut second) = (Node::start().await, Node::start().await);
    let client = client(&[&first, &second], |builder| builder);
    let reading = tokio::spawn(client.read(Query::category("order")).collect());
    lose_and_refuse(&mut first, &mut second).await;

    let read = tokio::select! { read = first.read() => read, read = second.read() => read };
    let v1::ReadRequest { after, before, continues, .. } = read.request;
    assert_eq!((after, before, continues), (0, None, None), "it begins anew");
    point(&read, 50, None).await;
    events(&read, &[2, 6, 8]).await;
    read.send(Message::End(v1::Empty {})).await;
    let answer = reading.await.expect("it ran").expect("an answer");
    assert_eq!(answer.as_of, Position(50));
    let positions: Vec<u64> = answer.events.iter().map(|event| event.position.0).collect();
    assert_eq!(positions, [2, 6, 8]);
}

#[tokio::test]
async fn a_read_that_handed_out_events_ends_where_events_of_its_rest_were_removed() {
    let (mut first, mut second) = (Node::start().await, Node::start().await);
    let client = client(&[&first, &second], |builder| builder);
    let reading = tokio::spawn(async move {
        let mut events = client.read(Query::category("order")).stream().await.expect("a point");
        let mut positions = Vec::new();
        loop {
            match events.try_next().await {
                Ok(Some(event)) => positions.push(event.position.0),
                Ok(None) => return (positions, None),
                Err(problem) => return (positions, Some(problem.kind)),
            }
        }
    });
    lose_and_refuse(&mut first, &mut second).await;
    assert_eq!(reading.await.expect("it ran"), (vec![2, 4], Some(ErrorKind::Removed)));
}
