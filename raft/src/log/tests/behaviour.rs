//! The promises of the log to its callers, one promise a test.

use std::future::Future;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use quorate_store::vfs::{MemVfs, Open, Survival, Vfs};

use super::*;

fn fresh() -> (MemVfs, RaftLog, LogWriter) {
    let vfs = MemVfs::new();
    let (log, writer) = open_log(&vfs).expect("opens");
    (vfs, log, writer)
}

fn ignore() -> Done {
    Box::new(|_| ())
}

fn entries(term: u64, range: std::ops::Range<u64>) -> Vec<LogEntry> {
    range.map(|index| entry(term, index, 100)).collect()
}

fn poll<T>(future: impl Future<Output = T>) -> Poll<T> {
    pin!(future).poll(&mut Context::from_waker(Waker::noop()))
}

fn is_missing(answer: &Result<Vec<LogEntry>, Fault>) -> bool {
    matches!(answer, Err(Fault::Io { source, .. }) if source.kind() == std::io::ErrorKind::NotFound)
}

#[test]
fn a_new_log_is_empty() {
    let (_vfs, log, _writer) = fresh();
    assert_eq!(log.state(), LogState::default());
    assert!(is_missing(&log.read(0, 1, 1)));
    assert_eq!(log.read(0, 0, 1).expect("nothing is asked for"), []);
}

#[test]
fn answers_come_after_the_sync_in_the_order_of_the_calls() {
    let (vfs, log, mut writer) = fresh();
    let answers = Answers::default();
    log.append(entries(1, 0..2), answers.done(0));
    log.save_vote(vote(2), answers.done(1));
    log.append(entries(2, 2..3), answers.done(2));
    log.truncate_after(Some(LogId::new(1, 1)), answers.done(3));
    log.append(Vec::new(), answers.done(4));
    log.announce_install(LogId::new(1, 9), answers.done(5));
    assert_eq!(log.read(0, 2, usize::MAX).expect("can be read at once"), entries(1, 0..2));
    writer.write().expect("writes");
    assert_eq!(answers.all(), []);
    let syncs = vfs.counters().syncs;
    writer.sync().expect("syncs");
    assert_eq!(vfs.counters().syncs, syncs + 1);
    assert_eq!(answers.all(), (0..6).map(|number| (number, Ok(()))).collect::<Vec<_>>());
}

#[test]
fn what_is_handed_over_during_a_batch_waits_for_the_next() {
    let (_vfs, log, mut writer) = fresh();
    let answers = Answers::default();
    log.append(entries(1, 0..1), answers.done(0));
    writer.write().expect("writes");
    log.append(entries(1, 1..2), answers.done(1));
    writer.write().expect("a second batch is not begun");
    writer.sync().expect("syncs");
    assert_eq!(answers.last_good(), Some(0));
    assert_eq!(log.state().flushed, Some(LogId::new(1, 0)));
    pump(&mut writer).expect("the disk is well");
    assert_eq!(answers.last_good(), Some(1));
}

#[test]
fn marks_cost_no_sync_of_their_own_and_ride_along() {
    let (vfs, log, mut writer) = fresh();
    log.append(entries(1, 0..9), ignore());
    pump(&mut writer).expect("the disk is well");
    let before = vfs.counters();
    log.save_committed(LogId::new(1, 8));
    log.remember(peer(1, 5));
    log.purge(LogId::new(1, 3));
    assert!(poll(writer.ready()).is_pending());
    pump(&mut writer).expect("nothing to do");
    assert_eq!(vfs.counters(), before);
    log.save_vote(vote(2), ignore());
    assert_eq!(poll(writer.ready()), Poll::Ready(true));
    pump(&mut writer).expect("the disk is well");
    assert_eq!(vfs.counters().syncs, before.syncs + 1);

    vfs.restart(Survival::Nothing);
    let state = open_log(&vfs).expect("opens").0.state();
    assert_eq!((state.committed, state.purged), (Some(LogId::new(1, 8)), Some(LogId::new(1, 3))));
    assert_eq!((state.peers, state.vote), (vec![peer(1, 5)], Some(vote(2))));
}

#[test]
fn the_writer_ends_when_all_handles_are_dropped_and_the_marks_are_written() {
    let (vfs, log, mut writer) = fresh();
    log.append(entries(1, 0..9), ignore());
    pump(&mut writer).expect("the disk is well");
    log.save_committed(LogId::new(1, 8));
    let other = log.clone();
    drop(log);
    assert!(poll(writer.ready()).is_pending());
    drop(other);
    assert!(writer.wait());
    pump(&mut writer).expect("the disk is well");
    assert!(!writer.wait());
    assert_eq!(poll(writer.ready()), Poll::Ready(false));
    vfs.restart(Survival::Nothing);
    assert_eq!(open_log(&vfs).expect("opens").0.state().committed, Some(LogId::new(1, 8)));
}

