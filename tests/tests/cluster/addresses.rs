//! The known addresses of nodes, the addresses they are started at, and addresses as people write them.

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use quorate_tests::cluster::{Cluster, Node, PATIENCE, binary, json_lines, wait_for};

use super::{check, text};

/// Returns the command `quorate serve` as a user types it.
fn serve(data: &Path, node: &Node, more: &[&str]) -> Command {
    let mut command = Command::new(binary());
    command.arg("serve").arg("--data").arg(data).args(["--listen", &node.address]);
    command.args(["--peer-listen", &node.peer_address]).args(more).stdin(Stdio::null());
    command
}

pub(super) fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("a folder");
    for entry in fs::read_dir(from).expect("a folder") {
        let entry = entry.expect("listed");
        let to = to.join(entry.file_name());
        match entry.file_type().expect("a type").is_dir() {
            true => copy(&entry.path(), &to),
            false => drop(fs::copy(entry.path(), to).expect("copied")),
        }
    }
}

/// A process that is killed when the test ends.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_node_does_not_start_where_its_cluster_does_not_know_it() {
    let mut cluster = Cluster::start("64MiB");
    cluster.must(["append", "a-1", "--type", "T"]);
    cluster.nodes[2].kill();
    let elsewhere = Node::new(cluster.folder(), 9);
    let data = cluster.nodes[2].data.clone();
    let output = serve(&data, &elsewhere, &[]).output().expect("it runs");
    for address in [&cluster.nodes[2].address, &cluster.nodes[2].peer_address] {
        check(&output, 1, address);
    }
    check(&output, 1, &elsewhere.address);
    check(&output, 1, &elsewhere.peer_address);
    check(&output, 1, "--moved");

    // A copy of the first node's folder with the third's settings would take part under the first one's name.
    assert_eq!(cluster.nodes[0].stop(), Some(0));
    let cold = cluster.folder().join("cold");
    copy(&cluster.nodes[0].data, &cold);
    let output = serve(&cold, &cluster.nodes[2], &[]).output().expect("it runs");
    check(&output, 1, "knows node 1 at");

    // An operator whose old addresses lead to the new ones can pass `--moved`, and the node shows it.
    let mut moved = serve(&data, &elsewhere, &["--moved"]);
    moved.stdout(Stdio::null()).stderr(Stdio::null());
    let _moved = Killed(moved.spawn().expect("it starts"));
    let status = ["cluster", "status", "--node", &elsewhere.address, "--json"];
    wait_for("a notice of the move", PATIENCE, || {
        let status = json_lines(&cluster.run(status).stdout);
        let mut notices = status.iter().filter_map(|node| node["notice"].as_str());
        notices.find(|notice| notice.contains("--moved")).map(drop)
    });
    cluster.nodes[0].start();
    cluster.wait_for_leader();
    cluster.check_logs();
}

#[test]
fn endpoints_are_understood_as_people_write_them_or_refused_with_what_to_write() {
    let cluster = Cluster::start("64MiB");
    cluster.must(["append", "a-1", "--type", "T"]);
    let [one, two] = [0, 1].map(|node: usize| &cluster.nodes[node].address);
    let port = one.rsplit_once(':').expect("a port").1;
    for endpoints in
        [format!(" {one}, {two} ,"), format!("{one},"), format!("LocalHost:{port}"), one.clone()]
    {
        let read = cluster.must(["read", "a-1", "--endpoints", &endpoints, "--json"]);
        assert_eq!(json_lines(&read).len(), 1, "{endpoints:?}");
    }
    for (flag, wrong, why) in [
        ("--endpoints", format!("http://{one}"), format!("without http://: `{one}`")),
        ("--endpoints", format!("{one},grpc://{two}"), format!("without grpc://: `{two}`")),
        ("--endpoints", "::1:7701".to_owned(), "`[::1]:7701`".to_owned()),
        ("--node", "::1:7701".to_owned(), "`[::1]:7701`".to_owned()),
        ("--endpoints", " ".to_owned(), "names no address".to_owned()),
    ] {
        check(&cluster.run(["read", "a-1", flag, &wrong]), 2, &why);
    }
    let data = cluster.folder().join("v6").display().to_string();
    for flag in ["--listen", "--peer-listen", "--metrics-listen", "--advertise", "--peer-advertise"]
    {
        check(&cluster.run(["serve", "--data", &data, flag, "::1:7701"]), 2, "`[::1]:7701`");
    }
    check(&cluster.run(["cluster", "init", "--peers", "::1:7801"]), 2, "`[::1]:7801`");
    cluster.check_logs();
}

