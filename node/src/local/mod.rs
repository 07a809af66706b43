//! A cluster of separate server processes of this same executable on this machine.

use std::ffi::OsString;
use std::io;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use quorate_client::NodeStatus;
use tokio::process::Command;
use tokio::time::{Instant, interval, timeout};

use crate::cli::{Exit, inspect};
use crate::output::remark;

mod ports;
mod process;

pub use ports::free_addresses;
pub(crate) use process::Process;

/// The time within which a started node must answer: it replays the part of the log that is in no chunk yet.
const STARTED_WITHIN: Duration = Duration::from_secs(60);
/// The time that a new cluster may take to elect its first leader.
const LED_WITHIN: Duration = Duration::from_secs(20);
/// The interval at which an awaited node is asked.
const ASKED_EVERY: Duration = Duration::from_millis(50);
/// The time that the followers may take, once there is a leader, until they are ready.
const READY_WITHIN: Duration = Duration::from_secs(5);

/// A node of a local cluster: its folder, its addresses and its log.
#[derive(Clone, Debug)]
pub(crate) struct LocalNode {
    /// The node's number, 1, 2, 3 …, which becomes its id.
    pub(crate) number: usize,
    /// The node's folder.
    pub(crate) directory: PathBuf,
    /// The address where the node listens for clients.
    pub(crate) address: String,
    /// The address where the node listens for the other nodes.
    pub(crate) peer_address: String,
    /// The file of the node's log.
    pub(crate) log: PathBuf,
}

impl LocalNode {
    /// Returns the command that starts the node, for a person to type.
    pub(crate) fn command_line(&self) -> String {
        let program = std::env::current_exe().unwrap_or_else(|_| "quorate".into());
        let words = std::iter::once(program.into_os_string()).chain(self.arguments());
        words.map(|word| quoted(&word)).collect::<Vec<_>>().join(" ")
    }

    fn arguments(&self) -> Vec<OsString> {
        let mut arguments: Vec<OsString> = vec!["serve".into(), "--data".into()];
        arguments.push(self.directory.clone().into_os_string());
        for (flag, value) in [("--listen", &self.address), ("--peer-listen", &self.peer_address)] {
            arguments.extend([flag.into(), value.into()]);
        }
        // All nodes share this machine: with one thread each they disturb each other least.
        arguments.extend(["--threads".into(), "1".into()]);
        arguments
    }

    /// Starts the node as a process that stops when this one ends, however that happens.
    pub(crate) fn start(&self) -> Result<Process, Exit> {
        let cannot =
            |error: io::Error| Exit::failed(format!("cannot start node {}: {error}", self.number));
        std::fs::create_dir_all(&self.directory).map_err(cannot)?;
        let child = Command::new(std::env::current_exe().map_err(cannot)?)
            .args(self.arguments())
            .arg("--stop-with-input")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(self.open_log())
            // Ctrl-C goes to the whole process group: we are to stop the nodes, in order.
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .map_err(cannot)?;
        Ok(Process::new(child))
    }

    /// Opens the node's log for the node. The node serves without a log too, on a full disk, say.
    fn open_log(&self) -> Stdio {
        match std::fs::File::options().create(true).append(true).open(&self.log) {
            Ok(log) => log.into(),
            Err(error) => {
                let (number, log) = (self.number, self.log.display());
                remark(format!("node {number} has no log, `{log}` cannot be written: {error}"));
                Stdio::null()
            }
        }
    }

    /// Waits until the node answers. Error: it ended before, with the last line of its log.
    pub(crate) async fn answers(&self, process: &mut Process) -> Result<NodeStatus, Exit> {
        let deadline = Instant::now() + STARTED_WITHIN;
        let mut again = interval(ASKED_EVERY);
        loop {
            tokio::select! {
                biased;
                _ = process.ended() => return Err(self.last_words()),
                _ = again.tick() => {}
            }
            if let Some(status) = inspect::node(&self.address).await {
                return Ok(status);
            }
            if Instant::now() > deadline {
                let log = self.log.display();
                let number = self.number;
                return Err(Exit::failed(format!("node {number} does not answer; see {log}")));
            }
        }
    }

