//! Real clusters: `quorate` processes on free ports and a temporary folder, which can be killed.

use std::env;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;
use tokio::time::Instant;

/// The time that anything may take that is not the work of the test itself.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// The `quorate` binary: the one that `QUORATE_BINARY` names, or the one that cargo built with this test.
pub fn binary() -> &'static Path {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    BINARY.get_or_init(|| {
        let test = env::current_exe().expect("a process knows its file");
        let beside = test.ancestors().nth(2).expect("tests lie in a folder below the binaries");
        let built = beside.join("quorate-under-test");
        env::var_os("QUORATE_BINARY").map_or(built, PathBuf::from)
    })
}

/// Waits until `find` returns something, and returns it.
///
/// # Panics
/// If it returns nothing in time.
pub fn wait_for<T>(what: &str, time: Duration, mut find: impl FnMut() -> Option<T>) -> T {
    let started = Instant::now();
    loop {
        if let Some(found) = find() {
            return found;
        }
        assert!(started.elapsed() < time, "{what}: not within {} s", time.as_secs());
        #[allow(clippy::disallowed_methods, reason = "processes cannot be waited for otherwise")]
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// A node: its folder, its ports, and its process while it runs.
#[derive(Debug)]
pub struct Node {
    /// The address on which it serves clients.
    pub address: String,
    /// The address on which it serves its peers.
    pub peer_address: String,
    /// Its folder.
    pub data: PathBuf,
    log: PathBuf,
    process: Option<Child>,
    /// The command that runs the node, for example `strace` and its options; empty if there is none.
    wrapper: Vec<String>,
    /// The token of the cluster that is to take the node in, if it is not there when the cluster is founded.
    join_token: Option<String>,
    /// True if the node founds a cluster of its own.
    single: bool,
}

impl Node {
    /// Makes a node in a folder of its own, without starting it.
    pub fn new(folder: &Path, number: usize) -> Node {
        let addresses = quorate_node::free_addresses(2).expect("free ports");
        let [address, peer_address] = [0, 1].map(|at| addresses[at].to_string());
        let data = folder.join(format!("node-{number}"));
        let log = folder.join(format!("node-{number}.log"));
        Node {
            address,
            peer_address,
            data,
            log,
            process: None,
            wrapper: Vec::new(),
            join_token: None,
            single: false,
        }
    }

    /// Starts the process. It may not serve yet when this returns.
    pub fn start(&mut self) {
        assert!(self.process.is_none(), "it runs already");
        let log = File::options().create(true).append(true).open(&self.log).expect("a log file");
        let mut words = self.wrapper.iter().map(OsStr::new).chain([binary().as_os_str()]);
        let mut command = Command::new(words.next().expect("at least the binary"));
        command
            .args(words)
            .args([
                "serve",
                "--listen",
                &self.address,
                "--peer-listen",
                &self.peer_address,
                "--data",
            ])
            .arg(&self.data)
            .envs(self.single.then_some(("QUORATE_SINGLE", "true")))
            .envs(self.join_token.iter().map(|token| ("QUORATE_JOIN_TOKEN", token)))
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a log file"))
            .stderr(log);
        self.process = Some(command.spawn().expect("the node starts"));
    }

    /// Gives the stopped node free ports: it is to be started elsewhere.
    pub fn move_elsewhere(&mut self) {
        assert!(self.process.is_none(), "it runs");
        let addresses = quorate_node::free_addresses(2).expect("free ports");
        [self.address, self.peer_address] = [0, 1].map(|at| addresses[at].to_string());
    }

    /// Kills the process (SIGKILL) and waits until it is gone.
    pub fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill().expect("it can be killed");
            process.wait().expect("it ends");
        }
    }

    /// Sends the process SIGTERM, waits for its end, and returns its exit code.
    pub fn stop(&mut self) -> Option<i32> {
        let mut process = self.process.take().expect("it runs");
        let pid = process.id().to_string();
        let killed = Command::new("kill").args(["-TERM", &pid]).status().expect("kill runs");
        assert!(killed.success());
        wait_for("a stopped node", PATIENCE, || process.try_wait().expect("it can be waited for"))
            .code()
    }

    /// Waits until the process ends by itself and returns its exit code.
    pub fn wait(&mut self) -> Option<i32> {
        let mut process = self.process.take().expect("it runs");
        wait_for("the end of a node", PATIENCE, || {
            process.try_wait().expect("it can be waited for")
        })
        .code()
    }

    /// Returns true if the process still runs.
    pub fn is_running(&mut self) -> bool {
        self.process
            .as_mut()
            .is_some_and(|process| process.try_wait().expect("it can be asked").is_none())
    }

    /// Returns the output of the node, of all its starts.
    pub fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Returns the most memory that the running process had resident so far, in bytes.
    pub fn memory_peak(&self) -> u64 {
        let pid = self.process.as_ref().expect("it runs").id();
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kibibytes = peak.and_then(|peak| peak.trim().strip_suffix(" kB")?.parse::<u64>().ok());
        kibibytes.unwrap_or_default() * 1024
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.kill();
    }
}

