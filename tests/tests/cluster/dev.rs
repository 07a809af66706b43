//! `quorate dev`: three nodes of one command.

use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use quorate_tests::cluster::{PATIENCE, Turn, binary, json_lines, take_turn, wait_for};
use serde_json::Value;

use super::signal;

/// `quorate dev` and what it prints.
struct Dev {
    process: Child,
    output: PathBuf,
    port: u16,
    _turn: Turn,
}

impl Dev {
    fn start(folder: &Path, name: &str) -> Dev {
        let turn = take_turn();
        // Four ports in a row for clients and for peers: hardly anybody else uses these.
        let random = u16::try_from(std::process::id() % 20_000).expect("small");
        let free = |port: &u16| {
            let ports = (0..3).flat_map(|node| [port + node, port + 100 + node]);
            ports.map(|port| TcpListener::bind(("127.0.0.1", port))).all(|bound| bound.is_ok())
        };
        // A cluster that is there knows its own.
        let stored = fs::read_to_string(folder.join("dev/port")).ok();
        let stored = stored.and_then(|port| port.trim().parse().ok());
        // Once all of them were taken for a moment, by whatever it was.
        let port: u16 = stored.unwrap_or_else(|| {
            wait_for("free ports", PATIENCE, || (20_000 + random..45_000).step_by(10).find(free))
        });
        let port_option = ["--port".to_owned(), port.to_string()];
        let output = folder.join(format!("{name}.log"));
        let log = fs::File::create(&output).expect("a file");
        let process = Command::new(binary())
            .args(["dev", "--chunk-size", "1MiB"])
            .args(port_option.iter().filter(|_| stored.is_none()))
            .arg("--data")
            .arg(folder.join("dev"))
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a file"))
            .stderr(log)
            .spawn()
            .expect("it starts");
        Dev { process, output, port, _turn: turn }
    }

    fn run(&self, arguments: &[&str]) -> Output {
        let endpoints = (0..3).map(|node| format!("127.0.0.1:{}", self.port + node));
        let mut command = Command::new(binary());
        command.args(arguments).env("QUORATE_ENDPOINTS", endpoints.collect::<Vec<_>>().join(","));
        command.output().expect("it runs")
    }

    fn status(&self) -> Vec<Value> {
        json_lines(&self.run(&["cluster", "status", "--json"]).stdout)
    }

    fn wait_for_three(&self) -> Vec<Value> {
        wait_for("three nodes, one of them leading", PATIENCE, || {
            fs::read_to_string(&self.output).ok()?.contains("ready:").then_some(())?;
            let status = self.status();
            let all = status.iter().filter(|node| node["pid"].as_u64().is_some_and(|pid| pid > 0));
            let leads = status.iter().any(|node| node["role"] == "leader");
            (all.count() == 3 && leads).then_some(status)
        })
    }
}

impl Drop for Dev {
    fn drop(&mut self) {
        let pid = self.process.id().to_string();
        let _ = Command::new("kill").args(["-TERM", &pid]).status();
        let _ = self.process.wait();
    }
}

fn is_alive(pid: u64) -> bool {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    status.lines().any(|line| line.starts_with("State:") && !line.contains('Z'))
}

#[test]
fn dev_keeps_its_data_reports_a_dead_node_and_stops_them_all() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut dev = Dev::start(folder.path(), "first");
    let status = dev.wait_for_three();
    assert!(dev.run(&["append", "order-1", "--type", "T", "--expect", "0"]).status.success());
    let leader = status.iter().find(|node| node["role"] == "leader").expect("a leader");
    signal(leader["pid"].as_u64().expect("a pid"), "-KILL");
    let printed = wait_for("the command that starts the node again", PATIENCE, || {
        let output = fs::read_to_string(&dev.output).ok()?;
        let line =
            output.lines().find(|line| line.contains(" serve ") && line.contains("--data"))?;
        Some(
            line[line.find(&binary().display().to_string()).or(line.find("quorate serve"))?..]
                .to_owned(),
        )
    });
    assert!(dev.run(&["append", "order-1", "--type", "T", "--expect", "1"]).status.success());
    let shell = printed.replacen(
        "quorate serve",
        &format!("{} serve", binary().display()),
        usize::from(printed.starts_with("quorate")),
    );
    let mut again =
        Command::new("sh").args(["-c", &format!("exec {shell}")]).spawn().expect("it starts");
    let status = dev.wait_for_three();
    assert_eq!(status.len(), 3);
    signal(u64::from(again.id()), "-TERM");
    again.wait().expect("it ends");

    let pids: Vec<u64> = status.iter().filter_map(|node| node["pid"].as_u64()).collect();
    signal(u64::from(dev.process.id()), "-TERM");
    let ended =
        wait_for("the end of dev", PATIENCE, || dev.process.try_wait().expect("waited for"));
    assert!(ended.success(), "{ended}");
    assert!(!pids.iter().any(|pid| is_alive(*pid)), "a node outlived dev");
    drop(dev);

    // A second start needs no ports, and a node starts even if its log cannot be written.
    let log = folder.path().join("dev/node-1.log");
    fs::remove_file(&log).expect("there is a log");
    fs::create_dir(&log).expect("a folder in its place");
    let dev = Dev::start(folder.path(), "second");
    dev.wait_for_three();
    let read = dev.run(&["read", "order-1", "--json"]);
    assert_eq!(json_lines(&read.stdout).len(), 2, "{read:?}");
    let output = fs::read_to_string(&dev.output).expect("what it printed");
    assert!(output.contains("node 1 has no log"), "{output}");
}
