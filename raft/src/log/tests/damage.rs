//! Bits flip and files go missing: no acknowledged entry is lost without a fault that reports it.

use quorate_store::vfs::{MemVfs, Survival, Vfs};

use super::*;
use crate::log::format::{BATCH_HEADER_BYTES, BLOCK, Identity, Place, padded};
use crate::log::scan::{Scan, scan};
use crate::log::segments::segment_name;

/// A stopped log over several segments, with votes, a truncation and a purge in it.
struct Stopped {
    vfs: MemVfs,
    full: Model,
    /// The model without the newest batch.
    before: Model,
    scan: Scan,
}

fn stopped(restarts: usize) -> Stopped {
    let vfs = MemVfs::new();
    let (log, mut writer) = open_log(&vfs).expect("opens");
    let mut run = Run::new(Model::default());
    let batch = |steps: Vec<Step>| steps.into_iter().chain([Step::Write, Step::Sync]);
    let mut script: Vec<Step> = Vec::new();
    for length in [30_000, 16_000, 30_000, 20_000, 700] {
        script.extend(batch(vec![Step::Append(vec![length, 40]), Step::Vote, Step::Commit(1)]));
    }
    script.extend(batch(vec![Step::Truncate(1), Step::Append(vec![500]), Step::Purge(0)]));
    script.extend(batch(vec![Step::Append(vec![300, 800]), Step::Remember]));
    run.go(&script, &log, &mut writer);
    let before = run.states.last().expect("a state").clone();
    run.go(&[Step::Append(vec![2000, 10]), Step::Vote], &log, &mut writer);
    pump(&mut writer).expect("the disk is well");
    drop((log, writer));
    for _ in 0..restarts {
        drop(open_log(&vfs).expect("opens"));
    }
    let scan = scan(&vfs, &directory(), None).expect("is whole");
    assert!(scan.used.len() >= 3, "several segments");
    Stopped { vfs, full: run.states.pop().expect("a state"), before, scan }
}

fn path(number: u64) -> PathBuf {
    directory().join(segment_name(number))
}

/// Opens a log with one bit flipped; checks for a fault, the whole log, or the loss that `may_lose` allows.
fn check_flip(stopped: &Stopped, number: u64, byte: u64, covered: Option<LogId>, may_lose: bool) {
    let vfs = stopped.vfs.fork();
    vfs.flip_bit(&path(number), byte, (byte % 8) as u8).expect("there is such a byte");
    match open_with(&vfs, LogOptions { covered, ..options() }) {
        Err(Fault::Damaged { path: damaged, why, .. }) => {
            assert!(why.contains("must not start"), "{why}");
            assert!(damaged.starts_with(directory()));
        }
        Err(other) => panic!("byte {byte} of segment {number}: {other}"),
        Ok((log, _writer)) => {
            let is_allowed = stopped.full.is_held_by(&log)
                || may_lose && covered.is_none() && stopped.before.is_held_by(&log);
            assert!(is_allowed, "byte {byte} of segment {number}: {:?}", log.state());
        }
    }
}

/// Returns the places of the bytes in use (of large payloads, a sample), and of some of the others.
fn bytes_to_flip(stopped: &Stopped) -> Vec<Place> {
    let mut places = Vec::new();
    for (number, length) in &stopped.scan.used {
        let batches = stopped.scan.chain.iter().filter(|batch| batch.place.number == *number);
        let last = batches.map(|batch| batch.place.offset + padded(batch.header.length.into()));
        let end = last.max().unwrap_or(BLOCK);
        let unused = (end..*length).step_by(509);
        // The bytes in the middle of a large payload are alike, so a sample of them is enough.
        let used = (0..end).filter(|byte| byte % BLOCK < 600 || byte % 13 == 0);
        places.extend(used.chain(unused).map(|offset| Place { number: *number, offset }));
    }
    places
}

#[test]
fn a_flipped_bit_is_damage_or_in_the_newest_batch_or_in_bytes_of_no_meaning() {
    let stopped = stopped(0);
    let newest = stopped.scan.chain.last().expect("a batch").place;
    for Place { number, offset } in bytes_to_flip(&stopped) {
        let in_newest = Place { number, offset } >= newest;
        check_flip(&stopped, number, offset, None, in_newest);
        if in_newest {
            check_flip(&stopped, number, offset, stopped.full.last, false);
        }
    }
}

#[test]
fn a_restart_makes_up_for_a_flipped_bit_in_the_newest_batch() {
    let stopped = stopped(2);
    let newest = stopped.scan.chain.last().expect("a batch");
    let from = newest.place.offset;
    for byte in from..from + u64::from(newest.header.length) {
        check_flip(&stopped, newest.place.number, byte, None, false);
    }
}

#[test]
fn a_missing_or_short_segment_is_damage_where_something_vouches_for_it() {
    let stopped = stopped(0);
    for (number, length) in &stopped.scan.used {
        for length in [0, 100, BLOCK, length / 2, length - 1] {
            let vfs = stopped.vfs.fork();
            vfs.truncate(&path(*number), length).expect("truncates");
            let options = LogOptions { covered: stopped.full.last, ..options() };
            if let Ok((log, _writer)) = open_with(&vfs, options) {
                assert!(stopped.full.is_held_by(&log), "segment {number} of {length} bytes");
            }
        }
        let vfs = stopped.vfs.fork();
        vfs.remove(&path(*number)).expect("removes");
        let options = LogOptions { covered: stopped.full.last, ..options() };
        let opened = open_with(&vfs, options);
        assert!(matches!(opened, Err(Fault::Damaged { .. })), "segment {number}: {opened:?}");
    }
}

