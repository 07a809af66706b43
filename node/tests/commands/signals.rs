//! Signals that ask commands to end: SIGHUP, when their terminal has gone, as SIGTERM.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

use tokio::time::Instant;

use super::{BINARY, Node, PATIENCE, lines_of, stderr_of};

fn signal(process: &Child, name: &str) {
    let status = Command::new("kill").args([name, &process.id().to_string()]).status();
    assert!(status.expect("kill runs").success());
}

/// Waits for something, which must come.
fn wait_for<T>(what: &str, mut find: impl FnMut() -> Option<T>) -> T {
    let began_at = Instant::now();
    loop {
        if let Some(found) = find() {
            return found;
        }
        assert!(began_at.elapsed() < PATIENCE, "{what} does not come");
        std::thread::yield_now();
    }
}

fn end(mut process: Child) -> Output {
    wait_for("the end", || process.try_wait().expect("it can be waited for"));
    process.wait_with_output().expect("it has ended")
}

fn spawn(command: &mut Command) -> Child {
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it runs")
}

/// A node with one event and a group.
fn with_a_group() -> Node {
    let node = Node::start();
    node.must(&["append", "order-1", "--type", "Placed"]);
    node.must(&["group", "create", "billing", "--query", "category:order"]);
    node
}

fn floor_and_failed(node: &Node) -> [u64; 2] {
    let shown = node.must(&["group", "show", "billing"]).remove(0);
    ["floor", "failed"].map(|field| shown[field].as_u64().expect("a number"))
}

#[test]
fn a_consumer_whose_terminal_has_gone_lets_its_handler_end_and_reports_what_is_settled() {
    let node = with_a_group();
    let begun = node.path().join("begun");
    let handler =
        format!("trap 'exit 0' TERM; echo $$ > {}; while :; do sleep 0.05; done", begun.display());
    let consume = ["group", "consume", "billing", "--exec", &handler, "--grace", "30s"];
    let consumer = spawn(&mut node.command(&consume));
    wait_for("a handler", || {
        std::fs::read_to_string(&begun).ok().filter(|pid| pid.ends_with('\n'))
    });
    signal(&consumer, "-HUP");
    let ended = end(consumer);
    assert_eq!(ended.status.code(), Some(0), "{ended:?}");
    assert_eq!(floor_and_failed(&node), [1, 0], "the handler had the time to end");
}

#[test]
fn a_consumer_that_prints_ends_in_order_when_its_terminal_has_gone_unless_it_is_set_to_ignore_it() {
    let node = with_a_group();
    let mut consumer = spawn(&mut node.command(&["group", "consume", "billing"]));
    let mut printed = String::new();
    let mut lines = BufReader::new(consumer.stdout.take().expect("a pipe"));
    lines.read_line(&mut printed).expect("a line");
    signal(&consumer, "-HUP");
    let ended = end(consumer);
    assert_eq!((ended.status.code(), stderr_of(&ended).as_str()), (Some(0), ""));
    assert_eq!(floor_and_failed(&node), [1, 0], "what was read is settled");

    // The shell starts it as `nohup` does.
    let script = "trap '' HUP; exec \"$@\"";
    let mut command = Command::new("sh");
    command.args(["-c", script, "sh", BINARY, "group", "consume", "billing", "--limit", "1"]);
    command.env("QUORATE_ENDPOINTS", &node.address).stdin(Stdio::null());
    let consumer = spawn(&mut command);
    wait_for("a consumer", || {
        let shown = node.must(&["group", "show", "billing"]).remove(0);
        shown["consumers"].as_array().is_some_and(|all| !all.is_empty()).then_some(())
    });
    signal(&consumer, "-HUP");
    node.must(&["append", "order-1", "--type", "Paid"]);
    let ended = end(consumer);
    assert_eq!((ended.status.code(), stderr_of(&ended).as_str()), (Some(0), ""));
    assert_eq!(lines_of(&ended.stdout).len(), 1, "it went on: {ended:?}");
}

#[test]
fn a_local_cluster_ends_in_order_when_its_terminal_has_gone() {
    let folder = tempfile::tempdir().expect("a folder");
    let free = quorate_node::free_addresses(1).expect("a free port");
    let port = free[0].port().to_string();
    let mut command = Command::new(BINARY);
    command.args(["dev", "--nodes", "1", "--port", &port, "--data"]).arg(folder.path());
    let mut dev = spawn(command.stdin(Stdio::null()));
    let mut lines = BufReader::new(dev.stdout.take().expect("a pipe")).lines();
    let mut comes = |start: &str| {
        let mut lines = lines.by_ref().map(|line| line.expect("text"));
        assert!(lines.any(|line| line.starts_with(start)), "no line begins with `{start}`");
    };
    comes("ready: ");
    signal(&dev, "-HUP");
    comes("stopped");
    assert_eq!(end(dev).status.code(), Some(0));
}

/// The names of what lies in a folder.
fn names(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).expect("a folder");
    entries.map(|entry| entry.expect("an entry").file_name().to_string_lossy().into()).collect()
}

#[test]
fn an_export_that_is_asked_to_end_leaves_no_half_file_behind() {
    let node = Node::start();
    let data = "x".repeat(1000);
    let line = format!("{{\"stream\":\"order-1\",\"type\":\"Made\",\"data\":\"{data}\"}}\n");
    node.must(&["import", &node.file("all.ndjson", line.repeat(20_000))]);
    let folder = node.path().join("exported");
    std::fs::create_dir(&folder).expect("a folder");
    let file = folder.join("events.ndjson");
    let export = ["export", file.to_str().expect("a name")];
    let exporter = spawn(&mut node.command(&export));
    wait_for("a draft", || (!names(&folder).is_empty()).then_some(()));
    // More is to come than what may be on its way.
    signal(&node.process, "-STOP");
    signal(&exporter, "-TERM");
    let ended = end(exporter);
    signal(&node.process, "-CONT");
    assert_eq!(ended.status.code(), Some(1), "{ended:?}");
    assert!(stderr_of(&ended).contains("told to end before it was whole"), "{}", stderr_of(&ended));
    assert_eq!(names(&folder), [""; 0]);
}