#[test]
fn a_writer_that_goes_away_answers_what_is_left() {
    let (_vfs, log, mut writer) = fresh();
    let answers = Answers::default();
    log.append(entries(1, 0..1), answers.done(0));
    writer.write().expect("writes");
    log.append(entries(1, 1..2), answers.done(1));
    drop(writer);
    log.save_vote(vote(2), answers.done(2));
    let numbers: Vec<usize> = answers.all().into_iter().map(|(number, _)| number).collect();
    assert_eq!(numbers, [0, 1, 2]);
    assert_eq!(answers.last_good(), None);
    assert!(matches!(poll(log.wait_flushed(0)), Poll::Ready(Err(_))));
    assert!(log.read(0, 1, 1).is_err());
}

#[test]
fn a_read_is_whole_or_an_error() {
    let (_vfs, log, mut writer) = fresh();
    log.append(entries(1, 0..50), ignore());
    pump(&mut writer).expect("the disk is well");
    log.purge(LogId::new(1, 9));
    for (from, until) in [(9, 12), (0, 51), (49, 51), (50, 51), (60, 70), (0, 5)] {
        assert!(is_missing(&log.read(from, until, usize::MAX)), "{from}..{until}");
    }
    assert_eq!(log.read(10, 50, usize::MAX).expect("reads"), entries(1, 10..50));
    assert_eq!(log.read(10, 50, 0).expect("at least one"), entries(1, 10..11));
    assert_eq!(log.read(45, 50, 250).expect("what fits"), entries(1, 45..47));
}

#[test]
fn entries_that_do_not_continue_the_log_are_refused() {
    let (_vfs, log, mut writer) = fresh();
    log.append(entries(2, 0..3), ignore());
    let answers = Answers::default();
    log.append(entries(2, 4..5), answers.done(0));
    log.append(entries(2, 2..3), answers.done(1));
    log.append(entries(1, 3..4), answers.done(2));
    log.append(vec![entry(2, 3, 1), entry(2, 5, 1)], answers.done(3));
    assert_eq!(answers.all().len(), 4);
    assert_eq!(answers.last_good(), None);
    log.append(entries(2, 3..4), answers.done(4));
    pump(&mut writer).expect("the disk is well");
    assert_eq!(answers.last_good(), Some(4));
    assert_eq!(log.state().last, Some(LogId::new(2, 3)));
}

#[test]
fn a_truncation_is_shown_with_the_vote_in_force_and_may_drop_everything() {
    let (vfs, log, mut writer) = fresh();
    log.append(entries(1, 0..5), ignore());
    log.save_vote(vote(4), ignore());
    pump(&mut writer).expect("the disk is well");
    log.truncate_after(Some(LogId::new(1, 7)), ignore());
    assert_eq!(log.state().truncation, None);
    log.truncate_after(None, ignore());
    assert_eq!((log.state().last, log.state().flushed), (None, None));
    log.append(entries(4, 0..2), ignore());
    pump(&mut writer).expect("the disk is well");
    vfs.restart(Survival::Nothing);
    let (log, _writer) = open_log(&vfs).expect("opens");
    let truncation = TruncationRecord { end: None, vote: vote(4) };
    assert_eq!(log.state().truncation, Some(truncation));
    assert_eq!(log.read(0, 2, usize::MAX).expect("reads"), entries(4, 0..2));
}

#[test]
fn a_purge_may_go_beyond_the_end_and_the_log_goes_on_behind_it() {
    let (vfs, log, mut writer) = fresh();
    log.append(entries(1, 0..5), ignore());
    log.purge(LogId::new(3, 20));
    assert_eq!(log.state().last, Some(LogId::new(3, 20)));
    assert_eq!(log.log_id(20), Some(LogId::new(3, 20)));
    let answers = Answers::default();
    log.append(entries(3, 22..23), answers.done(0));
    assert_eq!(answers.all().len(), 1, "it leaves a gap");
    log.append(entries(3, 21..23), answers.done(1));
    pump(&mut writer).expect("the disk is well");
    vfs.restart(Survival::Nothing);
    let (log, _writer) = open_log(&vfs).expect("opens");
    assert_eq!(log.state().purged, Some(LogId::new(3, 20)));
    assert_eq!(log.read(21, 23, usize::MAX).expect("reads"), entries(3, 21..23));
}

