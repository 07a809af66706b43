//! Real processes: the main job under kills, races, bad input, garbage on the ports, damaged files, and
//! what the kernel says about durability and memory.
//!
//! What needs something that is not there (the real data set, strace) is skipped, and says so.

mod damage;
mod scavenge;
mod sessions;
mod space;
mod surroundings;

use std::fs;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use quorate_client::{Client, Query};
use quorate_tests::cluster::{
    Cluster, Node, PATIENCE, Turn, binary, json_lines, take_turn, wait_for,
};
use quorate_tests::data::{Census, DataSet};
use quorate_tests::random::Random;
use serde_json::Value;
use tokio::time::Instant;

const GIBIBYTE: u64 = 1024 * 1024 * 1024;

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

/// The main job: import, kill what there is to kill, and find everything everywhere.
fn main_job(data: &DataSet, chunk_size: &str) {
    let events = data.known.events;
    let mut cluster = Cluster::start(chunk_size);
    let started = Instant::now();

    let mut import = begin_import(&cluster, &data.file);
    cluster.wait_for_position(0, events / 5);
    import.kill().expect("it can be killed");
    import.wait().expect("it ends");

    let import = begin_import(&cluster, &data.file);
    cluster.wait_for_position(1, events / 2);
    let leader = cluster.wait_for_leader();
    cluster.nodes[leader].kill();
    let survivor = (leader + 1) % 3;
    cluster.wait_for_position(survivor, events * 3 / 4);
    cluster.nodes[leader].start();
    finish_import(import, &cluster);
    let took = started.elapsed();

    let export = exports_are_equal(&cluster, events);
    assert_eq!(Census::of_export(&export), data.known);
    let again = begin_import(&cluster, &data.file);
    finish_import(again, &cluster);
    assert!(export == exports_are_equal(&cluster, events), "importing again changed something");
    let peaks: Vec<u64> = cluster.nodes.iter().map(|node| node.memory_peak() >> 20).collect();

    cluster.nodes.iter_mut().for_each(Node::kill);
    let killed = Instant::now();
    cluster.nodes.iter_mut().for_each(Node::start);
    cluster.wait_for_leader();
    let back = killed.elapsed();
    assert!(export == exports_are_equal(&cluster, events), "something was lost");
    println!(
        "{events} events: import with kills {took:?}; open again {back:?}; peak MiB {peaks:?}"
    );
    assert!(peaks.iter().all(|peak| peak << 20 <= GIBIBYTE), "more than 1 GiB: {peaks:?} MiB");
    cluster.check_logs();
}

#[test]
fn an_import_survives_kills_of_itself_the_leader_and_everybody() {
    let folder = tempfile::tempdir().expect("a folder");
    main_job(&DataSet::generated(folder.path(), 20_000), "256KiB");
}

#[test]
fn the_real_event_log_survives_kills_of_the_import_the_leader_and_everybody() {
    let Some(data) = DataSet::real() else {
        eprintln!("SKIPPED: ../shared/data/bpic2012.ndjson.gz is not there");
        return;
    };
    let Census { events, streams, ref types, .. } = data.known;
    assert_eq!((events, streams, types.len()), (262_200, 13_087, 24));
    main_job(&data, "4MiB");
}

#[test]
fn of_two_writers_that_race_one_wins_and_the_other_learns_the_version() {
    let cluster = Cluster::start("64MiB");
    for round in 0..10 {
        let expected = round.to_string();
        let arguments = [
            "append", "order-1", "--type", "Noted", "--expect", &expected, "--data", "{}", "--json",
        ];
        let racers = [(), ()].map(|()| {
            let mut command = cluster.command(arguments);
            command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it starts")
        });
        let mut outputs = racers.map(|racer| racer.wait_with_output().expect("it ends"));
        outputs.sort_by_key(|output| output.status.code());
        let [winner, loser] = outputs;
        check(&winner, 0, "");
        check(&loser, 3, "conflict");
        let won = &json_lines(&winner.stdout)[0];
        assert_eq!(won["versions"]["order-1"], round + 1, "{won}");
        let lost = &json_lines(&loser.stdout)[0];
        assert_eq!(lost["error"], "conflict", "{lost}");
        assert_eq!(lost["outcome"], "not appended", "{lost}");
        assert_eq!(lost["failures"][0]["actual"], round + 1, "{lost}");
        assert!(
            text(&loser.stderr).contains(&format!("`order-1` is at version {}", round + 1)),
            "{}",
            text(&loser.stderr)
        );
    }
    cluster.check_logs();
}

