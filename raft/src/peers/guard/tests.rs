//! Tests of the guard.

use std::path::Path;
use std::time::Duration;

use quorate_store::vfs::MemVfs;

use super::*;
use crate::adapter::types::{self, Addresses, Membership, StoredMembership};
use crate::identity::JoinSecret;
use crate::log::{LogOptions, LogWriter, Reach};

/// The longest time to wait for what must not happen.
const PATIENCE: Duration = Duration::from_secs(60);

fn vote(term: u64, node: u64, committed: bool) -> VoteRecord {
    VoteRecord { term, node, committed }
}

fn memory() -> PeerMemory {
    let acknowledged = Some(LogId::new(3, 100));
    PeerMemory { node: 2, boot: 4, acknowledged, vote: vote(3, 1, true) }
}

fn shown() -> Shown {
    let end = Some(LogId::new(3, 100));
    Shown { boot: 4, vote: vote(3, 1, true), end, truncation: None }
}

#[test]
fn a_peer_that_remembers_everything_is_let_in() {
    assert_eq!(judge(&memory(), &shown()), Ok(()));
    assert_eq!(judge(&PeerMemory::nothing(2), &shown()), Ok(()), "a new peer");
    let further = Shown { boot: 9, end: Some(LogId::new(5, 7)), ..shown() };
    assert_eq!(judge(&memory(), &Shown { vote: vote(6, 2, false), ..further }), Ok(()));
}

/// The guard of node 1 with an empty log.
fn guard(vfs: &MemVfs) -> (Guard, LogWriter) {
    let (_, ledger) = watch::channel(Arc::default());
    guard_of(vfs, ledger)
}

/// The same guard, which follows a ledger.
fn guard_of(vfs: &MemVfs, ledger: watch::Receiver<Arc<Ledger>>) -> (Guard, LogWriter) {
    let secret = JoinSecret::default();
    let identity = Identity { cluster: [7; 16], log: 0, node: 1, chunk_bytes: 1 << 26, secret };
    let segment_bytes = LogOptions::SEGMENT_BYTES_MIN;
    let options = LogOptions { segment_bytes, ..identity.log_options(Reach::default(), 0) };
    let opened = RaftLog::open(Arc::new(vfs.clone()), Path::new("/node/log"), options);
    let (log, writer) = opened.expect("an empty log");
    (Guard::new(identity, 1, log, ledger), writer)
}

#[test]
fn what_another_node_remembers_shuts_out_a_peer_that_has_forgotten_it() {
    let vfs = MemVfs::new();
    let (here, mut writer) = guard(&vfs);
    let forgetful = Shown { boot: 5, end: Some(LogId::new(3, 90)), ..shown() };
    let remembered = PeerMemory { node: 2, ..memory() };
    here.judge(2, &forgetful, "").expect("nothing is known of it");
    assert!(here.origin(2).is_some());
    assert!(here.learn(&PeerMemory { boot: 4, ..remembered }), "it is news");
    assert_eq!(here.origin(2), None, "an earlier process of it had acknowledged more");
    assert!(here.judge(2, &forgetful, "").is_err());
    assert!(!here.learn(&PeerMemory { boot: 4, ..remembered }), "it is no news");
    // The memory is durable although nothing else is written.
    here.log.write_marks();
    writer.write().expect("written");
    writer.sync().expect("synced");
    drop((here, writer));
    let (here, _writer) = guard(&vfs);
    assert!(here.judge(2, &forgetful, "").is_err());
}

#[test]
fn what_a_process_acknowledged_after_it_was_let_in_does_not_shut_it_out() {
    let (here, _writer) = guard(&MemVfs::new());
    let earlier = Shown { boot: 5, end: Some(LogId::new(3, 90)), ..shown() };
    here.judge(2, &earlier, "").expect("nothing is known of it");
    assert!(here.learn(&PeerMemory { node: 2, boot: 5, ..memory() }));
    assert!(here.origin(2).is_some());
    assert!(!here.learn(&PeerMemory { node: 1, boot: 9, ..memory() }), "it knows itself");
}

#[test]
fn a_peer_whose_boot_number_or_vote_went_back_is_kept_out() {
    let older = [
        Shown { boot: 3, ..shown() },
        Shown { vote: vote(2, 1, true), ..shown() },
        Shown { vote: vote(3, 1, false), ..shown() },
        Shown { vote: vote(3, 2, true), ..shown() },
        Shown { vote: vote(0, 0, false), ..shown() },
    ];
    for shown in older {
        assert!(judge(&memory(), &shown).is_err(), "{shown:?}");
    }
    let uncommitted = PeerMemory { vote: vote(3, 1, false), ..memory() };
    assert!(judge(&uncommitted, &Shown { vote: vote(3, 2, false), ..shown() }).is_err());
    assert_eq!(judge(&uncommitted, &Shown { vote: vote(3, 2, true), ..shown() }), Ok(()));
}

