//! What is around a node: its log, its signals, the descriptors it may have, and who connects to it.

use std::fs::File;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

use quorate_tests::cluster::{PATIENCE, Turn, binary, take_turn, wait_for};
use tempfile::TempDir;

use super::{check, signal};

/// A cluster of one node whose outputs and limits a test chooses.
pub(crate) struct Alone {
    pub(crate) process: Child,
    pub(crate) address: String,
    pub(crate) peer_address: String,
    folder: TempDir,
    _turn: Turn,
}

impl Alone {
    /// Starts a node that logs to `log`, and founds its cluster. The shell runs `limits` first.
    pub(crate) fn start(log: Stdio, limits: &str) -> Alone {
        let turn = take_turn();
        let folder = tempfile::tempdir().expect("a folder");
        let addresses = quorate_node::free_addresses(2).expect("free ports");
        let [address, peer_address] = [0, 1].map(|at| addresses[at].to_string());
        let script = format!("{limits}\nexec \"$@\"");
        let process = Command::new("sh")
            .args(["-c", &script, "sh"])
            .arg(binary())
            .args(["serve", "--listen", &address, "--peer-listen", &peer_address, "--data"])
            .arg(folder.path().join("node"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("it starts");
        Alone { process, address, peer_address, folder, _turn: turn }
    }

    pub(crate) fn found(&mut self) {
        // The reader of its log goes as soon as there is nothing to be read any more.
        drop(self.process.stderr.take());
        wait_for("a cluster", PATIENCE, || {
            let ended = self.process.try_wait().expect("it can be asked");
            assert!(ended.is_none(), "the node ended: {ended:?}");
            let init = self.run(&["cluster", "init", "--chunk-size", "64KiB"]);
            init.status.success().then_some(())
        });
        wait_for("a leader", PATIENCE, || self.append().status.success().then_some(()));
    }

    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(binary());
        command.args(arguments).env("QUORATE_ENDPOINTS", &self.address).stdin(Stdio::null());
        command
    }

    pub(crate) fn run(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().expect("it runs")
    }

    pub(crate) fn append(&self) -> Output {
        self.run(&["append", "order-1", "--type", "T"])
    }

    pub(crate) fn signal(&self, name: &str) {
        signal(u64::from(self.process.id()), name);
    }

    /// Waits for the end of the process, and returns its exit code.
    pub(crate) fn ended(&mut self) -> Option<i32> {
        wait_for("the end", PATIENCE, || self.process.try_wait().expect("it can be waited for"))
            .code()
    }

    fn stopped_by_sigterm(&mut self) {
        self.signal("-TERM");
        assert_eq!(self.ended(), Some(0));
    }
}

impl Drop for Alone {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// An output on which everything fails, as on a full disk.
fn full() -> Stdio {
    File::options().write(true).open("/dev/full").expect("/dev/full").into()
}

#[test]
fn a_node_whose_log_nobody_reads_serves_on() {
    let mut node = Alone::start(Stdio::piped(), "");
    node.found();
    check(&node.append(), 0, "");
    node.stopped_by_sigterm();
}

#[test]
fn a_node_whose_log_is_full_serves_on() {
    let mut node = Alone::start(full(), "");
    node.found();
    check(&node.append(), 0, "");
    node.stopped_by_sigterm();
}

#[test]
fn a_node_whose_log_is_a_pipe_that_is_full_serves_on() {
    // The reader is there and reads nothing.
    let mut node = Alone::start(Stdio::piped(), "dd if=/dev/zero bs=64k count=1 >&2 2>/dev/null");
    let _reader = node.process.stderr.take();
    node.found();
    node.stopped_by_sigterm();
}

#[test]
fn a_consumer_and_a_feed_that_cannot_speak_go_on() {
    let mut node = Alone::start(Stdio::null(), "");
    node.found();
    check(&node.run(&["group", "create", "billing"]), 0, "");
    let consume = ["group", "consume", "billing", "--limit", "1", "--exec", "echo no >&2; exit 1"];
    let output = node.command(&consume).stderr(full()).output().expect("it runs");
    assert_eq!(output.status.code(), Some(0), "{output:?}");

    let mut subscribe = node.command(&["subscribe", "--limit", "3"]);
    let mut feed = subscribe.stdout(Stdio::piped()).stderr(full()).spawn().expect("it runs");
    let ended = wait_for("three events", PATIENCE, || {
        assert!(node.append().status.success());
        feed.try_wait().expect("it can be waited for")
    });
    assert!(ended.success(), "{ended}");
}