#[test]
fn bad_input_is_refused_with_the_reason_and_changes_nothing() {
    let cluster = Cluster::start("64MiB");
    let folder = cluster.folder();
    let file = |name: &str, content: &[u8]| -> String {
        let path = folder.join(name);
        fs::write(&path, content).expect("a file");
        path.display().to_string()
    };
    let long = "x".repeat(256);
    let large = file("large", &vec![b'x'; 1024 * 1024 + 1]);
    let cases: [(&[&str], i32, &str); 12] = [
        (&["append", "", "--type", "T"], 2, "is empty"),
        (&["append", &long, "--type", "T"], 2, "at most 255"),
        (&["append", "$order-1", "--type", "T"], 3, "kept for the system"),
        (&["append", "order-1", "--type", "$T"], 3, "kept for the system"),
        (&["append", "order-1", "--type", &long], 2, "at most 255"),
        (&["append", "order-1", "--type", "T", "--id", "no-uuid"], 2, "UUID"),
        (&["append", "order-1", "--type", "T", "--data", "{"], 2, "JSON"),
        (&["append", "order-1", "--type", "T", "--expect", "sometimes"], 2, "exists"),
        (&["append", "order-1", "--type", "T", "--colour", "blue"], 2, "--colour"),
        (&["append", "--file", &file("bad", b"{\"stream\":\"a-1\",\"type\":\"T\"}\n{")], 2, ":2:"),
        (&["append", "--file", &file("none", b"")], 3, "empty"),
        (&["read", "order//1"], 2, "empty part"),
    ];
    for (arguments, code, why) in cases {
        check(&cluster.run(arguments.iter().copied()), code, why);
    }
    let mut command = cluster.command(["append", "order-1", "--type", "T", "--data", "-"]);
    command.stdin(fs::File::open(large).expect("the file"));
    check(&command.output().expect("it runs"), 3, "at most 1048576");
    assert!(cluster.export(0).is_empty(), "something was appended");
    cluster.check_logs();
}

#[test]
fn an_import_stops_at_a_bad_line_with_its_number_and_keeps_what_came_before() {
    let cluster = Cluster::start("64MiB");
    let mut lines: Vec<String> = (1..=50)
        .map(|number| format!("{{\"stream\":\"order-{number}\",\"type\":\"T\"}}"))
        .collect();
    lines[37] = lines[37].replace("\"type\"", "\"tpye\"");
    let path = cluster.folder().join("damaged.ndjson");
    fs::write(&path, lines.join("\n")).expect("a file");
    let path = path.display().to_string();
    let looked = cluster.run(["import", &path, "--check"]);
    assert!(!looked.status.success());
    assert!(
        format!("{}{}", text(&looked.stdout), text(&looked.stderr)).contains("38"),
        "{looked:?}"
    );
    assert!(cluster.export(0).is_empty(), "--check appended something");
    let stopped = cluster.run(["import", &path]);
    assert!(!stopped.status.success());
    assert!(text(&stopped.stderr).contains("38"), "{stopped:?}");
    let kept = exports_are_equal(&cluster, 37);
    assert_eq!(json_lines(&kept).len(), 37);
    lines[37] = lines[37].replace("\"tpye\"", "\"type\"");
    fs::write(&path, lines.join("\n")).expect("a file");
    cluster.must(["import", &path]);
    assert_eq!(json_lines(&exports_are_equal(&cluster, 50)).len(), 50);
}

