//! The commands about streams, run as at a shell: conditions, lists, settings, deletions, tombstones,
//! snapshots, and scavenges.

use std::process::Output;

use quorate_tests::cluster::{Cluster, json_lines};
use serde_json::{Value, json};

/// Runs a command that must end with `code`; returns the first line of its JSON.
fn ended(cluster: &Cluster, code: i32, arguments: &[&str]) -> Value {
    let output = cluster.run(arguments.iter().chain(&["--json"]).copied());
    let Output { status, stdout, stderr } = &output;
    let errors = String::from_utf8_lossy(stderr);
    assert_eq!(status.code(), Some(code), "{arguments:?}: {errors}\n{}", cluster.logs());
    json_lines(stdout).into_iter().next().unwrap_or(Value::Null)
}

fn done(cluster: &Cluster, arguments: &[&str]) -> Value {
    ended(cluster, 0, arguments)
}

fn versions(cluster: &Cluster, arguments: &[&str]) -> Vec<u64> {
    let lines = json_lines(&cluster.must(arguments.iter().chain(&["--json"]).copied()));
    lines.iter().filter_map(|line| line["version"].as_u64()).collect()
}

#[test]
fn conditions_tags_and_correlation_ids_work_from_the_command_line() {
    let cluster = Cluster::start("64MiB");
    let enrol = |stream: &'static str, after: &'static str| {
        let unless = "type:Enrolled,tag:course:c1 or stream:limits-7";
        vec![
            "append",
            stream,
            "--type",
            "Enrolled",
            "--tag",
            "course:c1",
            "--correlation",
            "cmd-1",
            "--unless",
            unless,
            "--after",
            after,
        ]
    };
    let first = done(&cluster, &enrol("student-1", "0"));
    assert_eq!(first, json!({"position": 1, "versions": {"student-1": 1}}));
    let refused = ended(&cluster, 3, &enrol("student-2", "0"));
    assert_eq!(refused["error"], "conflict", "{refused}");
    assert_eq!(refused["violations"], json!([{"condition": 0, "position": 1}]));
    done(&cluster, &enrol("student-2", "1"));
    done(&cluster, &["append", "limits-7", "--type", "Frozen"]);
    let refused = ended(&cluster, 3, &enrol("student-3", "2"));
    assert_eq!(refused["violations"], json!([{"condition": 0, "position": 3}]));
    for wrong in [
        &["append", "a-1", "--type", "T", "--unless", "kind:T", "--after", "0"][..],
        &["append", "a-1", "--type", "T", "--unless", "type:T"],
        &["append", "a-1", "--type", "T", "--unless", "*", "--unless", "*", "--after", "0"],
    ] {
        assert_eq!(cluster.run(wrong.iter().copied()).status.code(), Some(2), "{wrong:?}");
    }
    assert_eq!(versions(&cluster, &["read", "--tag", "course:c1"]), [1, 1]);
    assert_eq!(versions(&cluster, &["read", "--correlation", "cmd-1", "--limit", "1"]), [1]);
    assert_eq!(versions(&cluster, &["read", "student-1", "--tag", "course:c2"]), [0; 0]);
    cluster.check_logs();
}

/// Returns the values that the lines of a list have in one of their fields.
fn names(lines: &[Value], field: &str) -> Vec<String> {
    lines.iter().filter_map(|line| Some(line[field].as_str()?.to_owned())).collect()
}

#[test]
fn what_there_is_is_listed_from_the_command_line_and_read_as_a_tree() {
    let mut cluster = Cluster::start("64KiB");
    let ids: Vec<String> =
        (1..=3).map(|number| format!("0190c5f0-0000-7000-8000-00000000000{number}")).collect();
    let append = |cluster: &Cluster, stream: &str, cause: &str, id: &str| {
        let line = json!({"stream": stream, "type": "Made", "data": {"n": 1}, "id": id,
            "correlation_id": "cmd-1", "causation_id": cause});
        let path = cluster.folder().join("event.ndjson");
        std::fs::write(&path, line.to_string()).expect("written");
        done(cluster, &["append", "--file", path.to_str().expect("a path")]);
    };
    append(&cluster, "acme/order-1", "", &ids[0]);
    append(&cluster, "bill-1", &ids[0], &ids[1]);
    append(&cluster, "acme/order-1", &ids[1], &ids[2]);
    done(&cluster, &["append", "order-2", "--type", "Other"]);
    done(&cluster, &["append", "gone-1", "--type", "Other"]);
    done(&cluster, &["stream", "delete", "gone-1"]);

    let list = |cluster: &Cluster, arguments: &[&str]| {
        let all = ["stream", "list", "--json"].iter().chain(arguments);
        json_lines(&cluster.must(all.copied()))
    };
    let streams = list(&cluster, &[]);
    assert_eq!(names(&streams, "stream"), ["acme/order-1", "bill-1", "order-2"]);
    assert_eq!(
        streams[0],
        json!({"stream": "acme/order-1", "events": 2, "version": 2, "first_version": 1})
    );
    // Once the first node is gone, another one answers, and lists the same.
    cluster.nodes[0].kill();
    for (arguments, field, expected) in [
        (&["--all"][..], "stream", vec!["acme/order-1", "bill-1", "gone-1", "order-2"]),
        (&["--system", "--limit", "1"], "stream", vec!["$$gone-1"]),
        (&["--category", "order"], "stream", vec!["acme/order-1", "order-2"]),
        (&["--path", "acme"], "stream", vec!["acme/order-1"]),
        (&["--prefix", "bill-"], "stream", vec!["bill-1"]),
        (&["--after", "acme/order-1", "--limit", "1"], "stream", vec!["bill-1"]),
        (&["--categories"], "category", vec!["bill", "gone", "order"]),
        (&["--paths"], "path", vec!["acme"]),
        (&["--types"], "type", vec!["Made", "Other"]),
    ] {
        assert_eq!(names(&list(&cluster, arguments), field), expected, "{arguments:?}");
    }
    assert_eq!(list(&cluster, &["--types"])[0], json!({"type": "Made", "events": 3}));
    for wrong in [&["--types", "--paths"][..], &["--types", "--all"], &["--paths", "--path", "a"]] {
        let all = ["stream", "list"].iter().chain(wrong);
        assert_eq!(cluster.run(all.copied()).status.code(), Some(2), "{wrong:?}");
    }

    let lines = json_lines(&cluster.must(["read", "--correlation", "cmd-1", "--json"]));
    let positions: Vec<_> = lines.iter().map(|line| line["position"].clone()).collect();
    assert_eq!(positions, [json!(1), json!(2), json!(3)]);
    cluster.check_logs();
}

