//! The client keeps its promises when sessions and nodes are lost.

use std::time::Duration;

use crate::fake::{Node, client};
use quorate_client::{
    AppendError, Client, ErrorKind, Event, EventId, Expect, Query, Settings, Snapshot, Submitted,
};
use quorate_proto::{
    Append, Change, ChangeKind, Condition, Expectation, Failure, Outcome, Position, Problem,
    StreamName, Version, Violation,
};

const STREAM: &str = "order-1";

fn conflict() -> Problem {
    let stream = StreamName::new(STREAM).expect("a name");
    let failure = Failure { stream, expected: Expectation::None, actual: Version(3) };
    Problem::conflict(vec![failure], Vec::new())
}

async fn submit(client: &Client, kind: &str) -> Submitted {
    let event = Event::new(kind, "1").expect("an event");
    client.transaction().write(STREAM, Expect::None, [event]).submit().await
}

fn kind(append: &Append) -> &str {
    append.writes[0].events[0].kind.as_str()
}

#[tokio::test]
async fn what_a_lost_session_did_not_answer_is_sent_again_in_order_before_what_is_new() {
    let mut node = Node::start().await;
    let client = client(&[&node], |builder| builder);
    let first = submit(&client, "A").await;
    let rest = [submit(&client, "B").await, submit(&client, "C").await];
    let here = node.address.clone();
    let mut session = node.session(&here).await;
    session.append_next(1).await;
    let (_, before) = (session.next().await, session.next().await);
    assert_eq!(first.await.expect("appended").version, Version(1));
    session.lose().await;

    let new = submit(&client, "D").await;
    let mut session = node.session(&here).await;
    let mut again = Vec::new();
    for position in 2..=4 {
        again.push(session.append_next(position).await);
    }
    assert_eq!(again.iter().map(kind).collect::<Vec<_>>(), ["B", "C", "D"]);
    assert_eq!(again[1], before.1, "a repetition has the same ids");
    for (submitted, position) in rest.into_iter().chain([new]).zip(2..) {
        assert_eq!(submitted.await.expect("appended").position, Position(position));
    }
}

#[tokio::test]
async fn appends_go_where_the_leader_is_and_through_another_node_where_it_is_out_of_reach() {
    let (mut follower, mut leader) = (Node::start().await, Node::start().await);
    let client = client(&[&follower], |builder| builder);
    let submitted = submit(&client, "A").await;
    let there = leader.address.clone();
    let _idle = follower.session(&there).await;
    leader.session(&there).await.append_next(1).await;
    assert_eq!(submitted.await.expect("appended").version, Version(1));

    let other = crate::fake::client(&[&follower], |builder| builder);
    let submitted = submit(&other, "B").await;
    follower.session("127.0.0.1:1").await.append_next(2).await;
    assert_eq!(submitted.await.expect("appended").version, Version(2));
}

#[tokio::test]
async fn a_session_with_nothing_to_do_moves_to_a_new_leader() {
    let (mut old, mut new) = (Node::start().await, Node::start().await);
    let client = client(&[&old], |builder| builder);
    let submitted = submit(&client, "A").await;
    let here = old.address.clone();
    let mut session = old.session(&here).await;
    session.send_leader(&new.address).await;
    session.append_next(1).await;
    submitted.await.expect("appended");

    let submitted = submit(&client, "B").await;
    let there = new.address.clone();
    new.session(&there).await.append_next(2).await;
    submitted.await.expect("appended");
}

#[tokio::test]
async fn pinned_to_a_node_the_client_goes_to_no_other() {
    let (mut asked, mut leader) = (Node::start().await, Node::start().await);
    let client = client(&[&asked], |builder| builder.pinned(true));
    let submitted = submit(&client, "A").await;
    asked.session(&leader.address).await.append_next(1).await;
    assert_eq!(submitted.await.expect("appended").version, Version(1));
    assert!(!leader.has_session());
}

#[tokio::test]
async fn a_conflict_after_a_lost_attempt_is_no_verdict_before_that_attempt_is_past_its_deadline() {
    let mut node = Node::start().await;
    let client = client(&[&node], |builder| builder.deadline(Duration::from_secs(6)));
    let here = node.address.clone();
    let submitted = submit(&client, "A").await;
    let mut session = node.session(&here).await;
    session.next().await;
    session.lose().await;

    // The lost attempt may still be under way, so a conflict may not be the final verdict.
    let mut session = node.session(&here).await;
    let (number, _) = session.next().await;
    session.answer(number, Err(conflict())).await;
    let began = tokio::time::Instant::now();
    let (number, _) = session.next().await;
    assert!(began.elapsed() > Duration::from_millis(500), "sent again too soon");
    session.answer(number, Err(conflict())).await;
    assert!(
        matches!(submitted.await, Err(AppendError::Conflict(c)) if c.actual == Some(Version(3)))
    );
}

#[tokio::test]
async fn what_nobody_answers_is_unknown_and_can_be_repeated_with_the_same_ids() {
    let mut node = Node::start().await;
    let hasty = client(&[&node], |builder| builder.deadline(Duration::from_millis(300)));
    let here = node.address.clone();
    let submitted = submit(&hasty, "A").await;
    let mut session = node.session(&here).await;
    let (_, sent) = session.next().await;
    let Err(AppendError::Unknown(unknown)) = submitted.await else { panic!("not unknown") };
    assert_eq!(unknown.append(), &sent);
    assert_eq!(unknown.problem().outcome, Outcome::Unknown);

    let patient = hasty.with_deadline(Duration::from_secs(30));
    let repeating = tokio::spawn(async move { patient.repeat(unknown).await });
    // The append may go through the old session or, if the client gave that up, through a new one.
    let repeated = loop {
        tokio::select! {
            repeated = session.append_next(7) => break repeated,
            next = node.session(&here) => session = next,
        }
    };
    assert_eq!(repeated, sent);
    assert_eq!(repeating.await.expect("it ran").expect("appended").version, Version(7));
}

