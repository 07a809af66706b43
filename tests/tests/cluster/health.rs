//! The health and the status of a cluster that loses one node after the other.

use quorate_tests::cluster::{Cluster, PATIENCE, json_lines, wait_for};
use serde_json::Value;

/// Waits until the health is the expected word; returns the exit code and the reasons.
fn until_health(cluster: &Cluster, expected: &str) -> (Option<i32>, String) {
    wait_for(expected, PATIENCE, || {
        let output = cluster.run(["cluster", "health", "--json"]);
        let line = json_lines(&output.stdout).into_iter().next()?;
        let found = (output.status.code(), line["reasons"].to_string());
        (line["health"] == expected).then_some(found)
    })
}

#[test]
fn a_cluster_is_degraded_without_a_node_and_unavailable_without_a_majority_and_shown_all_the_same()
{
    let mut cluster = Cluster::start("64MiB");
    assert_eq!(until_health(&cluster, "healthy"), (Some(0), "[]".to_owned()));
    let leader = cluster.wait_for_leader();
    let [first, second] = [(leader + 1) % 3, (leader + 2) % 3];
    cluster.nodes[first].kill();
    let (code, reasons) = until_health(&cluster, "degraded");
    assert_eq!(code, Some(6));
    assert!(reasons.contains(&cluster.nodes[first].address), "{reasons}");
    cluster.must(["append", "order-1", "--type", "Placed", "--expect", "none"]);

    cluster.nodes[second].kill();
    let (code, reasons) = until_health(&cluster, "unavailable");
    assert_eq!(code, Some(1));
    assert!(reasons.contains(&cluster.nodes[second].address), "{reasons}");
    let status = json_lines(&cluster.must(["cluster", "status", "--json"]));
    let of = |node: usize| -> &Value {
        let address = cluster.nodes[node].address.as_str();
        status.iter().find(|line| line["address"] == address).expect("a line")
    };
    assert_eq!(of(first)["role"], "unreachable");
    assert_eq!(of(second)["role"], "unreachable");
    let left = of(leader);
    assert_eq!((&left["health"], &left["last_position"]), (&"unready".into(), &1.into()));
    assert!(left["unready"].as_str().is_some_and(|why| !why.is_empty()), "{left}");

    cluster.nodes[first].start();
    until_health(&cluster, "degraded");
    cluster.nodes[second].start();
    assert_eq!(until_health(&cluster, "healthy").0, Some(0));
}
