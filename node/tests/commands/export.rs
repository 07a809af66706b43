//! `export` of a part of the log, to a file or a pipe.

use serde_json::json;

use super::{Node, lines_of, stderr_of};

/// Six events, of two categories and in a path.
fn filled() -> Node {
    let node = Node::start();
    let streams = ["order-1", "bill-1", "order-1", "acme/order-7", "acme/bill-7", "order-2"];
    let line = |stream| format!("{{\"stream\":\"{stream}\",\"type\":\"T\"}}\n");
    let file = node.file("all.ndjson", streams.map(line).concat());
    node.must(&["import", &file]);
    node
}

fn positions(node: &Node, arguments: &[&str]) -> Vec<u64> {
    let lines = node.must(&[&["export"], arguments].concat());
    lines.iter().filter_map(|line| line["position"].as_u64()).collect()
}

#[test]
fn a_part_of_the_log_is_exported() {
    let node = filled();
    assert_eq!(positions(&node, &[]), [1, 2, 3, 4, 5, 6]);
    assert_eq!(positions(&node, &["-"]), [1, 2, 3, 4, 5, 6]);
    assert_eq!(positions(&node, &["--category", "order"]), [1, 3, 4, 6]);
    assert_eq!(positions(&node, &["--path", "acme"]), [4, 5]);
    assert_eq!(positions(&node, &["--category", "order", "--after", "3"]), [4, 6]);
    assert_eq!(positions(&node, &["--until", "1d"]), [0; 0]);
    assert_eq!(positions(&node, &["--until", "9999-12-31T23:59:59.999999Z"]).len(), 6);
    assert_eq!(positions(&node, &["--node", &node.address]).len(), 6);
}

#[test]
fn a_file_is_exported_whole_or_not_at_all() {
    let node = filled();
    let out = node.file("out", "what was there before");
    assert_eq!(node.must(&["export", &out, "--json"]), [json!({"events": 6, "as_of": 6})]);
    let exported = std::fs::read(&out).expect("a file");
    assert_eq!(exported, node.run(&["export"]).stdout, "the same bytes as on standard output");
    let refused = node.run(&["export", "--endpoints", "127.0.0.1:1", &out]);
    assert_eq!(refused.status.code(), Some(1));
    assert_eq!(std::fs::read(&out).expect("a file"), exported, "a failure leaves the old file");
    for (target, why) in [("/nowhere/out", "No such file"), ("/", "directory")] {
        let refused = node.run(&["export", target]);
        assert_eq!(refused.status.code(), Some(1), "{refused:?}");
        assert!(stderr_of(&refused).contains(why), "{}", stderr_of(&refused));
    }
    let full = node.run(&["export", "/dev/full"]);
    assert_eq!(full.status.code(), Some(1), "{full:?}");
    assert!(stderr_of(&full).contains("No space left"), "{}", stderr_of(&full));
    let drafts = std::fs::read_dir(node.path()).expect("a folder").filter_map(Result::ok);
    let drafts = drafts.filter(|file| file.file_name().to_string_lossy().starts_with(".quorate"));
    assert_eq!(drafts.count(), 0, "no draft is left");
}

#[test]
fn an_event_as_large_as_may_be_is_exported_and_imported() {
    let (node, copy) = (Node::start(), Node::start());
    // Quotes included; and bytes that are no JSON take more as text.
    let text = format!("\"{}\"", "x".repeat((1 << 20) - 2));
    let bytes = vec![0xff; 1 << 20];
    for data in [text.as_bytes(), &bytes] {
        let arguments = ["append", "order-1", "--type", "T", "--data", "-"];
        let appended = node.run_with_input(&arguments, data);
        assert_eq!(appended.status.code(), Some(0), "{}", stderr_of(&appended));
    }
    let exported = node.run(&["export"]).stdout;
    let file = copy.file("exported", &exported);
    copy.must(&["import", &file]);
    let read = |node: &Node| {
        let mut lines = node.must(&["read", "order-1"]);
        lines.iter_mut().for_each(|line| line["recorded_at"] = json!(null));
        lines
    };
    assert!(read(&node) == read(&copy), "the copy differs");
    assert_eq!(read(&copy).len(), 2);
}

#[test]
fn an_export_is_imported_into_another_cluster_and_exported_again_alike() {
    let (node, copy) = (filled(), Node::start());
    let exported = node.run(&["export"]).stdout;
    let imported = copy.run_with_input(&["import", "-", "--json"], &exported);
    assert_eq!(imported.status.code(), Some(0), "{}", stderr_of(&imported));
    let strip = |bytes: &[u8]| {
        let mut lines = lines_of(bytes);
        lines.iter_mut().for_each(|line| line["recorded_at"] = json!(null));
        lines
    };
    assert_eq!(strip(&copy.run(&["export"]).stdout), strip(&exported));
}

#[test]
fn the_help_says_what_a_copy_does_not_keep() {
    let node = Node::start();
    let help = String::from_utf8(node.run(&["export", "--help"]).stdout).expect("text");
    for word in ["positions", "recorded", "settings", "deletions", "snapshots", "consumer groups"] {
        assert!(help.contains(word), "{word}: {help}");
    }
}

#[test]
fn an_export_that_finds_no_folder_names_the_file_and_not_its_draft() {
    let node = Node::start();
    let file = node.path().join("nowhere").join("events.ndjson");
    let file = file.to_str().expect("a name");
    let output = node.run(&["export", file]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert_eq!(
        stderr_of(&output),
        format!("error: {file}: No such file or directory (os error 2)\n")
    );
}