#[test]
fn settings_ends_and_snapshots_work_from_the_command_line() {
    let cluster = Cluster::start("64KiB");
    for number in 0..6 {
        let expect = number.to_string();
        done(
            &cluster,
            &["append", "order-42", "--type", "Paid", "--data", "{}", "--expect", &expect],
        );
    }
    let put = ["snapshot", "put", "order-42", "--version", "4", "--data", "{\"total\": 4}"];
    assert_eq!(done(&cluster, &put), json!({"stream": "order-42", "version": 4}));
    assert_eq!(
        ended(&cluster, 3, &["snapshot", "put", "order-42", "--version", "9", "--data", "1"])["error"],
        "conflict"
    );
    let snapshot = done(&cluster, &["snapshot", "get", "order-42"]);
    assert_eq!((&snapshot["version"], &snapshot["data"]), (&json!(4), &json!({"total": 4})));
    let read = json_lines(&cluster.must(["read", "order-42", "--with-snapshot", "--json"]));
    assert_eq!(read[0]["snapshot"]["version"], 4, "{read:?}");
    assert_eq!((&read[1]["version"], &read[2]["version"], read.len()), (&json!(5), &json!(6), 3));

    let set = done(&cluster, &["stream", "set", "order-42", "--max-count", "4"]);
    assert_eq!(set, json!({"position": 7, "versions": {"$$order-42": 1}}));
    assert_eq!(versions(&cluster, &["read", "order-42"]), [3, 4, 5, 6]);
    done(&cluster, &["stream", "set", "--category", "order", "--max-age", "30d"]);
    done(&cluster, &["stream", "truncate", "order-42", "--before", "5", "--expect", "6"]);
    let shown = done(&cluster, &["stream", "show", "order-42"]);
    assert_eq!((&shown["version"], &shown["first_version"]), (&json!(6), &json!(5)), "{shown}");
    assert_eq!(shown["settings"], json!({"max_count": 4, "truncate_before": 5}));
    assert_eq!(shown["in_force"]["max_age_us"], 30_u64 * 24 * 3600 * 1_000_000, "{shown}");
    let category = done(&cluster, &["stream", "show", "--category", "order"]);
    assert_eq!(category["category"], "order", "{category}");
    let system = json_lines(&cluster.must(["read", "$$order-42", "--json"]));
    let types: Vec<&str> = system.iter().filter_map(|event| event["type"].as_str()).collect();
    assert_eq!(types, ["$settings", "$settings"]);
    assert!(!versions(&cluster, &["read", "--system"]).is_empty());

    let late = ended(&cluster, 3, &["stream", "delete", "order-42", "--expect", "5"]);
    assert_eq!(late["failures"][0]["actual"], 6, "{late}");
    let delete = ["stream", "delete", "order-42", "--id", "0190c5f0-0000-7000-8000-000000000001"];
    assert_eq!(done(&cluster, &delete), done(&cluster, &delete), "a repetition is recognized");
    assert_eq!(versions(&cluster, &["read", "order-42"]), [0; 0]);
    assert_eq!(cluster.run(["snapshot", "get", "order-42"]).status.code(), Some(1));
    let again = done(&cluster, &["append", "order-42", "--type", "Paid", "--expect", "none"]);
    assert_eq!(again["versions"]["order-42"], 7, "numbering goes on");
    done(&cluster, &["stream", "tombstone", "order-42", "--yes"]);
    let closed = ended(&cluster, 3, &["append", "order-42", "--type", "Paid"]);
    assert_eq!(closed["error"], "stream_closed", "{closed}");

    let nodes = json_lines(&cluster.must(["scavenge", "--json"]));
    assert_eq!(nodes.len(), 3, "{nodes:?}");
    let one = done(&cluster, &["scavenge", "--node", &cluster.nodes[1].address]);
    assert_eq!(one["address"], cluster.nodes[1].address.as_str(), "{one}");
    let status = done(&cluster, &["cluster", "status"]);
    assert!(status["free_bytes"].as_u64().is_some_and(|free| free > 0), "{status}");
    assert_eq!((&status["low_on_space"], &status["damaged_chunks"]), (&json!(false), &json!(0)));
    cluster.check_logs();
}
