//! Full disks: events are refused, and changes of settings and removals are taken.

use quorate_proto::ErrorKind;
use quorate_proto::wire::message_bytes;
use quorate_proto::wire::v1;
use quorate_proto::wire::v1::change::Change as WireChange;
use quorate_proto::wire::v1::cluster_client::ClusterClient;
use quorate_proto::wire::v1::events_client::EventsClient;
use quorate_proto::wire::v1::expectation::Demand;
use quorate_proto::wire::v1::session_answer::Outcome;
use quorate_proto::wire::v1::session_append::Request as WireRequest;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Channel;

use super::{Cluster, append, change, problem, request};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn below_the_reserve_events_are_refused_and_changes_are_taken() {
    let status = v1::StatusRequest { only_self: true };
    let cluster = Cluster::start().await;
    let mut operator = ClusterClient::new(cluster.channel(0).await);
    let nodes = operator.status(status).await.expect("a status").into_inner().nodes;
    let free = nodes[0].free_bytes;
    assert!(free > 0 && !nodes[0].low_on_space, "{nodes:?}");
    cluster.stop_all().await;

    // The free space is below the reserve, and far above half of it.
    let cluster = Cluster::start_with(Some(free / 3 * 4)).await;
    cluster.leader().await;
    for node in 0..3_usize {
        let mut events = cluster.events(node).await;
        let append = append("order-1", Demand::Any(v1::Empty {}), node as u128 + 1);
        let refused = problem(&events.append(request(append)).await.expect_err("no room"));
        assert_eq!(refused.kind, ErrorKind::NoSpace, "{refused:?}");
        assert_eq!(refused.outcome, quorate_proto::Outcome::NotAppended, "{refused:?}");
        let settings = v1::SettingsChange { max_count: Some(2), ..v1::SettingsChange::default() };
        let set = WireChange::Settings(settings);
        let set = change("order-1", Demand::Any(v1::Empty {}), node as u128 + 10, set);
        events.change_stream(set).await.expect("a change is taken");
        changes_pass_appends_without_room(&mut events, node as u128 + 1).await;
        let mut operator = ClusterClient::new(cluster.channel(node).await);
        let nodes = operator.status(status).await.expect("a status").into_inner().nodes;
        assert!(nodes[0].low_on_space, "{nodes:?}");
    }
    cluster.stop_all().await;
}

/// Runs one session of many appends with a deletion among them, while the disks are full.
async fn changes_pass_appends_without_room(events: &mut EventsClient<Channel>, node: u128) {
    let any = || Demand::Any(v1::Empty {});
    let mut requests: Vec<WireRequest> = (1..=200)
        .map(|number| append("order-2", any(), node << 64 | number))
        .map(|append| WireRequest::Append(message_bytes(&append).into()))
        .collect();
    let delete = WireChange::Delete(v1::Empty {});
    let delete = change("order-3", any(), node << 64, delete).change.expect("a change");
    requests.insert(100, WireRequest::Change(delete));
    let appends = requests.into_iter().zip(0..).map(|(request, number)| v1::SessionAppend {
        number,
        request: Some(request),
        deadline_ms: 20_000,
        expires_alone: false,
    });
    let appends = appends.collect();
    let (sender, requests) = tokio::sync::mpsc::channel(1);
    let answers = events.append_session(ReceiverStream::new(requests)).await.expect("a session");
    let mut answers = answers.into_inner();
    answers.message().await.expect("a message").expect("the leader's address");
    sender.send(v1::AppendSessionRequest { appends }).await.expect("the session lives");
    let (mut refused, mut appended) = (0, Vec::new());
    while refused < 200 || appended.is_empty() {
        let message = answers.message().await.expect("the session goes on").expect("answers");
        for answer in message.answers {
            match answer.outcome.expect("an outcome") {
                Outcome::Appended(_) => appended.push(answer.number),
                Outcome::Problem(problem) => {
                    assert_eq!(problem.kind, "no_space", "{problem:?}");
                    refused += 1;
                }
                other => panic!("{other:?}"),
            }
        }
    }
    assert_eq!((refused, appended), (200, vec![100]));
}
