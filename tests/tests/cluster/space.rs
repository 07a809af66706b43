//! Full disks: nodes on small file systems of their own.

use std::cell::RefCell;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use quorate_tests::cluster::{Cluster, Node, PATIENCE, wait_for};

use super::{check, exports_are_equal, text};

/// The size of a disk: room for two segments of the Raft log and little more than the reserve beside them.
const DISK: &str = "size=400m";

/// A file system that is mounted at a folder until this is dropped.
struct Mount(PathBuf);

impl Mount {
    /// Mounts a file system; returns `None` where that is not allowed.
    fn new(folder: &Path) -> Option<Mount> {
        fs::create_dir_all(folder).expect("a folder");
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", DISK, "tmpfs"]).arg(folder).stderr(Stdio::null());
        mount.status().is_ok_and(|status| status.success()).then(|| Mount(folder.to_owned()))
    }

    fn filler(&self) -> PathBuf {
        self.0.join("filler")
    }

    /// Fills the file system until only `rest` bytes are free.
    fn fill(&self, rest: u64) {
        let output = Command::new("df").args(["--output=avail", "-B1"]).arg(&self.0).output();
        let output = text(&output.expect("df runs").stdout);
        let free: u64 =
            output.lines().last().and_then(|line| line.trim().parse().ok()).expect("df");
        let length = free.saturating_sub(rest).to_string();
        let filled = Command::new("fallocate").args(["-l", &length]).arg(self.filler()).status();
        assert!(filled.is_ok_and(|status| status.success()), "the disk cannot be filled");
    }

    fn make_room(&self) {
        fs::remove_file(self.filler()).expect("the filler");
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

#[test]
fn nodes_without_room_refuse_appends_and_go_on_by_themselves_when_there_is_some() {
    // The file systems are unmounted lazily (`umount -l`), before the nodes are killed.
    let mounts = RefCell::new(Vec::new());
    let mut cluster = Cluster::start_wrapped("1MiB", |node| {
        mounts.borrow_mut().extend(Mount::new(&node.data));
        Vec::new()
    });
    let mounts = mounts.take();
    if mounts.len() < cluster.nodes.len() {
        quorate_tests::skipped("full disks: a file system cannot be mounted here");
        return;
    }
    // A free space below the reserve, which is at least four chunk sizes, and above half of the reserve.
    let little = 3 << 20;
    cluster.must(["append", "order-1", "--type", "T", "--expect", "none"]);

    let leader = cluster.wait_for_leader();
    mounts[leader].fill(little);
    wait_for("a leader with room", PATIENCE, || {
        (cluster.wait_for_leader() != leader).then_some(())
    });
    cluster.must(["append", "order-1", "--type", "T", "--expect", "1"]);

    let others = (0..mounts.len()).filter(|node| *node != leader);
    others.for_each(|node| mounts[node].fill(little));
    let append = ["append", "order-1", "--type", "T", "--expect", "any"];
    let refused = wait_for("an append that is refused", PATIENCE, || {
        let output = cluster.run(append);
        (!output.status.success()).then_some(output)
    });
    check(&refused, 1, "no room");
    cluster.must(["stream", "delete", "order-1"]);

    mounts.iter().for_each(Mount::make_room);
    wait_for("room", PATIENCE, || cluster.run(append).status.success().then_some(()));
    let position = cluster.position(0).expect("it answers");
    exports_are_equal(&cluster, position);
    assert!(cluster.nodes.iter_mut().all(Node::is_running), "{}", cluster.logs());
    cluster.check_logs();
}