/// The right to run processes: tests with clusters run one after the other. Otherwise they would wait for
/// each other's processors and take that for a fault.
pub type Turn = MutexGuard<'static, ()>;

/// Waits until no other test of this process has a cluster.
pub fn take_turn() -> Turn {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A cluster of three nodes.
#[derive(Debug)]
pub struct Cluster {
    /// The nodes.
    pub nodes: Vec<Node>,
    folder: TempDir,
    _turn: Turn,
}

impl Cluster {
    /// Starts three nodes and founds a cluster of them; it serves when this returns.
    pub fn start(chunk_size: &str) -> Cluster {
        Cluster::start_wrapped(chunk_size, |_| Vec::new())
    }

    /// Starts one node that founds a cluster of its own; it serves when this returns.
    pub fn start_single() -> Cluster {
        let turn = take_turn();
        let folder = tempfile::tempdir().expect("a temporary folder");
        let mut node = Node::new(folder.path(), 1);
        node.single = true;
        let mut cluster = Cluster { nodes: vec![node], folder, _turn: turn };
        cluster.nodes[0].start();
        cluster.wait_for_leader();
        cluster
    }

    /// Starts a cluster in which each node is run by the command that `wrapper` returns for it.
    pub fn start_wrapped(chunk_size: &str, wrapper: impl Fn(&Node) -> Vec<String>) -> Cluster {
        let turn = take_turn();
        let folder = tempfile::tempdir().expect("a temporary folder");
        let nodes = (1..=3).map(|number| Node::new(folder.path(), number)).collect();
        let mut cluster = Cluster { nodes, folder, _turn: turn };
        for number in 0..cluster.nodes.len() {
            cluster.nodes[number].wrapper = wrapper(&cluster.nodes[number]);
            cluster.nodes[number].start();
        }
        let peers: Vec<String> =
            cluster.nodes.iter().map(|node| node.peer_address.clone()).collect();
        let peers = peers.join(",");
        let init = ["cluster", "init", "--peers", &peers, "--chunk-size", chunk_size];
        let started = Instant::now();
        loop {
            let output = cluster.run(init);
            if output.status.success() {
                break;
            }
            let errors = String::from_utf8_lossy(&output.stderr);
            let all_run = cluster.nodes.iter_mut().all(Node::is_running);
            assert!(all_run, "a node ended: {errors}\n{}", cluster.logs());
            assert!(started.elapsed() < PATIENCE, "no cluster: {errors}\n{}", cluster.logs());
        }
        cluster.wait_for_leader();
        cluster
    }

    /// Starts a node that waits for this cluster to take it in; returns its index in `nodes`.
    pub fn wait_outside(&mut self) -> usize {
        let token = String::from_utf8(self.must(["cluster", "token"])).expect("text");
        let token = json_lines(token.as_bytes())
            .first()
            .and_then(|line| line.get("token").and_then(Value::as_str).map(str::to_owned));
        let mut node = Node::new(self.folder.path(), self.nodes.len() + 1);
        node.join_token = Some(token.expect("a token"));
        node.start();
        self.nodes.push(node);
        self.nodes.len() - 1
    }

    /// Runs a command on members until it succeeds; returns the id of the node that it is about.
    pub fn change_members(&self, arguments: &[&str]) -> u64 {
        let arguments = ["cluster"].iter().chain(arguments).chain(&["--json"]);
        let output = wait_for(&format!("{arguments:?}"), 2 * PATIENCE, || {
            let output = self.run(arguments.clone());
            output.status.success().then_some(output.stdout)
        });
        let done = json_lines(&output);
        done.first().and_then(|line| line["node"].as_u64()).expect("the node's id")
    }

    /// The folder that holds everything of the cluster.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Returns a `quorate` command with the cluster's addresses in its environment.
    pub fn command<S: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = S>) -> Command {
        let endpoints: Vec<&str> = self.nodes.iter().map(|node| node.address.as_str()).collect();
        let mut command = Command::new(binary());
        command.args(arguments).env("QUORATE_ENDPOINTS", endpoints.join(",")).stdin(Stdio::null());
        command
    }

    /// Runs a command to its end.
    pub fn run<S: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = S>) -> Output {
        self.command(arguments).output().expect("the command runs")
    }

    /// Runs a command that must succeed; returns its output.
    pub fn must<S: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = S>) -> Vec<u8> {
        let mut command = self.command(arguments);
        let output = command.output().expect("the command runs");
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{command:?}: {errors}\n{}", self.logs());
        output.stdout
    }

    /// Returns the output of `cluster status`, a line for each node, from one of the running nodes.
    pub fn status(&mut self) -> Vec<Value> {
        let Some(node) = self.nodes.iter_mut().position(|node| node.is_running()) else {
            return Vec::new();
        };
        let output = self.run(["cluster", "status", "--node", &self.nodes[node].address, "--json"]);
        json_lines(&output.stdout)
    }

    /// Waits until there is a leader, and returns its index in `nodes`.
    pub fn wait_for_leader(&mut self) -> usize {
        wait_for("a leader", PATIENCE, || {
            let status = self.status();
            let leader = status.iter().find(|node| node["role"] == "leader")?;
            let address = leader["address"].as_str()?;
            let at = self.nodes.iter().position(|node| node.address == address)?;
            self.nodes[at].is_running().then_some(at)
        })
    }

    /// Returns the last position that the node has applied.
    pub fn position(&self, node: usize) -> Option<u64> {
        let address = &self.nodes[node].address;
        let output = self.run(["cluster", "status", "--node", address, "--json"]);
        let status = json_lines(&output.stdout);
        status.iter().find(|line| line["address"] == address.as_str())?["last_position"].as_u64()
    }

    /// Waits until the node has applied this position.
    pub fn wait_for_position(&self, node: usize, position: u64) {
        wait_for(&format!("node {} at {position}", node + 1), 2 * PATIENCE, || {
            self.position(node).filter(|at| *at >= position)
        });
    }

    /// Returns everything that a node holds, in the form of `export`.
    pub fn export(&self, node: usize) -> Vec<u8> {
        let address = &self.nodes[node].address;
        self.must(["export", "--node", address, "--consistency", "local"])
    }

    /// Returns the last lines of the nodes' output, for the message of a test that fails.
    pub fn logs(&self) -> String {
        let last = |node: &Node| {
            let log = node.log();
            let lines: Vec<&str> = log.lines().collect();
            format!(
                "--- {}\n{}",
                node.log.display(),
                lines[lines.len().saturating_sub(20)..].join("\n")
            )
        };
        self.nodes.iter().map(last).collect::<Vec<_>>().join("\n")
    }

    /// Asserts that no node panicked.
    ///
    /// # Panics
    /// If one did.
    pub fn check_logs(&self) {
        for node in &self.nodes {
            assert!(!node.log().contains("panicked"), "{}", node.log());
        }
    }
}

/// Returns the objects of NDJSON; lines that are not JSON are left out.
pub fn json_lines(bytes: &[u8]) -> Vec<Value> {
    let lines = bytes.split(|byte| *byte == b'\n');
    lines.filter_map(|line| serde_json::from_slice(line).ok()).collect()
}
