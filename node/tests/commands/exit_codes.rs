//! The exit code states the verdict, even if nobody reads the output, and whether the output can be written.

use std::fs::File;
use std::process::Stdio;

use super::{Node, stderr_of};

/// Runs a command whose standard output nobody reads; returns its exit code.
fn unread(node: &Node, arguments: &[&str]) -> Option<i32> {
    let (reader, writer) = std::io::pipe().expect("a pipe");
    drop(reader);
    let mut command = node.command(arguments);
    command.arg("--json").stdout(writer).stderr(Stdio::null()).status().expect("it runs").code()
}

/// Runs a command whose standard output is full; returns its exit code and its standard error.
fn full(node: &Node, arguments: &[&str]) -> (Option<i32>, String) {
    let full = File::options().write(true).open("/dev/full").expect("there is one");
    let mut command = node.command(arguments);
    let output = command.arg("--json").stdout(full).stderr(Stdio::piped()).output();
    let output = output.expect("it runs");
    (output.status.code(), stderr_of(&output))
}

#[test]
fn the_exit_code_states_the_verdict_when_nobody_reads_the_output() {
    let mut node = Node::start();
    node.must(&["append", "o-1", "--type", "T", "--expect", "none"]);
    let bad = node.file("bad", "{\n");
    let data = node.path().join("data").to_str().expect("a name").to_owned();
    let nowhere = ["--endpoints", "127.0.0.1:1"];
    for (arguments, code) in [
        (vec!["append", "o-1", "--type", "T", "--expect", "none"], 3),
        ([&["append", "o-1", "--type", "T"][..], &nowhere].concat(), 1),
        ([&["read", "o-1"][..], &nowhere].concat(), 1),
        ([&["import", &bad][..], &nowhere].concat(), 1),
        ([&["stream", "delete", "o-1"][..], &nowhere].concat(), 1),
        ([&["snapshot", "put", "o-1", "--version", "1", "--data", "1"][..], &nowhere].concat(), 1),
        (vec!["import", &bad], 2),
        (vec!["import", "--check", &bad], 2),
        (vec!["stream", "delete", "o-1", "--expect", "9"], 3),
        (vec!["snapshot", "put", "o-1", "--version", "9", "--data", "1"], 3),
        (vec!["snapshot", "get", "o-1"], 1),
        (vec!["group", "show", "none"], 1),
        (vec!["scavenge", "--node", "127.0.0.1:1"], 1),
        (vec!["verify", &data], 1),
        // A command that did its work ends with 0, and a reader that has seen enough is no failure.
        (vec!["append", "o-1", "--type", "T", "--expect", "1"], 0),
        (vec!["snapshot", "put", "o-1", "--version", "1", "--data", "1"], 0),
        (vec!["group", "create", "g", "--query", "category:o"], 0),
        (vec!["read", "o-1"], 0),
        (vec!["scavenge"], 0),
        (vec!["stream", "delete", "o-1"], 0),
        (vec!["cluster", "init"], 0),
        (vec!["cluster", "status"], 0),
    ] {
        assert_eq!(unread(&node, &arguments), Some(code), "{arguments:?}");
    }
    node.process.kill().expect("it runs");
    node.process.wait().expect("it ends");
    assert_eq!(unread(&node, &["verify", &data]), Some(0));
    let identity = node.path().join("data/identity");
    let mut bytes = std::fs::read(&identity).expect("a file");
    bytes[20] ^= 0xff;
    std::fs::write(&identity, bytes).expect("a file");
    assert_eq!(unread(&node, &["verify", &data]), Some(1), "a damaged node is not whole");
}

#[test]
fn an_output_that_cannot_be_written_is_distinguished_from_work_that_was_not_done() {
    let node = Node::start();
    let done = "error: it is done, but standard output cannot be written";
    for arguments in [
        vec!["append", "o-1", "--type", "T", "--expect", "none"],
        vec!["snapshot", "put", "o-1", "--version", "1", "--data", "1"],
        vec!["group", "create", "g", "--query", "category:o"],
        vec!["group", "delete", "g", "--yes"],
        vec!["stream", "set", "o-1", "--max-count", "4"],
        vec!["scavenge"],
        vec!["cluster", "init"],
    ] {
        let (code, errors) = full(&node, &arguments);
        assert_eq!(code, Some(5), "{arguments:?}: {errors}");
        assert!(errors.starts_with(done), "{arguments:?}: {errors}");
    }
    assert_eq!(node.must(&["read", "o-1", "--json"]).len(), 1);
    // A rejection stays one; a command whose work is its output did not do it.
    for (arguments, code) in [
        (vec!["append", "o-1", "--type", "T", "--expect", "none"], 3),
        (vec!["read", "o-1"], 1),
        (vec!["export"], 1),
        (vec!["stream", "list"], 1),
        (vec!["cluster", "status"], 1),
        (vec!["snapshot", "get", "o-1"], 1),
    ] {
        let (ended, errors) = full(&node, &arguments);
        assert_eq!(ended, Some(code), "{arguments:?}: {errors}");
        assert!(errors.contains("No space left"), "{arguments:?}: {errors}");
    }
}

#[test]
fn nodes_that_cannot_be_reached_are_all_named_and_each_once() {
    let node = Node::start();
    let nobody = quorate_node::free_addresses(2).expect("free ports");
    let [first, second] = [0, 1].map(|at| nobody[at].to_string());
    let both = format!("{first},{second}");
    for arguments in [&["read", "order-1"][..], &["append", "order-1", "--type", "T"]] {
        let nowhere = [arguments, &["--endpoints", &both, "--timeout", "300ms"]].concat();
        let output = node.run(&nowhere);
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        let start = format!("error: no node answers at {first}, {second}; the last: ");
        assert!(stderr_of(&output).starts_with(&start), "{}", stderr_of(&output));
    }
    let output = node.run(&["scavenge", "--node", &first, "--timeout", "300ms"]);
    assert_eq!(stderr_of(&output).matches(&first).count(), 1, "{}", stderr_of(&output));
}
