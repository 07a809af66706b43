//! Damaged files of a stopped node are reported, and never served.

use std::fs;
use std::net::TcpStream;
use std::path::Path;
use std::process::Output;

use quorate_tests::cluster::{Cluster, Node, PATIENCE, wait_for};
use quorate_tests::data::DataSet;
use quorate_tests::random::Random;

use super::{begin_import, check, exports_are_equal, files, finish_import, text};

fn copy(from: &Path, to: &Path) {
    let _ = fs::remove_dir_all(to);
    for file in files(from) {
        let target = to.join(file.strip_prefix(from).expect("below"));
        fs::create_dir_all(target.parent().expect("a folder")).expect("a folder");
        fs::copy(&file, &target).expect("a copy");
    }
}

/// The damage that is done to one file of a stopped node.
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
fn a_damaged_file_is_reported_and_never_served() {
    let folder = tempfile::tempdir().expect("a folder");
    let data = DataSet::generated(folder.path(), 3_000);
    let mut cluster = Cluster::start("128KiB");
    finish_import(begin_import(&cluster, &data.file), &cluster);
    let export = exports_are_equal(&cluster, data.known.events);
    // The other nodes stay stopped until the end: they would remember how often this node was started, and
    // refuse the older files that are put back afterwards.
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
            let printed = format!("{}{}", text(&verify.stdout), text(&verify.stderr));
            assert!(!printed.contains("panicked"), "{name:?} {what:?}: {printed}");
            verified += u32::from(!verify.status.success());
            match serve_alone(&mut cluster, 2, &format!("{what:?} of {name:?}")) {
                None => refused += 1,
                Some(read) if read.status.success() => {
                    // Entries that are not known to be on a majority are not applied without the others.
                    assert!(export.starts_with(&read.stdout), "{name:?} {what:?}: wrong events");
                    served += 1;
                }
                Some(read) => {
                    let printed = text(&read.stderr);
                    assert!(printed.contains("damaged"), "{name:?} {what:?}: {printed}");
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
    // The part of a log file that is in use is near its front.
    let flips = [(); 3].map(|()| Damage::Flip(random.below(len.min(64 * 1024))));
    [Damage::Cut(len / 2), Damage::Remove].into_iter().chain(flips).collect()
}

/// Starts a node without the others and exports all that it has; returns `None` if the node ends by itself.
fn serve_alone(cluster: &mut Cluster, node: usize, after: &str) -> Option<Output> {
    cluster.nodes[node].start();
    let address = cluster.nodes[node].address.clone();
    let read = wait_for(&format!("serving or ending after {after}"), PATIENCE, || {
        if !cluster.nodes[node].is_running() {
            return Some(None);
        }
        TcpStream::connect(&address).ok()?;
        let output = cluster.run(["export", "--node", &address, "--consistency", "local"]);
        let settled = output.status.success() || text(&output.stderr).contains("damaged");
        settled.then_some(Some(output))
    });
    match read {
        None => assert_ne!(cluster.nodes[node].wait(), Some(0), "it ended without a word"),
        Some(_) => cluster.nodes[node].kill(),
    }
    read
}