/// Sends bytes to a port and returns when the other side closed, or told something and was told the end.
fn send_garbage(address: &str, bytes: &[u8]) {
    let mut connection = TcpStream::connect(address).expect("it listens");
    connection.set_read_timeout(Some(Duration::from_secs(5))).expect("a time-out");
    // The other side may close before everything is sent: that is an answer too.
    let _ = connection.write_all(bytes);
    let _ = connection.shutdown(Shutdown::Write);
    let _ = connection.read_to_end(&mut Vec::new());
}

#[test]
fn garbage_on_either_port_harms_nobody() {
    let mut cluster = Cluster::start("64MiB");
    let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    let mut random = Random::new(1);
    let mut garbage: Vec<Vec<u8>> = vec![
        Vec::new(),
        b"GET / HTTP/1.1\r\nHost: quorate\r\n\r\n".to_vec(),
        vec![0; 100_000],
        vec![0xff; 100_000],
        preface.to_vec(),
        [preface.as_slice(), &[0xff; 50_000]].concat(),
        // A frame of headers that promises 16 MiB and never comes.
        [preface.as_slice(), &[0xff, 0xff, 0xff, 1, 4, 0, 0, 0, 1]].concat(),
    ];
    for _ in 0..20 {
        let noise: Vec<u8> = (0..2_000).map(|_| random.next() as u8).collect();
        garbage.push([preface.as_slice(), &noise].concat());
        garbage.push(noise);
    }
    for bytes in &garbage {
        send_garbage(&cluster.nodes[0].address, bytes);
        send_garbage(&cluster.nodes[0].peer_address, bytes);
    }
    assert!(cluster.nodes[0].is_running(), "{}", cluster.logs());
    cluster.must(["append", "order-1", "--type", "T", "--expect", "none"]);
    exports_are_equal(&cluster, 1);
    cluster.check_logs();
}

#[test]
fn an_append_is_synced_by_a_majority_before_its_answer() {
    if Command::new("strace").arg("-V").output().is_err() {
        eprintln!("SKIPPED: strace is not there, so nobody counts what reaches the disks");
        return;
    }
    let cluster = Cluster::start_wrapped("64MiB", |node| {
        let output = node.data.display().to_string().replace("/node-", "/output-");
        // -D: the node is our child and strace its grandchild, so that to kill the node kills it.
        let words = ["strace", "-D", "-f", "-qq", "-e", "trace=fdatasync,fsync", "-o", &output];
        words.map(str::to_owned).to_vec()
    });
    let syncs = |number: usize| {
        let output = cluster.folder().join(format!("output-{number}"));
        let trace = fs::read_to_string(output).unwrap_or_default();
        trace.lines().filter(|line| line.contains("fdatasync(") && line.contains("= 0")).count()
            + trace.lines().filter(|line| line.contains("fdatasync resumed")).count()
    };
    let appends = 30;
    for number in 0..appends {
        let before: Vec<usize> = (1..=3).map(syncs).collect();
        cluster.must(["append", "order-1", "--type", "T", "--expect", &number.to_string()]);
        let synced = (1..=3).filter(|node| syncs(*node) > before[*node - 1]).count();
        assert!(synced >= 2, "append {number} was answered after {synced} nodes had synced");
    }
    let all: Vec<usize> = (1..=3).map(syncs).collect();
    println!("{appends} appends, one after the other: {all:?} calls of fdatasync");
}

