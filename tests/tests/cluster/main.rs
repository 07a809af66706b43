//! Real processes: the main job under kills, races, bad input, garbage on the ports, damaged files, and
//! what the kernel says about durability and memory.
//!
//! What needs something that is not there (the real data set, strace) is skipped, and says so.

mod addresses;
mod appends;
mod damage;
mod dev;
mod folders;
mod main_job;
mod refusals;
mod scavenge;
mod sessions;
mod space;
mod stopped;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Output, Stdio};

use quorate_tests::cluster::Cluster;

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Asserts how a command ended and that it told why.
fn check(output: &Output, code: i32, why: &str) {
    let told = format!("{}{}", text(&output.stdout), text(&output.stderr));
    assert_eq!(output.status.code(), Some(code), "expected {why:?}, was told: {told}");
    assert!(told.contains(why), "expected {why:?}, was told: {told}");
    assert!(!told.contains("panicked"), "{told}");
}

fn begin_import(cluster: &Cluster, file: &Path) -> Child {
    let mut command = cluster.command(["import"]);
    command.arg(file).stdout(Stdio::null()).stderr(Stdio::piped());
    command.spawn().expect("the import starts")
}

fn finish_import(import: Child, cluster: &Cluster) {
    let output = import.wait_with_output().expect("it ends");
    let told = text(&output.stderr);
    assert!(output.status.success(), "the import ended badly: {told}\n{}", cluster.logs());
}

fn exports_are_equal(cluster: &Cluster, events: u64) -> Vec<u8> {
    for node in 0..3 {
        cluster.wait_for_position(node, events);
    }
    let [one, two, three] = [0, 1, 2].map(|node| cluster.export(node));
    assert!(one == two && two == three, "the nodes do not export the same bytes");
    one
}

/// All files below a folder.
fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() { found.extend(files(&path)) } else { found.push(path) }
    }
    found.sort();
    found
}
