//! Following on real nodes: the messages to readers when they or their node stop or lose touch.

use bytes::Bytes;
use futures_util::FutureExt;
use quorate_proto::ErrorKind;
use quorate_proto::wire::SILENCE_MAX;
use quorate_proto::wire::v1;
use quorate_proto::wire::v1::consistency::Level;
use quorate_proto::wire::v1::events_client::EventsClient;
use quorate_proto::wire::v1::expectation::Demand;
use quorate_proto::wire::v1::read_response::Message;
use tonic::transport::Channel;

use super::{Cluster, PATIENCE, append, events_of, problem, request, whole_stream};

async fn follow(
    events: &mut EventsClient<Channel>,
    request: v1::ReadRequest,
) -> tonic::Streaming<v1::ReadResponse> {
    let request = v1::ReadRequest { follow: true, ..request };
    events.read(request).await.expect("it is followed").into_inner()
}

/// Returns the positions of the events up to the next message with a cursor, and that message.
async fn until_mark(feed: &mut tonic::Streaming<v1::ReadResponse>) -> (Vec<u64>, Message) {
    let mut positions = Vec::new();
    loop {
        let next = tokio::time::timeout(PATIENCE, feed.message()).await.expect("in time");
        let message = next.expect("no problem").expect("a message").message.expect("a message");
        match message {
            Message::Point(_) => {}
            Message::Events(batch) => {
                positions.extend(events_of(&batch).iter().map(|event| event.position));
            }
            mark => return (positions, mark),
        }
    }
}

fn is_sign_of_life(message: Option<v1::ReadResponse>) -> bool {
    let message = message.and_then(|response| response.message);
    message == Some(Message::Events(Bytes::new()))
}

fn mark(position: u64, version: Option<u64>) -> v1::Cursor {
    v1::Cursor { position, version }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_node_is_followed_and_reports_where_its_readers_stand() {
    let cluster = Cluster::start().await;
    cluster.leader().await;
    let mut writer = cluster.events(0).await;
    let any = || Demand::Any(v1::Empty {});
    for id in 1..=3 {
        writer.append(request(append("order-1", any(), id))).await.expect("appended");
    }
    let mut feeds = Vec::new();
    for node in 0..3 {
        let mut events = cluster.events(node).await;
        let mut whole = follow(&mut events, whole_stream("order-1")).await;
        let caught_up = Message::CaughtUp(mark(3, Some(3)));
        assert_eq!(until_mark(&mut whole).await, (vec![1, 2, 3], caught_up));
        // A read that would begin after the end of the stream is refused.
        let ahead = v1::ReadRequest { after: 4, follow: true, ..whole_stream("order-1") };
        let refused = problem(&events.read(ahead).await.expect_err("there is no 4"));
        assert_eq!(refused.field, "after");
        let item = v1::QueryItem { types: vec!["Never".to_owned()], ..Default::default() };
        let query = v1::Query { items: vec![item] };
        let source = Some(v1::read_request::Source::Query(query));
        let never = v1::ReadRequest { source, ..Default::default() };
        let mut never = follow(&mut events, never).await;
        let caught_up = Message::CaughtUp(mark(3, None));
        assert_eq!(until_mark(&mut never).await, (vec![], caught_up));
        feeds.push((whole, never));
    }
    for id in 4..=6 {
        writer.append(request(append("order-1", any(), id))).await.expect("appended");
    }
    for (whole, never) in &mut feeds {
        let mut seen = Vec::new();
        while seen.len() < 3 {
            let next = tokio::time::timeout(PATIENCE, whole.message()).await.expect("in time");
            if let Some(Message::Events(batch)) = next.expect("no problem").expect("more").message {
                seen.extend(events_of(&batch).iter().map(|event| event.position));
            }
        }
        assert_eq!(seen, [4, 5, 6]);
        let mut through = 0;
        while through < 6 {
            let (positions, message) = until_mark(never).await;
            let Message::Progress(at) = message else { panic!("no progress: {message:?}") };
            assert_eq!(positions, [0_u64; 0]);
            through = at.position;
        }
    }
    drop(feeds);
    cluster.stop_all().await;
}

/// A reader that pauses must neither be cut off nor use up the node's memory: it gets everything later.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_that_stops_for_a_while_gets_everything_in_order() {
    let cluster = Cluster::start().await;
    let leader = cluster.leader().await;
    let mut writer = cluster.events(leader).await;
    let any = || Demand::Any(v1::Empty {});
    let source = Some(v1::read_request::Source::Query(v1::Query::default()));
    let everything = v1::ReadRequest { source, ..Default::default() };
    let mut feed = follow(&mut cluster.events(leader).await, everything).await;
    assert_eq!(until_mark(&mut feed).await.1, Message::CaughtUp(mark(0, None)));
    // The events are more than the windows of the connection and the mailbox can hold.
    let appends = 24;
    for id in 1..=appends {
        let mut append = append("order-1", any(), id);
        append.writes[0].events[0].data = vec![b'x'; 900_000].into();
        writer.append(request(append)).await.expect("appended");
    }
    let (mut seen, mut fell_behind) = (Vec::new(), false);
    while seen.len() < appends as usize {
        let (positions, message) = until_mark(&mut feed).await;
        seen.extend(positions);
        fell_behind |= matches!(message, Message::FellBehind(_));
    }
    assert_eq!(seen, (1..=appends as u64).collect::<Vec<_>>());
    assert!(fell_behind, "the mailbox held 20 MB");
    drop(feed);
    cluster.stop_all().await;
}

/// A node that is cut off from the majority would keep its readers waiting for ever.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_without_a_majority_lets_its_readers_go_but_for_those_that_want_what_it_has() {
    let mut cluster = Cluster::start().await;
    let leader = cluster.leader().await;
    let alone = (leader + 1) % 3;
    let mut events = cluster.events(alone).await;
    let mut strict = follow(&mut events, whole_stream("order-1")).await;
    let consistency = Some(v1::Consistency { level: Some(Level::Local(v1::Empty {})) });
    let local = v1::ReadRequest { consistency, ..whole_stream("order-1") };
    let mut local = follow(&mut events, local).await;
    for feed in [&mut strict, &mut local] {
        assert_eq!(until_mark(feed).await.1, Message::CaughtUp(mark(0, Some(0))));
    }
    for node in (0..3).filter(|node| *node != alone) {
        cluster.stop(node).await;
    }
    let ending = async {
        loop {
            match strict.message().await {
                Ok(message) => assert!(is_sign_of_life(message), "nothing was appended"),
                Err(status) => break status,
            }
        }
    };
    let ended = tokio::time::timeout(PATIENCE, ending).await.expect("it is let go");
    assert_eq!(problem(&ended).kind, ErrorKind::Unavailable);
    while let Some(message) = local.message().now_or_never() {
        let message = message.expect("it asked for no more than the node has");
        assert!(is_sign_of_life(message), "nothing was appended");
    }
    drop((strict, local));
    cluster.stop_all().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_hears_from_its_node_though_nothing_is_appended() {
    let cluster = Cluster::start().await;
    cluster.leader().await;
    let mut events = cluster.events(0).await;
    let mut feed = follow(&mut events, whole_stream("order-1")).await;
    until_mark(&mut feed).await;
    let next = tokio::time::timeout(SILENCE_MAX, feed.message()).await.expect("a sign of life");
    assert!(is_sign_of_life(next.expect("no problem")));
    drop(feed);
    cluster.stop_all().await;
}
