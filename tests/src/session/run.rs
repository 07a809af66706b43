//! Runs the steps of a document with a shell, in a folder of their own.

use std::fs::{self, File};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use regex::{Captures, NoExpand, Regex};
use tempfile::TempDir;
use tokio::time::Instant;

use super::compare::{matches, processes};
use super::parse::Step;
use crate::cluster::{PATIENCE, Turn, binary, take_turn, wait_for};

/// Beginnings of commands that run until they are stopped.
const ENDLESS: [&str; 4] =
    ["quorate dev", "quorate subscribe", "quorate group consume", "quorate serve"];

/// A person at a terminal: a folder, the ports of a cluster that nobody else uses, and running commands.
#[derive(Debug)]
pub struct Session {
    folder: TempDir,
    port: u16,
    /// The process ids in the document, each with the id of the real process.
    processes: Vec<(String, String)>,
    /// The clusters that were started, which run until the end.
    running: Vec<Child>,
    steps: usize,
    _turn: Turn,
}

impl Session {
    /// A session in an empty folder, with `quorate` in the `PATH`.
    ///
    /// # Panics
    /// If no folder can be made, or there are no free ports.
    #[allow(clippy::new_without_default, reason = "it waits for its turn")]
    pub fn new() -> Session {
        let turn = take_turn();
        let folder = tempfile::tempdir().expect("a temporary folder");
        fs::create_dir(folder.path().join(".bin")).expect("a folder");
        std::os::unix::fs::symlink(binary(), folder.path().join(".bin/quorate")).expect("a link");
        fs::create_dir(folder.path().join("work")).expect("a folder");
        let port = consecutive_ports();
        Session { folder, port, processes: Vec::new(), running: Vec::new(), steps: 0, _turn: turn }
    }

    /// The folder in which the commands run.
    pub fn folder(&self) -> std::path::PathBuf {
        self.folder.path().join("work")
    }

    /// Runs a step and compares its output with the document's.
    ///
    /// # Panics
    /// If they differ.
    pub fn run(&mut self, step: &Step) {
        self.steps += 1;
        let written = self.folder.path().join(format!("step-{}", self.steps));
        let mut child = self.spawn(&step.command, &written);
        let endless = ENDLESS.iter().any(|start| step.command.starts_with(start))
            && !step.command.contains("--limit");
        let what = format!("`{}`", step.command);
        let as_shown = || matches(&step.expected, &read(&written));
        let mut ended = false;
        let started = Instant::now();
        wait_for(&what, 2 * PATIENCE, || {
            // A command that has ended has written all its output.
            let over = child.try_wait().expect("it can be waited for").is_some();
            ended = over;
            // A command whose output never matches is reported below, with its output.
            let too_late = started.elapsed() > PATIENCE;
            (over || too_late || (endless && as_shown())).then_some(())
        });
        let output = read(&written);
        if !ended && !matches(&step.expected, &output) {
            end(&mut child, "-TERM");
        }
        assert!(
            matches(&step.expected, &output),
            "{what} shows:\n{output}\nthe document has:\n{}",
            step.expected.join("\n")
        );
        assert!(ended || endless);
        self.remember_processes(step, &output);
        match step.command.starts_with("quorate dev") {
            true => self.running.push(child),
            false if !ended => end(&mut child, "-TERM"),
            false => {}
        }
    }

    /// Stops the clusters that were started, as Ctrl-C does.
    pub fn stop_clusters(&mut self) {
        for mut child in self.running.drain(..) {
            end(&mut child, "-TERM");
        }
    }

    fn spawn(&self, command: &str, written: &Path) -> Child {
        let path = std::env::var("PATH").unwrap_or_default();
        let output = File::options().create(true).append(true).open(written).expect("a file");
        let endpoints: Vec<String> =
            (0..3).map(|index| format!("127.0.0.1:{}", self.port + index)).collect();
        // With `exec` a signal reaches the command and not the shell.
        let endless = ENDLESS.iter().any(|start| command.starts_with(start));
        let script = format!("{}{}", if endless { "exec " } else { "" }, self.here(command));
        Command::new("bash")
            .args(["-c", &script])
            .current_dir(self.folder())
            .env("PATH", format!("{}:{path}", self.folder.path().join(".bin").display()))
            .env("QUORATE_ENDPOINTS", endpoints.join(","))
            .env("QUORATE_PORT", self.port.to_string())
            .env("QUORATE_OUTPUT", "text")
            .stdin(Stdio::null())
            .stdout(output.try_clone().expect("a file"))
            .stderr(output)
            .spawn()
            .expect("bash runs")
    }

    /// Returns the command with the process ids and ports of this session in the place of the document's.
    fn here(&self, command: &str) -> String {
        let address = Regex::new(r"\b127\.0\.0\.1:7([78])0(\d)\b").expect("a regular expression");
        let command = address.replace_all(command, |found: &Captures<'_>| {
            let offset = if &found[1] == "8" { 100 } else { 0 };
            let number: u16 = found[2].parse().expect("a digit");
            format!("127.0.0.1:{}", self.port + offset + number - 1)
        });
        self.processes.iter().fold(command.into_owned(), |command, (theirs, ours)| {
            let pattern = Regex::new(&format!(r"\b{theirs}\b")).expect("a regular expression");
            pattern.replace_all(&command, NoExpand(ours)).into_owned()
        })
    }

    fn remember_processes(&mut self, step: &Step, output: &str) {
        let theirs = processes(&step.expected.join("\n"));
        self.processes.extend(theirs.into_iter().zip(processes(output)));
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.stop_clusters();
    }
}

fn read(file: &Path) -> String {
    String::from_utf8_lossy(&fs::read(file).unwrap_or_default()).into_owned()
}

fn end(child: &mut Child, signal: &str) {
    let _ = Command::new("kill").args([signal, &child.id().to_string()]).status();
    wait_for("the end of a command", PATIENCE, || child.try_wait().ok().flatten());
}

/// Returns a port that is free with the three after it, as are the four that are 100 higher.
fn consecutive_ports() -> u16 {
    let free = |port: u16| std::net::TcpListener::bind(("127.0.0.1", port)).is_ok();
    let candidates = quorate_node::free_addresses(50).expect("free ports");
    let all_free =
        |first: &u16| (0..6).all(|index| free(first + index) && free(first + 100 + index));
    candidates.iter().map(|address| address.port()).find(all_free).expect("neighbouring free ports")
}
