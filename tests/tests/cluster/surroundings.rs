//! The surroundings of a node: its log, its signals, the descriptors that it may have, and its connections.

use std::fs::{self, File};
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use quorate_tests::cluster::{PATIENCE, Turn, binary, take_turn, wait_for};
use tempfile::TempDir;
use tokio::time::Instant;

use super::{check, signal, text};

/// A cluster of one node whose outputs and limits a test chooses.
struct Alone {
    process: Child,
    address: String,
    peer_address: String,
    metrics_address: String,
    _folder: TempDir,
    _turn: Turn,
}

impl Alone {
    /// Starts a node that logs to `log`, and founds its cluster. The shell runs `limits` first.
    fn start(log: Stdio, limits: &str) -> Alone {
        let turn = take_turn();
        let folder = tempfile::tempdir().expect("a folder");
        let addresses = quorate_node::free_addresses(3).expect("free ports");
        let [address, peer_address, metrics_address] =
            [0, 1, 2].map(|at| addresses[at].to_string());
        let script = format!("{limits}\nexec \"$@\"");
        let process = Command::new("sh")
            .args(["-c", &script, "sh"])
            .arg(binary())
            .args(["serve", "--listen", &address, "--peer-listen", &peer_address])
            .args(["--metrics-listen", &metrics_address, "--data"])
            .arg(folder.path().join("node"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("it starts");
        Alone { process, address, peer_address, metrics_address, _folder: folder, _turn: turn }
    }

    fn found(&mut self) {
        // The reader of its log goes as soon as there is nothing more to read.
        drop(self.process.stderr.take());
        wait_for("a cluster", PATIENCE, || {
            let ended = self.process.try_wait().expect("it can be asked");
            assert!(ended.is_none(), "the node ended: {ended:?}");
            let init = self.run(&["cluster", "init", "--chunk-size", "64KiB"]);
            init.status.success().then_some(())
        });
        wait_for("a leader", PATIENCE, || self.append().status.success().then_some(()));
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(binary());
        command.args(arguments).env("QUORATE_ENDPOINTS", &self.address).stdin(Stdio::null());
        command
    }

    fn run(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().expect("it runs")
    }

    fn append(&self) -> Output {
        self.run(&["append", "order-1", "--type", "T"])
    }

    fn signal(&self, name: &str) {
        signal(u64::from(self.process.id()), name);
    }

    /// Waits for the end of the process, and returns its exit code.
    fn ended(&mut self) -> Option<i32> {
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

/// Returns an output on which every write fails, as on a full disk.
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
    // The reader of the log exists but reads nothing.
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

/// Connects as a client that sends `bytes` and then nothing.
fn connect(address: &str, bytes: &[u8]) -> TcpStream {
    let mut connection = TcpStream::connect(address).expect("connected");
    // The node may have closed the connection already.
    let _ = connection.write_all(bytes);
    connection.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    connection
}

/// Waits until the node has closed the connection.
fn is_closed(mut connection: TcpStream) {
    let mut received = Vec::new();
    if let Err(error) = connection.read_to_end(&mut received) {
        assert_eq!(error.kind(), ErrorKind::ConnectionReset, "it is open after {PATIENCE:?}");
    }
}

/// Returns the processor time that a process has taken so far, in hundredths of a second.
fn processor_time(pid: u32) -> u64 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).expect("it runs");
    let fields = stat.rsplit(") ").next().expect("fields").split(' ');
    fields.skip(11).take(2).map(|ticks| ticks.parse::<u64>().expect("a number")).sum()
}

#[test]
fn silent_and_half_open_connections_cost_little_are_closed_and_keep_nobody_out() {
    let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    let mut node = Alone::start(Stdio::null(), "ulimit -n 256");
    node.found();
    let (began_at, before) = (Instant::now(), processor_time(node.process.id()));
    let mut open: Vec<TcpStream> = (0..300).map(|_| connect(&node.address, b"")).collect();
    open.extend((0..100).map(|_| connect(&node.peer_address, b"")));
    open.extend((0..20).map(|_| connect(&node.address, &preface[..10])));
    open.extend((0..20).map(|_| connect(&node.peer_address, preface)));
    open.extend((0..20).map(|_| connect(&node.address, preface)));

    // Enough data that the node creates files while the connections are open.
    let data = format!("\"{}\"", "x".repeat(30_000));
    for _ in 0..10 {
        check(&node.run(&["append", "order-2", "--type", "T", "--data", &data]), 0, "");
    }
    open.into_iter().for_each(is_closed);
    let taken = processor_time(node.process.id()) - before;
    let all = u64::try_from(began_at.elapsed().as_millis() / 10).expect("a short time");
    assert!(taken < all / 2, "{taken} of {all}");
    assert!(node.append().status.success());
    node.stopped_by_sigterm();
}

#[test]
fn silent_connections_to_the_metrics_keep_no_scraper_out_and_half_a_request_is_closed() {
    let mut node = Alone::start(Stdio::null(), "ulimit -n 256");
    node.found();
    let half = b"GET /metrics HTTP/1.1\r\nHost: a\r\n";
    let beginnings = [&half[..], b"", b"GET"];
    let open: Vec<TcpStream> = beginnings
        .iter()
        .cycle()
        .take(300)
        .map(|bytes| connect(&node.metrics_address, bytes))
        .collect();
    let whole = [&half[..], b"\r\n"].concat();
    let scraped = wait_for("the metrics", PATIENCE, || {
        let mut scraper = connect(&node.metrics_address, &whole);
        scraper.set_read_timeout(Some(Duration::from_secs(5))).expect("a timeout");
        let mut answer = String::new();
        scraper.read_to_string(&mut answer).ok()?;
        answer.contains("quorate_").then_some(answer)
    });
    assert!(scraped.starts_with("HTTP/1.1 200"), "{scraped}");
    check(&node.append(), 0, "");
    let began_at = Instant::now();
    open.into_iter().for_each(is_closed);
    assert!(began_at.elapsed() < Duration::from_secs(15), "{:?}", began_at.elapsed());
    node.stopped_by_sigterm();
}

#[test]
fn a_hang_up_is_logged_and_ignored_and_sigterm_ends_a_node_that_has_readers() {
    let log = tempfile::NamedTempFile::new().expect("a file");
    let mut node = Alone::start(log.reopen().expect("a file").into(), "");
    node.found();
    check(&node.run(&["group", "create", "billing"]), 0, "");
    let mut attached: Vec<Child> =
        [&["subscribe"][..], &["group", "consume", "billing", "--name", "worker"]]
            .map(|command| {
                node.command(command)
                    .stdout(Stdio::null())
                    .stderr(Stdio::null())
                    .spawn()
                    .expect("runs")
            })
            .into();
    wait_for("a consumer", PATIENCE, || {
        let shown = node.run(&["group", "show", "billing"]);
        text(&shown.stdout).contains("worker").then_some(())
    });
    node.signal("-HUP");
    wait_for("a word about it", PATIENCE, || {
        fs::read_to_string(log.path()).ok()?.contains("SIGHUP").then_some(())
    });
    assert!(node.append().status.success());
    let began_at = Instant::now();
    node.stopped_by_sigterm();
    assert!(began_at.elapsed() < Duration::from_secs(10), "{:?}", began_at.elapsed());
    for process in &mut attached {
        process.kill().expect("it can be killed");
        process.wait().expect("it ends");
    }
}

#[test]
fn a_signal_that_comes_twice_at_once_stops_a_node_in_order() {
    let log = tempfile::NamedTempFile::new().expect("a file");
    let mut node = Alone::start(log.reopen().expect("a file").into(), "");
    node.found();
    assert!(node.append().status.success());
    // `timeout` sends its signal to the process and once more to its group.
    (0..3).for_each(|_| node.signal("-TERM"));
    assert_eq!(node.ended(), Some(0));
    let output = fs::read_to_string(log.path()).expect("a log");
    assert!(output.contains(" stopped"), "{output}");
}
