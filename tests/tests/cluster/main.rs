//! Tests with real processes: the main job under kills, races, bad input, garbage on the ports, damaged
//! files, and durability and memory as the kernel reports them.
//!
//! A test that needs something that is missing (the real data set, strace) is skipped, and prints that it is.

mod addresses;
mod appends;
mod damage;
mod dev;
mod folders;
mod health;
mod main_job;
mod members;
mod python;
mod refusals;
mod scavenge;
mod sessions;
mod space;
mod stopped;
mod surroundings;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use quorate_tests::cluster::Cluster;

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Asserts that a command ended with `code`, printed `why`, and did not panic.
fn check(output: &Output, code: i32, why: &str) {
    let printed = format!("{}{}", text(&output.stdout), text(&output.stderr));
    assert_eq!(output.status.code(), Some(code), "expected {why:?}, printed: {printed}");
    assert!(printed.contains(why), "expected {why:?}, printed: {printed}");
    assert!(!printed.contains("panicked"), "{printed}");
}

fn begin_import(cluster: &Cluster, file: &Path) -> Child {
    let mut command = cluster.command(["import"]);
    command.arg(file).stdout(Stdio::null()).stderr(Stdio::piped());
    command.spawn().expect("the import starts")
}

fn finish_import(import: Child, cluster: &Cluster) {
    let output = import.wait_with_output().expect("it ends");
    let errors = text(&output.stderr);
    assert!(output.status.success(), "the import ended badly: {errors}\n{}", cluster.logs());
}

fn exports_are_equal(cluster: &Cluster, events: u64) -> Vec<u8> {
    for node in 0..3 {
        cluster.wait_for_position(node, events);
    }
    let [one, two, three] = [0, 1, 2].map(|node| cluster.export(node));
    assert!(one == two && two == three, "the nodes do not export the same bytes");
    one
}

/// Returns all files below a folder, sorted by path.
fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() { found.extend(files(&path)) } else { found.push(path) }
    }
    found.sort();
    found
}

/// Sends a signal to a process.
fn signal(pid: u64, signal: &str) {
    let sent = Command::new("kill").args([signal, &pid.to_string()]).status().expect("kill runs");
    assert!(sent.success());
}
