//! Chunks that are damaged on one node and whole on the others.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use quorate_tests::cluster::{Cluster, PATIENCE, wait_for};
use quorate_tests::data::DataSet;

use super::{begin_import, check, exports_are_equal, files, finish_import, text};

fn chunks(node: &Path) -> Vec<PathBuf> {
    let chunks = files(&node.join("chunks")).into_iter();
    chunks.filter(|path| path.extension().is_none()).collect()
}

/// Flips a bit in the middle of a file, as a disk would: processes that have it open read the wrong bit.
fn flip(path: &Path) {
    let file = File::options().read(true).write(true).open(path).expect("the file");
    let middle = file.metadata().expect("the file").len() / 2;
    let mut byte = [0];
    file.read_exact_at(&mut byte, middle).expect("it can be read");
    byte[0] ^= 0x10;
    file.write_all_at(&byte, middle).expect("it can be written");
}

fn wait_until_whole(cluster: &mut Cluster, node: usize, repairs: usize) {
    wait_for("the repair of what is damaged", 2 * PATIENCE, || {
        assert!(cluster.nodes[node].is_running(), "{}", cluster.logs());
        let repaired = cluster.nodes[node].log().matches("is whole again").count();
        (repaired >= repairs).then_some(())
    });
}

#[test]
fn a_damaged_chunk_is_never_served_and_made_whole_from_another_node() {
    let folder = tempfile::tempdir().expect("a folder");
    let data = DataSet::generated(folder.path(), 6_000);
    let mut cluster = Cluster::start("128KiB");
    finish_import(begin_import(&cluster, &data.file), &cluster);
    let export = exports_are_equal(&cluster, data.known.events);
    let victim = 2;

    // Alone, the node cannot repair the chunk. It names the damaged file instead of serving its events.
    cluster.nodes.iter_mut().for_each(|node| assert_eq!(node.stop(), Some(0)));
    let data_folder = cluster.nodes[victim].data.clone();
    let damaged = chunks(&data_folder);
    assert!(damaged.len() > 4, "only {} chunks", damaged.len());
    flip(&damaged[1]);
    let name = damaged[1].file_name().expect("a name").to_string_lossy().into_owned();
    check(&cluster.run(["verify", &data_folder.display().to_string()]), 1, &name);
    cluster.nodes[victim].start();
    let address = cluster.nodes[victim].address.clone();
    let refused = wait_for("an answer that names the damage", PATIENCE, || {
        let export = ["export", "--node", &address, "--consistency", "local"];
        let output = cluster.run(export);
        (!output.status.success() && text(&output.stderr).contains(&name)).then_some(output)
    });
    assert!(export.starts_with(&refused.stdout), "something else was served");

    // With the others the node repairs the chunk by itself, and also one whose damage it finds while it runs.
    (0..victim).for_each(|node| cluster.nodes[node].start());
    wait_until_whole(&mut cluster, victim, 1);
    assert!(export == exports_are_equal(&cluster, data.known.events));
    assert_eq!(cluster.nodes[victim].stop(), Some(0));
    check(&cluster.run(["verify", &data_folder.display().to_string()]), 0, "");
    flip(&damaged[3]);
    cluster.nodes[victim].start();
    wait_until_whole(&mut cluster, victim, 2);
    assert!(export == exports_are_equal(&cluster, data.known.events));
    cluster.check_logs();
    cluster.nodes.iter_mut().for_each(|node| assert_eq!(node.stop(), Some(0)));
    for node in &cluster.nodes {
        check(&cluster.run(["verify", &node.data.display().to_string()]), 0, "");
    }
    assert!(fs::read_dir(data_folder.join("chunks")).is_ok_and(|mut files| {
        files.all(|file| {
            !file.is_ok_and(|file| file.file_name().to_string_lossy().contains("repair"))
        })
    }));
}
