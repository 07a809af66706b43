//! `quorate progress` shows what projections and process managers reported to the node.

use std::io::{BufRead, BufReader};
use std::process::Stdio;
use std::time::Duration;

use quorate_client::{Client, Position, RunnerKind, RunnerReport, RunnerState};
use tokio::runtime::Runtime;
use uuid::Uuid;

use super::{Node, lines_of, stderr_of};

fn report(instance: u128, name: &str, state: RunnerState) -> RunnerReport {
    RunnerReport {
        kind: RunnerKind::Projection,
        name: name.to_owned(),
        instance: Uuid::from_u128(instance),
        place: format!("process {instance} on host-a"),
        number: 1,
        state,
        rebuilds: false,
        error: String::new(),
        position: Some(Position(1)),
        partitions: 1,
        handled: 7,
        parked: 0,
        running: Duration::from_secs(90),
    }
}

#[test]
fn progress_shows_who_is_how_far_with_errors_below_and_one_json_object_for_each() {
    let node = Node::start();
    let line = |stream| format!("{{\"stream\":\"{stream}\",\"type\":\"Placed\"}}\n");
    let all = [line("order-1"), line("order-2"), line("order-3")].concat();
    node.must(&["import", &node.file("all.ndjson", all)]);
    let nothing = node.run(&["progress", "--output", "text"]);
    let nothing = String::from_utf8_lossy(&nothing.stdout).into_owned();
    assert_eq!(nothing, "0 projections, 0 process managers as of position 3\n");
    assert_eq!(node.must(&["progress"]), [serde_json::Value::Null; 0]);

    let runtime = Runtime::new().expect("a runtime");
    let client = runtime.block_on(Client::connect([&node.address])).expect("a client");
    let send = |report| runtime.block_on(client.report_runner(report)).expect("it is received");
    let error = "no\nsuch \u{1b}[2Jtable".to_owned();
    send(RunnerReport { error, parked: 1, ..report(1, "bills", RunnerState::Failed) });
    send(report(2, "orders", RunnerState::CatchingUp));
    let kind = RunnerKind::ProcessManager;
    send(RunnerReport { kind, position: None, ..report(3, "shop", RunnerState::StandingBy) });
    send(RunnerReport { rebuilds: true, ..report(4, "orders", RunnerState::Live) });

    let text = node.run(&["progress", "--output", "text"]);
    assert_eq!(text.status.code(), Some(0), "{}", stderr_of(&text));
    let text = String::from_utf8_lossy(&text.stdout).into_owned();
    let shown: Vec<String> =
        text.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
    assert!(text.lines().all(|line| line.len() <= 80), "{text}");
    let masked = |line: &str| line.replace(" 0s ", " HEARD ").replace(" 1s ", " HEARD ");
    assert_eq!(
        shown.iter().map(|line| masked(line)).collect::<Vec<_>>(),
        [
            "name kind position behind heard state",
            "bills projection 1 2 HEARD failed",
            "no such [2Jtable",
            "1 event parked",
            "process 1 on host-a",
            "orders projection 1 2 HEARD catching up",
            "process 2 on host-a",
            "orders projection 1 2 HEARD rebuilding",
            "process 4 on host-a",
            "shop process manager - - HEARD standing by",
            "3 projections, 1 process manager as of position 3",
        ]
    );

    let lines = node.must(&["progress", "--json"]);
    let bills = &lines[0];
    assert_eq!(
        (&bills["state"], &bills["error"]),
        (&"failed".into(), &"no\nsuch \u{1b}[2Jtable".into())
    );
    assert_eq!(
        (&bills["behind"], &bills["silent"], &bills["handled"]),
        (&2.into(), &false.into(), &7.into())
    );
    assert_eq!(lines[3]["kind"], "process-manager");
    assert_eq!(lines[3].get("position"), None);
}

#[test]
fn progress_that_is_watched_through_a_pipe_shows_what_changed() {
    let node = Node::start();
    let runtime = Runtime::new().expect("a runtime");
    let client = runtime.block_on(Client::connect([&node.address])).expect("a client");
    let send = |report| runtime.block_on(client.report_runner(report)).expect("it is received");
    send(report(1, "orders", RunnerState::CatchingUp));
    send(report(2, "bills", RunnerState::Live));
    let mut command = node.command(&["progress", "--watch"]);
    let mut watched = command.stdout(Stdio::piped()).spawn().expect("it runs");
    let mut lines = BufReader::new(watched.stdout.take().expect("a pipe")).lines();
    let mut next = || {
        let line = lines.next().expect("a line").expect("text");
        let line = &lines_of(line.as_bytes())[0];
        (line["name"].as_str().unwrap_or_default().to_owned(), line["state"].clone())
    };
    assert_eq!(next(), ("bills".to_owned(), "live".into()));
    assert_eq!(next(), ("orders".to_owned(), "catching-up".into()));
    // The same again is no news.
    send(RunnerReport { number: 2, ..report(2, "bills", RunnerState::Live) });
    send(RunnerReport { number: 2, ..report(1, "orders", RunnerState::Stopped) });
    assert_eq!(next(), ("orders".to_owned(), "stopped".into()));
    drop(lines);
    let ended = watched.wait().expect("it ends when its reader has gone");
    assert!(ended.success(), "{ended}");
}