#[tokio::test]
async fn a_violated_condition_is_a_conflict_that_names_the_newest_offender() {
    let mut node = Node::start().await;
    let client = client(&[&node], |builder| builder);
    let event = Event::new("Booked", "1").expect("an event").tag("seat:1");
    let (seat, hall) = (Query::tag("seat:1"), Query::category("hall"));
    let booking = client.transaction().write(STREAM, Expect::Any, [event]);
    let booked = booking.unless(seat, 7).unless(hall, 9).submit().await;
    let here = node.address.clone();
    let mut session = node.session(&here).await;
    let (number, append) = session.next().await;
    let asked: Vec<u64> = append.conditions.iter().map(|one: &Condition| one.after.0).collect();
    assert_eq!(asked, [7, 9]);
    let violation = Violation { condition: 1, position: Position(12) };
    session.answer(number, Err(Problem::conflict(Vec::new(), vec![violation]))).await;
    match booked.await {
        Err(AppendError::Conflict(conflict)) => {
            assert_eq!((conflict.failures.len(), conflict.violations), (0, vec![violation]));
            assert_eq!(conflict.stream.as_str(), STREAM);
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn what_is_forgotten_is_unknown_at_once_and_the_session_goes_on() {
    let mut node = Node::start().await;
    let client = client(&[&node], |builder| builder);
    let old = submit(&client, "A").await;
    let here = node.address.clone();
    let mut session = node.session(&here).await;
    let (number, _) = session.next().await;
    let forgotten = Problem::new(ErrorKind::Forgotten, Outcome::Unknown, "old and removed");
    session.answer(number, Err(forgotten)).await;
    match old.await {
        Err(AppendError::Unknown(unknown)) => {
            assert_eq!(unknown.problem().kind, ErrorKind::Forgotten);
        }
        other => panic!("{other:?}"),
    }
    let next = submit(&client, "B").await;
    session.append_next(2).await;
    assert_eq!(next.await.expect("appended").version, Version(2));
}

#[tokio::test]
async fn a_change_keeps_its_place_among_appends_and_its_id_over_repetitions() {
    let mut node = Node::start().await;
    let client = client(&[&node], |builder| builder);
    let id = EventId::from_bytes([7; 16]).expect("an id");
    let stream = client.stream(STREAM).id(id);
    let settings = Settings::new().max_count(5).clear_max_age();
    let setting =
        tokio::spawn(async move { stream.set_expecting(Expect::version(3), settings).await });
    let here = node.address.clone();
    let mut session = node.session(&here).await;
    let (_, sent) = session.next().await;
    let change = Change::of_append(&sent).expect("well formed").expect("a change");
    assert_eq!((change.id, change.expectation), (id, Expectation::Exactly(Version(3))));
    assert_eq!(change.kind, ChangeKind::Settings(settings));
    session.lose().await;

    let mut session = node.session(&here).await;
    assert_eq!(session.append_next(9).await, sent, "a repetition is the same");
    assert_eq!(setting.await.expect("it ran").expect("changed").position, Position(9));

    let category = client.category("a-b").set(Settings::new().max_count(1)).await;
    assert!(matches!(category, Err(AppendError::Rejected(p)) if p.kind == ErrorKind::Invalid));
    let nothing = client.stream(STREAM).set(Settings::new()).await;
    assert!(matches!(nothing, Err(AppendError::Rejected(p)) if p.field == "settings"));
}

#[tokio::test]
async fn a_snapshot_is_put_again_elsewhere_when_a_node_is_lost_but_not_when_it_is_refused() {
    let (mut first, mut second) = (Node::start().await, Node::start().await);
    let client = client(&[&first, &second], |builder| builder);
    let stream = client.stream(STREAM);
    let putting = tokio::spawn(async move { stream.put_snapshot(Snapshot::new(3, "state")).await });
    drop(first.snapshot().await);
    let put = second.snapshot().await;
    assert_eq!(put.request.snapshot.as_ref().map(|snapshot| snapshot.version), Some(3));
    put.answer.send(Ok(4)).expect("the client waits");
    assert_eq!(putting.await.expect("it ran"), Ok(Version(4)));

    let stream = client.stream(STREAM);
    let putting = tokio::spawn(async move { stream.put_snapshot(Snapshot::new(9, "state")).await });
    second.snapshot().await.answer.send(Err(conflict().into())).expect("the client waits");
    assert_eq!(putting.await.expect("it ran").expect_err("refused").kind, ErrorKind::Conflict);
}

#[tokio::test]
async fn a_snapshot_that_is_refused_after_a_lost_attempt_may_have_been_kept() {
    let (mut first, mut second) = (Node::start().await, Node::start().await);
    let client = client(&[&first, &second], |builder| builder);
    let stream = client.stream(STREAM);
    let putting = tokio::spawn(async move { stream.put_snapshot(Snapshot::new(3, "state")).await });
    drop(first.snapshot().await);
    second.snapshot().await.answer.send(Err(conflict().into())).expect("the client waits");
    let refused = putting.await.expect("it ran").expect_err("refused");
    assert_eq!((refused.kind, refused.outcome), (ErrorKind::Conflict, Outcome::Unknown));
}
