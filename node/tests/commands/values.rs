//! Values at the edges: JSON that not every reader takes, numbers below zero, and times.

use super::{Node, stderr_of};

/// Appends an event whose data is this, from the command line; its exit code.
fn append(node: &Node, data: &str) -> Option<i32> {
    let output = node.run(&["append", "j-1", "--type", "T", "--data", data]);
    output.status.code()
}

fn raw(node: &Node) -> Vec<String> {
    let text = String::from_utf8(node.run(&["read", "j-1"]).stdout).expect("JSON is UTF-8");
    text.lines().map(str::to_owned).collect()
}

#[test]
fn json_comes_back_as_it_was_and_what_common_readers_refuse_is_refused() {
    let node = Node::start();
    let original = r#"{"a":1,"a":2,"n":12345678901234567890,"f":0.1234567890123456789,"e":1e999,"z":1.0,"d":"1987-11-07T00:00:00.000+01:00","s":"\u0000"}"#;
    for data in [original, "-5", "-0.5e-3", "{ \"a\" : 1 }"] {
        assert_eq!(append(&node, data), Some(0), "{data}");
    }
    for (given, shown) in raw(&node).iter().zip([original, "-5", "-0.5e-3", "{\"a\":1}"]) {
        assert!(given.ends_with(&format!("\"data\":{shown}}}")), "{given}");
    }
    let refused = node.run(&["append", "j-1", "--type", "T", "--data", r#""\ud800""#]);
    assert_eq!(refused.status.code(), Some(2));
    assert!(stderr_of(&refused).contains("half of a surrogate pair"), "{}", stderr_of(&refused));
    assert_eq!(append(&node, "NaN"), Some(2));
    let forgotten = node.run(&["append", "j-1", "--type", "T", "--data", "--tag", "a"]);
    assert_eq!(forgotten.status.code(), Some(2), "an option is no value: {forgotten:?}");
    // From a file or a pipe bytes are taken as they are, and shown in base64.
    let half = r#"{"stream":"j-1","type":"T","data":"\ud800"}"#;
    node.must(&["append", "--file", &node.file("half", half)]);
    let deep = "[".repeat(20_000) + &"]".repeat(20_000);
    let arguments = ["append", "j-1", "--type", "T", "--data", "-"];
    assert_eq!(node.run_with_input(&arguments, deep.as_bytes()).status.code(), Some(0));
    let read = node.must(&["read", "j-1", "--after", "4"]);
    assert_eq!(read[0]["data_base64"], "Ilx1ZDgwMCI=");
    assert!(read[1]["data_base64"].is_string() && read[1]["data"].is_null());
    assert_eq!(node.must(&["snapshot", "put", "j-1", "--version", "1", "--data", "-5"]).len(), 1);
    let metadata = ["append", "j-1", "--type", "T", "--metadata", "-1"];
    assert_eq!(node.run(&metadata).status.code(), Some(0));
}

#[test]
fn a_snapshot_of_a_newer_schema_is_passed_over_and_the_stream_read_whole() {
    let node = Node::start();
    for _ in 0..2 {
        assert_eq!(append(&node, "1"), Some(0));
    }
    let put = ["snapshot", "put", "j-1", "--version", "2", "--schema", "2", "--data", "2"];
    node.must(&put);
    let read = ["read", "j-1", "--with-snapshot", "--snapshot-schema"];
    let new = node.must(&[&read[..], &["2"]].concat());
    assert_eq!((new.len(), &new[0]["snapshot"]["schema"]), (1, &2.into()));
    for follow in [&[][..], &["--follow", "--limit", "2"]] {
        let old = node.must(&[&read[..], &["1"], follow].concat());
        assert_eq!((old.len(), &old[0]["snapshot_passed_over"]["schema"]), (3, &2.into()));
        assert_eq!((&old[1]["version"], &old[2]["version"]), (&1.into(), &2.into()));
    }
    let text = node.run(&[&read[..], &["1", "--output", "text"]].concat());
    assert!(String::from_utf8_lossy(&text.stdout).contains("schema 2 is passed over"), "{text:?}");
    assert_eq!(node.run(&["read", "j-1", "--snapshot-schema", "1"]).status.code(), Some(2));
}

#[test]
fn a_time_may_be_the_last_of_the_year_9999() {
    let node = Node::start();
    let end = "9999-12-31T23:59:59.999999Z";
    node.must(&["append", "j-1", "--type", "T", "--occurred-at", end]);
    assert_eq!(node.must(&["read", "j-1"])[0]["occurred_at"], end);
    let file = node
        .file("never", format!("{{\"stream\":\"n-1\",\"type\":\"T\",\"occurred_at\":\"{end}\"}}"));
    node.must(&["import", &file]);
    assert_eq!(node.must(&["read", "n-1", "--until", end]).len(), 1);
    let beyond = ["append", "j-1", "--type", "T", "--occurred-at", "9999-12-31T23:59:59-14:00"];
    let refused = node.run(&beyond);
    assert_eq!(refused.status.code(), Some(2));
    assert!(stderr_of(&refused).contains("lies outside the years"), "{}", stderr_of(&refused));
    let help = String::from_utf8(node.run(&["append", "--help"]).stdout).expect("text");
    let words: Vec<&str> = help.split_whitespace().collect();
    assert!(words.join(" ").contains("below a microsecond are cut off"), "{help}");
}
