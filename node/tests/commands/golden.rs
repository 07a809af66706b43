//! The JSON that commands print is a contract: the fields, their order, and the fields that are left out.

use std::path::Path;
use std::process::Command;

use super::{BINARY, Node};

/// The session: commands of a shell, each with what it prints and its exit code if that is not 0.
const GOLDEN: &str = include_str!("golden.txt");
/// The fields whose values differ from run to run.
const VARYING: [&str; 22] = [
    "log_time",
    "recorded_at",
    "parked_at",
    "cluster",
    "address",
    "peer_address",
    "term",
    "committed",
    "applied",
    "checkpointed",
    "disk_bytes",
    "free_bytes",
    "pid",
    "scrubbed_bytes",
    "seconds",
    "appends_per_second",
    "events_per_second",
    "p50_us",
    "p99_us",
    "p999_us",
    "bytes_freed",
    "message",
];

#[test]
fn the_json_of_commands_is_what_programs_rely_on() {
    let node = Node::start();
    for (typed, expected) in steps() {
        let printed = run(&node, typed);
        let (mut printed_lines, mut lines) = (printed.lines(), expected.lines());
        loop {
            let (is, must_be) = (printed_lines.next(), lines.next());
            assert_eq!(is, must_be, "in the output of `{typed}`");
            if is.is_none() {
                break;
            }
        }
    }
}

/// Returns the commands of the session, each with its output.
fn steps() -> impl Iterator<Item = (&'static str, &'static str)> {
    let steps = GOLDEN.split("\n$ ").skip(1);
    steps.map(|step| step.split_once('\n').unwrap_or((step, "")))
}

/// Runs a line in a shell whose `quorate` is the binary; returns what it prints, without what differs from run to run.
fn run(node: &Node, line: &str) -> String {
    let folder = Path::new(BINARY).parent().expect("it lies in a folder");
    let search = format!("{}:{}", folder.display(), std::env::var("PATH").unwrap_or_default());
    let mut shell = Command::new("sh");
    shell.args(["-c", line]).current_dir(node.path()).env("PATH", search);
    let output = shell.env("QUORATE_ENDPOINTS", &node.address).output().expect("a shell runs");
    let text = String::from_utf8(output.stdout).expect("JSON is UTF-8");
    let mut text = text.replace(env!("CARGO_PKG_VERSION"), "VERSION");
    for field in VARYING {
        text = masked(&text, &format!("\"{field}\":"));
    }
    match output.status.code() {
        Some(0) => text,
        code => text + &format!("exit code {}\n", code.unwrap_or(-1)),
    }
}

/// Replaces the value behind each occurrence of the key.
fn masked(text: &str, key: &str) -> String {
    let mut parts = text.split(key);
    let mut masked = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let end = match part.strip_prefix('"') {
            Some(value) => value.find('"').map(|end| end + 2),
            None => part.find([',', '}']),
        };
        masked.push_str(key);
        masked.push('~');
        masked.push_str(part.get(end.unwrap_or(part.len())..).unwrap_or_default());
    }
    masked
}
