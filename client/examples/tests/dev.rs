//! Processes for tests from end to end: `quorate dev`, and a service beside it. All of them end with the test.

use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use quorate_client::Client;
use tempfile::TempDir;

/// The time that a process may take for what is awaited of it.
const PATIENCE: Duration = Duration::from_secs(120);

/// The three nodes of `quorate dev`, and a folder for whatever belongs to the test.
pub(crate) struct Dev {
    /// The nodes that were started again by hand.
    by_hand: Vec<Program>,
    dev: Program,
    endpoints: String,
    /// The last field: all processes end before their folder goes.
    folder: TempDir,
}

impl Dev {
    /// Starts three nodes, and waits until they serve. Returns `None`, with a loud message, if the variable
    /// `QUORATE_PROGRAM` does not name the program.
    pub(crate) fn start() -> Option<Dev> {
        let Some(quorate) = std::env::var_os("QUORATE_PROGRAM") else {
            // Written past the capture of the test's output: the person who runs the tests must see it.
            let why = "SKIPPED: `quorate dev`: QUORATE_PROGRAM does not name the program\n";
            let _ = fs::write("/dev/stderr", why);
            return None;
        };
        let folder = tempfile::tempdir().expect("a folder");
        for first in free_ports() {
            let mut command = Command::new(&quorate);
            command.args(["dev", "--port", &first.to_string(), "--data"]);
            command.arg(folder.path().join(format!("from-{first}")));
            let mut dev = Program::start(&mut command, folder.path().join("dev.log"));
            let Some(ready) = dev.find("ready: QUORATE_ENDPOINTS=") else {
                // Somebody else was faster to take a port.
                assert!(dev.log().contains("is taken"), "no cluster: {}", dev.log());
                continue;
            };
            let endpoints = ready.split(['=', ';']).nth(1).expect("addresses").to_owned();
            return Some(Dev { by_hand: Vec::new(), dev, endpoints, folder });
        }
        panic!("no ports are free");
    }

    /// Returns a client of the nodes.
    pub(crate) async fn client(&self) -> Client {
        Client::connect(self.endpoints.split(',')).await.expect("a client")
    }

    /// Returns the path of a file of the test.
    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Returns the command that runs a program with the nodes' addresses, in the test's folder.
    pub(crate) fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.current_dir(self.folder.path()).env("QUORATE_ENDPOINTS", &self.endpoints);
        command
    }

    /// Starts a program beside the nodes.
    pub(crate) fn run(&self, command: &mut Command) -> Program {
        Program::start(command, self.file("program.log"))
    }

    /// Kills the leader, as `kill -9` does, and returns the command that starts it again, as `quorate dev` prints it.
    pub(crate) async fn kill_leader(&mut self) -> String {
        let client = self.client().await;
        let leader = async {
            loop {
                let nodes = client.status().await.map(|status| status.nodes).unwrap_or_default();
                if let Some(leader) = nodes.into_iter().find(|node| node.role == "leader") {
                    return leader;
                }
            }
        };
        let leader = tokio::time::timeout(PATIENCE, leader).await.expect("a leader");
        assert!(kill(leader.pid, "KILL"), "the leader has ended by itself");
        self.dev.prints(&format!("node {} (pid {})", leader.id, leader.pid));
        self.dev.prints(" serve --data ").trim().to_owned()
    }

    /// Starts a killed node again by its command, and waits until it serves.
    pub(crate) fn start_again(&mut self, command: &str) {
        let mut shell = Command::new("sh");
        let node = self.run(shell.args(["-c", &format!("exec {command}")]));
        self.by_hand.push(node);
        self.dev.prints("is back");
    }
}

/// Returns first ports for `quorate dev` that are free now, with those that follow: three for clients, and three for
/// peers, 100 above. All lie below those that systems give to outgoing connections.
fn free_ports() -> impl Iterator<Item = u16> {
    let begin = (std::process::id() % 1_000) as u16;
    let first = move |number: u16| 20_000 + (begin + number) % 1_000 * 10;
    (0..1_000).map(first).filter(|first| {
        let ports = [0, 1, 2, 100, 101, 102].map(|offset| ("127.0.0.1", first + offset));
        ports.map(TcpListener::bind).iter().all(Result::is_ok)
    })
}

/// A process, and the lines that it prints.
pub(crate) struct Program {
    child: Child,
    lines: Receiver<String>,
    log: PathBuf,
}

impl Program {
    /// Starts a program; what it writes to standard error goes to the end of the file `log`.
    fn start(command: &mut Command, log: PathBuf) -> Program {
        let errors = File::options().create(true).append(true).open(&log).expect("a log");
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(errors);
        let mut child = command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"));
        let output = BufReader::new(child.stdout.take().expect("a pipe"));
        let (sender, lines) = mpsc::channel();
        thread::spawn(move || {
            // When nobody waits for lines any more, they are still read: a full pipe would stop the program.
            output.lines().map_while(Result::ok).for_each(|line| _ = sender.send(line));
        });
        Program { child, lines, log }
    }

    /// Waits until the program prints a line that contains `text`, and returns the line.
    ///
    /// # Panics
    /// The program ends before, or does not print it in time.
    pub(crate) fn prints(&mut self, text: &str) -> String {
        let found = self.find(text);
        found.unwrap_or_else(|| panic!("it ended before it printed `{text}`: {}", self.log()))
    }

    /// Sends the program a signal, such as `INT`, which is what Ctrl-C sends.
    pub(crate) fn signal(&self, name: &str) {
        assert!(kill(self.child.id(), name), "it has ended: {}", self.log());
    }

    /// Waits until the program ends, and returns how it ended and what it printed since it was last asked.
    pub(crate) fn ends(mut self) -> (ExitStatus, Vec<String>) {
        let mut printed = Vec::new();
        while let Some(line) = self.line("its end", Instant::now() + PATIENCE) {
            printed.push(line);
        }
        (self.child.wait().expect("a process"), printed)
    }

    /// Waits for a line that contains `text`; returns `None` if the program ends before.
    fn find(&mut self, text: &str) -> Option<String> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let line = self.line(text, deadline)?;
            if line.contains(text) {
                return Some(line);
            }
        }
    }

    /// Waits for a line; returns `None` if the program has ended.
    fn line(&self, what: &str, deadline: Instant) -> Option<String> {
        match self.lines.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            Ok(line) => Some(line),
            Err(RecvTimeoutError::Disconnected) => None,
            Err(RecvTimeoutError::Timeout) => panic!("not in time: {what}: {}", self.log()),
        }
    }

    fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            kill(self.child.id(), "TERM");
            // Its end closes the pipe.
            while self.lines.recv_timeout(PATIENCE).is_ok() {}
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Sends a process a signal; returns false if there is no such process.
fn kill(process: u32, signal: &str) -> bool {
    let sent = Command::new("kill").args([&format!("-{signal}"), &process.to_string()]).status();
    sent.expect("kill runs").success()
}
