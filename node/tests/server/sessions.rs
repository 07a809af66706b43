//! Sessions of appends: their order, their deadlines, and their end.

use quorate_proto::ErrorKind;
use quorate_proto::wire::message_bytes;
use quorate_proto::wire::problem_of;
use quorate_proto::wire::v1;
use quorate_proto::wire::v1::events_client::EventsClient;
use quorate_proto::wire::v1::expectation::Demand;
use quorate_proto::wire::v1::session_answer::Outcome;
use quorate_proto::wire::v1::session_append::Request as WireRequest;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Channel;
use tonic::{Code, Streaming};

use super::{Cluster, append, request};

/// A session: the sender of its appends, the stream of its answers, and the leader's address.
type Session =
    (mpsc::Sender<v1::AppendSessionRequest>, Streaming<v1::AppendSessionResponse>, String);

/// Opens a session, and receives the address of the leader.
async fn open(events: &mut EventsClient<Channel>) -> Session {
    let (sender, requests) = mpsc::channel(8);
    let answers = events.append_session(ReceiverStream::new(requests)).await;
    let mut answers = answers.expect("a session").into_inner();
    // Deadlines are counted from the first message.
    let first = answers.message().await.expect("a message").expect("the leader's address");
    (sender, answers, first.leader)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_keeps_the_order_on_every_node() {
    let cluster = Cluster::start().await;
    cluster.leader().await;
    for node in 0..3_u64 {
        let mut events = cluster.events(node as usize).await;
        let (sender, mut answers, _) = open(&mut events).await;
        let stream = format!("order-{node}");
        let sending = tokio::spawn(async move {
            for number in 1..=500_u64 {
                let id = u128::from(node) << 64 | u128::from(number);
                let append = append(&stream, Demand::Any(v1::Empty {}), id);
                let request = Some(WireRequest::Append(message_bytes(&append).into()));
                let append = v1::SessionAppend {
                    number,
                    request,
                    deadline_ms: 20_000,
                    ..Default::default()
                };
                let request = v1::AppendSessionRequest { appends: vec![append] };
                sender.send(request).await.expect("the session lives");
            }
        });
        let mut versions = vec![0; 501];
        while let Some(message) = answers.message().await.expect("answers") {
            for answer in message.answers {
                match answer.outcome.expect("an outcome") {
                    Outcome::Appended(done) => versions[answer.number as usize] = done.versions[0],
                    other => panic!("{other:?}"),
                }
            }
        }
        sending.await.expect("all were sent");
        assert!(versions.into_iter().eq(0..=500), "an append overtook another");
    }
    cluster.stop_all().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_reaches_any_node_after_its_deadline_is_not_appended_and_ends_its_session() {
    let cluster = Cluster::start().await;
    cluster.leader().await;
    for node in 0..3 {
        let mut events = cluster.events(node).await;
        let (sender, mut answers, _) = open(&mut events).await;
        let append = append("order-1", Demand::Any(v1::Empty {}), node as u128 + 1);
        let request = Some(WireRequest::Append(message_bytes(&append).into()));
        let append = v1::SessionAppend { number: 1, request, ..Default::default() };
        let request = v1::AppendSessionRequest { appends: vec![append] };
        sender.send(request).await.expect("the session lives");
        let end = loop {
            match answers.message().await {
                Ok(answered) => {
                    let answers = answered.expect("an end with its reason").answers;
                    let refused = |answer: &v1::SessionAnswer| {
                        matches!(&answer.outcome, Some(Outcome::Problem(problem))
                            if problem.kind == "deadline" && problem.outcome == "not appended")
                    };
                    assert!(answers.iter().all(refused), "{answers:?}");
                }
                Err(end) => break end,
            }
        };
        let problem = problem_of(&end).expect("a typed detail");
        assert_eq!(problem.kind, ErrorKind::Deadline, "{problem:?}");
        assert_eq!(problem.outcome, quorate_proto::Outcome::NotAppended, "{problem:?}");
    }
    let mut events = cluster.events(0).await;
    let id = u128::MAX;
    let append = append("order-1", Demand::None(v1::Empty {}), id);
    events.append(request(append)).await.expect("nothing was appended before");
    cluster.stop_all().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stopping_leader_ends_its_sessions_and_hands_over() {
    let mut cluster = Cluster::start().await;
    let leader = cluster.leader().await;
    let mut events = cluster.events(leader).await;
    let (sender, mut answers, leader_address) = open(&mut events).await;
    assert_eq!(leader_address, cluster.addresses[leader]);
    cluster.stop(leader).await;
    let end = answers.message().await.expect_err("the session ended");
    assert_eq!(end.code(), Code::Unavailable, "{end:?}");
    drop(sender);
    let next = cluster.leader().await;
    assert_ne!(next, leader);
    for node in (0..3).filter(|node| *node != leader) {
        let mut events = cluster.events(node).await;
        let id = node as u128 + 1;
        let append = append(&format!("order-{node}"), Demand::None(v1::Empty {}), id);
        let done = events.append(request(append)).await.expect("appended").into_inner();
        assert_eq!(done.leader, cluster.addresses[next]);
    }
    cluster.stop_all().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_expires_alone_on_any_node_leaves_its_session_to_the_appends_behind_it() {
    let cluster = Cluster::start().await;
    cluster.leader().await;
    for node in 0..3 {
        let mut events = cluster.events(node).await;
        let (sender, mut answers, _) = open(&mut events).await;
        let appends = (1..=3).map(|number| {
            let id = node as u128 * 3 + u128::from(number);
            let request = append("order-1", Demand::Any(v1::Empty {}), id);
            let expires_alone = number == 1;
            let deadline_ms = if expires_alone { 0 } else { 20_000 };
            let request = Some(WireRequest::Append(message_bytes(&request).into()));
            v1::SessionAppend { number, request, deadline_ms, expires_alone }
        });
        let request = v1::AppendSessionRequest { appends: appends.collect() };
        sender.send(request).await.expect("the session lives");
        let mut outcomes = std::collections::BTreeMap::new();
        while outcomes.len() < 3 {
            let message = answers.message().await.expect("it goes on").expect("answers");
            outcomes.extend(message.answers.into_iter().map(|one| (one.number, one.outcome)));
        }
        assert!(matches!(&outcomes[&1], Some(Outcome::Problem(problem))
            if problem.kind == "deadline" && problem.outcome == "not appended"));
        let version = |number| match &outcomes[&number] {
            Some(Outcome::Appended(appended)) => appended.versions[0],
            other => panic!("{number}: {other:?}"),
        };
        assert_eq!(version(3), version(2) + 1);
    }
    cluster.stop_all().await;
}