#[test]
fn founding_again_names_the_member_that_is_outside() {
    let mut cluster = Cluster::start("64MiB");
    let peers: Vec<&str> = cluster.nodes.iter().map(|node| node.peer_address.as_str()).collect();
    let init = ["cluster".to_owned(), "init".to_owned(), "--peers".to_owned(), peers.join(", ")];
    let at_first = cluster.nodes[0].address.clone();
    let found = |cluster: &Cluster, node: &str| {
        cluster.run(init.iter().map(String::as_str).chain(["--node", node]))
    };
    check(&found(&cluster, &at_first), 0, "");
    cluster.nodes[2].kill();
    check(&found(&cluster, &at_first), 0, "");

    // The third node comes back on a folder that is not its own.
    fs::rename(&cluster.nodes[2].data, cluster.folder().join("kept")).expect("renamed");
    cluster.nodes[2].start();
    let outside = cluster.nodes[2].address.clone();
    let output = wait_for("the node that is outside", PATIENCE, || {
        Some(found(&cluster, &at_first)).filter(|output| !output.status.success())
    });
    check(&output, 1, &outside);
    check(&output, 1, "belongs to no cluster");
    let output = found(&cluster, &outside);
    assert!(!output.status.success() && text(&output.stderr).contains("cannot be taken in yet"));
    for advice in ["cluster add", "cluster join", "cluster remove"] {
        assert!(!text(&output.stderr).contains(advice), "there is no such command");
    }
    // Alone the node gives advice; among others it is no reason to report that there is no cluster.
    let status = ["cluster", "status", "--output", "text"];
    let alone = cluster.run(status.iter().copied().chain(["--node", &outside]));
    check(&alone, 0, &format!("quorate cluster init --endpoints {outside},…"));
    check(&alone, 0, "start it on its own");
    let all = format!("{outside},{at_first}");
    let all = cluster.run(status.iter().copied().chain(["--endpoints", &all]));
    check(&all, 0, "a chunk");
    assert!(!text(&all.stdout).contains("waits for a cluster"), "{all:?}");
    cluster.check_logs();
}

#[test]
fn what_begins_in_the_future_is_refused() {
    let cluster = Cluster::start("64MiB");
    cluster.must(["append", "a-1", "--type", "T"]);
    cluster.must(["group", "create", "now", "--after", "1"]);
    let cases: [&[&str]; 5] = [
        &["group", "create", "later", "--after", "999999999"],
        &["group", "reset", "now", "--after", "2"],
        &["subscribe", "--after", "999999", "--marks"],
        &["subscribe", "a-1", "--after", "50", "--marks"],
        &["subscribe", "a-1", "--after", "2", "--consistency", "local"],
    ];
    for arguments in cases {
        check(&cluster.run(arguments), 2, "from the future");
    }
    let later = cluster.run(["group", "show", "later"]);
    assert!(!later.status.success(), "it was made");
    // A read that ends skips nothing, and reports the end of the log.
    for arguments in [&["read", "--after", "2"][..], &["read", "no-1", "--after", "1"]] {
        let mut text = cluster.command(arguments);
        let output = text.env("QUORATE_OUTPUT", "text").output().expect("it runs");
        check(&output, 0, "0 events as of position 1");
    }
    cluster.must(["group", "reset", "now", "--after", "1"]);
    cluster.check_logs();
}
