//! `import` from files, pipes and standard input.

use std::io::Write;
use std::process::Stdio;

use serde_json::Value;
use tokio::time::Instant;

use super::{Node, PATIENCE, lines_of, stderr_of};

fn lines(stream: &str, count: u64) -> String {
    let line = |number| format!("{{\"stream\":\"{stream}-{number}\",\"type\":\"T\"}}\n");
    (1..=count).map(line).collect()
}

fn counts(totals: &Value) -> (u64, u64, u64) {
    let of = |field: &str| totals[field].as_u64().expect("a number");
    (of("events"), of("appended"), of("already_there"))
}

#[test]
fn a_pipe_is_imported_whole_and_again_adds_nothing() {
    let node = Node::start();
    // There are more lines than one window, so that nothing may be read ahead and discarded.
    let text = lines("a", 5000);
    for (argument, found) in [("-", 0), ("/dev/stdin", 5000), ("-", 5000)] {
        let output = node.run_with_input(&["import", argument, "--json"], text.as_bytes());
        assert_eq!(output.status.code(), Some(0), "{}", stderr_of(&output));
        let totals = &lines_of(&output.stdout)[0];
        assert_eq!(counts(totals), (5000, 5000 - found, found), "{totals}");
        assert_eq!(totals["streams"], 5000);
    }
    assert_eq!(node.must(&["export"]).len(), 5000);
    let again = node.must(&["import", &node.file("same", &text), "--json"]);
    assert_eq!(counts(&again[0]), (5000, 0, 5000), "a file is counted as a pipe is");
    let more = node.must(&["import", &node.file("more", text + &lines("b", 3)), "--json"]);
    assert_eq!(counts(&more[0]), (5003, 3, 5000));
}

#[test]
fn a_fifo_is_imported_as_its_lines_come() {
    let node = Node::start();
    let fifo = node.path().join("fifo");
    let made = std::process::Command::new("mkfifo").arg(&fifo).status().expect("mkfifo runs");
    assert!(made.success());
    let name = fifo.to_str().expect("a name");
    let mut import = node.command(&["import", name, "--json"]);
    let import = import.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it starts");
    let mut writer = std::fs::File::options().write(true).open(&fifo).expect("its reader");
    writer.write_all(lines("a", 2).as_bytes()).expect("its reader");
    // The pipe pauses, and the lines that came are in the store.
    let started = Instant::now();
    while node.must(&["export"]).len() < 2 {
        assert!(started.elapsed() < PATIENCE, "the lines wait for those behind them");
    }
    writer.write_all(lines("b", 1).as_bytes()).expect("its reader");
    drop(writer);
    let output = import.wait_with_output().expect("it ends");
    assert_eq!(output.status.code(), Some(0), "{}", stderr_of(&output));
    assert_eq!(counts(&lines_of(&output.stdout)[0]), (3, 3, 0));
}

#[test]
fn a_pipe_cannot_be_checked_first_and_that_is_reported_before_anything_is_read() {
    let node = Node::start();
    let output = node.run_with_input(&["import", "--check", "-"], lines("a", 3).as_bytes());
    assert_eq!(output.status.code(), Some(2), "{}", stderr_of(&output));
    assert!(stderr_of(&output).contains("can be read only once"), "{}", stderr_of(&output));
    assert_eq!(node.must(&["export"]).len(), 0);
}

#[test]
fn a_byte_order_mark_is_passed_over_and_another_format_is_named() {
    let node = Node::start();
    let text = "\u{feff}{\"stream\":\"bom-1\",\"type\":\"T\"}\r\n{\"stream\":\"bom-1\",\"type\":\"T\"}\r\n";
    let marked = node.file("marked", text);
    assert_eq!(counts(&node.must(&["import", &marked, "--json"])[0]), (2, 2, 0));
    let unix = node.file("unix", text.trim_start_matches('\u{feff}').replace("\r\n", "\n"));
    assert_eq!(counts(&node.must(&["import", &unix, "--json"])[0]), (2, 0, 2), "the same ids");
    node.must(&["append", "--file", &marked]);
    let utf16: Vec<u8> = text.encode_utf16().flat_map(u16::to_le_bytes).collect();
    let utf16 = node.file("utf16", utf16);
    for arguments in [["import", &utf16], ["append", "--file"]] {
        let mut arguments = arguments.to_vec();
        arguments.extend((arguments[0] == "append").then_some(utf16.as_str()));
        let output = node.run(&arguments);
        assert_eq!(output.status.code(), Some(2), "{output:?}");
        assert!(stderr_of(&output).contains("UTF-16"), "{}", stderr_of(&output));
    }
}

#[test]
fn a_refused_import_names_what_it_read_and_what_is_in_the_store() {
    let node = Node::start();
    let broken = node.run_with_input(&["import", "-"], b"x");
    assert_eq!(broken.status.code(), Some(2), "{broken:?}");
    let errors = stderr_of(&broken);
    assert!(errors.starts_with("error: standard input:1: "), "{errors}");
    assert!(errors.ends_with("; nothing was appended\n"), "{errors}");
    let twice = node.run_with_input(&["import", "--check", "-"], b"");
    assert!(stderr_of(&twice).starts_with("error: standard input is no regular file"), "{twice:?}");
    let folder = node.path().to_str().expect("a name");
    let refused = node.run(&["import", folder]);
    assert_eq!(refused.status.code(), Some(1), "{refused:?}");
    assert_eq!(stderr_of(&refused), format!("error: {folder}: is a folder\n"));
}
