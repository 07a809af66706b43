//! Projections and process managers report to one node how far they are, and any node lists all of them.

use quorate_proto::limits::RUNNERS_MAX;
use quorate_proto::wire::v1;
use quorate_proto::wire::v1::runners_client::RunnersClient;
use tokio::time::timeout;
use tonic::Code;
use tonic::transport::Channel;

use super::groups::scrape;
use super::{Cluster, Demand, PATIENCE, append, problem, request};

fn report(instance: u128, name: &str, state: &str) -> v1::RunnerReport {
    v1::RunnerReport {
        kind: "projection".to_owned(),
        name: name.to_owned(),
        instance: instance.to_be_bytes().to_vec().into(),
        number: 1,
        state: state.to_owned(),
        position: Some(1),
        ..v1::RunnerReport::default()
    }
}

async fn send(
    runners: &mut RunnersClient<Channel>,
    report: v1::RunnerReport,
) -> Result<(), tonic::Status> {
    let request = v1::ReportRunnerRequest { report: Some(report) };
    runners.report_runner(request).await.map(|_| ())
}

async fn list(runners: &mut RunnersClient<Channel>, only_self: bool) -> v1::ListRunnersResponse {
    let request = v1::ListRunnersRequest { only_self };
    runners.list_runners(request).await.expect("a list").into_inner()
}

fn names(list: &v1::ListRunnersResponse) -> Vec<&str> {
    let reports = list.runners.iter().filter_map(|runner| runner.report.as_ref());
    reports.map(|report| report.name.as_str()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_report_to_one_node_is_listed_by_every_node_and_who_does_not_answer_is_named() {
    let mut cluster = Cluster::start().await;
    cluster.leader().await;
    let mut events = cluster.events(0).await;
    for number in 0..3 {
        let append = append("order-1", Demand::Exactly(number), u128::from(number) + 1);
        events.append(request(append)).await.expect("appended");
    }
    let applied = async {
        while !scrape(&cluster.metrics, "/metrics").await.contains("quorate_position 3\n") {
            tokio::task::yield_now().await;
        }
    };
    timeout(PATIENCE, applied).await.expect("all is applied in time");
    let mut runners = Vec::new();
    for node in 0..3 {
        runners.push(RunnersClient::new(cluster.channel(node).await));
    }
    send(&mut runners[0], report(1, "orders", "catching-up")).await.expect("it is received");
    // It went on at another node.
    let later = v1::RunnerReport { number: 2, position: Some(2), ..report(1, "orders", "live") };
    send(&mut runners[2], later).await.expect("it is received");
    send(&mut runners[1], report(2, "bills", "retrying")).await.expect("it is received");
    for one in &mut runners {
        let list = list(one, false).await;
        assert_eq!(names(&list), ["bills", "orders"], "{list:?}");
        let orders = list.runners[1].report.as_ref().expect("a report");
        assert_eq!((orders.state.as_str(), orders.position), ("live", Some(2)));
        assert_eq!((list.last_position, list.unreachable.len(), list.left_out), (3, 0, 0));
    }
    assert_eq!(names(&list(&mut runners[1], true).await), ["bills"]);
    let scraped = scrape(&cluster.metrics, "/metrics").await;
    assert!(scraped.contains("quorate_projection_lag{projection=\"orders\"} 2\n"), "{scraped}");

    cluster.stop(2).await;
    let list = list(&mut runners[0], false).await;
    assert_eq!(list.unreachable, [cluster.addresses[2].clone()]);
    let orders = list.runners[1].report.as_ref().expect("what the first node received");
    assert_eq!((orders.state.as_str(), orders.position), ("catching-up", Some(1)));
    cluster.stop_all().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reports_that_are_none_are_refused_and_thousands_of_runners_are_bounded() {
    let cluster = Cluster::start().await;
    let mut runners = RunnersClient::new(cluster.channel(0).await);
    let none = v1::RunnerReport { instance: Vec::new().into(), ..report(1, "orders", "live") };
    let long = v1::RunnerReport { error: "e".repeat(2_000), ..report(1, "orders", "failed") };
    let far = v1::RunnerReport { place: "p".repeat(2_000), ..report(1, "orders", "failed") };
    for (wrong, field) in [
        (report(1, &"n".repeat(256), "live"), "name"),
        (report(1, "", "live"), "name"),
        (report(1, "a\u{1b}[2J", "live"), "name"),
        (report(1, "orders", "asleep"), "state"),
        (report(0, "orders", "live"), "instance"),
        (none, "instance"),
        (long, "error"),
        (far, "place"),
    ] {
        let refused = send(&mut runners, wrong).await.expect_err(field);
        assert_eq!(
            (refused.code(), problem(&refused).field.as_str()),
            (Code::InvalidArgument, field)
        );
    }
    assert_eq!(names(&list(&mut runners, true).await), [""; 0]);

    let most = v1::RunnerReport {
        error: "e".repeat(1_024),
        place: "p".repeat(255),
        ..report(1, "", "failed")
    };
    for instance in 1..=RUNNERS_MAX as u128 + 50 {
        let name = format!("{instance:0255}");
        let instance = instance.to_be_bytes().to_vec().into();
        let report = v1::RunnerReport { name, instance, ..most.clone() };
        send(&mut runners, report).await.expect("it is received");
    }
    let list = list(&mut runners, false).await;
    assert_eq!(list.runners.len(), RUNNERS_MAX);
    assert!(names(&list)[0].ends_with("51"), "the first fifty gave their places to the last");
    cluster.stop_all().await;
}
