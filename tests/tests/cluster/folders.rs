//! A node's folder: foreign files and folders in it, read-only mounts of it, and other paths to it.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use quorate_tests::cluster::{Cluster, Node, PATIENCE, wait_for};

use super::check;

/// A read-only mount of a folder at a second path, until it is dropped.
struct ReadOnly(PathBuf);

impl ReadOnly {
    /// Mounts the folder; returns `None` where that is not allowed.
    fn new(folder: &Path, at: PathBuf) -> Option<ReadOnly> {
        fs::create_dir_all(&at).expect("a folder");
        let mount = |options: &[&str], from: Option<&Path>| {
            let mut mount = Command::new("mount");
            mount.args(options).args(from).arg(&at).stderr(Stdio::null());
            mount.status().is_ok_and(|status| status.success())
        };
        let bound = mount(&["--bind"], Some(folder)).then(|| ReadOnly(at.clone()))?;
        mount(&["-o", "remount,ro,bind"], None).then_some(bound)
    }
}

impl Drop for ReadOnly {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

/// Returns every file below a folder, with its content.
fn contents(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("listed").path();
        match path.is_dir() {
            true => found.extend(contents(&path)),
            false => drop(found.insert(path.clone(), fs::read(path).expect("a file"))),
        }
    }
    found
}

fn verify(cluster: &Cluster, folder: &Path) -> std::process::Output {
    cluster.run([OsStr::new("verify"), folder.as_os_str()])
}

#[test]
fn verify_writes_nothing_needs_no_lock_file_and_recognizes_a_running_node() {
    let mut cluster = Cluster::start("64MiB");
    cluster.must(["append", "a-1", "--type", "T"]);
    let data = cluster.nodes[0].data.clone();
    let other_path = ReadOnly::new(&data, cluster.folder().join("read-only"));
    if other_path.is_none() {
        quorate_tests::skipped("nothing can be mounted here");
    }
    check(&verify(&cluster, &data), 1, "in use by another process");
    if let Some(ReadOnly(path)) = &other_path {
        check(&verify(&cluster, path), 1, "in use by another process");
    }
    assert_eq!(cluster.nodes[0].stop(), Some(0));
    if let Some(ReadOnly(path)) = &other_path {
        check(&verify(&cluster, path), 0, "");
    }
    fs::remove_file(data.join("lock")).expect("the lock file");
    let before = contents(&data);
    check(&verify(&cluster, &data), 0, "");
    if let Some(ReadOnly(path)) = &other_path {
        check(&verify(&cluster, path), 0, "");
    }
    assert!(before == contents(&data), "something was written");
}

#[test]
fn what_is_not_the_nodes_is_left_alone_and_holds_nothing_up() {
    let mut cluster = Cluster::start("64MiB");
    cluster.must(["append", "a-1", "--type", "T"]);
    assert_eq!(cluster.nodes[0].stop(), Some(0));
    let data = cluster.nodes[0].data.clone();
    for folder in ["lost+found", "chunks/lost+found", "log/lost+found"] {
        fs::create_dir(data.join(folder)).expect("a folder");
    }
    let strange = OsStr::from_bytes(b"caf\xe9");
    let in_folder = |folder: &str| data.join(folder).join(strange);
    let mut files: Vec<PathBuf> = ["", "chunks", "log"].map(in_folder).to_vec();
    let named = ["chunks/NOTES.txt", "chunks/two\nlines", "log/README", "catalog-notes"];
    files.extend(named.map(|name| data.join(name)));
    for file in &files {
        fs::write(file, "mine").expect("written");
    }
    check(&verify(&cluster, &data), 0, "");
    cluster.nodes[0].start();
    cluster.wait_for_position(0, 1);
    assert_eq!(cluster.nodes[0].stop(), Some(0));
    for file in &files {
        assert_eq!(fs::read(file).ok().as_deref(), Some(&b"mine"[..]), "{}", file.display());
    }
    check(&verify(&cluster, &data), 0, "");

    // A fresh volume has a folder `lost+found`, too.
    let mut fresh = Node::new(cluster.folder(), 9);
    fs::create_dir_all(fresh.data.join("lost+found")).expect("a folder");
    fresh.start();
    wait_for("a node that waits", PATIENCE, || {
        assert!(fresh.is_running(), "{}", fresh.log());
        let status = cluster.run(["cluster", "status", "--node", &fresh.address]);
        status.status.success().then_some(())
    });
    cluster.check_logs();
}