#[test]
fn key_log_ids_are_the_first_of_each_term_and_the_last() {
    let (_vfs, log, _writer) = fresh();
    log.append([entries(1, 0..3), entries(2, 3..4), entries(5, 4..9)].concat(), ignore());
    let ids = |range| log.key_log_ids(range).expect("all are there");
    let id = LogId::new;
    assert_eq!(ids(0..=8), [id(1, 0), id(2, 3), id(5, 4), id(5, 8)]);
    assert_eq!(ids(1..=3), [id(1, 1), id(2, 3)]);
    assert_eq!(ids(6..=6), [id(5, 6)]);
    assert!(log.key_log_ids(0..=9).is_err());
    log.purge(id(2, 3));
    assert_eq!(ids(3..=8), [id(2, 3), id(5, 4), id(5, 8)]);
    assert!(log.key_log_ids(2..=8).is_err());
}

#[test]
fn who_waits_for_an_entry_learns_when_it_is_durable() {
    let (_vfs, log, mut writer) = fresh();
    log.append(entries(1, 0..3), ignore());
    let mut waiting = pin!(log.wait_flushed(2));
    let mut context = Context::from_waker(Waker::noop());
    assert!(waiting.as_mut().poll(&mut context).is_pending());
    let flushed = log.flushed();
    pump(&mut writer).expect("the disk is well");
    assert!(matches!(waiting.as_mut().poll(&mut context), Poll::Ready(Ok(()))));
    assert_eq!(*flushed.borrow(), Some(LogId::new(1, 2)));
}

#[test]
fn segments_are_given_back_and_used_again() {
    let (vfs, log, mut writer) = fresh();
    for index in 0..200 {
        log.append(vec![entry(1, index, 5000)], ignore());
        pump(&mut writer).expect("the disk is well");
        if let Some(old) = index.checked_sub(30) {
            log.purge(LogId::new(1, old));
        }
    }
    // 30 entries of two blocks take 4 segments; besides, there are the current one, the next, and two spares.
    let names = vfs.list(&directory()).expect("lists");
    assert!(names.len() <= 8, "{names:?}");
    let per_batch = vfs.counters().bytes_written / 200;
    assert!(per_batch < 12_000, "zeros are written once, not for each use: {per_batch}");
}

#[test]
fn what_is_purged_is_written_over_by_the_next_four_segments() {
    let (vfs, log, mut writer) = fresh();
    // Each entry takes two blocks or more; the last bytes of an entry differ from those of any other.
    let length = |index: u64| [5000, 9000, 20_000][index as usize % 3];
    let bytes = |entries: std::ops::Range<u64>| -> u64 {
        entries.map(|index| format::padded(length(index) as u64 + 100)).sum()
    };
    let kept = 10;
    for index in 0..300 {
        log.append(vec![entry(1, index, length(index))], ignore());
        pump(&mut writer).expect("the disk is well");
        let Some(purged) = index.checked_sub(kept) else { continue };
        log.purge(LogId::new(1, purged));
        // One segment more, which may hold entries that were not purged.
        let over = 5 * LogOptions::SEGMENT_BYTES_MIN;
        let Some(gone) = (0..purged).rev().find(|from| bytes(*from..purged) > over) else {
            continue;
        };
        if index % 50 == 0 {
            let files: Vec<Vec<u8>> = on_disk(&vfs);
            for old in 0..gone {
                let payload = entry(1, old, length(old)).payload;
                let end = &payload[payload.len() - 32..];
                let left = files.iter().filter(|file| holds(file, end)).count();
                assert_eq!(left, 0, "entry {old} is still there after entry {index}");
            }
        }
    }
}

/// Returns the contents of all files of the log.
fn on_disk(vfs: &MemVfs) -> Vec<Vec<u8>> {
    let names = vfs.list(&directory()).expect("lists");
    let read = |name: String| {
        let file = vfs.open(&directory().join(name), Open::Read).expect("opens");
        let mut bytes = vec![0; file.len().expect("a length") as usize];
        file.read_at(&mut bytes, 0).expect("reads");
        bytes
    };
    names.into_iter().map(read).collect()
}

fn holds(file: &[u8], part: &[u8]) -> bool {
    file.windows(part.len()).any(|window| window == part)
}

#[test]
fn an_entry_larger_than_a_segment_gets_one_of_its_own() {
    let (vfs, log, mut writer) = fresh();
    let large = entry(1, 1, 300_000);
    log.append(vec![entry(1, 0, 10), large.clone(), entry(1, 2, 10)], ignore());
    for _ in 0..3 {
        pump(&mut writer).expect("the disk is well");
    }
    for _ in 0..3 {
        vfs.restart(Survival::Nothing);
        let (log, _writer) = open_log(&vfs).expect("opens");
        assert_eq!(log.read(1, 2, 1).expect("reads"), std::slice::from_ref(&large));
        assert_eq!(log.state().flushed, Some(LogId::new(1, 2)));
    }
}

