//! The commands of the binary against one node, in the surroundings that a shell gives them: pipes, files that are
//! full, readers that leave.

use std::io::Write;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use serde_json::Value;
use tokio::time::Instant;

#[path = "commands/cluster.rs"]
mod cluster;
#[path = "commands/completions.rs"]
mod completions;
#[path = "commands/exit_codes.rs"]
mod exit_codes;
#[path = "commands/export.rs"]
mod export;
#[path = "commands/golden.rs"]
mod golden;
#[path = "commands/import.rs"]
mod import;
#[path = "commands/options.rs"]
mod options;
#[path = "commands/progress.rs"]
mod progress;
#[path = "commands/signals.rs"]
mod signals;
#[path = "commands/terminal.rs"]
mod terminal;
#[path = "commands/values.rs"]
mod values;

const BINARY: &str = env!("CARGO_BIN_EXE_quorate");
const PATIENCE: Duration = Duration::from_secs(60);

/// One node, which is a cluster of its own.
struct Node {
    process: Child,
    address: String,
    folder: tempfile::TempDir,
}

impl Node {
    fn start() -> Node {
        let folder = tempfile::tempdir().expect("a folder");
        let free = quorate_node::free_addresses(2).expect("free ports");
        let [address, peer_address] = [0, 1].map(|at| free[at].to_string());
        let data = folder.path().join("data");
        let process = Command::new(BINARY)
            .args(["serve", "--listen", &address, "--peer-listen", &peer_address, "--data"])
            .arg(&data)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("it starts");
        let node = Node { process, address, folder };
        let started = Instant::now();
        while !node.run(&["cluster", "init"]).status.success()
            || !node.run(&["stream", "list"]).status.success()
        {
            assert!(started.elapsed() < PATIENCE, "the node does not serve");
        }
        node
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    /// A file with this content.
    fn file(&self, name: &str, content: impl AsRef<[u8]>) -> String {
        let path = self.path().join(name);
        std::fs::write(&path, content).expect("a file");
        path.to_str().expect("a name").to_owned()
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(BINARY);
        command.args(arguments).env("QUORATE_ENDPOINTS", &self.address).stdin(Stdio::null());
        command
    }

    fn run(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().expect("it runs")
    }

    /// Runs a command that must end with 0; its lines of JSON.
    fn must(&self, arguments: &[&str]) -> Vec<Value> {
        let output = self.run(arguments);
        assert_eq!(output.status.code(), Some(0), "{arguments:?}: {output:?}");
        lines_of(&output.stdout)
    }

    /// Runs a command with this on its standard input, through a pipe.
    fn run_with_input(&self, arguments: &[&str], input: &[u8]) -> Output {
        let mut command = self.command(arguments);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("it runs");
        let mut pipe = child.stdin.take().expect("a pipe");
        // A command that does not read to the end has the word.
        let _ = pipe.write_all(input);
        drop(pipe);
        child.wait_with_output().expect("it ends")
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn lines_of(bytes: &[u8]) -> Vec<Value> {
    let lines = bytes.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    lines.map(|line| serde_json::from_slice(line).expect("a line of JSON")).collect()
}

/// Returns what a command wrote to standard error.
fn stderr_of(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}