#[test]
fn a_folder_by_another_path_is_the_same_folder_and_what_is_none_is_named() {
    let mut cluster = Cluster::start("64MiB");
    let path = |name: &str| cluster.folder().join(name);
    let (link, dangling, file) = (path("link"), path("dangling"), path("file"));
    symlink(&cluster.nodes[0].data, &link).expect("linked");
    symlink(path("nowhere"), &dangling).expect("linked");
    fs::write(&file, "").expect("written");
    let (address, peer_address) = {
        let node = Node::new(cluster.folder(), 9);
        (node.address.clone(), node.peer_address.clone())
    };
    let serve = |data: &Path| {
        let data = data.display().to_string();
        let listen = ["--listen", &address, "--peer-listen", &peer_address];
        cluster.run(["serve", "--data", &data].into_iter().chain(listen))
    };
    check(&serve(&link), 1, "in use by another process");
    check(&serve(&dangling), 1, "a symbolic link to nothing that is a folder");
    check(&serve(&file), 1, "a file, not a folder");

    // A node whose folder is named by a symbolic link runs as it does without one.
    assert_eq!(cluster.nodes[0].stop(), Some(0));
    let data = std::mem::replace(&mut cluster.nodes[0].data, link);
    cluster.nodes[0].start();
    cluster.must(["append", "a-1", "--type", "T"]);
    cluster.wait_for_position(0, 1);
    check(&verify(&cluster, &data), 1, "in use by another process");
    assert_eq!(cluster.nodes[0].stop(), Some(0));
    check(&verify(&cluster, &data), 0, "");
    cluster.check_logs();
}

/// Returns the names of a stopped node's small files and of the segment that holds its log, from its folder.
fn small_files(data: &Path) -> Vec<String> {
    let names = |folder: &Path| -> Vec<String> {
        let listed = fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("listed"));
        listed.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
    };
    let mut files: Vec<String> = ["identity", "boot", "CURRENT"].map(str::to_owned).to_vec();
    files.extend(names(data).into_iter().filter(|name| name.starts_with("catalog-")));
    let segments = names(&data.join("log")).into_iter().filter(|name| name.starts_with("segment-"));
    // The next segment is only made ready: it holds no entry yet.
    files.extend(segments.min().map(|name| format!("log/{name}")));
    files
}

#[test]
fn a_small_file_that_is_empty_or_gone_is_named_by_verify_and_by_the_start() {
    let mut cluster = Cluster::start("64KiB");
    let data = "x".repeat(30_000);
    for _ in 0..8 {
        cluster.must(["append", "a-1", "--type", "T", "--data", &format!("\"{data}\"")]);
    }
    wait_for("a checkpoint", PATIENCE, || {
        cluster.nodes[0].data.join("CURRENT").exists().then_some(())
    });
    assert_eq!(cluster.nodes[0].stop(), Some(0));
    let (whole, copy) = (cluster.nodes[0].data.clone(), cluster.folder().join("copy"));
    let files = small_files(&whole);
    assert!(files.len() >= 5, "{files:?}");
    for (file, is_gone) in files.iter().flat_map(|file| [(file, true), (file, false)]) {
        super::addresses::copy(&whole, &copy);
        match is_gone {
            true => fs::remove_file(copy.join(file)).expect("removed"),
            false => fs::write(copy.join(file), "").expect("emptied"),
        }
        // A segment that is gone is not named itself, only the folder in which it is missing.
        let name = if is_gone && file.starts_with("log/") { "log" } else { file.as_str() };
        check(&verify(&cluster, &copy), 1, name);
        let node = &cluster.nodes[0];
        let listen = ["--listen", &node.address, "--peer-listen", &node.peer_address, "--data"];
        let mut serve = cluster.command(["serve"].into_iter().chain(listen));
        check(&serve.arg(&copy).output().expect("it runs"), 1, name);
        fs::remove_dir_all(&copy).expect("removed");
    }
    cluster.nodes[0].start();
    cluster.wait_for_position(0, 8);
    cluster.check_logs();
}