#[test]
fn memory_stays_bounded_while_a_reader_has_stopped_reading() {
    let folder = tempfile::tempdir().expect("a folder");
    let data = DataSet::real().unwrap_or_else(|| DataSet::generated(folder.path(), 100_000));
    let cluster = Cluster::start("64MiB");
    finish_import(begin_import(&cluster, &data.file), &cluster);
    let before: Vec<u64> = cluster.nodes.iter().map(Node::memory_peak).collect();
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(async {
        let addresses = || cluster.nodes.iter().map(|node| node.address.clone());
        let idle = Client::connect(addresses()).await.expect("a cluster");
        let client = Client::connect(addresses()).await.expect("a cluster");
        let mut stalled = Vec::new();
        for _ in 0..20 {
            let mut reader = idle.read(Query::everything()).stream().await.expect("a read");
            reader.try_next().await.expect("an event").expect("there are some");
            stalled.push(reader);
        }
        // Others go on as if the stalled ones were not there, while these are connected.
        let whole = client.read(Query::everything()).collect().await.expect("a read");
        assert_eq!(whole.events.len() as u64, data.known.events);
        let peaks: Vec<u64> = cluster.nodes.iter().map(Node::memory_peak).collect();
        let shown = |bytes: &[u64]| bytes.iter().map(|bytes| bytes >> 20).collect::<Vec<_>>();
        println!(
            "peak MiB after the import {:?}, with 20 stalled readers {:?}",
            shown(&before),
            shown(&peaks)
        );
        assert!(peaks.iter().all(|peak| *peak <= GIBIBYTE), "{peaks:?}");
        // A stalled reader goes on where it stopped.
        let mut seen = 1;
        while stalled[0].try_next().await.expect("an event").is_some() {
            seen += 1;
        }
        assert_eq!(seen, data.known.events);
    });
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

fn copy(from: &Path, to: &Path) {
    let _ = fs::remove_dir_all(to);
    for file in files(from) {
        let target = to.join(file.strip_prefix(from).expect("below"));
        fs::create_dir_all(target.parent().expect("a folder")).expect("a folder");
        fs::copy(&file, &target).expect("a copy");
    }
}

/// What is done to one file of a stopped node.
#[derive(Clone, Copy, Debug)]
enum Damage {
    Flip(u64),
    Cut(u64),
    Remove,
}

fn damage(file: &Path, damage: Damage) {
    match damage {
        Damage::Flip(at) => {
            let mut bytes = fs::read(file).expect("the file");
            bytes[at as usize] ^= 0x10;
            fs::write(file, bytes).expect("the file");
        }
        Damage::Cut(len) => {
            let file = fs::File::options().write(true).open(file).expect("the file");
            file.set_len(len).expect("it can be cut");
        }
        Damage::Remove => fs::remove_file(file).expect("it can be removed"),
    }
}

#[test]
fn a_damaged_file_is_told_of_and_never_served() {
    let folder = tempfile::tempdir().expect("a folder");
    let data = DataSet::generated(folder.path(), 3_000);
    let mut cluster = Cluster::start("128KiB");
    finish_import(begin_import(&cluster, &data.file), &cluster);
    let export = exports_are_equal(&cluster, data.known.events);
    // The others stay away until the end: they would remember how often the node was started, and refuse
    // what is put back afterwards.
    for node in &mut cluster.nodes {
        assert_eq!(node.stop(), Some(0));
    }
    let (whole, node) = (folder.path().join("whole"), cluster.nodes[2].data.clone());
    copy(&node, &whole);
    check(&cluster.run(["verify", &node.display().to_string()]), 0, "");
    let mut random = Random::new(3);
    let (mut refused, mut served, mut verified) = (0, 0, 0);
    for file in files(&whole) {
        let name = file.strip_prefix(&whole).expect("below").to_owned();
        for what in draw_damages(&file, &mut random) {
            copy(&whole, &node);
            damage(&node.join(&name), what);
            let verify = cluster.run(["verify", &node.display().to_string()]);
            let told = format!("{}{}", text(&verify.stdout), text(&verify.stderr));
            assert!(!told.contains("panicked"), "{name:?} {what:?}: {told}");
            verified += u32::from(!verify.status.success());
            match serve_alone(&mut cluster, 2, &format!("{what:?} of {name:?}")) {
                None => refused += 1,
                Some(read) if read.status.success() => {
                    // What is not known to be on a majority is not applied without the others.
                    assert!(export.starts_with(&read.stdout), "{name:?} {what:?}: wrong events");
                    served += 1;
                }
                Some(read) => {
                    let told = text(&read.stderr);
                    assert!(told.contains("damaged"), "{name:?} {what:?}: {told}");
                    refused += 1;
                }
            }
            let log = cluster.nodes[2].log();
            assert!(!log.contains("panicked"), "{name:?} {what:?}: {log}");
        }
    }
    println!("{refused} refused, {served} served all the same; verify found {verified}");
    assert!(refused > 0 && verified > 0, "no damage was ever found");
    copy(&whole, &node);
    cluster.nodes.iter_mut().for_each(Node::start);
    assert!(export == exports_are_equal(&cluster, data.known.events), "something was lost");
}

fn draw_damages(file: &Path, random: &mut Random) -> Vec<Damage> {
    let len = fs::metadata(file).expect("the file").len();
    if len == 0 {
        return vec![Damage::Remove];
    }
    // What is in use of a log file is near its front.
    let flips = [(); 3].map(|()| Damage::Flip(random.below(len.min(64 * 1024))));
    [Damage::Cut(len / 2), Damage::Remove].into_iter().chain(flips).collect()
}

/// Starts a node without the others, and has it read everything it has; `None` if it ends by itself.
fn serve_alone(cluster: &mut Cluster, node: usize, after: &str) -> Option<Output> {
    cluster.nodes[node].start();
    let address = cluster.nodes[node].address.clone();
    let read = wait_for(&format!("serving or ending after {after}"), PATIENCE, || {
        if !cluster.nodes[node].is_running() {
            return Some(None);
        }
        TcpStream::connect(&address).ok()?;
        let output = cluster.run(["--node", &address, "--consistency", "local", "export"]);
        let settled = output.status.success() || text(&output.stderr).contains("damaged");
        settled.then_some(Some(output))
    });
    match read {
        None => assert_ne!(cluster.nodes[node].wait(), Some(0), "it ended without a word"),
        Some(_) => cluster.nodes[node].kill(),
    }
    read
}

#[test]
fn a_port_in_use_and_a_folder_in_use_are_told_of() {
    let cluster = Cluster::start("64MiB");
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let taken = taken.local_addr().expect("an address").to_string();
    let folder = cluster.folder().join("other").display().to_string();
    let serve = |data: &str, listen: &str| {
        cluster.run(["serve", "--data", data, "--listen", listen, "--peer-listen", "127.0.0.1:1"])
    };
    let output = serve(&folder, &taken);
    check(&output, 1, "cannot listen on");
    let data = cluster.nodes[0].data.display().to_string();
    let ports = Node::new(cluster.folder(), 9);
    let output = cluster.run([
        "serve",
        "--data",
        &data,
        "--listen",
        &ports.address,
        "--peer-listen",
        &ports.peer_address,
    ]);
    check(&output, 1, "in use by another process");
    check(&serve(&folder, "0.0.0.0:7701"), 2, "--insecure");
    cluster.check_logs();
}

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
        let port = (20_000 + random..45_000).step_by(10).find(free).expect("free ports");
        let output = folder.join(format!("{name}.log"));
        let log = fs::File::create(&output).expect("a file");
        let process = Command::new(binary())
            .args(["dev", "--chunk-size", "1MiB", "--port", &port.to_string(), "--data"])
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

fn signal(pid: u64, signal: &str) {
    let sent = Command::new("kill").args([signal, &pid.to_string()]).status().expect("kill runs");
    assert!(sent.success());
}

fn is_alive(pid: u64) -> bool {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    status.lines().any(|line| line.starts_with("State:") && !line.contains('Z'))
}

#[test]
fn dev_keeps_its_data_tells_of_a_dead_node_and_stops_them_all() {
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

    let dev = Dev::start(folder.path(), "second");
    dev.wait_for_three();
    let read = dev.run(&["read", "order-1", "--json"]);
    assert_eq!(json_lines(&read.stdout).len(), 2, "{read:?}");
}