#[test]
fn a_batch_that_was_begun_proves_that_the_one_before_it_was_durable() {
    let stopped = stopped(0);
    for count in 2..=stopped.scan.chain.len() {
        let vfs = stopped.vfs.fork();
        for batch in stopped.scan.chain.iter().rev().take(count) {
            // The flip is not in the header, which shows that the batch was begun.
            let byte = batch.place.offset + BATCH_HEADER_BYTES as u64 + 6;
            vfs.flip_bit(&path(batch.place.number), byte, 1).expect("flips");
        }
        let opened = open_log(&vfs);
        assert!(matches!(opened, Err(Fault::Damaged { .. })), "{count} batches: {opened:?}");
    }
}

#[test]
fn a_segment_that_is_cut_short_is_damage_though_nothing_vouches_for_its_end() {
    let stopped = stopped(0);
    let (number, length) = *stopped.scan.used.last().expect("a segment");
    for length in [0, 100, BLOCK, length / 2, length - 1] {
        let vfs = stopped.vfs.fork();
        vfs.truncate(&path(number), length).expect("truncates");
        let refused = open_log(&vfs).expect_err("it lost its end").to_string();
        assert!(refused.contains(&segment_name(number)), "{refused}");
        assert!(refused.contains("must not start"), "{refused}");
    }
}

#[test]
fn an_entry_that_is_damaged_while_the_node_runs_is_not_served() {
    let vfs = MemVfs::new();
    let (log, mut writer) =
        open_with(&vfs, LogOptions { cache_bytes: 0, ..options() }).expect("opens");
    let entries: Vec<_> = (0..3).map(|index| entry(1, index, 1000)).collect();
    log.append(entries.clone(), Answers::default().done(0));
    pump(&mut writer).expect("the disk is well");
    assert_eq!(log.read(0, 3, usize::MAX).expect("reads"), entries);

    let content = vfs.read(&path(1)).expect("the segment");
    let payload = &entries[1].payload;
    let at = content.windows(payload.len()).position(|window| window == payload).expect("is there");
    vfs.flip_bit(&path(1), at as u64 + 500, 0).expect("flips");
    assert_eq!(log.read(0, 1, usize::MAX).expect("reads"), entries[..1]);
    for (from, until) in [(0, 2), (0, 3), (1, 2), (1, 3)] {
        assert!(matches!(log.read(from, until, usize::MAX), Err(Fault::Damaged { .. })));
    }
    assert_eq!(log.read(2, 3, usize::MAX).expect("reads"), entries[2..]);
}

#[test]
fn verify_finds_what_a_start_would_refuse_and_changes_nothing() {
    let stopped = stopped(0);
    let report = verify(&stopped.vfs, &directory(), &options()).expect("is whole");
    assert_eq!(report.entries, stopped.full.entries.len() as u64);
    assert_eq!(report.last, stopped.full.last);
    assert_eq!(report.segments, stopped.scan.used.len() as u64);

    let first = stopped.scan.chain.first().expect("a batch").place;
    stopped.vfs.flip_bit(&path(first.number), first.offset + 70, 1).expect("flips");
    let changes = stopped.vfs.counters().changes;
    assert!(matches!(verify(&stopped.vfs, &directory(), &options()), Err(Fault::Damaged { .. })));
    assert_eq!(stopped.vfs.counters().changes, changes);
}

#[test]
fn the_log_of_another_node_or_cluster_is_refused_before_anything_is_changed() {
    let vfs = stopped(0).vfs;
    let changes = vfs.counters().changes;
    let others = [
        LogOptions { cluster: [8; 16], ..options() },
        LogOptions { node: 4, ..options() },
        LogOptions { log: 1, ..options() },
    ];
    for other in others {
        assert!(matches!(open_with(&vfs, other), Err(Fault::Foreign { .. })));
    }
    assert_eq!(vfs.counters().changes, changes);
    assert!(open_log(&vfs).is_ok());
}

#[test]
fn what_an_earlier_use_of_a_segment_left_never_comes_back() {
    let vfs = MemVfs::new();
    let (log, mut writer) = open_log(&vfs).expect("opens");
    let mut run = Run::new(Model::default());
    for _ in 0..40 {
        // The lengths are the same each time: records of every use stand where those of the use before stood.
        let steps =
            [Step::Append(vec![9000]), Step::Write, Step::Sync, Step::Commit(1), Step::Purge(0)];
        run.go(&steps, &log, &mut writer);
    }
    let scan = scan(&vfs, &directory(), None).expect("is whole");
    let (number, length) = *scan.used.last().expect("a segment");
    assert!(number > 6, "segments were used again");
    let numbers: Vec<u64> = (1..number).collect();
    let identity = Identity { cluster: [7; 16], log: 0, node: 3 };
    let bytes = vfs.read(&path(number)).expect("the segment");
    let whole_of = |number: u64| {
        let seed = identity.seed(number);
        (BLOCK..length).step_by(BLOCK as usize).any(|offset| {
            crate::log::format::decode_batch_header(&bytes[offset as usize..], seed).is_some()
        })
    };
    assert!(numbers.into_iter().any(whole_of), "there is something that could come back");
    vfs.restart(Survival::Nothing);
    let (log, _writer) = open_log(&vfs).expect("opens");
    run.state_of(&log);
}
