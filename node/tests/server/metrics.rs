//! The listener for scrapers and probes: every metric that is listed is scraped, and probes mean what they say.

use std::collections::BTreeSet;

use quorate_node::server::{METRICS, MetricKind, Server, ServerOptions};
use quorate_proto::wire::v1;
use quorate_proto::wire::v1::expectation::Demand;
use quorate_raft::host::TokioHost;
use tokio::time::timeout;

use super::groups::scrape;
use super::{Cluster, PATIENCE, append, options, request};

/// Asks until the answer has a status and a text; returns the answer.
async fn until(address: &str, path: &str, code: u16, text: &str) -> String {
    let asking = async {
        loop {
            let answer = scrape(address, path).await;
            if answer.starts_with(&format!("HTTP/1.1 {code} ")) && answer.contains(text) {
                return answer;
            }
            tokio::task::yield_now().await;
        }
    };
    let answered = timeout(PATIENCE, asking).await;
    answered.unwrap_or_else(|_| panic!("{path} does not say {code} `{text}`"))
}

/// Returns the value of a metric without labels.
fn value(scraped: &str, name: &str) -> f64 {
    let line = scraped.lines().find(|line| line.split(' ').next() == Some(name));
    let value = line.and_then(|line| line.split(' ').nth(1));
    let value = value.unwrap_or_else(|| panic!("{name} is not in {scraped}"));
    value.parse().expect("a number")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_metric_that_is_listed_is_scraped_and_no_other() {
    let cluster = Cluster::start().await;
    cluster.leader().await;
    let mut events = cluster.events(0).await;
    for number in 0..3 {
        let append = append("order-1", Demand::Exactly(number), u128::from(number) + 1);
        events.append(request(append)).await.expect("appended");
    }
    // The clock of the others is known a moment later.
    let ahead = "# TYPE quorate_clock_ahead_milliseconds gauge";
    let scraped = until(&cluster.metrics, "/metrics", 200, ahead).await;
    let types = scraped.lines().filter_map(|line| line.strip_prefix("# TYPE "));
    let types: BTreeSet<String> = types.map(str::to_owned).collect();
    let listed = METRICS.iter().map(|metric| format!("{} {}", metric.name, metric.kind.as_str()));
    assert_eq!(types, listed.collect());
    let parts = ["_bucket", "_sum", "_count"];
    for line in scraped.split("\r\n\r\n").nth(1).expect("a body").lines() {
        let name = line.split(['{', ' ']).next().unwrap_or_default();
        let is_of = |metric: &quorate_node::server::Metric| match metric.kind {
            MetricKind::Histogram => {
                name.strip_prefix(metric.name).is_some_and(|part| parts.contains(&part))
            }
            _ => name == metric.name,
        };
        assert!(line.starts_with("# ") || METRICS.iter().any(is_of), "{line}");
    }
    cluster.stop_all().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_times_of_appends_are_those_of_the_leader() {
    let cluster = Cluster::start().await;
    let leader = cluster.leader().await;
    let mut events = cluster.events(1).await;
    for number in 0..20 {
        let append = append("order-1", Demand::Exactly(number), u128::from(number) + 1);
        events.append(request(append)).await.expect("appended");
    }
    let scraped = until(&cluster.metrics, "/metrics", 200, "quorate_position 20\n").await;
    let count = |name| value(&scraped, &format!("quorate_{name}_duration_seconds_count"));
    // A command may hold several appends, and each is synced and applied once; some entries are Raft's own.
    assert!(count("log_sync") >= 2.0 && count("apply") >= 2.0, "{scraped}");
    assert!(value(&scraped, "quorate_log_sync_duration_seconds_sum") > 0.0, "{scraped}");
    let expected = if leader == 0 { 20.0 } else { 0.0 };
    assert_eq!(count("append"), expected, "{scraped}");
    assert_eq!(count("replication") > 0.0, leader == 0, "{scraped}");
    assert!(value(&scraped, "quorate_log_time_seconds") > 1.7e9, "{scraped}");
    cluster.stop_all().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_waits_to_be_founded_is_live_and_not_ready() {
    let folder = tempfile::tempdir().expect("a folder");
    let free = quorate_node::free_addresses(3).expect("free ports");
    let [listen, peer_listen, metrics] = [0, 1, 2].map(|at| free[at].to_string());
    let waiting = options(folder.path().join("waiting"), &listen, &peer_listen);
    let waiting = ServerOptions { metrics_listen: Some(metrics.clone()), ..waiting };
    let server = Server::start(TokioHost::new(), waiting).await.expect("it starts");
    assert!(scrape(&metrics, "/livez").await.ends_with("\r\n\r\nlive\n"));
    let answer = until(&metrics, "/readyz", 503, "not ready: it waits for a cluster").await;
    assert!(answer.contains("quorate cluster init"), "{answer}");
    let scraped = scrape(&metrics, "/metrics").await;
    assert_eq!(value(&scraped, "quorate_ready"), 0.0);
    assert_eq!(value(&scraped, "quorate_log_sync_duration_seconds_count"), 0.0);
    timeout(PATIENCE, server.shutdown()).await.expect("it stops");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_is_ready_while_a_majority_is_there_and_live_without_it() {
    let mut cluster = Cluster::start().await;
    until(&cluster.metrics, "/readyz", 200, "\r\n\r\nready\n").await;
    until(&cluster.metrics, "/metrics", 200, "\nquorate_ready 1\n").await;
    cluster.stop(1).await;
    until(&cluster.metrics, "/readyz", 200, "\r\n\r\nready\n").await;
    cluster.stop(2).await;
    until(&cluster.metrics, "/readyz", 503, "\r\n\r\nnot ready: ").await;
    until(&cluster.metrics, "/metrics", 200, "\nquorate_ready 0\n").await;
    assert!(scrape(&cluster.metrics, "/livez").await.starts_with("HTTP/1.1 200 "));
    let mut operator = v1::cluster_client::ClusterClient::new(cluster.channel(0).await);
    let request = v1::StatusRequest { only_self: false };
    let status = operator.status(request).await.expect("a status").into_inner();
    let [own, others @ ..] = &status.nodes[..] else { panic!("{status:?}") };
    assert!(!own.unready.is_empty(), "{own:?}");
    assert!(others.iter().all(|node| node.role == "unreachable"), "{others:?}");
    cluster.stop_all().await;
}