#[test]
fn a_log_that_became_shorter_needs_a_truncation_by_a_newer_leader() {
    let shorter = Shown { end: Some(LogId::new(3, 99)), ..shown() };
    assert!(judge(&memory(), &shorter).is_err());
    assert!(judge(&memory(), &Shown { end: None, ..shown() }).is_err());
    let truncated_by = |term| {
        let end = shorter.end;
        let truncation = Some(TruncationRecord { end, vote: vote(term, 3, true) });
        Shown { truncation, vote: vote(term, 3, true), ..shorter }
    };
    assert_eq!(judge(&memory(), &truncated_by(4)), Ok(()));
    assert!(judge(&memory(), &Shown { vote: vote(3, 1, true), ..truncated_by(3) }).is_err());
}

/// Returns a ledger that was applied at an index, with these voters.
fn ledger(before: &Ledger, index: u64, nodes: &[u64]) -> Arc<Ledger> {
    let members: BTreeMap<u64, Addresses> =
        nodes.iter().map(|node| (*node, Addresses::default())).collect();
    let voters = vec![nodes.iter().copied().collect()];
    let membership = Membership::new(voters, members).expect("a membership");
    let stored = StoredMembership::new(Some(types::log_id(1, index)), membership);
    Arc::new(before.after(stored))
}

#[test]
fn a_removed_node_is_forgotten_and_known_by_its_id_alone() {
    let vfs = MemVfs::new();
    let three = ledger(&Ledger::default(), 1, &[1, 2, 3]);
    let (applied, followed) = watch::channel(three.clone());
    let (here, mut writer) = guard_of(&vfs, followed.clone());
    here.acknowledged(2, Some(LogId::new(3, 100)), vote(3, 1, true));
    here.judge(2, &shown(), "old:1").expect("it is let in");
    let origin = |from| Origin { cluster: [7; 16], log: 0, from, from_boot: 4, to: 1, to_boot: 1 };
    assert_eq!(here.admit(&origin(2)), Ok(2));
    let two = ledger(&three, 2, &[1, 3]);
    applied.send_replace(two.clone());
    here.forget(&two);
    assert_eq!(here.admit(&origin(2)), Err(Refused::NotGreeted), "it greets, and is told");
    assert!(here.was_removed(2) && !here.was_removed(4));
    assert!(!here.learn(&PeerMemory { node: 2, ..memory() }), "nothing is learned of it");
    here.acknowledged(2, Some(LogId::new(3, 101)), vote(3, 1, true));
    here.refused_by(2, "it is gone");
    let remembered: Vec<u64> = here.memories().iter().map(|memory| memory.node).collect();
    assert_eq!(remembered, [1]);
    // It is forgotten durably: a thousand removed nodes leave room for new ones.
    here.log.write_marks();
    writer.write().expect("written");
    writer.sync().expect("synced");
    drop((here, writer));
    let (here, _writer) = guard_of(&vfs, followed);
    assert_eq!(here.memories().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_node_learns_of_its_own_removal_from_its_log_or_from_a_member() {
    let three = ledger(&Ledger::default(), 1, &[1, 2, 3]);
    let (applied, followed) = watch::channel(three.clone());
    let (here, _writer) = guard_of(&MemVfs::new(), followed);
    assert!(tokio::time::timeout(PATIENCE, here.removed()).await.is_err(), "it is a member");
    applied.send_replace(ledger(&three, 2, &[2, 3]));
    here.removed().await;
    let (_applied, followed) = watch::channel(three);
    let (here, _writer) = guard_of(&MemVfs::new(), followed);
    here.leave();
    here.removed().await;
}

#[test]
fn the_newest_process_that_was_let_in_says_where_it_is() {
    let (here, _writer) = guard(&MemVfs::new());
    assert_eq!(here.address(2), None);
    here.judge(2, &shown(), "before:1").expect("it is let in");
    here.judge(2, &Shown { boot: 5, ..shown() }, "after:1").expect("it is let in");
    assert_eq!(here.address(2).as_deref(), Some("after:1"));
    here.judge(2, &Shown { boot: 4, ..shown() }, "before:1").expect_err("an older process");
    assert_eq!(here.address(2), None);
}
