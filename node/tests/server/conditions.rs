//! Conditions of appends, on every node.

use quorate_proto::wire::message_bytes;
use quorate_proto::wire::v1;
use quorate_proto::wire::v1::expectation::Demand;
use quorate_proto::wire::v1::session_answer::Outcome as SessionOutcome;
use quorate_proto::wire::v1::session_append::Request as WireRequest;
use quorate_proto::{ErrorKind, Outcome};
use tokio_stream::wrappers::ReceiverStream;

use super::{Cluster, append, problem, request};

/// An append to that stream unless there is an event with the tag after that position; its event has the tag.
fn unless(stream: &str, tag: &str, after: u64, id: u128) -> v1::Append {
    let mut append = append(stream, Demand::Any(v1::Empty {}), id);
    append.writes[0].events[0].tags = vec![tag.to_owned()];
    let item = v1::QueryItem { tags: vec![tag.to_owned()], ..v1::QueryItem::default() };
    let query = Some(v1::Query { items: vec![item] });
    append.conditions = vec![v1::Condition { query, after }];
    append
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn conditions_hold_on_every_node_and_a_repetition_comes_first() {
    let cluster = Cluster::start().await;
    cluster.leader().await;
    for node in 0..3_usize {
        let mut events = cluster.events(node).await;
        let tag = format!("course:{node}");
        let id = node as u128 * 10 + 1;
        let first = unless("enrolment-1", &tag, 0, id);
        let done = events.append(request(first.clone())).await.expect("appended").into_inner();
        // Its own event would violate the condition now.
        let again = events.append(request(first)).await.expect("the first answer").into_inner();
        assert_eq!(again.first_position, done.first_position);

        let late = unless("enrolment-2", &tag, 0, id + 1);
        let refused = problem(&events.append(request(late)).await.expect_err("a conflict"));
        assert_eq!((refused.kind, refused.failures.len()), (ErrorKind::Conflict, 0));
        assert_eq!(refused.violations.len(), 1);
        assert_eq!(refused.violations[0].position.0, done.first_position);

        let mut both = unless("enrolment-1", &tag, 0, id + 2);
        both.writes[0].expectation =
            Some(v1::Expectation { demand: Some(Demand::None(v1::Empty {})) });
        let refused = problem(&events.append(request(both)).await.expect_err("a conflict"));
        assert_eq!((refused.failures.len(), refused.violations.len()), (1, 1), "{refused:?}");

        let knowing = unless("enrolment-2", &tag, done.last_position, id + 3);
        events.append(request(knowing)).await.expect("appended");
    }
    cluster.stop_all().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_condition_from_the_future_is_refused_on_every_node_unless_it_is_a_repetition() {
    let cluster = Cluster::start().await;
    cluster.leader().await;
    for node in 0..3_usize {
        let mut events = cluster.events(node).await;
        let stream = format!("order-{node}");
        let id = node as u128 * 10 + 1;
        let first = append(&stream, Demand::Any(v1::Empty {}), id);
        let done = events.append(request(first)).await.expect("appended").into_inner();

        // The answer was applied by the leader, and by this node perhaps not yet.
        let end = done.last_position;
        let early = unless(&stream, "any", end + 1, id + 1);
        let refused = problem(&events.append(request(early.clone())).await.expect_err("refused"));
        let reported = (refused.kind, refused.outcome, refused.field.as_str());
        assert_eq!(reported, (ErrorKind::Invalid, Outcome::NotAppended, "after"), "{refused:?}");
        let why = format!("it is {}, but the log ends at position {end}", end + 1);
        assert!(refused.message.contains(&why), "{refused:?}");

        let repeated = unless(&stream, "any", end + 1, id);
        let mut same = append(&stream, Demand::Any(v1::Empty {}), id);
        same.conditions = repeated.conditions;
        let again = events.append(request(same)).await.expect("the first answer").into_inner();
        assert_eq!(again.first_position, done.first_position);

        let other = append("other-1", Demand::Any(v1::Empty {}), id + 2);
        events.append(request(other)).await.expect("appended");
        events.append(request(early)).await.expect("the log has come there");
    }
    cluster.stop_all().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn in_a_session_conditions_hold_back_what_names_their_streams() {
    let cluster = Cluster::start().await;
    cluster.leader().await;
    for node in 0..3_u64 {
        let mut events = cluster.events(node as usize).await;
        let stream = format!("order-{node}");
        let id = u128::from(node) << 64;
        let mut appends = Vec::new();
        for number in 1..=100_u64 {
            let id = id | u128::from(number);
            appends.push(match number % 2 {
                1 => unless(&stream, &format!("never:{node}-{number}"), 0, id),
                _ => append(&stream, Demand::Exactly(number - 1), id),
            });
        }
        let appends = appends.into_iter().zip(1..).map(|(append, number)| v1::SessionAppend {
            number,
            request: Some(WireRequest::Append(message_bytes(&append).into())),
            deadline_ms: 20_000,
            expires_alone: false,
        });
        let appends = appends.collect();
        let (sender, requests) = tokio::sync::mpsc::channel(8);
        let mut answers = events
            .append_session(ReceiverStream::new(requests))
            .await
            .expect("a session")
            .into_inner();
        answers.message().await.expect("a message").expect("the leader's address");
        sender.send(v1::AppendSessionRequest { appends }).await.expect("the session lives");
        drop(sender);
        let mut versions = vec![0; 101];
        while let Some(message) = answers.message().await.expect("answers") {
            for answer in message.answers {
                match answer.outcome.expect("an outcome") {
                    SessionOutcome::Appended(done) => {
                        versions[answer.number as usize] = done.versions[0]
                    }
                    other => panic!("{other:?}"),
                }
            }
        }
        assert!(versions.into_iter().eq(0..=100), "an append overtook another");
    }
    cluster.stop_all().await;
}
