//! A node scavenges while the cluster goes on with its work.

use quorate_proto::limits::CHUNK_BYTES_MIN;
use quorate_proto::{
    Category, Change, ChangeKind, EventId, Expectation, Position, Scope, SettingsChange, Timestamp,
};
use quorate_raft::{ScavengeError, Scavenging, Status};
use quorate_store::Verdict;
use quorate_store::command::{Builder, encode_append};
use quorate_store::vfs::{MemVfs, Vfs};

use crate::cluster::{Cluster, propose};

/// Hides all events of the streams of the tests up to a position.
async fn truncate(cluster: &Cluster, before: Position) {
    let change = Change {
        scope: Scope::Category(Category::new("order").expect("a name")),
        expectation: Expectation::Any,
        id: EventId::from_bytes([77; 16]).expect("an id"),
        kind: ChangeKind::Settings(SettingsChange {
            truncate_before: Some(before.0),
            ..SettingsChange::default()
        }),
    };
    let mut command = Builder::new(Timestamp(1));
    command.push(&encode_append(&change.to_append().expect("a change")));
    let node = cluster.node(cluster.leader().await);
    let term = node.status().term;
    let verdicts = propose(node, term, command.finish()).await.expect("proposed");
    assert!(matches!(verdicts.as_slice(), [Verdict::Appended(_)]), "{verdicts:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_scavenge_gives_space_back_while_appends_go_on_and_nodes_stay_alike() {
    let disks: [MemVfs; 3] = std::array::from_fn(|_| MemVfs::new());
    let mut cluster = Cluster::found_on_disks(&disks, CHUNK_BYTES_MIN).await;
    let hidden = cluster.append_many(30, 9000).await;
    truncate(&cluster, Position(hidden.0 + 1)).await;
    let place = cluster.follower().await;
    cluster.node(place).has(hidden.0 + 1).await;
    let chunks = cluster.place(place).0.join("chunks");
    let on_disk = |disk: &MemVfs| -> usize {
        let names = disk.list(&chunks).expect("listed").into_iter();
        names.map(|name| disk.read(&chunks.join(name)).map_or(0, |bytes| bytes.len())).sum()
    };
    let before = on_disk(&disks[place]);
    let replica = cluster.node(place).replica.clone();
    let mut reported = Vec::new();
    let scavenging = replica.scavenge(|done: &Scavenging| reported.push(*done));
    let (done, _) = tokio::join!(scavenging, cluster.append_many(3, 100));
    let done = done.expect("scavenged");
    assert_eq!(reported.last(), Some(&done), "{reported:?}");
    assert!(done.rewritten >= 3 && done.looked_at >= done.rewritten, "{done:?}");
    assert!(on_disk(&disks[place]) < before / 2, "{done:?}");
    let shown = |status: &Status| status.scavenged == Some(done);
    let status = cluster.node(place).until("its status", shown).await;
    assert!(status.checkpointed_position > hidden, "the change is part of a checkpoint");
    let last = hidden.0 + 1 + 3;
    for node in cluster.running() {
        node.has(last).await;
        assert_eq!(node.events().len() as u64, last - hidden.0 - 1);
    }
    // Removed events are not removed again, and the node starts with the remaining ones.
    let again = replica.scavenge(|_| ()).await.expect("scavenged");
    assert_eq!(again.rewritten, 0);
    cluster.stop(place).await;
    assert!(matches!(replica.scavenge(|_| ()).await, Err(ScavengeError::Stopped)));
    cluster.start_again(place);
    cluster.append(10).await;
    cluster.node(place).has(last + 1).await;
    assert_eq!(cluster.node(place).events().len() as u64, last - hidden.0);
}