#[test]
fn a_catalog_ahead_of_the_log_is_damage_unless_an_install_was_announced() {
    let (vfs, log, mut writer) = fresh();
    log.append(entries(1, 0..5), ignore());
    pump(&mut writer).expect("the disk is well");
    let ahead = || LogOptions { covered: Some(LogId::new(2, 50)), ..options() };
    let refused = open_with(&vfs.fork(), ahead());
    assert!(matches!(refused, Err(Fault::Damaged { .. })), "{refused:?}");
    log.announce_install(LogId::new(2, 50), ignore());
    pump(&mut writer).expect("the disk is well");
    vfs.restart(Survival::Nothing);
    let (log, _writer) = open_with(&vfs, ahead()).expect("opens");
    assert_eq!(log.state().last, Some(LogId::new(1, 4)));
}

#[test]
fn a_full_disk_stops_the_log_and_room_brings_it_back_whole() {
    let (vfs, log, mut writer) = fresh();
    let answers = Answers::default();
    vfs.set_capacity(Some(200_000));
    let failed = (0..100).find(|number| {
        log.append(vec![entry(1, *number as u64, 5000)], answers.done(*number));
        pump(&mut writer).is_err()
    });
    let last = answers.last_good().expect("some fit") as u64;
    assert!(failed.is_some());
    drop((log, writer));
    vfs.set_capacity(None);
    let (log, _writer) = open_log(&vfs).expect("opens");
    assert!(log.state().last.is_some_and(|id| id.index.0 >= last));
}

/// Writes entries until the current segment is more than half full and the next one is ready.
fn until_the_next_is_ready(vfs: &MemVfs, log: &RaftLog, writer: &mut LogWriter) -> u64 {
    let next = |vfs: &MemVfs| {
        let (numbers, _) = segments::list(vfs, &directory()).expect("listed");
        numbers.len()
    };
    let mut index = 0;
    while next(vfs) < 2 {
        log.append(vec![entry(1, index, 3000)], ignore());
        pump(writer).expect("the disk is well");
        index += 1;
    }
    index
}

#[test]
fn without_room_for_another_segment_votes_and_truncations_go_on_and_a_start_does() {
    let (vfs, log, mut writer) = fresh();
    let last = until_the_next_is_ready(&vfs, &log, &mut writer) - 1;
    vfs.set_capacity(Some(0));
    // Writes into the segment that is ready, and on until the log wants a next one.
    let answers = Answers::default();
    for term in 2..11 {
        log.save_vote(vote(term), answers.done(term as usize));
        pump(&mut writer).expect("a vote needs no room");
    }
    log.truncate_after(Some(LogId::new(1, last - 1)), answers.done(11));
    pump(&mut writer).expect("a truncation needs no room");
    assert_eq!(answers.last_good(), Some(11));
    drop((log, writer));
    for _ in 0..3 {
        let (log, mut writer) = open_log(&vfs).expect("a start needs no room");
        log.save_vote(vote(99), ignore());
        pump(&mut writer).expect("nor does its vote");
        assert_eq!(log.state().last, Some(LogId::new(1, last - 1)));
    }
    vfs.set_capacity(None);
    let (log, mut writer) = open_log(&vfs).expect("opens");
    log.fill_ahead(true);
    for index in last..last + 50 {
        log.append(vec![entry(1, index, 3000)], answers.done(100 + index as usize));
        pump(&mut writer).expect("there is room again");
    }
    assert_eq!(answers.last_good(), Some(100 + last as usize + 49));
}

#[test]
fn a_segment_that_could_not_be_filled_is_tried_again_when_there_is_room() {
    let (vfs, log, mut writer) = fresh();
    log.append(vec![entry(1, 0, 3000)], ignore());
    pump(&mut writer).expect("the disk is well");
    vfs.set_capacity(Some(0));
    for index in 1..8 {
        log.append(vec![entry(1, index, 3000)], ignore());
        pump(&mut writer).expect("the segment has room");
    }
    vfs.set_capacity(Some(1 << 30));
    log.fill_ahead(true);
    let before = vfs.free_bytes(&directory()).expect("measured");
    log.append(vec![entry(1, 8, 3000)], ignore());
    pump(&mut writer).expect("the disk is well");
    assert!(vfs.free_bytes(&directory()).expect("measured") < before, "it is being filled");
}
