//! `quorate cluster status` and `quorate cluster health`, as scripts use them.

use std::io::{BufRead, BufReader};
use std::process::Stdio;

use serde_json::Value;
use tokio::time::Instant;

use super::{Node, PATIENCE, lines_of};

/// Asks for the health until it is the expected word; returns the reasons.
fn until_health(node: &Node, expected: &str, code: i32) -> String {
    let started = Instant::now();
    loop {
        let output = node.run(&["cluster", "health", "--json", "--timeout", "1s"]);
        let line = &lines_of(&output.stdout)[0];
        if line["health"] == expected {
            assert_eq!(output.status.code(), Some(code), "{output:?}");
            assert!(output.stderr.is_empty(), "{output:?}");
            return line["reasons"].to_string();
        }
        assert!(started.elapsed() < PATIENCE, "not {expected}: {line}");
    }
}

#[test]
fn the_health_is_a_word_with_reasons_and_an_exit_code() {
    let mut node = Node::start();
    assert_eq!(until_health(&node, "healthy", 0), "[]");
    let text = node.run(&["cluster", "health", "--output", "text"]);
    assert_eq!(String::from_utf8_lossy(&text.stdout), "healthy\n");
    node.process.kill().expect("it runs");
    node.process.wait().expect("it ends");
    let reasons = until_health(&node, "unavailable", 1);
    assert!(reasons.contains(&node.address), "{reasons}");
    let text = node.run(&["cluster", "health", "--output", "text"]);
    assert!(String::from_utf8_lossy(&text.stdout).starts_with("unavailable\n"), "{text:?}");
    // A command line that is wrong says nothing of the cluster.
    let wrong = node.run(&["cluster", "health", "--watch"]);
    assert_eq!(wrong.status.code(), Some(2));
    let nowhere = node.run(&["cluster", "status"]);
    assert_eq!(nowhere.status.code(), Some(1), "no node answers: {nowhere:?}");
}

#[test]
fn the_status_of_a_node_has_its_lag_version_and_health_as_text_and_as_json() {
    let node = Node::start();
    node.must(&["append", "o-1", "--type", "T", "--expect", "none"]);
    until_health(&node, "healthy", 0);
    let [line] = &node.must(&["cluster", "status", "--json"])[..] else { panic!("one node") };
    assert_eq!((&line["health"], &line["lag_events"]), (&"healthy".into(), &0.into()));
    assert_eq!(line["lag_seconds"], 0.0);
    assert!(line["log_time"].as_str().is_some_and(|time| time.ends_with('Z')), "{line}");
    let text = node.run(&["cluster", "status", "--output", "text"]);
    let text = String::from_utf8_lossy(&text.stdout).into_owned();
    let lines: Vec<Vec<&str>> =
        text.lines().map(|line| line.split_whitespace().collect()).collect();
    let heads = ["id", "committed", "applied", "checkpoint", "lag", "seconds", "version", "health"];
    let [_, _, _, head, row] = &lines[..] else { panic!("five lines: {text}") };
    assert_eq!(head, &heads);
    assert_eq!(row[3..], ["0", "0", "0.0", env!("CARGO_PKG_VERSION"), "healthy"]);
}

#[test]
fn a_status_that_is_watched_through_a_pipe_is_shown_again_when_it_changed_until_nobody_reads() {
    let node = Node::start();
    let mut command = node.command(&["cluster", "status", "--watch", "--json"]);
    let mut watched = command.stdout(Stdio::piped()).spawn().expect("it runs");
    let lines = BufReader::new(watched.stdout.take().expect("a pipe")).lines();
    let mut lines = lines.map(|line| {
        let line = line.expect("text");
        serde_json::from_str::<Value>(&line).expect("JSON")
    });
    assert_eq!(lines.next().expect("a line")["last_position"], 0);
    node.must(&["append", "o-1", "--type", "T", "--expect", "none"]);
    let changed = lines.find(|line| line["last_position"] == 1);
    assert!(changed.is_some(), "it ended");
    drop(lines);
    let ended = watched.wait().expect("it ends when its reader has gone");
    assert!(ended.success(), "{ended}");
}
