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
fn a_node_that_was_started_elsewhere_is_found_again_and_a_copy_of_its_folder_is_not() {
    let mut cluster = Cluster::start("64MiB");
    cluster.must(["append", "a-1", "--type", "T"]);
    // One after the other, so that all addresses are others in the end.
    for moved in 0..3 {
        assert_eq!(cluster.nodes[moved].stop(), Some(0));
        cluster.nodes[moved].move_elsewhere();
        cluster.nodes[moved].start();
        let peer_address = cluster.nodes[moved].peer_address.clone();
        let address = cluster.nodes[moved].address.clone();
        let appended = cluster.must(["append", "a-1", "--type", "T", "--json"]);
        let position = json_lines(&appended)[0]["position"].as_u64().expect("a position");
        cluster.wait_for_position(moved, position);
        wait_for("no notice any more", PATIENCE, || {
            let status = cluster.status();
            let own = status.iter().find(|node| node["address"] == address.as_str())?;
            let notice = own["notice"].as_str().unwrap_or_default();
            notice.is_empty().then_some(())
        });
        assert!(cluster.nodes[moved].log().contains("is told"), "{peer_address}");
    }

    // A copy of a folder that is older than what the others heard of the node does not take part.
    let cold = cluster.folder().join("cold");
    assert_eq!(cluster.nodes[2].stop(), Some(0));
    copy(&cluster.nodes[2].data, &cold);
    cluster.nodes[2].start();
    cluster.must(["append", "a-1", "--type", "T"]);
    cluster.wait_for_position(2, 5);
    cluster.nodes[2].kill();
    let elsewhere = Node::new(cluster.folder(), 9);
    let mut copied = serve(&cold, &elsewhere, &[]);
    copied.stdout(Stdio::null()).stderr(Stdio::null());
    let _copied = Killed(copied.spawn().expect("it starts"));
    wait_for("the copy is kept out", PATIENCE, || {
        let status = cluster.status();
        let mut notices = status.iter().filter_map(|node| node["notice"].as_str());
        notices
            .find(|notice| notice.contains("it was started") || notice.contains("lost"))
            .map(drop)
    });
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
    check(&output, 1, "quorate cluster replace 3");
    let output = found(&cluster, &outside);
    let advice = "start it on an empty folder";
    assert!(!output.status.success() && text(&output.stderr).contains(advice), "{output:?}");
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
