//! Scavenging on one node, and installs of a checkpoint that are cut off: the nodes stay alike for readers.

use std::fs;

use quorate_client::{Client, Query};
use quorate_tests::cluster::{Cluster, Node, PATIENCE, wait_for};
use quorate_tests::data::DataSet;

use super::{begin_import, exports_are_equal, files, finish_import};

/// Returns the size of a node's chunks in bytes.
fn chunk_bytes(node: &Node) -> u64 {
    let length = |path: &std::path::PathBuf| fs::metadata(path).map_or(0, |file| file.len());
    files(&node.data.join("chunks")).iter().map(length).sum()
}

#[test]
fn a_scavenge_on_one_node_takes_nothing_from_its_readers_and_gives_back_disk_space() {
    let folder = tempfile::tempdir().expect("a folder");
    let data = DataSet::generated(folder.path(), 12_000);
    let cluster = Cluster::start("128KiB");
    finish_import(begin_import(&cluster, &data.file), &cluster);
    let before = exports_are_equal(&cluster, data.known.events);
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(async {
        let node = Client::builder().endpoints([cluster.nodes[0].address.clone()]).pinned(true);
        let node = node.connect().await.expect("a node");
        let mut reader = node.read(Query::everything()).stream().await.expect("a read");
        let mut seen = 0;
        while seen < 10 && reader.try_next().await.expect("an event").is_some() {
            seen += 1;
        }
        // Each stream keeps its newest event and all ids; the import below leads to a checkpoint with that.
        cluster.must(["stream", "set", "--category", "application", "--max-count", "1"]);
        let other = fs::read_to_string(&data.file).expect("the file");
        let other = other.replace("application-", "other-");
        fs::write(folder.path().join("other.ndjson"), other).expect("a file");
        finish_import(begin_import(&cluster, &folder.path().join("other.ndjson")), &cluster);
        let full = chunk_bytes(&cluster.nodes[0]);
        let done = node.scavenge(|_| ()).await.expect("it scavenges");
        assert!(done.rewritten > 0 && done.events_removed > data.known.events / 2, "{done:?}");
        let left = chunk_bytes(&cluster.nodes[0]);
        assert!(left < full, "{full} bytes before, {left} after");
        while reader.try_next().await.expect("an event").is_some() {
            seen += 1;
        }
        assert_eq!(seen, data.known.events, "a reader sees what was there when it began");
    });
    let end = cluster.position(0).expect("it answers");
    let after = exports_are_equal(&cluster, end);
    assert_ne!(before, after);
    cluster.check_logs();
}

#[test]
fn a_node_that_is_killed_while_it_takes_over_a_checkpoint_goes_on_where_it_stopped() {
    let folder = tempfile::tempdir().expect("a folder");
    let data = DataSet::generated(folder.path(), 60_000);
    let mut cluster = Cluster::start("64KiB");
    cluster.nodes[2].kill();
    finish_import(begin_import(&cluster, &data.file), &cluster);
    let fetched = |node: &Node| {
        let names = files(&node.data.join("chunks")).into_iter();
        names.filter(|path| path.to_string_lossy().contains("install-")).count()
    };
    let mut cuts = 0;
    for more in [5, 40] {
        cluster.nodes[2].start();
        let is_done = || cluster.position(2).is_some_and(|at| at >= data.known.events);
        let is_cut = wait_for("a part of the checkpoint", 2 * PATIENCE, || {
            let is_cut = fetched(&cluster.nodes[2]) >= more;
            (is_cut || is_done()).then_some(is_cut)
        });
        cluster.nodes[2].kill();
        cuts += u32::from(is_cut);
    }
    println!("{cuts} installs were cut");
    cluster.nodes[2].start();
    exports_are_equal(&cluster, data.known.events);
    cluster.check_logs();
}
