//! Members come, go, are replaced, and move to other addresses, while the cluster works.

use quorate_proto::limits::{CHUNK_BYTES_DEFAULT, CHUNK_BYTES_MIN};
use quorate_raft::{ChangeError, Member, MemberChange, Role, Status, Stopped};

use crate::cluster::{Cluster, Node, PATIENCE};

/// Returns a test that is true if the members are these, with these votes.
fn members_are(expected: &[(u64, bool)]) -> impl Fn(&Status) -> bool {
    let expected = expected.to_vec();
    move |status| {
        let shown = status.members.iter().map(|Member { id, is_voter, .. }| (*id, *is_voter));
        shown.eq(expected.iter().copied())
    }
}

/// Waits until a node stops because it was removed.
async fn is_told_to_stop(node: &Node) {
    let stopped = tokio::time::timeout(PATIENCE, node.replica.stopped()).await;
    match stopped.expect("it stops") {
        Stopped::Failed(why) => assert!(why.contains("was removed from its cluster"), "{why}"),
        Stopped::Shutdown => panic!("nobody shut it down"),
    }
}

/// Removes a node, and waits until it stopped.
async fn remove(cluster: &mut Cluster, place: usize) {
    let node = cluster.node(place).status().id.expect("a member");
    assert_eq!(cluster.change(MemberChange::Remove(node)).await, Ok(node));
    is_told_to_stop(cluster.node(place)).await;
    cluster.stop(place).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_grows_from_one_node_to_five_and_shrinks_to_three() {
    let mut cluster = Cluster::found_alone(CHUNK_BYTES_MIN).await;
    cluster.append_many(30, 9000).await;
    for id in 2..=5 {
        let place = cluster.wait_outside();
        assert_eq!(cluster.add(place, false).await, id);
        cluster.append(100).await;
    }
    let all: Vec<(u64, bool)> = (1..=5).map(|id| (id, true)).collect();
    for node in cluster.running() {
        node.until("five voters", members_are(&all)).await;
    }
    cluster.agree(34).await;
    // The leader goes first, after it has handed over.
    let leader = cluster.leader().await;
    remove(&mut cluster, leader).await;
    cluster.append(100).await;
    let follower = cluster.follower().await;
    remove(&mut cluster, follower).await;
    cluster.append_many(3, 100).await;
    cluster.agree(38).await;
    let voters = cluster.node(cluster.leader().await).status().members;
    assert!(voters.len() == 3 && voters.iter().all(|member| member.is_voter), "{voters:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_learner_follows_without_a_vote_is_promoted_and_demoted_again() {
    let mut cluster = Cluster::new().await;
    cluster.append_many(5, 100).await;
    let place = cluster.wait_outside();
    assert_eq!(cluster.add(place, true).await, 4);
    cluster.append(100).await;
    cluster.node(place).has(6).await;
    cluster.node(place).until("a learner", |status| status.role == Role::Learner).await;
    for (change, is_voter) in [
        (MemberChange::Promote(4), true),
        (MemberChange::Promote(4), true),
        (MemberChange::Demote(4), false),
        (MemberChange::Demote(4), false),
    ] {
        assert_eq!(cluster.change(change).await, Ok(4));
        let members = [(1, true), (2, true), (3, true), (4, is_voter)];
        cluster.node(place).until("its vote", members_are(&members)).await;
    }
    cluster.append(100).await;
    cluster.agree(7).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_lost_its_folder_is_replaced_by_one_with_a_new_id() {
    let mut cluster = Cluster::found(CHUNK_BYTES_MIN).await;
    cluster.append_many(30, 9000).await;
    let lost = cluster.follower().await;
    let old = cluster.node(lost).status().id.expect("a member");
    cluster.stop(lost).await;
    std::fs::remove_dir_all(&cluster.place(lost).0).expect("removed");
    let place = cluster.wait_outside();
    let peer_address = cluster.place(place).1.clone();
    let replace = MemberChange::Replace { node: old, peer_address };
    assert_eq!(cluster.change(replace.clone()).await, Ok(4));
    assert_eq!(cluster.change(replace).await, Ok(4), "it is done already");
    cluster.append(100).await;
    cluster.agree(31).await;
    let voters: Vec<u64> = [1, 2, 3, 4].into_iter().filter(|id| *id != old).collect();
    let voters: Vec<(u64, bool)> = voters.into_iter().map(|id| (id, true)).collect();
    cluster.node(place).until("it has the vote", members_are(&voters)).await;
    // The new node counts: a second node may go.
    let other = (0..3)
        .find(|place| *place != lost && cluster.nodes.get(*place).is_some_and(Option::is_some));
    cluster.stop(other.expect("an older node")).await;
    cluster.append(100).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_removed_node_that_was_away_is_told_to_stop_when_it_comes_back() {
    let mut cluster = Cluster::new().await;
    cluster.append(100).await;
    let away = cluster.follower().await;
    let id = cluster.node(away).status().id.expect("a member");
    cluster.stop(away).await;
    assert_eq!(cluster.change(MemberChange::Remove(id)).await, Ok(id));
    cluster.append(100).await;
    cluster.start_again(away);
    is_told_to_stop(cluster.node(away)).await;
    assert_eq!(cluster.change(MemberChange::Remove(id)).await, Ok(id), "it is done already");
    let refused = cluster.change(MemberChange::Promote(id)).await.expect_err("it is gone");
    assert!(refused.to_string().contains("was removed"), "{refused}");
    cluster.append(100).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_that_would_lose_the_majority_is_refused() {
    let mut cluster = Cluster::new().await;
    cluster.append(100).await;
    let away = cluster.follower().await;
    cluster.stop(away).await;
    let leader = cluster.leader().await;
    let other = (0..3).find(|place| ![leader, away].contains(place)).expect("a third node");
    let id = cluster.node(other).status().id.expect("a member");
    let lost = cluster.change(MemberChange::Demote(id)).await.expect_err("it is needed");
    assert!(matches!(lost, ChangeError::Refused(_)), "{lost}");
    let lost = lost.to_string();
    assert!(lost.contains("2 must be in reach, and only 1 are"), "{lost}");
    let stranger = cluster.change(MemberChange::Remove(77)).await.expect_err("nobody");
    assert!(stranger.to_string().contains("node 77 is no member"), "{stranger}");
    cluster.append(100).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_is_taken_in_only_by_the_cluster_of_its_join_token() {
    let mut cluster = Cluster::new().await;
    let stranger = Cluster::found_alone(CHUNK_BYTES_DEFAULT).await;
    let theirs = stranger.node(0).replica.join_token().expect("a member");
    let place = cluster.start_outside(theirs);
    let peer_address = cluster.place(place).1.clone();
    let add = MemberChange::Add { peer_address: peer_address.clone(), as_learner: false };
    let refused = cluster.change(add).await.expect_err("it waits for another cluster");
    assert!(refused.to_string().contains("a join token of the cluster"), "{refused}");
    let founding = cluster.node(place).replica.bootstrap(vec![peer_address], CHUNK_BYTES_DEFAULT);
    assert!(founding.await.is_err(), "it waits to be taken in, not to found a cluster");
    assert_eq!(stranger.change_elsewhere(cluster.place(place).1.clone()).await, Ok(2));
    let tokenless = Cluster::start(1);
    let peer_address = tokenless.place(0).1.clone();
    let add = MemberChange::Add { peer_address, as_learner: false };
    let refused = cluster.change(add).await.expect_err("it has no token");
    assert!(refused.to_string().contains("started without a join token"), "{refused}");
    let members = cluster.node(0).status().members;
    assert_eq!(members.len(), 3, "a node that was refused costs no id: {members:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_was_started_elsewhere_is_found_again_and_keeps_its_id() {
    let mut cluster = Cluster::new().await;
    cluster.append(100).await;
    for place in 0..3 {
        cluster.stop(place).await;
        let before = cluster.move_elsewhere(place);
        let now = cluster.place(place).1.clone();
        assert_ne!(before, now);
        let id = place as u64 + 1;
        let is_known = move |status: &Status| {
            let own = status.members.iter().find(|member| member.id == id);
            own.is_some_and(|own| own.peer_address == now)
        };
        for node in cluster.running() {
            node.until("its new address is known", &is_known).await;
        }
        let events = cluster.append(100).await.0;
        cluster.node(place).has(events).await;
    }
    cluster.agree(4).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn leadership_goes_to_a_fit_voter_alone() {
    let mut cluster = Cluster::new().await;
    cluster.append(100).await;
    let place = cluster.wait_outside();
    let learner = cluster.add(place, true).await;
    let leader = cluster.leader().await;
    let (node, own) = (cluster.node(leader), cluster.node(leader).status().id.expect("a member"));
    assert_eq!(node.replica.hand_over(Some(own)).await, Ok(()), "it leads already");
    for unfit in [learner, 99] {
        let refused = node.replica.hand_over(Some(unfit)).await.expect_err("it has no vote");
        assert!(matches!(refused, ChangeError::Refused(_)), "{refused}");
    }
    assert_eq!(node.status().role, Role::Leader, "nothing was given up");
    cluster.append(100).await;
    let alone = Cluster::found_alone(CHUNK_BYTES_DEFAULT).await;
    assert!(alone.node(0).replica.hand_over(None).await.is_err(), "nobody else is there");
    assert_eq!(alone.node(0).status().role, Role::Leader);
}

/// The second step of a change of voters was never made: the leader that began it was lost in between.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_leader_finishes_a_change_of_voters_that_its_predecessor_began() {
    let mut cluster = Cluster::new().await;
    cluster.append(100).await;
    for _ in 0..5 {
        let place = cluster.wait_outside();
        let id = cluster.add(place, true).await;
        let leader = cluster.leader().await;
        // The change is cut off at any moment, by the leader's end.
        let changing = cluster.begin_change(leader, MemberChange::Promote(id));
        cluster
            .node(leader)
            .until("it began", |status| {
                status.members.iter().any(|member| member.id == id && member.is_voter)
            })
            .await;
        cluster.stop(leader).await;
        drop(changing);
        cluster.append(100).await;
        let new_leader = cluster.leader().await;
        let is_over = |status: &Status| !status.voters_change;
        cluster.node(new_leader).until("one configuration", is_over).await;
        assert_eq!(cluster.change(MemberChange::Demote(id)).await, Ok(id));
        cluster.start_again(leader);
        remove(&mut cluster, place).await;
    }
    cluster.agree(6).await;
}
