//! The main job under kills, and the memory of nodes while readers have stopped reading.

use quorate_client::{Client, Query};
use quorate_tests::cluster::{Cluster, Node};
use quorate_tests::data::{Census, DataSet};
use tokio::time::Instant;

use super::{begin_import, exports_are_equal, finish_import};

const GIBIBYTE: u64 = 1024 * 1024 * 1024;

/// Runs the main job: imports, kills the import, the leader and all nodes, and compares all nodes.
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
        quorate_tests::skipped("../shared/data/bpic2012.ndjson.gz is not there");
        return;
    };
    let Census { events, streams, ref types, .. } = data.known;
    assert_eq!((events, streams, types.len()), (262_200, 13_087, 24));
    main_job(&data, "4MiB");
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
        // While the stalled readers are connected, another one reads as if they were not there.
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