    /// Returns the error of a node that ended, with the last line of its log.
    pub(crate) fn last_words(&self) -> Exit {
        let text = std::fs::read_to_string(&self.log).unwrap_or_default();
        let last = text.lines().rev().find(|line| !line.trim().is_empty());
        let last =
            last.map_or("it said nothing", |line| line.strip_prefix("error: ").unwrap_or(line));
        Exit::failed(format!("node {}: {last}", self.number))
    }
}

/// Lays nodes out in a folder; each has a port for clients and one for peers.
pub(crate) fn lay_out(root: &Path, ports: &[(u16, u16)]) -> Vec<LocalNode> {
    let node = |(index, (port, peer_port)): (usize, &(u16, u16))| LocalNode {
        number: index + 1,
        directory: root.join(format!("node-{}", index + 1)),
        address: format!("127.0.0.1:{port}"),
        peer_address: format!("127.0.0.1:{peer_port}"),
        log: root.join(format!("node-{}.log", index + 1)),
    };
    ports.iter().enumerate().map(node).collect()
}

/// Refuses ports that are in use, by name, before anything is started.
pub(crate) fn check_free(nodes: &[LocalNode]) -> Result<(), Exit> {
    for address in nodes.iter().flat_map(|node| [&node.address, &node.peer_address]) {
        TcpListener::bind(address).map_err(|error| match error.kind() {
            io::ErrorKind::AddrInUse => {
                Exit::failed(format!("{address} is taken: is another cluster running here?"))
            }
            _ => Exit::failed(format!("cannot listen on {address}: {error}")),
        })?;
    }
    Ok(())
}

/// Starts all nodes, founds the cluster if it is not founded yet, and waits until one of them leads, and a moment until
/// all are ready.
pub(crate) async fn start_all(nodes: &[LocalNode], chunk_bytes: u64) -> Result<Vec<Process>, Exit> {
    let mut processes = nodes.iter().map(LocalNode::start).collect::<Result<Vec<_>, _>>()?;
    let mut waiting = false;
    for (node, process) in nodes.iter().zip(&mut processes) {
        waiting |= node.answers(process).await?.role == "waiting";
    }
    if waiting {
        let first = nodes.first().ok_or_else(|| Exit::usage("a cluster has at least one node"))?;
        let peers = nodes.iter().map(|node| node.peer_address.clone()).collect();
        inspect::bootstrap(&first.address, peers, chunk_bytes, None).await?;
    }
    leader(nodes).await?;
    // A node that takes longer is shown as it is.
    let _ = timeout(READY_WITHIN, all_ready(nodes)).await;
    Ok(processes)
}

/// Waits until all nodes are ready: a follower learns a moment after the leader that it is one.
async fn all_ready(nodes: &[LocalNode]) {
    let mut again = interval(ASKED_EVERY);
    for node in nodes {
        while inspect::node(&node.address).await.is_none_or(|status| !status.unready.is_empty()) {
            again.tick().await;
        }
    }
}

/// Waits until one of the nodes leads, and returns it.
pub(crate) async fn leader(nodes: &[LocalNode]) -> Result<&LocalNode, Exit> {
    let asking = async {
        let mut again = interval(ASKED_EVERY);
        loop {
            again.tick().await;
            for node in nodes {
                let status = inspect::node(&node.address).await;
                if status.is_some_and(|status| status.role == "leader") {
                    return node;
                }
            }
        }
    };
    let found = timeout(LED_WITHIN, asking).await;
    found.map_err(|_| Exit::failed("no node was elected leader; see the nodes' logs"))
}

/// Stops all processes, each in order, side by side.
pub(crate) async fn stop_all(processes: impl IntoIterator<Item = &mut Process>) {
    futures_util::future::join_all(processes.into_iter().map(Process::stop)).await;
}

/// Returns a word quoted for a shell.
fn quoted(word: &std::ffi::OsStr) -> String {
    let word = word.to_string_lossy();
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=,@%+".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        return word.into_owned();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_printed_command_can_be_pasted_into_a_shell() {
        let nodes = lay_out(Path::new("/tmp/a b/it's"), &[(7701, 7801)]);
        let line = nodes[0].command_line();
        assert!(
            line.contains(r"--data '/tmp/a b/it'\''s/node-1' --listen 127.0.0.1:7701"),
            "{line}"
        );
    }
}
